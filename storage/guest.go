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

// micros is how a time stands in a column; the zero time is 0.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// moment reads a column of micros.
func moment(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// querier is a pool or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// gather reads all rows of a query.
func gather[T any](ctx context.Context, q querier, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

type scanner interface{ Scan(dest ...any) error }

// NextSerial gives the next number of a series. No number is given twice.
func (db *DB) NextSerial(ctx context.Context, name string) (int64, error) {
	var n int64
	err := db.Write(ctx, func(tx *sql.Tx) error {
		return tx.QueryRow(`INSERT INTO serial (name, value) VALUES ($1, 1)
			ON CONFLICT (name) DO UPDATE SET value = serial.value + 1 RETURNING value`, name).Scan(&n)
	})
	if err != nil {
		return 0, fmt.Errorf("serial %s: %w", name, err)
	}
	return n, nil
}

const guestColumns = `account, identifier_kind, identifier_value, created`

func scanGuest(s scanner) (latchkey.Guest, error) {
	var g latchkey.Guest
	var created int64
	err := s.Scan(&g.Account, &g.Identifier.Kind, &g.Identifier.Value, &created)
	g.Created = moment(created)
	return g, err
}

// Guest is the guest who has the account; KindNotFound if there is none.
func (db *DB) Guest(ctx context.Context, account latchkey.AccountID) (latchkey.Guest, error) {
	return notFound(scanGuest(db.read.QueryRowContext(ctx, `SELECT `+guestColumns+` FROM guest WHERE account = $1`, account)))
}

// GuestBy is the guest whom the identifier reaches; KindNotFound if there is none.
func (db *DB) GuestBy(ctx context.Context, id latchkey.Identifier) (latchkey.Guest, error) {
	return notFound(scanGuest(db.read.QueryRowContext(ctx,
		`SELECT `+guestColumns+` FROM guest WHERE identifier_kind = $1 AND identifier_value = $2`, id.Kind, id.Value)))
}

func notFound[T any](v T, err error) (T, error) {
	if errors.Is(err, sql.ErrNoRows) {
		return v, latchkey.Wrap(latchkey.KindNotFound, err, "")
	}
	return v, err
}

const relationColumns = `relation.id, relation.account, relation.inviter, relation.inviter_uid, relation.inviter_name, relation.inviter_tel,
	relation.interactions, relation.note, relation.created, relation.expires, relation.state`

func relationDest(r *latchkey.Relation, interactions *string, created, expires *int64) []any {
	return []any{&r.ID, &r.Account, &r.Inviter, &r.InviterUID, &r.InviterName, &r.InviterTel, interactions, &r.Note, created, expires, &r.State}
}

func scanRelation(s scanner, more ...any) (latchkey.Relation, error) {
	var r latchkey.Relation
	var interactions string
	var created, expires int64
	err := s.Scan(append(relationDest(&r, &interactions, &created, &expires), more...)...)
	r.Interactions = splitInteractions(interactions)
	r.Created, r.Expires = moment(created), moment(expires)
	return r, err
}

func scanPlainRelation(s scanner) (latchkey.Relation, error) { return scanRelation(s) }

func joinInteractions(all []latchkey.Interaction) string {
	names := make([]string, len(all))
	for i, v := range all {
		names[i] = string(v)
	}
	return strings.Join(names, ",")
}

func splitInteractions(s string) []latchkey.Interaction {
	var all []latchkey.Interaction
	for name := range strings.SplitSeq(s, ",") {
		if name != "" {
			all = append(all, latchkey.Interaction(name))
		}
	}
	return all
}

// Ask writes down a guest and a relation that is asked for, under their ids or under those
// that stand already: a guest keeps the account, an inviter has one relation to it. An
// account that belongs to another guest is KindConflict.
func (db *DB) Ask(ctx context.Context, g latchkey.Guest, r latchkey.Relation) (latchkey.Guest, latchkey.Relation, error) {
	var guest latchkey.Guest
	var relation latchkey.Relation
	err := db.Write(ctx, func(tx *sql.Tx) error {
		var err error
		guest, err = scanGuest(tx.QueryRow(`SELECT `+guestColumns+` FROM guest WHERE identifier_kind = $1 AND identifier_value = $2`,
			g.Identifier.Kind, g.Identifier.Value))
		if errors.Is(err, sql.ErrNoRows) {
			guest = g
			err = insertGuest(tx, g)
		}
		if err != nil {
			return err
		}
		if _, err := tx.Exec(`INSERT INTO relation (id, account, inviter, inviter_uid, inviter_name, inviter_tel, interactions, note, created, expires, state)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (account, inviter) DO NOTHING`,
			r.ID, guest.Account, r.Inviter, r.InviterUID, r.InviterName, r.InviterTel, joinInteractions(r.Interactions), r.Note,
			micros(r.Created), micros(r.Expires), latchkey.Asked); err != nil {
			return err
		}
		if err := freshStream(tx, guest.Account); err != nil {
			return err
		}
		relation, err = scanRelation(tx.QueryRow(`SELECT `+relationColumns+` FROM relation WHERE account = $1 AND inviter = $2`, guest.Account, r.Inviter))
		return err
	})
	if err != nil {
		return latchkey.Guest{}, latchkey.Relation{}, fmt.Errorf("ask: %w", err)
	}
	return guest, relation, nil
}

func insertGuest(tx *sql.Tx, g latchkey.Guest) error {
	res, err := tx.Exec(`INSERT INTO guest (account, identifier_kind, identifier_value, created) VALUES ($1, $2, $3, $4)
		ON CONFLICT (account) DO NOTHING`, g.Account, g.Identifier.Kind, g.Identifier.Value, micros(g.Created))
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 1 {
		return err
	}
	return latchkey.Wrap(latchkey.KindConflict, fmt.Errorf("account %s belongs to another guest", g.Account), "")
}

// Settle makes an asked or standing relation live as r says, adds a password to it, and puts the
// notice into the outbox, all in one transaction; what Spend counted under the notice's id is final
// then. A relation that is ending is KindConflict.
//
// A notice without a link is one that never goes: it stands there as if it were sent, and there is no password. One that
// is due later than it was made joins another one to the same person that waits: one message names both inviters.
func (db *DB) Settle(ctx context.Context, r latchkey.Relation, salt, hash string, n latchkey.Notice) error {
	err := db.Write(ctx, func(tx *sql.Tx) error {
		if err := renew(tx, r); err != nil {
			return err
		}
		// A notice that still waits is overtaken by this one: two mails would say the same.
		if err := promote(tx, r.ID); err != nil {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM outbox WHERE relation = $1 AND state = $2`, r.ID, latchkey.NotificationQueued); err != nil {
			return err
		}
		if _, err := tx.Exec(`UPDATE allowance SET until = 0 WHERE id = $1`, n.ID); err != nil {
			return err
		}
		row := outboxRow{Notice: n, state: latchkey.NotificationQueued, due: max(micros(n.Due), micros(n.Created))}
		if n.Link == "" {
			row.state, row.Note = latchkey.NotificationSent, ""
			return row.insert(tx)
		}
		joined, err := row.join(tx)
		if err == nil && !joined {
			_, err = tx.Exec(`INSERT INTO secret (relation, account, salt, hash, created) VALUES ($1, $2, $3, $4, $5)`, r.ID, r.Account, salt, hash, micros(n.Created))
		}
		if err != nil {
			return err
		}
		return row.insert(tx)
	})
	if err != nil {
		return fmt.Errorf("settle %s: %w", r.ID, err)
	}
	return nil
}

// Renew changes what a live relation allows, without a new notice.
func (db *DB) Renew(ctx context.Context, r latchkey.Relation) error {
	if err := db.Write(ctx, func(tx *sql.Tx) error { return renew(tx, r) }); err != nil {
		return fmt.Errorf("renew %s: %w", r.ID, err)
	}
	return nil
}

func renew(tx *sql.Tx, r latchkey.Relation) error {
	res, err := tx.Exec(`UPDATE relation SET inviter_uid = $2, inviter_name = $3, inviter_tel = $4, interactions = $5, note = $6, expires = $7, state = $8
		WHERE id = $1 AND state <> $9`,
		r.ID, r.InviterUID, r.InviterName, r.InviterTel, joinInteractions(r.Interactions), r.Note, micros(r.Expires), latchkey.Live, latchkey.Ending)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 1 {
		return err
	}
	return latchkey.Wrap(latchkey.KindConflict, errors.New("the relation has ended"), "")
}

// Relations lists the live relations of an account, oldest first.
func (db *DB) Relations(ctx context.Context, account latchkey.AccountID) ([]latchkey.Relation, error) {
	return gather(ctx, db.read, scanPlainRelation,
		`SELECT `+relationColumns+` FROM relation WHERE account = $1 AND state = $2 ORDER BY created, id`, account, latchkey.Live)
}

// Relation is one relation in any state; KindNotFound if there is none.
func (db *DB) Relation(ctx context.Context, id latchkey.RelationID) (latchkey.Relation, error) {
	return notFound(scanRelation(db.read.QueryRowContext(ctx, `SELECT `+relationColumns+` FROM relation WHERE id = $1`, id)))
}

// Invitations lists an inviter's relations that aren't ending, newest first, with what
// became of the latest notice of each.
func (db *DB) Invitations(ctx context.Context, inviter latchkey.InviterID) ([]latchkey.Invitation, error) {
	return gather(ctx, db.read, scanInvitation, `SELECT `+relationColumns+`, guest.identifier_kind, guest.identifier_value, guest.last_login,
			coalesce(outbox.state, ''), coalesce(outbox.reason, ''), coalesce(outbox.created, 0)
		FROM relation JOIN guest ON guest.account = relation.account
		LEFT JOIN outbox ON outbox.id = (SELECT o.id FROM outbox o WHERE o.relation = relation.id ORDER BY o.created DESC, o.id DESC LIMIT 1)
		WHERE relation.inviter = $1 AND relation.state = $2 ORDER BY relation.created DESC, relation.id`, inviter, latchkey.Live)
}

// Invitation is one relation as its inviter sees it, in any state; KindNotFound if there is none.
func (db *DB) Invitation(ctx context.Context, id latchkey.RelationID) (latchkey.Invitation, error) {
	return notFound(scanInvitation(db.read.QueryRowContext(ctx, `SELECT `+relationColumns+`, guest.identifier_kind, guest.identifier_value, guest.last_login,
			coalesce(outbox.state, ''), coalesce(outbox.reason, ''), coalesce(outbox.created, 0)
		FROM relation JOIN guest ON guest.account = relation.account
		LEFT JOIN outbox ON outbox.id = (SELECT o.id FROM outbox o WHERE o.relation = relation.id ORDER BY o.created DESC, o.id DESC LIMIT 1)
		WHERE relation.id = $1`, id)))
}

func scanInvitation(s scanner) (latchkey.Invitation, error) {
	var v latchkey.Invitation
	var login, notified int64
	var err error
	v.Relation, err = scanRelation(s, &v.Identifier.Kind, &v.Identifier.Value, &login, &v.Notification, &v.Reason, &notified)
	v.LastLogin, v.Notified = moment(login), moment(notified)
	return v, err
}
