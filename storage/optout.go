package storage

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"time"
)

// Key is the gateway's own key of a name, of 32 random bytes: made when it is first asked for, the same ever after.
func (db *DB) Key(ctx context.Context, name string) ([]byte, error) {
	var text string
	err := db.read.QueryRowContext(ctx, `SELECT value FROM own_key WHERE name = $1`, name).Scan(&text)
	if err != nil {
		err = db.Write(ctx, func(tx *sql.Tx) error {
			var fresh [32]byte
			_, _ = rand.Read(fresh[:]) // never fails (crypto/rand)
			return tx.QueryRow(`INSERT INTO own_key (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = own_key.value RETURNING value`,
				name, base64.StdEncoding.EncodeToString(fresh[:])).Scan(&text)
		})
	}
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", name, err)
	}
	return base64.StdEncoding.DecodeString(text)
}

// AddOptOut notes that a person wants no invitations, and the account that was theirs. Once more is no error.
func (db *DB) AddOptOut(ctx context.Context, person, holder string, at time.Time) error {
	err := db.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(`INSERT INTO opt_out (person, holder, time) VALUES ($1, $2, $3) ON CONFLICT (person) DO UPDATE SET holder = excluded.holder`, person, holder, micros(at))
		return err
	})
	if err != nil {
		return fmt.Errorf("opt out: %w", err)
	}
	return nil
}

// RemoveOptOut notes that a person takes invitations again.
func (db *DB) RemoveOptOut(ctx context.Context, person string) error {
	err := db.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(`DELETE FROM opt_out WHERE person = $1`, person)
		return err
	})
	if err != nil {
		return fmt.Errorf("opt in: %w", err)
	}
	return nil
}

// OptedOut reports whether a person wants no invitations.
func (db *DB) OptedOut(ctx context.Context, person string) (out bool, err error) {
	err = db.read.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM opt_out WHERE person = $1)`, person).Scan(&out)
	return out, err
}

// OptedOutBy is the person who opted out and had an account, or "".
func (db *DB) OptedOutBy(ctx context.Context, holder string) (person string, err error) {
	err = db.read.QueryRowContext(ctx, `SELECT person FROM opt_out WHERE holder = $1`, holder).Scan(&person)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return person, err
}
