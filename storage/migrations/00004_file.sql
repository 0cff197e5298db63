-- Files of conversations (room files): what is known of them. The bytes are files on disk under the id.
-- Times are microseconds since 1970 UTC.
-- +goose Up
CREATE TABLE file (
    seq            INTEGER PRIMARY KEY, -- the order of a conversation
    id             TEXT   NOT NULL UNIQUE,
    relation       TEXT   NOT NULL,
    account        TEXT   NOT NULL,
    inviter        TEXT   NOT NULL,
    direction      TEXT   NOT NULL, -- out: to the inviter; in: to the guest
    name           TEXT   NOT NULL,
    size           BIGINT NOT NULL, -- -1: not known yet
    type           TEXT   NOT NULL,
    sha1           TEXT   NOT NULL,
    sha256         TEXT   NOT NULL,
    state          TEXT   NOT NULL, -- receiving, accepted, sent, delivered, displayed, failed
    reason         TEXT   NOT NULL DEFAULT '',
    client_id      TEXT   NOT NULL,
    secret         TEXT   NOT NULL, -- in the address where the inviter fetches it; '' for none
    remote_id      TEXT   NOT NULL,
    want_delivered BIGINT NOT NULL,
    want_displayed BIGINT NOT NULL,
    source         TEXT   NOT NULL, -- where it is fetched from; '' where it isn't, and when it was
    time           BIGINT NOT NULL,
    touched        BIGINT NOT NULL, -- when bytes last came
    expires        BIGINT NOT NULL,
    preview_type   TEXT   NOT NULL DEFAULT '',
    preview        BLOB             -- a small picture
);
CREATE UNIQUE INDEX file_client ON file (account, client_id) WHERE client_id <> '';
CREATE UNIQUE INDEX file_remote ON file (relation, remote_id) WHERE remote_id <> '' AND direction = 'in';
CREATE UNIQUE INDEX file_secret ON file (secret) WHERE secret <> '';
CREATE INDEX file_talk ON file (account, inviter, seq);
CREATE INDEX file_relation ON file (relation);
CREATE INDEX file_waiting ON file (relation, seq) WHERE direction = 'out' AND state = 'accepted';
CREATE INDEX file_receiving ON file (touched) WHERE state = 'receiving';
CREATE INDEX file_expires ON file (expires);

-- +goose Down
DROP TABLE file;
