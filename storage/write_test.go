package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func open(t *testing.T) *DB {
	t.Helper()
	db, err := Open(t.Context(), filepath.Join(t.TempDir(), "data base?.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func add(ctx context.Context, db *DB, name string, then error) error {
	return db.Write(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "INSERT INTO serial (name, value) VALUES ($1, 1)", name); err != nil {
			return err
		}
		return then
	})
}

func count(t *testing.T, db *DB) (n int) {
	t.Helper()
	if err := db.Read().QueryRowContext(t.Context(), "SELECT count(*) FROM serial").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestFailedWriteRollsBackItselfOnly(t *testing.T) {
	db := open(t)
	sentinel := errors.New("no")
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			var want error
			if i%3 == 0 {
				want = sentinel
			}
			if err := add(t.Context(), db, fmt.Sprint(i), want); !errors.Is(err, want) {
				t.Errorf("Write %d = %v, want %v", i, err, want)
			}
		})
	}
	wg.Wait()
	if n := count(t, db); n != 133 {
		t.Errorf("%d rows, want 133", n)
	}
}

func TestPanickingWriteIsAnError(t *testing.T) {
	db := open(t)
	err := db.Write(t.Context(), func(*sql.Tx) error { panic("ouch") })
	if err == nil || !strings.Contains(err.Error(), "ouch") {
		t.Fatalf("Write of a panic = %v, want an error with its text", err)
	}
	if err := add(t.Context(), db, "next", nil); err != nil {
		t.Fatal(err)
	}
}

// A statement that is interrupted aborts SQLite's whole transaction; the other writes of the
// batch must not be lost with it.
func TestAbortedBatchIsRepeatedOneByOne(t *testing.T) {
	db := open(t)
	gate, entered := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = db.Write(t.Context(), func(*sql.Tx) error { close(entered); <-gate; return nil })
	})
	<-entered // the writer is busy: what follows becomes one batch
	for i := range 5 {
		wg.Go(func() {
			if err := add(t.Context(), db, fmt.Sprint(i), nil); err != nil {
				t.Errorf("Write %d = %v", i, err)
			}
		})
	}
	wg.Go(func() {
		err := db.Write(t.Context(), func(tx *sql.Tx) error {
			if _, err := tx.Exec("INSERT INTO serial (name, value) VALUES ('bad', 1)"); err != nil {
				return err
			}
			_, err := tx.Exec("ROLLBACK") // what SQLite does by itself on a full disk
			return errors.Join(err, errors.New("disk full"))
		})
		if err == nil {
			t.Error("the aborted write has no error")
		}
	})
	for len(db.jobs) < 6 {
		select {
		case <-t.Context().Done():
			t.Fatal("jobs did not arrive")
		default:
		}
	}
	close(gate)
	wg.Wait()
	if n := count(t, db); n != 5 {
		t.Errorf("%d rows, want 5", n)
	}
}

func TestWriteThatDidNotBeginEndsWithItsContext(t *testing.T) {
	db := open(t)
	gate, entered := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = db.Write(t.Context(), func(*sql.Tx) error { close(entered); <-gate; return nil })
	})
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := add(ctx, db, "never", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Write = %v, want %v", err, context.Canceled)
	}
	close(gate)
	wg.Wait()
	if n := count(t, db); n != 0 {
		t.Errorf("%d rows, want none", n)
	}
}

func TestClosedStorageRefusesWrites(t *testing.T) {
	db := open(t)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Errorf("second Close = %v", err)
	}
	if err := add(t.Context(), db, "late", nil); err == nil {
		t.Error("Write after Close has no error")
	}
}

func TestReadPoolDoesNotWrite(t *testing.T) {
	if _, err := open(t).Read().ExecContext(t.Context(), "INSERT INTO serial (name, value) VALUES ('x', 1)"); err == nil {
		t.Error("the read pool accepted an INSERT")
	}
}

func TestFileIsItsOwnersOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	db, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, p := range []string{path, path + "-wal"} {
		info, err := os.Stat(p)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode of %s = %v, %v, want 0600", filepath.Base(p), info.Mode(), err)
		}
	}
}

func TestDataThatIsNoFileIsExplained(t *testing.T) {
	for _, path := range []string{"postgres://h/db", "mysql://h/db", "", t.TempDir()} {
		if db, err := Open(t.Context(), path, Options{}); err == nil {
			_ = db.Close()
			t.Errorf("Open(%q) has no error", path)
		}
	}
}
