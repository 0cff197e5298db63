-- Files that inviters' phones have put on the content server (room files): what is known of them. Times are microseconds since 1970 UTC.
-- +goose Up
CREATE TABLE deposit (
    id           TEXT   NOT NULL PRIMARY KEY,
    inviter      TEXT   NOT NULL,
    tid          TEXT   NOT NULL, -- the phone's name of the transfer; '' for none
    name         TEXT   NOT NULL,
    size         BIGINT NOT NULL, -- -1: not known yet
    type         TEXT   NOT NULL,
    sha1         TEXT   NOT NULL,
    sha256       TEXT   NOT NULL,
    state        TEXT   NOT NULL, -- receiving, accepted
    secret       TEXT   NOT NULL UNIQUE, -- in the address where it is fetched
    time         BIGINT NOT NULL,
    touched      BIGINT NOT NULL, -- when bytes last came
    expires      BIGINT NOT NULL,
    preview_type TEXT   NOT NULL DEFAULT '',
    preview      BLOB
);
CREATE UNIQUE INDEX deposit_tid ON deposit (inviter, tid) WHERE tid <> '';
CREATE INDEX deposit_inviter ON deposit (inviter);
CREATE INDEX deposit_receiving ON deposit (touched) WHERE state = 'receiving';
CREATE INDEX deposit_expires ON deposit (expires);

-- +goose Down
DROP TABLE deposit;
