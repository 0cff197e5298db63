-- Files are named by their SHA-1 (RFC 5547 §6). Nothing asked for a second hash.
-- +goose Up
ALTER TABLE file DROP COLUMN sha256;
ALTER TABLE deposit DROP COLUMN sha256;

-- +goose Down
ALTER TABLE file ADD COLUMN sha256 TEXT NOT NULL DEFAULT '';
ALTER TABLE deposit ADD COLUMN sha256 TEXT NOT NULL DEFAULT '';
