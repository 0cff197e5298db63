package storage

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"latchkey"
)

// HastenNotices leaves of the wait of a channel's notices that wait for a reason one part in share, so that those that failed apart still come
// apart. What is due by after comes soon anyway, or is under way, and stays as it is.
func (db *DB) HastenNotices(ctx context.Context, channel latchkey.Channel, reason string, now, after time.Time, share int) error {
	err := db.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(`UPDATE outbox SET due = $1 + (due - $1) / $2 WHERE state = 'queued' AND channel = $3 AND due > $4 AND reason = $5`,
			micros(now), share, channel, micros(after), reason)
		return err
	})
	if err != nil {
		return fmt.Errorf("hasten notices: %w", err)
	}
	return nil
}

// NoticesWait reports whether a notice of a channel is queued that has failed for a reason.
func (db *DB) NoticesWait(ctx context.Context, channel latchkey.Channel, reason string) (waits bool, err error) {
	err = db.read.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM outbox WHERE state = 'queued' AND channel = $1 AND reason = $2)`, channel, reason).Scan(&waits)
	return waits, err
}

// HastenOutcomes makes the outcomes due now that are owed to an inviter who has the id or, where tel is not "", the number, and says how many they
// are. What is due by after stays as it is.
func (db *DB) HastenOutcomes(ctx context.Context, inviter latchkey.InviterID, tel string, now, after time.Time) (n int64, err error) {
	var late bool
	// Most of the time nothing waits for anybody, and that costs no write.
	if err := db.read.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM outcome WHERE told = 0 AND due > $1)`, micros(after)).Scan(&late); err != nil || !late {
		return 0, err
	}
	err = db.Write(ctx, func(tx *sql.Tx) error {
		res, err := tx.Exec(`UPDATE outcome SET due = $1 WHERE told = 0 AND due > $2 AND notice IN (SELECT o.id FROM outbox o WHERE o.relation IN (
			SELECT r.id FROM relation r WHERE r.inviter = $3 UNION SELECT r.id FROM relation r WHERE r.inviter_tel = $4 AND r.inviter_tel <> ''))`,
			micros(now), micros(after), inviter, tel)
		if err == nil {
			n, err = res.RowsAffected()
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("hasten outcomes of %s: %w", inviter, err)
	}
	return n, nil
}
