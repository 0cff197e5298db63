package storage

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"latchkey"
)

// ClaimNotices takes up to limit notices of a channel that are due at now, and makes them due again at
// again: if the claimer dies, they are claimed anew.
func (db *DB) ClaimNotices(ctx context.Context, channel latchkey.Channel, now, again time.Time, limit int) ([]latchkey.Notice, error) {
	var due bool
	// Most of the time there is nothing, and that costs no write.
	if err := db.read.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM outbox WHERE state = 'queued' AND channel = $1 AND due <= $2)`, channel, micros(now)).Scan(&due); err != nil || !due {
		return nil, err
	}
	var claimed []latchkey.Notice
	err := db.Write(ctx, func(tx *sql.Tx) error {
		var err error
		claimed, err = gather(ctx, tx, scanNotice, `UPDATE outbox SET due = $3, attempts = attempts + 1
			WHERE id IN (SELECT id FROM outbox WHERE state = 'queued' AND channel = $1 AND due <= $2 ORDER BY due LIMIT $4)
			RETURNING id, relation, channel, recipient, guest_name, account, inviter, inviter_name, note, link, created, expires, attempts`,
			channel, micros(now), micros(again), limit)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("claim notices: %w", err)
	}
	return claimed, nil
}

func scanNotice(s scanner) (latchkey.Notice, error) {
	var n latchkey.Notice
	var note, link string
	var created, expires int64
	err := s.Scan(&n.ID, &n.Relation, &n.Channel, &n.Recipient, &n.GuestName, &n.Account, &n.Inviter, &n.InviterName, &note, &link, &created, &expires, &n.Attempts)
	n.Note, n.Link = latchkey.Text(note), latchkey.Secret(link)
	n.Created, n.Expires = moment(created), moment(expires)
	return n, err
}

// NextNotice is when the next notice of a channel is due; zero if none waits.
func (db *DB) NextNotice(ctx context.Context, channel latchkey.Channel) (time.Time, error) {
	var us int64
	err := db.read.QueryRowContext(ctx, `SELECT coalesce(min(due), 0) FROM outbox WHERE state = 'queued' AND channel = $1`, channel).Scan(&us)
	return moment(us), err
}

// RetryNotice plans the next attempt of a notice and says why the last one failed.
func (db *DB) RetryNotice(ctx context.Context, id string, due time.Time, reason string) error {
	return db.moveNotice(ctx, id, `UPDATE outbox SET due = $2, reason = $3 WHERE id = $1 AND state = 'queued'`, id, micros(due), reason)
}

// EndNotice notes that a notice was sent or has failed for good, and erases the password.
func (db *DB) EndNotice(ctx context.Context, id string, state latchkey.NotificationState, reason string) error {
	return db.moveNotice(ctx, id, `UPDATE outbox SET state = $2, reason = $3, link = '', note = '' WHERE id = $1 AND state = 'queued'`, id, state, reason)
}

func (db *DB) moveNotice(ctx context.Context, id, query string, args ...any) error {
	err := db.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(query, args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("notice %s: %w", id, err)
	}
	return nil
}
