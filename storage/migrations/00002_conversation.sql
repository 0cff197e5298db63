-- Messages, receipts and the guests' numbered events (room conversation).
-- Times are microseconds since 1970 UTC.
-- +goose Up
CREATE TABLE conversation (
    relation TEXT   NOT NULL PRIMARY KEY,
    name     TEXT   NOT NULL,          -- Conversation-ID
    ended    BIGINT NOT NULL DEFAULT 0 -- the guest was told
);

CREATE TABLE message (
    seq            INTEGER PRIMARY KEY, -- the order of a conversation
    id             TEXT   NOT NULL UNIQUE,
    relation       TEXT   NOT NULL,
    account        TEXT   NOT NULL,
    inviter        TEXT   NOT NULL,
    direction      TEXT   NOT NULL, -- out: to the inviter; in: to the guest
    content_type   TEXT   NOT NULL,
    text           TEXT   NOT NULL,
    state          TEXT   NOT NULL,
    reason         TEXT   NOT NULL DEFAULT '',
    client_id      TEXT   NOT NULL,
    remote_id      TEXT   NOT NULL,
    want_delivered BIGINT NOT NULL,
    want_displayed BIGINT NOT NULL,
    time           BIGINT NOT NULL
);
CREATE UNIQUE INDEX message_client ON message (account, client_id) WHERE client_id <> '';
CREATE UNIQUE INDEX message_remote ON message (relation, remote_id) WHERE remote_id <> '' AND direction = 'in';
CREATE INDEX message_talk ON message (account, inviter, seq);
CREATE INDEX message_unread ON message (relation, seq) WHERE direction = 'in' AND state <> 'displayed';
CREATE INDEX message_waiting ON message (relation, seq) WHERE direction = 'out' AND state = 'accepted';

CREATE TABLE receipt (
    message   TEXT   NOT NULL, -- ours
    displayed BIGINT NOT NULL, -- 0: delivered
    relation  TEXT   NOT NULL,
    remote_id TEXT   NOT NULL,
    time      BIGINT NOT NULL,
    sent      BIGINT NOT NULL DEFAULT 0, -- kept when sent, so that none goes twice
    PRIMARY KEY (message, displayed)
);
CREATE INDEX receipt_waiting ON receipt (relation) WHERE sent = 0;

CREATE TABLE event (
    account TEXT   NOT NULL,
    number  BIGINT NOT NULL,
    message TEXT   NOT NULL DEFAULT '', -- of a message event
    lapses  BIGINT NOT NULL DEFAULT 0,  -- nothing to be told any more after it; 0: never
    body    TEXT   NOT NULL,            -- JSON as clients read it
    PRIMARY KEY (account, number)
) WITHOUT ROWID;
CREATE INDEX event_message ON event (message) WHERE message <> '';
CREATE INDEX event_lapses ON event (lapses) WHERE lapses > 0;

-- How far the guest's client has acknowledged, and the last number given: numbers are never used again.
CREATE TABLE stream (
    account TEXT   NOT NULL PRIMARY KEY,
    acked   BIGINT NOT NULL DEFAULT 0,
    last    BIGINT NOT NULL DEFAULT 0,
    over    BIGINT NOT NULL DEFAULT 0 -- when the account's last relation ended; 0: it has one
);
CREATE INDEX stream_over ON stream (over) WHERE over > 0;

-- +goose Down
DROP TABLE stream;
DROP TABLE event;
DROP TABLE receipt;
DROP TABLE message;
DROP TABLE conversation;
