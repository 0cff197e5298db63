-- By which way a registration stands, and when it was asked for last (room registrar).
-- +goose Up
ALTER TABLE registration ADD COLUMN sent BIGINT NOT NULL DEFAULT 0; -- microseconds since 1970 UTC
ALTER TABLE registration ADD COLUMN hop TEXT NOT NULL DEFAULT ''; -- URI of the first hop; '': the server's own

-- +goose Down
ALTER TABLE registration DROP COLUMN hop;
ALTER TABLE registration DROP COLUMN sent;
