-- What the directory allots with an account, and which allowances a crash left in mid-flow (rooms guest and registrar).
-- +goose Up

-- The password of an account for SIP digest. It outlives its guest while the account is still being deregistered.
CREATE TABLE sip_password (
    account  TEXT NOT NULL PRIMARY KEY,
    password TEXT NOT NULL
);

-- 0 from the counting of an invitation until its notice is queued.
ALTER TABLE allowance ADD COLUMN settled BIGINT NOT NULL DEFAULT 1;
CREATE INDEX allowance_unsettled ON allowance (time) WHERE settled = 0;

-- +goose Down
DROP INDEX allowance_unsettled;
ALTER TABLE allowance DROP COLUMN settled;
DROP TABLE sip_password;
