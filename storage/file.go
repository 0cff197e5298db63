package storage

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"latchkey"
)

const fileColumns = `id, relation, account, inviter, direction, name, size, type, sha1, state, reason, client_id, secret, preview_type, remote_id, want_delivered, want_displayed, source, time, touched, expires`

func scanFile(row scanner) (latchkey.StoredFile, error) {
	var f latchkey.StoredFile
	var at, touched, expires int64
	err := row.Scan(&f.ID, &f.Relation, &f.Account, &f.Inviter, &f.Direction, &f.Name, &f.Size, &f.Type, &f.SHA1, &f.State, &f.Reason,
		&f.ClientID, (*string)(&f.Key), &f.Preview, &f.RemoteID, &f.WantDelivered, &f.WantDisplayed, (*string)(&f.Source), &at, &touched, &expires)
	f.Time, f.Touched, f.Expires = moment(at), moment(touched), moment(expires)
	return f, err
}

// oneFile is the file that a query finds; KindNotFound if there is none.
func oneFile(row scanner) (latchkey.StoredFile, error) {
	f, err := scanFile(row)
	if errors.Is(err, sql.ErrNoRows) {
		err = latchkey.Errorf(latchkey.KindNotFound, "No such file.")
	}
	return f, err
}

// stillHeld are the states in which a file's bytes are on disk and count.
const stillHeld = `state <> 'failed'`

// checkFileQuota fails with KindQuota where the account's files, with f in place of its row, would hold more than quota bytes; 0 is no limit.
func checkFileQuota(tx *sql.Tx, f latchkey.StoredFile, quota int64) error {
	if quota <= 0 {
		return nil
	}
	var held int64
	if err := tx.QueryRow(`SELECT coalesce(sum(max(size, 0)), 0) FROM file WHERE account = ? AND id <> ? AND `+stillHeld, f.Account, f.ID).Scan(&held); err != nil {
		return err
	}
	if held+max(f.Size, 0) > quota {
		return latchkey.Errorf(latchkey.KindQuota, "Your files may have %d bytes together; delete some, or wait until they expire.", quota)
	}
	return nil
}

// AddFile stores a file that begins to come, once for each ClientID and each RemoteID: repeated then, and the file is returned as it
// is. Another file under the same ClientID is KindConflict.
func (db *DB) AddFile(ctx context.Context, f latchkey.StoredFile, quota int64) (stored latchkey.StoredFile, repeated bool, err error) {
	err = db.Write(ctx, func(tx *sql.Tx) error {
		stored, repeated = f, false
		if err := liveRelation(tx, f.Relation); err != nil {
			return err
		}
		was, err := scanFile(tx.QueryRow(`SELECT `+fileColumns+` FROM file WHERE client_id <> '' AND account = ? AND client_id = ?
			UNION ALL SELECT `+fileColumns+` FROM file WHERE remote_id <> '' AND direction = 'in' AND relation = ? AND remote_id = ? AND ? = 'in'`,
			f.Account, f.ClientID, f.Relation, f.RemoteID, f.Direction))
		switch {
		case err == nil && f.ClientID != "" && (was.Inviter != f.Inviter || was.Name != f.Name || was.Type != f.Type || was.Size >= 0 && f.Size >= 0 && was.Size != f.Size):
			return latchkey.Errorf(latchkey.KindConflict, "id: %q was used for another file", f.ClientID)
		case err == nil:
			stored, repeated = was, true
			return nil
		case !errors.Is(err, sql.ErrNoRows):
			return err
		}
		if err := checkFileQuota(tx, f, quota); err != nil {
			return err
		}
		_, err = tx.Exec(`INSERT INTO file (`+fileColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			f.ID, f.Relation, f.Account, f.Inviter, f.Direction, f.Name, f.Size, f.Type, f.SHA1, f.State, f.Reason,
			f.ClientID, f.Key.Reveal(), f.Preview, f.RemoteID, f.WantDelivered, f.WantDisplayed, f.Source.Reveal(), micros(f.Time), micros(f.Touched), micros(f.Expires))
		return err
	})
	return stored, repeated, err
}

// File is the file of that id.
func (db *DB) File(ctx context.Context, id latchkey.FileID) (latchkey.StoredFile, error) {
	return oneFile(db.read.QueryRowContext(ctx, `SELECT `+fileColumns+` FROM file WHERE id = ?`, id))
}

// FileByKey is the file of that public address.
func (db *DB) FileByKey(ctx context.Context, key latchkey.Secret) (latchkey.StoredFile, error) {
	return oneFile(db.read.QueryRowContext(ctx, `SELECT `+fileColumns+` FROM file WHERE secret <> '' AND secret = ?`, key.Reveal()))
}

// TouchFile notes that bytes came, and the size where it is known by now.
func (db *DB) TouchFile(ctx context.Context, id latchkey.FileID, size int64, now time.Time) error {
	return db.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(`UPDATE file SET touched = ?, size = ? WHERE id = ? AND state = 'receiving'`, micros(now), size, id)
		return err
	})
}

// CompleteFile takes a file that was receiving to accepted, with size and hashes; one for the guest becomes a file event in the same
// transaction. KindNoRelation where the relation isn't live any more, KindQuota where the account holds too much, KindNotFound
// where the file isn't receiving.
func (db *DB) CompleteFile(ctx context.Context, f latchkey.StoredFile, quota int64) (stored latchkey.StoredFile, err error) {
	err = db.Write(ctx, func(tx *sql.Tx) error {
		if err := liveRelation(tx, f.Relation); err != nil {
			return err
		}
		if err := checkFileQuota(tx, f, quota); err != nil {
			return err
		}
		if stored, err = oneFile(tx.QueryRow(`UPDATE file SET state = 'accepted', size = ?, sha1 = ?, touched = ?, source = '' WHERE id = ? AND state = 'receiving' RETURNING `+fileColumns,
			f.Size, f.SHA1, micros(time.Now()), f.ID)); err != nil {
			return err
		}
		if stored.Direction != latchkey.ToGuest {
			return nil
		}
		_, err = addEvent(tx, fileEvent(stored))
		return err
	})
	return stored, err
}

// fileEvent tells the guest of an inviter's file.
func fileEvent(f latchkey.StoredFile) latchkey.Event {
	return latchkey.Event{Type: latchkey.FileEvent, Time: time.Now().UTC(), Account: f.Account, From: string(f.Inviter), File: f.Event()}
}

// MoveFile takes a file forward in its states and tells the guest: of their own file by a delivery event, of an inviter's that
// failed by a file event. A state that may not follow changes nothing. Relation "" is any.
func (db *DB) MoveFile(ctx context.Context, relation latchkey.RelationID, id latchkey.FileID, to latchkey.FileState, reason string) (moved bool, err error) {
	err = db.Write(ctx, func(tx *sql.Tx) error {
		moved = false
		f, err := oneFile(tx.QueryRow(`SELECT `+fileColumns+` FROM file WHERE id = $1 AND ($2 = '' OR relation = $2)`, id, relation))
		if err != nil {
			return err
		}
		if !f.State.Precedes(to) {
			return nil
		}
		if _, err := tx.Exec(`UPDATE file SET state = ?, reason = ? WHERE id = ?`, to, reason, id); err != nil {
			return err
		}
		moved = true
		e := fileEvent(f)
		e.File.State, e.File.Reason = to, reason
		switch {
		case f.Direction == latchkey.ToInviter:
			e.Type, e.From = latchkey.DeliveryEvent, ""
		case to != latchkey.FileFailed:
			return nil
		}
		_, err = addEvent(tx, e)
		return err
	})
	return moved, err
}

// SetPreview stores a file's small picture.
func (db *DB) SetPreview(ctx context.Context, id latchkey.FileID, contentType string, picture []byte) error {
	return db.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(`UPDATE file SET preview_type = ?, preview = ? WHERE id = ?`, contentType, picture, id)
		return err
	})
}

// Preview is a file's small picture; KindNotFound if there is none.
func (db *DB) Preview(ctx context.Context, id latchkey.FileID) (contentType string, picture []byte, err error) {
	err = db.read.QueryRowContext(ctx, `SELECT preview_type, preview FROM file WHERE id = ? AND preview_type <> ''`, id).Scan(&contentType, &picture)
	if errors.Is(err, sql.ErrNoRows) {
		err = latchkey.Errorf(latchkey.KindNotFound, "The file has no preview.")
	}
	return contentType, picture, err
}

// WaitingFiles lists the complete files that a relation still has to send to its inviter, oldest first.
func (db *DB) WaitingFiles(ctx context.Context, id latchkey.RelationID) ([]latchkey.StoredFile, error) {
	return gather(ctx, db.read, scanFile, `SELECT `+fileColumns+` FROM file WHERE relation = ? AND direction = 'out' AND state = 'accepted' ORDER BY seq LIMIT 100`, id)
}

// Promised lists the files that are still to be fetched.
func (db *DB) Promised(ctx context.Context) ([]latchkey.StoredFile, error) {
	return gather(ctx, db.read, scanFile, `SELECT `+fileColumns+` FROM file WHERE state = 'receiving' AND source <> '' ORDER BY touched`)
}

// FileHistory lists the newest files between the two before a file, oldest first; before may be "".
func (db *DB) FileHistory(ctx context.Context, account latchkey.AccountID, with latchkey.InviterID, before latchkey.FileID, limit int) ([]latchkey.StoredFile, error) {
	query := `SELECT ` + fileColumns + ` FROM file WHERE account = ? AND inviter = ? AND NOT (direction = 'in' AND state = 'receiving')`
	args := []any{account, with}
	if before != "" {
		query += ` AND seq < (SELECT seq FROM file WHERE id = ? AND account = ?)`
		args = append(args, before, account)
	}
	all, err := gather(ctx, db.read, scanFile, query+` ORDER BY seq DESC LIMIT ?`, append(args, limit)...)
	slices.Reverse(all)
	return all, err
}

// FilesOf lists all files of a relation.
func (db *DB) FilesOf(ctx context.Context, id latchkey.RelationID) ([]latchkey.StoredFile, error) {
	return gather(ctx, db.read, scanFile, `SELECT `+fileColumns+` FROM file WHERE relation = ?`, id)
}

// StaleFiles lists files that are over at now: expired ones, and those that don't come on: to be fetched from nowhere, and without a byte
// since quiet.
func (db *DB) StaleFiles(ctx context.Context, now, quiet time.Time, limit int) ([]latchkey.StoredFile, error) {
	return gather(ctx, db.read, scanFile, `SELECT `+fileColumns+` FROM file WHERE expires <= $1
		OR state = 'receiving' AND touched <= $2 AND source = '' LIMIT $3`, micros(now), micros(quiet), limit)
}

// HeldFiles counts the files that did not fail, and their bytes as far as they are known.
func (db *DB) HeldFiles(ctx context.Context) (n, bytes int64, err error) {
	err = db.read.QueryRowContext(ctx, `SELECT count(*), coalesce(sum(CASE WHEN size > 0 THEN size ELSE 0 END), 0) FROM file WHERE `+stillHeld).Scan(&n, &bytes)
	return n, bytes, err
}

// OrphanedFiles lists files whose relation is gone. It reads the whole table.
func (db *DB) OrphanedFiles(ctx context.Context) ([]latchkey.StoredFile, error) {
	return gather(ctx, db.read, scanFile, `SELECT `+fileColumns+` FROM file WHERE NOT EXISTS (SELECT 1 FROM relation WHERE relation.id = file.relation)`)
}

// DropFiles deletes the rows of files, and the events that tell of them.
func (db *DB) DropFiles(ctx context.Context, ids ...latchkey.FileID) error {
	return db.Write(ctx, func(tx *sql.Tx) error {
		for _, id := range ids {
			for _, q := range []string{`DELETE FROM event WHERE message <> '' AND message = ?`, `DELETE FROM receipt WHERE message = ?`, `DELETE FROM file WHERE id = ?`} {
				if _, err := tx.Exec(q, id); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
