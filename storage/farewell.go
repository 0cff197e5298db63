package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"latchkey"
)

// BeginEnding turns relations that are asked or live into ending ones. In the same transaction
// their passwords die, their notices that wait are dropped, and the logins and push subscriptions of an account without
// another live relation end. It returns the relations that this call has turned.
//
// The passwords of a relation that expired stay as hashes, so that the door can say so, and those of one whose guest
// opted out, so that they can opt in again.
func (db *DB) BeginEnding(ctx context.Context, ids []latchkey.RelationID, cause latchkey.Cause) ([]latchkey.Relation, error) {
	var turned []latchkey.Relation
	err := db.Write(ctx, func(tx *sql.Tx) error {
		turned = nil
		for _, id := range ids {
			r, err := scanRelation(tx.QueryRow(`UPDATE relation SET state = $2, cause = $3 WHERE id = $1 AND state <> $2 RETURNING `+unqualified, id, latchkey.Ending, cause))
			if errors.Is(err, sql.ErrNoRows) {
				continue
			}
			if err != nil {
				return err
			}
			if err := silence(tx, r, cause); err != nil {
				return err
			}
			turned = append(turned, r)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("begin ending: %w", err)
	}
	return turned, nil
}

const unqualified = `id, account, inviter, inviter_uid, inviter_name, inviter_tel, interactions, note, created, expires, state`

func silence(tx *sql.Tx, r latchkey.Relation, cause latchkey.Cause) error {
	if cause != latchkey.ValidityOver && cause != latchkey.GuestOptedOut {
		if _, err := tx.Exec(`DELETE FROM secret WHERE relation = $1`, r.ID); err != nil {
			return err
		}
	}
	if err := promote(tx, r.ID); err != nil {
		return err
	}
	if _, err := tx.Exec(`DELETE FROM outbox WHERE relation = $1`, r.ID); err != nil {
		return err
	}
	if _, err := tx.Exec(`DELETE FROM login WHERE account = $1 AND NOT EXISTS (SELECT 1 FROM relation WHERE account = $1 AND state = $2)`, r.Account, latchkey.Live); err != nil {
		return err
	}
	return forgetPush(tx, r.Account)
}

// Unsettled lists the relations of an account that are asked or ending, with the cause of
// the end.
func (db *DB) Unsettled(ctx context.Context, account latchkey.AccountID) (relations []latchkey.Relation, causes []latchkey.Cause, err error) {
	relations, err = gather(ctx, db.read, func(s scanner) (latchkey.Relation, error) {
		var cause latchkey.Cause
		r, err := scanRelation(s, &cause)
		causes = append(causes, cause)
		return r, err
	}, `SELECT `+relationColumns+`, relation.cause FROM relation WHERE account = $1 AND state <> 'live' ORDER BY created, id`, account)
	return relations, causes, err
}

// UnsettledAccounts lists the accounts that Unsettled has something for.
func (db *DB) UnsettledAccounts(ctx context.Context) ([]latchkey.AccountID, error) {
	return gather(ctx, db.read, func(s scanner) (id latchkey.AccountID, err error) { return id, s.Scan(&id) },
		`SELECT DISTINCT account FROM relation WHERE state <> 'live'`)
}

// End deletes relations. If remove, it also deletes the accounts that have no relation any
// more, in the same transaction.
func (db *DB) End(ctx context.Context, account latchkey.AccountID, ids []latchkey.RelationID, remove bool) error {
	err := db.Write(ctx, func(tx *sql.Tx) error {
		for _, id := range ids {
			for _, q := range []string{`DELETE FROM relation WHERE id = $1`, `DELETE FROM outbox WHERE relation = $1`, `DELETE FROM conversation WHERE relation = $1`} {
				if _, err := tx.Exec(q, id); err != nil {
					return err
				}
			}
		}
		if err := endStream(tx, account); err != nil {
			return err
		}
		if !remove {
			return nil
		}
		const alone = ` AND NOT EXISTS (SELECT 1 FROM relation WHERE relation.account = $1)`
		if _, err := tx.Exec(`DELETE FROM login WHERE account = $1`+alone, account); err != nil {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM guest WHERE account = $1`+alone, account); err != nil {
			return err
		}
		return forgetSIPPassword(tx, account)
	})
	if err != nil {
		return fmt.Errorf("end relations of %s: %w", account, err)
	}
	return nil
}

// Expired lists live relations whose validity is over, the longest first.
func (db *DB) Expired(ctx context.Context, now time.Time, limit int) ([]latchkey.Relation, error) {
	return gather(ctx, db.read, scanPlainRelation,
		`SELECT `+relationColumns+` FROM relation WHERE state = $1 AND expires <= $2 ORDER BY expires LIMIT $3`, latchkey.Live, micros(now), limit)
}

// NextExpiry is when the next live relation expires; zero if there is none.
func (db *DB) NextExpiry(ctx context.Context) (time.Time, error) {
	var us int64
	err := db.read.QueryRowContext(ctx, `SELECT coalesce(min(expires), 0) FROM relation WHERE state = $1`, latchkey.Live).Scan(&us)
	return moment(us), err
}

// Purge forgets logins, push subscriptions and events that are over at now, and what quotas and expired passwords no longer
// need after keep. What was erased since the last time is then gone from the write-ahead log, too.
func (db *DB) Purge(ctx context.Context, now time.Time, keep time.Duration) error {
	err := db.Write(ctx, func(tx *sql.Tx) error {
		if _, err := tx.Exec(`DELETE FROM login WHERE expires <= $1`, micros(now)); err != nil {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM push_subscription WHERE expires > 0 AND expires <= $1`, micros(now)); err != nil {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM allowance WHERE until > 0 AND until <= $1`, micros(now)); err != nil {
			return err
		}
		before := micros(now.Add(-keep))
		if _, err := tx.Exec(`DELETE FROM allowance WHERE time <= $1`, before); err != nil {
			return err
		}
		if err := purgeEvents(tx, now); err != nil {
			return err
		}
		if err := purgeReports(tx, now.Add(-keep)); err != nil {
			return err
		}
		_, err := tx.Exec(`DELETE FROM secret WHERE created <= $1 AND NOT EXISTS (SELECT 1 FROM relation WHERE relation.id = secret.relation)`, before)
		return err
	})
	if err == nil {
		err = db.truncateLog(ctx)
	}
	if err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	return nil
}
