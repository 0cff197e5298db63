package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"latchkey"
)

// KeepSIPPassword notes the password with which an account answers digest challenges. It is forgotten with the
// account and its last registration.
func (db *DB) KeepSIPPassword(ctx context.Context, account latchkey.AccountID, password latchkey.Secret) error {
	err := db.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(`INSERT INTO sip_password (account, password) VALUES ($1, $2) ON CONFLICT (account) DO UPDATE SET password = excluded.password`, account, password.Reveal())
		return err
	})
	if err != nil {
		return fmt.Errorf("sip password of %s: %w", account, err)
	}
	return nil
}

// SIPPassword is what KeepSIPPassword noted, or "".
func (db *DB) SIPPassword(ctx context.Context, account latchkey.AccountID) (latchkey.Secret, error) {
	var password string
	err := db.read.QueryRowContext(ctx, `SELECT password FROM sip_password WHERE account = $1`, account).Scan(&password)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("sip password of %s: %w", account, err)
	}
	return latchkey.Secret(password), nil
}

// forgetSIPPassword forgets the password of an account that is nobody's and registered nowhere.
func forgetSIPPassword(tx *sql.Tx, account latchkey.AccountID) error {
	_, err := tx.Exec(`DELETE FROM sip_password WHERE account = $1 AND NOT EXISTS (SELECT 1 FROM guest WHERE guest.account = $1)
		AND NOT EXISTS (SELECT 1 FROM registration WHERE registration.account = $1)`, account)
	return err
}
