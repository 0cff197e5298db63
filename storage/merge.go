package storage

import (
	"context"
	"database/sql"
	"errors"
	"math"

	"latchkey"
)

// Notices of several inviters to one person can go as one message. The first of them leads: it is claimed, and the
// others have what becomes of it. All of them have the lead's password, so that its link opens for as long as one
// of the relations stands.

// outboxRow is a notice as it enters the outbox.
type outboxRow struct {
	latchkey.Notice
	state latchkey.NotificationState
	due   int64
	lead  string
}

// never is when a notice is due that another one speaks for.
const never = math.MaxInt64

func (r *outboxRow) insert(tx *sql.Tx) error {
	_, err := tx.Exec(`INSERT INTO outbox (id, relation, channel, recipient, guest_name, account, inviter, inviter_name, note, link, created, expires, state, due, language, lead, speaks)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)`,
		r.ID, r.Relation, r.Channel, r.Recipient, r.GuestName, r.Account, r.Inviter, r.InviterName, r.Note.Reveal(), r.Link.Reveal(),
		micros(r.Created), micros(r.Expires), r.state, r.due, r.Language, r.lead, r.Speaks)
	return err
}

// join puts a notice that may wait beside one to the same person that nobody has claimed yet.
func (r *outboxRow) join(tx *sql.Tx) (joined bool, err error) {
	if !r.Due.After(r.Created) {
		return false, nil
	}
	var relation latchkey.RelationID
	err = tx.QueryRow(`SELECT id, relation FROM outbox WHERE recipient = $1 AND state = 'queued' AND channel = $2 AND account = $3 AND attempts = 0 AND lead = '' AND link <> ''`,
		r.Recipient, r.Channel, r.Account).Scan(&r.lead, &relation)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	r.Link, r.due = "", never
	_, err = tx.Exec(`INSERT INTO secret (relation, account, salt, hash, created)
		SELECT $1, account, salt, hash, created FROM secret WHERE relation = $2 ORDER BY created DESC LIMIT 1
		ON CONFLICT (relation, salt) DO NOTHING`, r.Relation, relation)
	return true, err
}

// beside lists the inviters for whom a notice speaks, too.
func beside(ctx context.Context, tx *sql.Tx, id string) ([]latchkey.Beside, error) {
	return gather(ctx, tx, func(s scanner) (latchkey.Beside, error) {
		var b latchkey.Beside
		var note string
		err := s.Scan(&b.Inviter, &b.InviterName, &note)
		b.Note = latchkey.Text(note)
		return b, err
	}, `SELECT inviter, inviter_name, note FROM outbox WHERE lead = $1 AND lead <> '' ORDER BY created, id`, id)
}

// follow moves those that a notice speaks for to where it stands.
func follow(tx *sql.Tx, lead string) error {
	_, err := tx.Exec(`UPDATE outbox SET (state, reason) = (SELECT l.state, l.reason FROM outbox l WHERE l.id = $1),
		note = CASE WHEN (SELECT l.state FROM outbox l WHERE l.id = $1) = 'queued' THEN note ELSE '' END
		WHERE lead = $1 AND lead <> '' AND EXISTS (SELECT 1 FROM outbox l WHERE l.id = $1)`, lead)
	return err
}

// promote lets another notice lead where the one of a relation is about to go while it waits.
func promote(tx *sql.Tx, relation latchkey.RelationID) error {
	var lead, heir string
	err := tx.QueryRow(`SELECT id FROM outbox WHERE relation = $1 AND state = 'queued' AND lead = ''`, relation).Scan(&lead)
	if err == nil {
		err = tx.QueryRow(`SELECT id FROM outbox WHERE lead = $1 AND lead <> '' ORDER BY created, id LIMIT 1`, lead).Scan(&heir)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := tx.Exec(`UPDATE outbox SET lead = '', (link, due, attempts) = (SELECT l.link, l.due, l.attempts FROM outbox l WHERE l.id = $2) WHERE id = $1`, heir, lead); err != nil {
		return err
	}
	_, err = tx.Exec(`UPDATE outbox SET lead = $1 WHERE lead = $2 AND lead <> '' AND id <> $1`, heir, lead)
	return err
}
