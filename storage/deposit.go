package storage

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"latchkey"
)

// Deposits are the files that inviters' phones have put on the content server, as room files knows rows. One is found by its
// ClientID, the phone's transaction id; one that fails is forgotten.
type Deposits struct{ db *DB }

// Deposits are those of the store.
func (db *DB) Deposits() Deposits { return Deposits{db} }

const depositColumns = `id, inviter, tid, name, size, type, sha1, state, secret, preview_type, time, touched, expires`

func scanDeposit(row scanner) (latchkey.StoredFile, error) {
	f := latchkey.StoredFile{Direction: latchkey.Deposit}
	var at, touched, expires int64
	err := row.Scan(&f.ID, &f.Inviter, &f.ClientID, &f.Name, &f.Size, &f.Type, &f.SHA1, &f.State, (*string)(&f.Key), &f.Preview, &at, &touched, &expires)
	f.Time, f.Touched, f.Expires = moment(at), moment(touched), moment(expires)
	return f, err
}

func oneDeposit(row scanner) (latchkey.StoredFile, error) {
	f, err := scanDeposit(row)
	if errors.Is(err, sql.ErrNoRows) {
		err = latchkey.Errorf(latchkey.KindNotFound, "No such file.")
	}
	return f, err
}

// checkDepositQuota fails with KindQuota where an inviter's deposits, with f in place of its row, would hold more than quota bytes; 0 is no limit.
func checkDepositQuota(tx *sql.Tx, f latchkey.StoredFile, quota int64) error {
	if quota <= 0 {
		return nil
	}
	var held int64
	if err := tx.QueryRow(`SELECT coalesce(sum(CASE WHEN size > 0 THEN size ELSE 0 END), 0) FROM deposit WHERE inviter = ? AND id <> ?`, f.Inviter, f.ID).Scan(&held); err != nil {
		return err
	}
	if held+max(f.Size, 0) > quota {
		return latchkey.Errorf(latchkey.KindQuota, "Your files may have %d bytes together; wait until some expire.", quota)
	}
	return nil
}

// AddFile stores a file that begins to come, once for each transaction id of an inviter: repeated then, and the file is returned as it is.
func (d Deposits) AddFile(ctx context.Context, f latchkey.StoredFile, quota int64) (stored latchkey.StoredFile, repeated bool, err error) {
	err = d.db.Write(ctx, func(tx *sql.Tx) error {
		stored, repeated = f, false
		was, err := scanDeposit(tx.QueryRow(`SELECT `+depositColumns+` FROM deposit WHERE tid <> '' AND inviter = ? AND tid = ?`, f.Inviter, f.ClientID))
		switch {
		case err == nil:
			stored, repeated = was, true
			return nil
		case !errors.Is(err, sql.ErrNoRows):
			return err
		}
		if err := checkDepositQuota(tx, f, quota); err != nil {
			return err
		}
		_, err = tx.Exec(`INSERT INTO deposit (`+depositColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			f.ID, f.Inviter, f.ClientID, f.Name, f.Size, f.Type, f.SHA1, f.State, f.Key.Reveal(), f.Preview, micros(f.Time), micros(f.Touched), micros(f.Expires))
		return err
	})
	return stored, repeated, err
}

// File is the deposit of that id.
func (d Deposits) File(ctx context.Context, id latchkey.FileID) (latchkey.StoredFile, error) {
	return oneDeposit(d.db.read.QueryRowContext(ctx, `SELECT `+depositColumns+` FROM deposit WHERE id = ?`, id))
}

// FileByKey is the deposit of that address.
func (d Deposits) FileByKey(ctx context.Context, key latchkey.Secret) (latchkey.StoredFile, error) {
	return oneDeposit(d.db.read.QueryRowContext(ctx, `SELECT `+depositColumns+` FROM deposit WHERE secret <> '' AND secret = ?`, key.Reveal()))
}

// Transfer is the deposit of an inviter's transaction id.
func (d Deposits) Transfer(ctx context.Context, inviter latchkey.InviterID, tid string) (latchkey.StoredFile, error) {
	return oneDeposit(d.db.read.QueryRowContext(ctx, `SELECT `+depositColumns+` FROM deposit WHERE tid <> '' AND inviter = ? AND tid = ?`, inviter, tid))
}

// TouchFile notes that bytes came, and the size where it is known by now.
func (d Deposits) TouchFile(ctx context.Context, id latchkey.FileID, size int64, now time.Time) error {
	return d.db.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(`UPDATE deposit SET touched = ?, size = ? WHERE id = ? AND state = 'receiving'`, micros(now), size, id)
		return err
	})
}

// CompleteFile takes a deposit from receiving to accepted, with size and hashes.
func (d Deposits) CompleteFile(ctx context.Context, f latchkey.StoredFile, quota int64) (stored latchkey.StoredFile, err error) {
	err = d.db.Write(ctx, func(tx *sql.Tx) error {
		if err := checkDepositQuota(tx, f, quota); err != nil {
			return err
		}
		stored, err = oneDeposit(tx.QueryRow(`UPDATE deposit SET state = 'accepted', size = ?, sha1 = ?, touched = ? WHERE id = ? AND state = 'receiving' RETURNING `+depositColumns,
			f.Size, f.SHA1, micros(time.Now()), f.ID))
		return err
	})
	return stored, err
}

// MoveFile forgets a deposit that has failed; nobody is told, since its phone hears it. It has no other states to go to.
func (d Deposits) MoveFile(ctx context.Context, _ latchkey.RelationID, id latchkey.FileID, to latchkey.FileState, _ string) (moved bool, err error) {
	if to != latchkey.FileFailed {
		return false, nil
	}
	return true, d.DropFiles(ctx, id)
}

// SetPreview stores a deposit's small picture.
func (d Deposits) SetPreview(ctx context.Context, id latchkey.FileID, contentType string, picture []byte) error {
	return d.db.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(`UPDATE deposit SET preview_type = ?, preview = ? WHERE id = ?`, contentType, picture, id)
		return err
	})
}

// Preview is a deposit's small picture; KindNotFound if there is none.
func (d Deposits) Preview(ctx context.Context, id latchkey.FileID) (contentType string, picture []byte, err error) {
	err = d.db.read.QueryRowContext(ctx, `SELECT preview_type, preview FROM deposit WHERE id = ? AND preview_type <> ''`, id).Scan(&contentType, &picture)
	if errors.Is(err, sql.ErrNoRows) {
		err = latchkey.Errorf(latchkey.KindNotFound, "The file has no preview.")
	}
	return contentType, picture, err
}

// HeldFiles counts the uploads, and their bytes as far as they are known.
func (d Deposits) HeldFiles(ctx context.Context) (n, bytes int64, err error) {
	err = d.db.read.QueryRowContext(ctx, `SELECT count(*), coalesce(sum(CASE WHEN size > 0 THEN size ELSE 0 END), 0) FROM deposit`).Scan(&n, &bytes)
	return n, bytes, err
}

// StaleFiles lists deposits that are over at now, and those without a byte since quiet that are not whole.
func (d Deposits) StaleFiles(ctx context.Context, now, quiet time.Time, limit int) ([]latchkey.StoredFile, error) {
	return gather(ctx, d.db.read, scanDeposit, `SELECT `+depositColumns+` FROM deposit WHERE expires <= $1
		OR state = 'receiving' AND touched <= $2 LIMIT $3`, micros(now), micros(quiet), limit)
}

// DropFiles deletes the rows of deposits.
func (d Deposits) DropFiles(ctx context.Context, ids ...latchkey.FileID) error {
	return d.db.Write(ctx, func(tx *sql.Tx) error {
		for _, id := range ids {
			if _, err := tx.Exec(`DELETE FROM deposit WHERE id = ?`, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// A deposit is fetched from nowhere and belongs to no conversation and no relation.

// Promised lists nothing.
func (Deposits) Promised(context.Context) ([]latchkey.StoredFile, error) { return nil, nil }

// FileHistory lists nothing.
func (Deposits) FileHistory(context.Context, latchkey.AccountID, latchkey.InviterID, latchkey.FileID, int) ([]latchkey.StoredFile, error) {
	return nil, nil
}

// FilesOf lists nothing.
func (Deposits) FilesOf(context.Context, latchkey.RelationID) ([]latchkey.StoredFile, error) {
	return nil, nil
}

// OrphanedFiles lists nothing.
func (Deposits) OrphanedFiles(context.Context) ([]latchkey.StoredFile, error) { return nil, nil }
