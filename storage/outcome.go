package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"latchkey"
)

// owe notes that inviters are to be told what became of a notice, and of those that it spoke for. It runs in the transaction that moves
// them, so that a crash loses none; a notice ends once, so that none comes twice.
func owe(tx *sql.Tx, notice string) error {
	ids, err := gather(context.Background(), tx, func(s scanner) (id string, err error) { return id, s.Scan(&id) },
		`SELECT id FROM outbox WHERE (id = $1 OR lead = $1 AND lead <> '') AND state IN ('delivered', 'failed')`, notice)
	if err != nil {
		return err
	}
	now := micros(time.Now())
	for _, id := range ids {
		if _, err := tx.Exec(`INSERT INTO outcome (notice, id, created, due) VALUES ($1, $2, $3, $3) ON CONFLICT (notice) DO NOTHING`, id, latchkey.NewMessageID(), now); err != nil {
			return err
		}
	}
	return nil
}

const outcomeQuery = `SELECT c.id, c.notice, o.relation, o.recipient, o.speaks, o.state, o.reason, c.created, o.expires, c.attempts FROM outcome c JOIN outbox o ON o.id = c.notice `

func scanOutcome(s scanner) (o latchkey.Outcome, err error) {
	var created, expires int64
	err = s.Scan(&o.ID, &o.Notice, &o.Relation, &o.Recipient, &o.Language, &o.State, &o.Reason, &created, &expires, &o.Attempts)
	o.Created, o.Expires = moment(created), moment(expires)
	return o, err
}

// ClaimOutcomes takes up to limit outcomes that are due at now, and makes them due again at again: if the claimer dies, they are claimed anew.
func (db *DB) ClaimOutcomes(ctx context.Context, now, again time.Time, limit int) (claimed []latchkey.Outcome, err error) {
	var due bool
	// Most of the time there is nothing, and that costs no write.
	if err := db.read.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM outcome WHERE told = 0 AND due <= $1)`, micros(now)).Scan(&due); err != nil || !due {
		return nil, err
	}
	err = db.Write(ctx, func(tx *sql.Tx) error {
		claimed = nil
		ids, err := gather(ctx, tx, func(s scanner) (id string, err error) { return id, s.Scan(&id) },
			`UPDATE outcome SET due = $2, attempts = attempts + 1 WHERE notice IN (SELECT notice FROM outcome WHERE told = 0 AND due <= $1 ORDER BY due LIMIT $3) RETURNING id`,
			micros(now), micros(again), limit)
		if err != nil {
			return err
		}
		for _, id := range ids {
			o, err := scanOutcome(tx.QueryRowContext(ctx, outcomeQuery+`WHERE c.id = $1`, id))
			if err != nil {
				return err
			}
			claimed = append(claimed, o)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("claim outcomes: %w", err)
	}
	return claimed, nil
}

// Outcome is one outcome; KindNotFound: its relation is over.
func (db *DB) Outcome(ctx context.Context, id latchkey.MessageID) (latchkey.Outcome, error) {
	o, err := scanOutcome(db.read.QueryRowContext(ctx, outcomeQuery+`WHERE c.id = $1`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return o, latchkey.Wrap(latchkey.KindNotFound, err, "")
	}
	return o, err
}

// NextOutcome is when the next outcome is due; zero if none waits.
func (db *DB) NextOutcome(ctx context.Context) (time.Time, error) {
	var us int64
	err := db.read.QueryRowContext(ctx, `SELECT coalesce(min(due), 0) FROM outcome WHERE told = 0`).Scan(&us)
	return moment(us), err
}

// RetryOutcome plans the next attempt to tell an outcome.
func (db *DB) RetryOutcome(ctx context.Context, id latchkey.MessageID, due time.Time) error {
	return db.changeOutcome(ctx, `UPDATE outcome SET due = $2 WHERE id = $1 AND told = 0`, id, micros(due))
}

// EndOutcome notes that an outcome was told, or is given up.
func (db *DB) EndOutcome(ctx context.Context, id latchkey.MessageID) error {
	return db.changeOutcome(ctx, `UPDATE outcome SET told = $2 WHERE id = $1 AND told = 0`, id, micros(time.Now()))
}

func (db *DB) changeOutcome(ctx context.Context, query string, id latchkey.MessageID, us int64) error {
	err := db.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(query, id, us)
		return err
	})
	if err != nil {
		return fmt.Errorf("outcome %s: %w", id, err)
	}
	return nil
}

// OutcomesWaiting is how many outcomes are to be told, and since when the oldest is.
func (db *DB) OutcomesWaiting(ctx context.Context) (n int, oldest time.Time, err error) {
	var us int64
	err = db.read.QueryRowContext(ctx, `SELECT count(*), coalesce(min(created), 0) FROM outcome WHERE told = 0`).Scan(&n, &us)
	return n, moment(us), err
}
