-- An allowance that no notice follows stops counting by itself, whichever process spent it (room guest). Times are microseconds since 1970 UTC.
-- +goose Up

-- Until when an allowance counts whose notice is not queued yet; 0: it is, and the allowance counts for good.
ALTER TABLE allowance ADD COLUMN until BIGINT NOT NULL DEFAULT 0;
UPDATE allowance SET until = time + 180000000 WHERE settled = 0;
DROP INDEX allowance_unsettled;
ALTER TABLE allowance DROP COLUMN settled;
CREATE INDEX allowance_until ON allowance (until) WHERE until > 0;

-- +goose Down
DROP INDEX allowance_until;
ALTER TABLE allowance ADD COLUMN settled BIGINT NOT NULL DEFAULT 1;
UPDATE allowance SET settled = 0 WHERE until > 0;
ALTER TABLE allowance DROP COLUMN until;
CREATE INDEX allowance_unsettled ON allowance (time) WHERE settled = 0;
