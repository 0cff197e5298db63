-- Who wants no invitations, and the gateway's own keys (rooms guest and notify). Times are microseconds since 1970 UTC.
-- +goose Up

-- Random keys that never leave the data file, by what they are for; in base64.
CREATE TABLE own_key (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

-- People who opted out, by a keyed hash of how they are reached, and one of the account that they had: who reads the table
-- alone finds nobody's address in it.
CREATE TABLE opt_out (
    person TEXT   NOT NULL PRIMARY KEY,
    holder TEXT   NOT NULL,
    time   BIGINT NOT NULL
);
CREATE INDEX opt_out_holder ON opt_out (holder);

-- When the notice of an allowance failed for good; 0: it did not.
ALTER TABLE allowance ADD COLUMN failed BIGINT NOT NULL DEFAULT 0;

-- The notice that speaks for this one, too: one message names several inviters. '': it speaks for itself.
ALTER TABLE outbox ADD COLUMN lead TEXT NOT NULL DEFAULT '';
CREATE INDEX outbox_lead ON outbox (lead) WHERE lead <> '';
CREATE INDEX outbox_recipient ON outbox (recipient) WHERE state = 'queued';

-- +goose Down
DROP INDEX outbox_recipient;
DROP INDEX outbox_lead;
ALTER TABLE outbox DROP COLUMN lead;
ALTER TABLE allowance DROP COLUMN failed;
DROP TABLE opt_out;
DROP TABLE own_key;
