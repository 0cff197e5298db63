package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"latchkey"
)

// Passwords gives salt and hash of each password that was ever right for the account and
// has not been forgotten, with whether its relation is live and not over at now.
func (db *DB) Passwords(ctx context.Context, account latchkey.AccountID, now time.Time) (salts, hashes []string, valid []bool, err error) {
	_, err = gather(ctx, db.read, func(s scanner) (struct{}, error) {
		var salt, hash string
		var ok bool
		err := s.Scan(&salt, &hash, &ok)
		salts, hashes, valid = append(salts, salt), append(hashes, hash), append(valid, ok)
		return struct{}{}, err
	}, `SELECT secret.salt, secret.hash, coalesce(relation.state = $2 AND relation.expires > $3, 0)
		FROM secret LEFT JOIN relation ON relation.id = secret.relation WHERE secret.account = $1 ORDER BY secret.created`,
		account, latchkey.Live, micros(now))
	return salts, hashes, valid, err
}

// AddLogin keeps a login by the hash of its token and notes that the guest was here. A guest
// without a live relation is KindNotFound.
func (db *DB) AddLogin(ctx context.Context, account latchkey.AccountID, hash string, created, expires time.Time) error {
	err := db.Write(ctx, func(tx *sql.Tx) error {
		res, err := tx.Exec(`UPDATE guest SET last_login = $2 WHERE account = $1
			AND EXISTS (SELECT 1 FROM relation WHERE relation.account = $1 AND state = $3)`, account, micros(created), latchkey.Live)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil {
			return err
		} else if n == 0 {
			return latchkey.Errorf(latchkey.KindNotFound, "")
		}
		_, err = tx.Exec(`INSERT INTO login (hash, account, created, expires) VALUES ($1, $2, $3, $4)`, hash, account, micros(created), micros(expires))
		return err
	})
	if err != nil {
		return fmt.Errorf("login of %s: %w", account, err)
	}
	return nil
}

// GuestByLogin is the guest of a login that is not over at now; KindNotFound if there is none.
func (db *DB) GuestByLogin(ctx context.Context, hash string, now time.Time) (latchkey.Guest, error) {
	return notFound(scanGuest(db.read.QueryRowContext(ctx, `SELECT guest.account, identifier_kind, identifier_value, guest.created
		FROM login JOIN guest ON guest.account = login.account
		WHERE hash = $1 AND login.expires > $2
		AND EXISTS (SELECT 1 FROM relation WHERE relation.account = guest.account AND state = $3 AND relation.expires > $2)`,
		hash, micros(now), latchkey.Live)))
}

// Spend counts an invitation under id, or tells how long to wait where the quota is used up. It counts for hold, unless Settle makes
// the count final: after a crash in between, nobody needs to know which process it was.
func (db *DB) Spend(ctx context.Context, id string, inviter latchkey.InviterID, target latchkey.Identifier, now time.Time, hold time.Duration, q latchkey.Quota) (wait time.Duration, err error) {
	err = db.Write(ctx, func(tx *sql.Tx) error {
		wait = 0
		// Each query finds the time from which on a window counts, if the limit is reached within it.
		reached := func(window time.Duration, query string, args ...any) error {
			var from int64
			err := tx.QueryRow(query, args...).Scan(&from)
			if errors.Is(err, sql.ErrNoRows) {
				return nil
			}
			wait = max(wait, moment(from).Add(window).Sub(now))
			return err
		}
		for _, limit := range []struct {
			max    int
			window time.Duration
			of     string
			args   []any
		}{
			{q.PerInviter, q.InviterWindow, `inviter = $4 AND`, []any{inviter}},
			{q.PerTarget, q.TargetWindow, `target = $4 AND`, []any{target.Value}},
			{q.Total, q.TotalWindow, ``, nil},
		} {
			if limit.max <= 0 {
				continue
			}
			// The max-th latest.
			if err := reached(limit.window, `SELECT time FROM allowance WHERE `+limit.of+` time > $1 AND (until = 0 OR until > $2) ORDER BY time DESC LIMIT 1 OFFSET $3`,
				append([]any{micros(now.Add(-limit.window)), micros(now), limit.max - 1}, limit.args...)...); err != nil {
				return err
			}
		}
		if q.CoolDown > 0 {
			if err := reached(q.CoolDown, `SELECT failed FROM allowance WHERE target = $1 AND failed > $2 ORDER BY failed DESC LIMIT 1`, target.Value, micros(now.Add(-q.CoolDown))); err != nil {
				return err
			}
		}
		if wait > 0 {
			return nil
		}
		_, err := tx.Exec(`INSERT INTO allowance (id, inviter, target, time, until) VALUES ($1, $2, $3, $4, $5)`, id, inviter, target.Value, micros(now), micros(now.Add(hold)))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("quota of %s: %w", inviter, err)
	}
	return wait, nil
}

// Refund takes back what Spend counted under id.
func (db *DB) Refund(ctx context.Context, id string) error {
	err := db.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(`DELETE FROM allowance WHERE id = $1`, id)
		return err
	})
	if err != nil {
		return fmt.Errorf("refund: %w", err)
	}
	return nil
}
