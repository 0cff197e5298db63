-- What notices became at servers that report later, and in whose turn notices go out (room notify).
-- Times are microseconds since 1970 UTC.
-- +goose Up
ALTER TABLE outbox ADD COLUMN language TEXT NOT NULL DEFAULT '';
CREATE INDEX outbox_turn ON outbox (channel, inviter, due) WHERE state = 'queued';

CREATE TABLE submission (
    notice    TEXT   NOT NULL REFERENCES outbox (id) ON DELETE CASCADE,
    part      BIGINT NOT NULL, -- from 1
    parts     BIGINT NOT NULL,
    channel   TEXT   NOT NULL,
    recipient TEXT   NOT NULL,
    remote_id TEXT   NOT NULL, -- the server's
    state     TEXT   NOT NULL, -- sent, delivered, failed
    reason    TEXT   NOT NULL DEFAULT '',
    time      BIGINT NOT NULL,
    PRIMARY KEY (notice, part)
);
CREATE INDEX submission_remote ON submission (channel, remote_id);

-- Reports that came before the submission that they are about was written down.
CREATE TABLE early_report (
    channel   TEXT   NOT NULL,
    remote_id TEXT   NOT NULL,
    recipient TEXT   NOT NULL,
    state     TEXT   NOT NULL,
    reason    TEXT   NOT NULL,
    time      BIGINT NOT NULL,
    PRIMARY KEY (channel, remote_id)
);
CREATE INDEX early_report_time ON early_report (time);

-- +goose Down
DROP TABLE early_report;
DROP TABLE submission;
DROP INDEX outbox_turn;
ALTER TABLE outbox DROP COLUMN language;
