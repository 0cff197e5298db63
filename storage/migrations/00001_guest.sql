-- Accounts, relations, secrets, logins and the outbox (rooms guest and notify).
-- Times are microseconds since 1970 UTC.
-- +goose Up
CREATE TABLE guest (
    account          TEXT   NOT NULL PRIMARY KEY,
    identifier_kind  TEXT   NOT NULL,
    identifier_value TEXT   NOT NULL,
    created          BIGINT NOT NULL,
    last_login       BIGINT NOT NULL DEFAULT 0,
    UNIQUE (identifier_kind, identifier_value)
);

CREATE TABLE relation (
    id           TEXT   NOT NULL PRIMARY KEY,
    account      TEXT   NOT NULL REFERENCES guest (account),
    inviter      TEXT   NOT NULL,
    inviter_uid  TEXT   NOT NULL,
    inviter_name TEXT   NOT NULL,
    inviter_tel  TEXT   NOT NULL,
    interactions TEXT   NOT NULL, -- separated by commas
    note         TEXT   NOT NULL,
    created      BIGINT NOT NULL,
    expires      BIGINT NOT NULL,
    state        TEXT   NOT NULL, -- asked, live, ending
    cause        TEXT   NOT NULL DEFAULT '',
    UNIQUE (account, inviter)
);
CREATE INDEX relation_inviter ON relation (inviter, created);
CREATE INDEX relation_expires ON relation (expires);
CREATE INDEX relation_unsettled ON relation (account) WHERE state <> 'live';

-- A secret outlives its relation only where that expired, to say so at the door.
CREATE TABLE secret (
    relation TEXT   NOT NULL,
    account  TEXT   NOT NULL,
    salt     TEXT   NOT NULL,
    hash     TEXT   NOT NULL,
    created  BIGINT NOT NULL,
    PRIMARY KEY (relation, salt)
);
CREATE INDEX secret_account ON secret (account);
CREATE INDEX secret_created ON secret (created);

CREATE TABLE login (
    hash    TEXT   NOT NULL PRIMARY KEY,
    account TEXT   NOT NULL REFERENCES guest (account),
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL
);
CREATE INDEX login_account ON login (account);
CREATE INDEX login_expires ON login (expires);

CREATE TABLE serial (
    name  TEXT   NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);

-- What quotas count: each notification that was queued, by inviter and by target.
CREATE TABLE allowance (
    id      TEXT   NOT NULL PRIMARY KEY,
    inviter TEXT   NOT NULL,
    target  TEXT   NOT NULL,
    time    BIGINT NOT NULL
);
CREATE INDEX allowance_inviter ON allowance (inviter, time);
CREATE INDEX allowance_target ON allowance (target, time);
CREATE INDEX allowance_time ON allowance (time);

CREATE TABLE outbox (
    id           TEXT   NOT NULL PRIMARY KEY,
    relation     TEXT   NOT NULL,
    channel      TEXT   NOT NULL,
    recipient    TEXT   NOT NULL,
    guest_name   TEXT   NOT NULL,
    account      TEXT   NOT NULL,
    inviter      TEXT   NOT NULL,
    inviter_name TEXT   NOT NULL,
    note         TEXT   NOT NULL,
    link         TEXT   NOT NULL, -- with the password; erased when sent or failed
    created      BIGINT NOT NULL,
    expires      BIGINT NOT NULL,
    state        TEXT   NOT NULL, -- queued, sent, delivered, failed
    reason       TEXT   NOT NULL DEFAULT '',
    attempts     BIGINT NOT NULL DEFAULT 0,
    due          BIGINT NOT NULL
);
CREATE INDEX outbox_due ON outbox (channel, due) WHERE state = 'queued';
CREATE INDEX outbox_relation ON outbox (relation, created);

-- +goose Down
DROP TABLE outbox;
DROP TABLE allowance;
DROP TABLE serial;
DROP TABLE login;
DROP TABLE secret;
DROP TABLE relation;
DROP TABLE guest;
