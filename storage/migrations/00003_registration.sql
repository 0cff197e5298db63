-- Registrations of accounts at the core and the interaction servers (room registrar).
-- Times and durations are microseconds, times since 1970 UTC, 0 for none.
-- +goose Up
CREATE TABLE registration (
    account       TEXT   NOT NULL, -- may outlive the row in guest, while it is leaving
    server        TEXT   NOT NULL, -- core, im, file
    state         TEXT   NOT NULL, -- wanted, registered, refused, leaving
    call_id       TEXT   NOT NULL,
    cseq          BIGINT NOT NULL,
    min_expires   BIGINT NOT NULL,
    expires       BIGINT NOT NULL,
    held          BIGINT NOT NULL,
    due           BIGINT NOT NULL,
    failures      BIGINT NOT NULL,
    service_route TEXT   NOT NULL, -- URIs separated by spaces
    associated    TEXT   NOT NULL, -- URIs separated by spaces
    PRIMARY KEY (account, server)
);

-- +goose Down
DROP TABLE registration;
