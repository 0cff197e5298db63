package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"

	"modernc.org/sqlite"

	"latchkey"
)

// job is one caller's write. The caller may give it up while it waits; once the writer
// has claimed it, its outcome is told.
type job struct {
	fn    func(*sql.Tx) error
	taken atomic.Bool // claimed by the writer, or given up by the caller
	err   error       // set before done is closed
	done  chan struct{}
}

// Write runs fn in a transaction and returns when that is on the disk. Writes of other
// callers share the transaction and its fsync; if fn fails, only what fn did is rolled back
// and Write returns fn's error.
//
// fn may be run a second time when the shared transaction could not be kept, so it must
// assign its results instead of adding to them. It must not call Write, and it must not wait
// for anything but the transaction: all writers wait with it. If ctx ends before fn began,
// fn does not run; after that the outcome is waited for.
func (db *DB) Write(ctx context.Context, fn func(*sql.Tx) error) error {
	j := &job{fn: fn, done: make(chan struct{})}
	if err := db.submit(ctx, j); err != nil {
		return err
	}
	select {
	case <-j.done:
		return fullError(j.err)
	case <-ctx.Done():
		if j.taken.CompareAndSwap(false, true) {
			return ctx.Err()
		}
		<-j.done
		return fullError(j.err)
	}
}

// fullError is an error of a write in our words: a full disk is nobody's fault who asks, and may have room in a moment.
func fullError(err error) error {
	if e, ok := errors.AsType[*sqlite.Error](err); ok && e.Code()&0xff == sqliteFull {
		return latchkey.Wrap(latchkey.KindUnavailable, err, "")
	}
	return err
}

// sqliteFull is SQLITE_FULL, the primary result code (https://sqlite.org/rescode.html#full).
const sqliteFull = 13

func (db *DB) submit(ctx context.Context, j *job) error {
	db.mu.RLock()
	defer db.mu.RUnlock()
	if db.closed {
		return latchkey.Wrap(latchkey.KindUnavailable, errors.New("storage is closed"), "")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case db.jobs <- j:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run is the only writer. It ends when Close has closed jobs and all of them are done.
func (db *DB) run() {
	defer close(db.done)
	for first := range db.jobs {
		batch := []*job{first}
	gather:
		for len(batch) < db.batch {
			select {
			case j, ok := <-db.jobs:
				if !ok {
					break gather
				}
				batch = append(batch, j)
			default:
				break gather
			}
		}
		db.commit(batch)
	}
}

// errAborted says that SQLite ended the shared transaction under us: a full disk does
// that, and a statement whose context ended (interrupted inside a transaction).
var errAborted = errors.New("transaction was aborted")

// commit runs the jobs in one transaction. If that is aborted, each gets one of its own.
func (db *DB) commit(batch []*job) {
	claimed := batch[:0]
	for _, j := range batch {
		if j.taken.CompareAndSwap(false, true) {
			claimed = append(claimed, j)
		}
	}
	if len(claimed) == 0 {
		return
	}
	err := db.together(claimed)
	if errors.Is(err, errAborted) && len(claimed) > 1 {
		db.log.Warn("writes are repeated one by one", "writes", len(claimed), latchkey.LogError, err)
		for _, j := range claimed {
			j.err = nil
			if err := db.together([]*job{j}); err != nil && j.err == nil {
				j.err = err
			}
			close(j.done)
		}
		return
	}
	for _, j := range claimed {
		if err != nil && j.err == nil {
			j.err = err
		}
		close(j.done)
	}
}

// together sets each job's own error, and returns an error if nothing was committed.
func (db *DB) together(jobs []*job) error {
	ctx := context.Background() // the callers' contexts end their waiting, not others' writes
	tx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // no effect after Commit
	for _, j := range jobs {
		if _, err := tx.ExecContext(ctx, "SAVEPOINT one"); err != nil {
			return fmt.Errorf("savepoint: %w: %w", errAborted, err)
		}
		j.err = call(j.fn, tx)
		if j.err != nil {
			if _, err := tx.ExecContext(ctx, "ROLLBACK TO one"); err != nil {
				return fmt.Errorf("%w: %w", errAborted, j.err)
			}
		}
		if _, err := tx.ExecContext(ctx, "RELEASE one"); err != nil {
			return fmt.Errorf("release: %w: %w", errAborted, err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// call makes a panic of fn its error, so that it fails only its own write.
func call(fn func(*sql.Tx) error, tx *sql.Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in a write: %v\n%s", p, debug.Stack())
		}
	}()
	return fn(tx)
}
