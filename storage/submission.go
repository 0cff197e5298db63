package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"latchkey"
)

// Submissions lists the parts of a notice that a server has taken.
func (db *DB) Submissions(ctx context.Context, notice string) ([]latchkey.Submission, error) {
	return gather(ctx, db.read, func(s scanner) (latchkey.Submission, error) {
		var v latchkey.Submission
		var id string
		var us int64
		err := s.Scan(&v.Notice, &v.Part, &v.Parts, &v.Channel, &v.Recipient, &id, &us)
		v.IDs, v.Time = []string{id}, moment(us)
		return v, err
	}, `SELECT notice, part, parts, channel, recipient, remote_id, time FROM submission WHERE notice = $1 ORDER BY part`, notice)
}

// AddSubmission writes down that a server took a part of a notice. A report that came before is
// taken into account. A notice that is gone is no error: nobody asks for it any more.
func (db *DB) AddSubmission(ctx context.Context, s latchkey.Submission) error {
	ended := false
	err := db.Write(ctx, func(tx *sql.Tx) (err error) {
		ended = false
		if _, err := tx.Exec(`INSERT INTO submission (notice, part, parts, channel, recipient, remote_id, state, time)
			SELECT $1, $2, $3, $4, $5, $6, $7, $8 WHERE EXISTS (SELECT 1 FROM outbox WHERE id = $1)
			ON CONFLICT (notice, part) DO UPDATE SET remote_id = excluded.remote_id, time = excluded.time`,
			s.Notice, s.Part, s.Parts, s.Channel, s.Recipient, s.IDs[0], latchkey.NotificationSent, micros(s.Time)); err != nil {
			return err
		}
		for i, id := range s.IDs {
			var recipient, state, reason string
			err := tx.QueryRow(`SELECT recipient, state, reason FROM early_report WHERE channel = $1 AND remote_id = $2`, s.Channel, id).Scan(&recipient, &state, &reason)
			if errors.Is(err, sql.ErrNoRows) || err == nil && i > 0 && !sameNumber(recipient, s.Recipient) {
				continue
			}
			if err != nil {
				return err
			}
			if _, err := tx.Exec(`DELETE FROM early_report WHERE channel = $1 AND remote_id = $2`, s.Channel, id); err != nil {
				return err
			}
			ended, err = reported(tx, s.Notice, s.Part, state, reason)
			return err
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("submission of notice %s: %w", s.Notice, err)
	}
	db.tellEnd(s.Notice, ended)
	return nil
}

// AddReport writes down what became of a submission, and moves its notice when all parts have come so far. found says
// whether it was known yet; if not, the report waits for it.
func (db *DB) AddReport(ctx context.Context, r latchkey.Report) (found bool, err error) {
	var notice string
	ended := false
	err = db.Write(ctx, func(tx *sql.Tx) (err error) {
		found, ended = false, false
		for i, id := range r.IDs {
			var recipient string
			var part int
			err := tx.QueryRow(`SELECT notice, part, recipient FROM submission WHERE channel = $1 AND remote_id = $2 ORDER BY time DESC LIMIT 1`, r.Channel, id).Scan(&notice, &part, &recipient)
			// Written in another way it may be somebody else's id.
			if errors.Is(err, sql.ErrNoRows) || err == nil && i > 0 && !sameNumber(recipient, r.Recipient) {
				continue
			}
			if err != nil {
				return err
			}
			found = true
			ended, err = reported(tx, notice, part, string(r.State), r.Reason)
			return err
		}
		_, err = tx.Exec(`INSERT INTO early_report (channel, remote_id, recipient, state, reason, time) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (channel, remote_id) DO UPDATE SET recipient = excluded.recipient, state = excluded.state, reason = excluded.reason, time = excluded.time`,
			r.Channel, r.IDs[0], r.Recipient, r.State, r.Reason, micros(r.Time))
		return err
	})
	if err != nil {
		return false, fmt.Errorf("report on %s: %w", r.IDs[0], err)
	}
	db.tellEnd(notice, ended)
	return found, nil
}

// sameNumber compares numbers with or without their plus.
func sameNumber(a, b string) bool { return strings.TrimPrefix(a, "+") == strings.TrimPrefix(b, "+") }

// tellEnd tells that a notice was delivered or has failed.
func (db *DB) tellEnd(notice string, ended bool) {
	if ended && db.ended != nil {
		db.ended(notice)
	}
}

// reported notes the last word on a part.
func reported(tx *sql.Tx, notice string, part int, state, reason string) (ended bool, err error) {
	if _, err := tx.Exec(`UPDATE submission SET state = $3, reason = $4 WHERE notice = $1 AND part = $2 AND state = 'sent'`, notice, part, state, reason); err != nil {
		return false, err
	}
	return conclude(tx, notice)
}

// conclude moves a notice that was sent to where its parts are: delivered when all are, failed when one did. Those that
// it speaks for go with it, and a failure is noted for the cool-down. ended: it was moved.
func conclude(tx *sql.Tx, notice string) (ended bool, err error) {
	for _, query := range []string{
		`UPDATE outbox SET state = 'failed', reason = (SELECT min(reason) FROM submission WHERE notice = $1 AND state = 'failed')
			WHERE id = $1 AND state = 'sent' AND EXISTS (SELECT 1 FROM submission WHERE notice = $1 AND state = 'failed')`,
		`UPDATE outbox SET state = 'delivered' WHERE id = $1 AND state = 'sent'
			AND (SELECT count(*) FROM submission WHERE notice = $1 AND state = 'delivered') = (SELECT max(parts) FROM submission WHERE notice = $1)`,
	} {
		res, err := tx.Exec(query, notice)
		if err != nil {
			return false, err
		}
		n, err := res.RowsAffected()
		if err != nil {
			return false, err
		}
		ended = ended || n > 0
	}
	_, err = tx.Exec(`UPDATE allowance SET failed = $2 WHERE id = $1 AND failed = 0 AND EXISTS (SELECT 1 FROM outbox WHERE id = $1 AND state = 'failed')`, notice, micros(time.Now()))
	if err != nil {
		return false, err
	}
	if err := follow(tx, notice); err != nil || !ended {
		return ended, err
	}
	return ended, owe(tx, notice)
}

// purgeReports forgets reports that nobody came for.
func purgeReports(tx *sql.Tx, before time.Time) error {
	_, err := tx.Exec(`DELETE FROM early_report WHERE time <= $1`, micros(before))
	return err
}
