package storage

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"latchkey"
)

const registrationColumns = `account, server, state, call_id, cseq, min_expires, expires, held, due, failures, service_route, associated, sent, hop`

// SaveRegistration inserts the registration or replaces the one of the same account and server.
func (db *DB) SaveRegistration(ctx context.Context, reg latchkey.Registration) error {
	err := db.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(`INSERT INTO registration (`+registrationColumns+`) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)
			ON CONFLICT (account, server) DO UPDATE SET state = excluded.state, call_id = excluded.call_id, cseq = excluded.cseq,
			min_expires = excluded.min_expires, expires = excluded.expires, held = excluded.held, due = excluded.due,
			failures = excluded.failures, service_route = excluded.service_route, associated = excluded.associated,
			sent = excluded.sent, hop = excluded.hop`,
			string(reg.Account), string(reg.Server), string(reg.State), reg.CallID, int64(reg.CSeq), reg.MinExpires.Microseconds(),
			micros(reg.Expires), micros(reg.Held), micros(reg.Due), reg.Failures,
			strings.Join(reg.ServiceRoute, " "), strings.Join(reg.Associated, " "), micros(reg.Sent), reg.Hop)
		return err
	})
	if err != nil {
		return fmt.Errorf("save registration: %w", err)
	}
	return nil
}

// DeleteRegistration forgets the registration. Forgetting twice is no error.
func (db *DB) DeleteRegistration(ctx context.Context, account latchkey.AccountID, server latchkey.Server) error {
	err := db.Write(ctx, func(tx *sql.Tx) error {
		if _, err := tx.Exec(`DELETE FROM registration WHERE account = ? AND server = ?`, string(account), string(server)); err != nil {
			return err
		}
		return forgetSIPPassword(tx, account)
	})
	if err != nil {
		return fmt.Errorf("delete registration: %w", err)
	}
	return nil
}

// Registrations lists an account's registrations.
func (db *DB) Registrations(ctx context.Context, account latchkey.AccountID) ([]latchkey.Registration, error) {
	var all []latchkey.Registration
	err := db.registrations(ctx, func(reg latchkey.Registration) error {
		all = append(all, reg)
		return nil
	}, `WHERE account = ? ORDER BY server`, string(account))
	return all, err
}

// EachRegistration calls f for every registration there is and ends at the first error.
// f must not wait for another query: the rows hold a connection.
func (db *DB) EachRegistration(ctx context.Context, f func(latchkey.Registration) error) error {
	return db.registrations(ctx, f, ``)
}

func (db *DB) registrations(ctx context.Context, f func(latchkey.Registration) error, where string, args ...any) error {
	rows, err := db.Read().QueryContext(ctx, `SELECT `+registrationColumns+` FROM registration `+where, args...)
	if err != nil {
		return fmt.Errorf("read registrations: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var reg latchkey.Registration
		var minExpires, expires, held, due, sent int64
		var route, associated string
		if err := rows.Scan(&reg.Account, &reg.Server, &reg.State, &reg.CallID, &reg.CSeq, &minExpires, &expires, &held, &due,
			&reg.Failures, &route, &associated, &sent, &reg.Hop); err != nil {
			return fmt.Errorf("read registrations: %w", err)
		}
		reg.MinExpires = time.Duration(minExpires) * time.Microsecond
		reg.Expires, reg.Held, reg.Due, reg.Sent = moment(expires), moment(held), moment(due), moment(sent)
		reg.ServiceRoute, reg.Associated = strings.Fields(route), strings.Fields(associated)
		if err := f(reg); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read registrations: %w", err)
	}
	return nil
}
