package storage

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"sync"
	"time"

	"latchkey"
)

// ClaimNotices takes up to limit notices of a channel that are due at now, and makes them due again at
// again: if the claimer dies, they are claimed anew. Inviters take turns, each with the notice that was due first: who
// has ten thousand waiting delays nobody's single one. Once all have had a turn, what room is left is shared out at once.
func (db *DB) ClaimNotices(ctx context.Context, channel latchkey.Channel, now, again time.Time, limit int) ([]latchkey.Notice, error) {
	var due bool
	// Most of the time there is nothing, and that costs no write.
	if err := db.read.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM outbox WHERE state = 'queued' AND channel = $1 AND due <= $2)`, channel, micros(now)).Scan(&due); err != nil || !due {
		return nil, err
	}
	last := db.turnOf(channel)
	var claimed []latchkey.Notice
	var turn latchkey.InviterID
	err := db.Write(ctx, func(tx *sql.Tx) error {
		claimed, turn = nil, last
		share, served, whole := 1, 0, false // each one's in this lap; how many it has served; whether it began with the first inviter
		for from := turn; len(claimed) < limit; {
			got, err := gather(ctx, tx, scanNotice, claimTurn, channel, micros(now), micros(again), limit-len(claimed), from, share)
			if err != nil {
				return err
			}
			for i := range got {
				if got[i].Beside, err = beside(ctx, tx, got[i].ID); err != nil {
					return err
				}
			}
			slices.SortFunc(got, func(a, b latchkey.Notice) int {
				return cmp.Or(cmp.Compare(a.Inviter, b.Inviter), a.Created.Compare(b.Created))
			})
			claimed = append(claimed, got...)
			for i, n := range got {
				if i == 0 || n.Inviter != got[i-1].Inviter {
					served++
				}
			}
			switch {
			case len(got) > 0:
				turn = got[len(got)-1].Inviter
				from = turn
			case from == "":
				return nil // from the first on, nobody has any
			default:
				if whole { // all who have any are counted
					share = max(1, (limit-len(claimed))/max(1, served))
				}
				from, served, whole = "", 0, true
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("claim notices: %w", err)
	}
	db.setTurn(channel, turn)
	return claimed, nil
}

// claimTurn walks along the inviters behind $5 who have something queued, from one to the next by the index, and takes
// each one's first $6 that are due.
const claimTurn = `WITH RECURSIVE turn (inviter) AS (
		SELECT (SELECT min(inviter) FROM outbox WHERE state = 'queued' AND channel = $1 AND inviter > $5)
		UNION ALL
		SELECT (SELECT min(o.inviter) FROM outbox o WHERE o.state = 'queued' AND o.channel = $1 AND o.inviter > turn.inviter) FROM turn WHERE turn.inviter IS NOT NULL
	), first (id) AS (
		SELECT n.id FROM turn JOIN outbox n ON n.id IN (
			SELECT o.id FROM outbox o WHERE o.state = 'queued' AND o.channel = $1 AND o.inviter = turn.inviter AND o.due <= $2 ORDER BY o.due LIMIT $6
		) WHERE turn.inviter IS NOT NULL
	)
	UPDATE outbox SET due = $3, attempts = attempts + 1
	WHERE id IN (SELECT first.id FROM first LIMIT $4)
	RETURNING id, relation, channel, recipient, guest_name, account, inviter, inviter_name, note, link, created, expires, attempts, language`

// turnOf is the inviter of a channel whose turn was last. It is a matter of order only, so nothing is lost with the process.
func (db *DB) turnOf(channel latchkey.Channel) latchkey.InviterID {
	db.turns.mu.Lock()
	defer db.turns.mu.Unlock()
	return db.turns.last[channel]
}

func (db *DB) setTurn(channel latchkey.Channel, inviter latchkey.InviterID) {
	db.turns.mu.Lock()
	defer db.turns.mu.Unlock()
	if db.turns.last == nil {
		db.turns.last = map[latchkey.Channel]latchkey.InviterID{}
	}
	db.turns.last[channel] = inviter
}

// turns are the inviters whose turn was last, by channel.
type turns struct {
	mu   sync.Mutex
	last map[latchkey.Channel]latchkey.InviterID
}

func scanNotice(s scanner) (latchkey.Notice, error) {
	var n latchkey.Notice
	var note, link string
	var created, expires int64
	err := s.Scan(&n.ID, &n.Relation, &n.Channel, &n.Recipient, &n.GuestName, &n.Account, &n.Inviter, &n.InviterName, &note, &link, &created, &expires, &n.Attempts, &n.Language)
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
	err := db.Write(ctx, func(tx *sql.Tx) error {
		if _, err := tx.Exec(`UPDATE outbox SET due = $2, reason = $3 WHERE id = $1 AND state = 'queued'`, id, micros(due), reason); err != nil {
			return err
		}
		return follow(tx, id)
	})
	if err != nil {
		return fmt.Errorf("notice %s: %w", id, err)
	}
	return nil
}

// EndNotice notes that a notice was sent or has failed for good, and erases the password.
func (db *DB) EndNotice(ctx context.Context, id string, state latchkey.NotificationState, reason string) error {
	ended := false
	err := db.Write(ctx, func(tx *sql.Tx) (err error) {
		res, err := tx.Exec(`UPDATE outbox SET state = $2, reason = $3, link = '', note = '' WHERE id = $1 AND state = 'queued'`, id, state, reason)
		if err != nil {
			return err
		}
		if ended, err = conclude(tx, id); err != nil { // reports may have come already
			return err
		}
		n, err := res.RowsAffected()
		if n > 0 && state != latchkey.NotificationSent {
			ended = true
		}
		if err != nil || !ended {
			return err
		}
		return owe(tx, id)
	})
	if err != nil {
		return fmt.Errorf("notice %s: %w", id, err)
	}
	db.tellEnd(id, ended)
	return nil
}

// NoticesWaiting is how many notices of a channel are queued, and since when the oldest is.
func (db *DB) NoticesWaiting(ctx context.Context, channel latchkey.Channel) (n int, oldest time.Time, err error) {
	var us int64
	err = db.read.QueryRowContext(ctx, `SELECT count(*), coalesce(min(created), 0) FROM outbox WHERE state = 'queued' AND channel = $1`, channel).Scan(&n, &us)
	return n, moment(us), err
}
