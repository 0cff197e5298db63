-- Browsers that guests who are away are called by (room push). Times are microseconds since 1970 UTC, 0 for none.
-- +goose Up
CREATE TABLE push_subscription (
    endpoint TEXT   NOT NULL PRIMARY KEY, -- a browser belongs to the guest who used it last
    id       TEXT   NOT NULL UNIQUE,
    account  TEXT   NOT NULL,
    p256dh   TEXT   NOT NULL,
    auth     TEXT   NOT NULL,
    created  BIGINT NOT NULL,
    expires  BIGINT NOT NULL
);
CREATE INDEX push_subscription_account ON push_subscription (account, created);
CREATE INDEX push_subscription_expires ON push_subscription (expires) WHERE expires > 0;

-- +goose Down
DROP TABLE push_subscription;
