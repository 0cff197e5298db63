-- What became of notices, for their inviters to hear in the chat (rooms notify and conversation).
-- Times are microseconds since 1970 UTC.
-- +goose Up

-- The inviter's language; that of the invitation may be the guest's.
ALTER TABLE outbox ADD COLUMN speaks TEXT NOT NULL DEFAULT '';

CREATE TABLE outcome (
    notice   TEXT   NOT NULL PRIMARY KEY REFERENCES outbox (id) ON DELETE CASCADE,
    id       TEXT   NOT NULL UNIQUE,        -- of the message in the chat
    created  BIGINT NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0,
    due      BIGINT NOT NULL,
    told     BIGINT NOT NULL DEFAULT 0      -- or given up; kept, so that none is told twice
);
CREATE INDEX outcome_due ON outcome (due) WHERE told = 0;

-- +goose Down
DROP TABLE outcome;
ALTER TABLE outbox DROP COLUMN speaks;
