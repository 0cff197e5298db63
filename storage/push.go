package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"latchkey"
)

const pushColumns = `id, account, endpoint, p256dh, auth, created, expires`

func scanPush(s scanner) (latchkey.PushSubscription, error) {
	var p latchkey.PushSubscription
	var created, expires int64
	err := s.Scan(&p.ID, &p.Account, &p.Endpoint, &p.P256dh, &p.Auth, &created, &expires)
	p.Created, p.Expires = moment(created), moment(expires)
	return p, err
}

// AddPush keeps a subscription. One of the same endpoint is renewed: it keeps its id, and belongs to the account from then on; known says that
// it was the account's before. An account has as many as most, and its oldest ones make room. A guest without a live relation is KindNotFound.
func (db *DB) AddPush(ctx context.Context, p latchkey.PushSubscription, most int) (stored latchkey.PushSubscription, known bool, err error) {
	err = db.Write(ctx, func(tx *sql.Tx) error {
		var live bool
		if err := tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM relation WHERE account = $1 AND state = $2)`, p.Account, latchkey.Live).Scan(&live); err != nil {
			return err
		}
		if !live {
			return latchkey.Errorf(latchkey.KindNotFound, "")
		}
		if err := tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM push_subscription WHERE endpoint = $1 AND account = $2)`, p.Endpoint.Reveal(), p.Account).Scan(&known); err != nil {
			return err
		}
		stored, err = scanPush(tx.QueryRow(`INSERT INTO push_subscription (`+pushColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (endpoint) DO UPDATE SET account = excluded.account, p256dh = excluded.p256dh, auth = excluded.auth, created = excluded.created, expires = excluded.expires
			RETURNING `+pushColumns, p.ID, p.Account, p.Endpoint.Reveal(), p.P256dh.Reveal(), p.Auth.Reveal(), micros(p.Created), micros(p.Expires)))
		if err != nil {
			return err
		}
		_, err := tx.Exec(`DELETE FROM push_subscription WHERE account = $1 AND id <> $2
			AND id NOT IN (SELECT id FROM push_subscription WHERE account = $1 AND id <> $2 ORDER BY created DESC, id LIMIT $3)`, p.Account, stored.ID, most-1)
		return err
	})
	if err != nil {
		return latchkey.PushSubscription{}, false, fmt.Errorf("push subscription of %s: %w", p.Account, err)
	}
	return stored, known, nil
}

// PushSubscriptions lists those of an account that are not over at now, the oldest first.
func (db *DB) PushSubscriptions(ctx context.Context, account latchkey.AccountID, now time.Time) ([]latchkey.PushSubscription, error) {
	return gather(ctx, db.read, scanPush, `SELECT `+pushColumns+` FROM push_subscription WHERE account = $1 AND (expires = 0 OR expires > $2) ORDER BY created, id`, account, micros(now))
}

// DropPush forgets a subscription of an account; KindNotFound where there is none.
func (db *DB) DropPush(ctx context.Context, account latchkey.AccountID, id string) error {
	err := db.Write(ctx, func(tx *sql.Tx) error {
		res, err := tx.Exec(`DELETE FROM push_subscription WHERE id = $1 AND account = $2`, id, account)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n > 0 {
			return err
		}
		return latchkey.Errorf(latchkey.KindNotFound, "")
	})
	if err != nil {
		return fmt.Errorf("push subscription of %s: %w", account, err)
	}
	return nil
}

// Unheard reports whether a message or file for the guest has not been acknowledged by any client of theirs.
func (db *DB) Unheard(ctx context.Context, e latchkey.Event) (unheard bool, err error) {
	query, id, state := `SELECT state = $2 FROM message WHERE id = $1`, "", string(latchkey.MessageAccepted)
	switch {
	case e.Message != nil:
		id = string(e.Message.ID)
	case e.File != nil:
		query, id, state = `SELECT state = $2 FROM file WHERE id = $1`, string(e.File.ID), string(latchkey.FileAccepted)
	default:
		return false, nil
	}
	err = db.read.QueryRowContext(ctx, query, id, state).Scan(&unheard)
	if errors.Is(err, sql.ErrNoRows) { // gone with its relation
		return false, nil
	}
	return unheard, err
}

// forgetPush forgets the subscriptions of an account that has no live relation any more.
func forgetPush(tx *sql.Tx, account latchkey.AccountID) error {
	_, err := tx.Exec(`DELETE FROM push_subscription WHERE account = $1 AND NOT EXISTS (SELECT 1 FROM relation WHERE account = $1 AND state = $2)`, account, latchkey.Live)
	return err
}
