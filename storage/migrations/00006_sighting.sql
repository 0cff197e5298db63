-- What the core tells of the registrations of its users (room registrar).
-- Times are microseconds since 1970 UTC, 0 for none.
-- +goose Up
CREATE TABLE sighting (
    identity     TEXT   NOT NULL PRIMARY KEY, -- sip: or tel: URI
    state        TEXT   NOT NULL,             -- seen, leaving, gone
    changed      BIGINT NOT NULL,
    expires      BIGINT NOT NULL,
    call_id      TEXT   NOT NULL,
    cseq         BIGINT NOT NULL,
    scscf        TEXT   NOT NULL,
    icid         TEXT   NOT NULL,
    orig_ioi     TEXT   NOT NULL,
    charging     TEXT   NOT NULL,
    features     TEXT   NOT NULL,
    service_info TEXT   NOT NULL
);
CREATE INDEX sighting_lapsing ON sighting (expires) WHERE state = 'seen' AND expires > 0;
CREATE INDEX sighting_leaving ON sighting (identity) WHERE state = 'leaving';
CREATE INDEX sighting_gone ON sighting (changed) WHERE state = 'gone';

-- An inviter is also known by number.
CREATE INDEX relation_inviter_tel ON relation (inviter_tel) WHERE inviter_tel <> '';

-- +goose Down
DROP INDEX relation_inviter_tel;
DROP TABLE sighting;
