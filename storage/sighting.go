package storage

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"latchkey"
)

const sightingColumns = `identity, state, changed, expires, call_id, cseq, scscf, icid, orig_ioi, charging, features, service_info`

// SaveSighting inserts the sighting or replaces the one of the same identity.
func (db *DB) SaveSighting(ctx context.Context, s latchkey.Sighting) error {
	err := db.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(`INSERT INTO sighting (`+sightingColumns+`) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)
			ON CONFLICT (identity) DO UPDATE SET state = excluded.state, changed = excluded.changed, expires = excluded.expires,
			call_id = excluded.call_id, cseq = excluded.cseq, scscf = excluded.scscf, icid = excluded.icid, orig_ioi = excluded.orig_ioi,
			charging = excluded.charging, features = excluded.features, service_info = excluded.service_info`,
			string(s.Identity), string(s.State), micros(s.Changed), micros(s.Expires), s.CallID, int64(s.CSeq), s.SCSCF, s.ICID, s.OrigIOI,
			s.Charging, s.Features, s.ServiceInfo)
		return err
	})
	if err != nil {
		return fmt.Errorf("save sighting: %w", err)
	}
	return nil
}

// Sighting is what the core last told of the identity; KindNotFound if it never did.
func (db *DB) Sighting(ctx context.Context, identity latchkey.InviterID) (latchkey.Sighting, error) {
	return notFound(scanSighting(db.read.QueryRowContext(ctx, `SELECT `+sightingColumns+` FROM sighting WHERE identity = ?`, string(identity))))
}

// LeavingSightings lists the identities whose leaving is still to be confirmed.
func (db *DB) LeavingSightings(ctx context.Context) ([]latchkey.InviterID, error) {
	return gather(ctx, db.read, scanInviterID, `SELECT identity FROM sighting WHERE state = 'leaving' ORDER BY identity`)
}

// LapsedSightings lists some of those who are seen though their third-party registration ended before t.
func (db *DB) LapsedSightings(ctx context.Context, t time.Time, limit int) ([]latchkey.Sighting, error) {
	return gather(ctx, db.read, scanSighting, `SELECT `+sightingColumns+` FROM sighting
		WHERE state = 'seen' AND expires > 0 AND expires < ? ORDER BY expires LIMIT ?`, micros(t), limit)
}

// LatestSCSCF is the S-CSCF heard of last, "" if none was. It looks through all sightings.
func (db *DB) LatestSCSCF(ctx context.Context) (string, error) {
	all, err := gather(ctx, db.read, func(s scanner) (uri string, err error) { return uri, s.Scan(&uri) },
		`SELECT scscf FROM sighting WHERE scscf <> '' ORDER BY changed DESC LIMIT 1`)
	if err != nil || len(all) == 0 {
		return "", err
	}
	return all[0], nil
}

// PurgeSightings forgets who has been gone since before t.
func (db *DB) PurgeSightings(ctx context.Context, t time.Time) error {
	return db.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(`DELETE FROM sighting WHERE state = 'gone' AND changed < ?`, micros(t))
		return err
	})
}

// Inviters lists everybody who has a live relation.
func (db *DB) Inviters(ctx context.Context) ([]latchkey.InviterID, error) {
	return gather(ctx, db.read, scanInviterID, `SELECT DISTINCT inviter FROM relation WHERE state = 'live' ORDER BY inviter`)
}

// RelationsOf lists the live relations of an inviter who has the id or, where tel is not "", the number.
func (db *DB) RelationsOf(ctx context.Context, inviter latchkey.InviterID, tel string) ([]latchkey.Relation, error) {
	const live = `SELECT ` + relationColumns + ` FROM relation WHERE state = 'live' AND `
	all, err := gather(ctx, db.read, scanPlainRelation, live+`inviter = ?`, string(inviter))
	if err != nil || tel == "" {
		return all, err
	}
	more, err := gather(ctx, db.read, scanPlainRelation, live+`inviter_tel = ? AND inviter_tel <> '' AND inviter <> ?`, tel, string(inviter))
	return append(all, more...), err
}

func scanInviterID(s scanner) (latchkey.InviterID, error) {
	var id latchkey.InviterID
	err := s.Scan(&id)
	return id, err
}

func scanSighting(s scanner) (latchkey.Sighting, error) {
	var v latchkey.Sighting
	var changed, expires int64
	err := s.Scan(&v.Identity, &v.State, &changed, &expires, &v.CallID, &v.CSeq, &v.SCSCF, &v.ICID, &v.OrigIOI, &v.Charging, &v.Features, &v.ServiceInfo)
	v.Changed, v.Expires = moment(changed), moment(expires)
	return v, err
}
