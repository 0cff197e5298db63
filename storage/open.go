package storage

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Options of a DB. The zero value is ready for use.
type Options struct {
	Readers     int                 // connections of the Read pool; default 8
	Batch       int                 // writes that share one commit at most; default 256
	BusyTimeout time.Duration       // how long another process may hold the file; default 5 s
	Ended       func(notice string) // is called, when that is on disk, where a notice was delivered or has failed, once each. It must not block; nil: nobody is
	Log         *slog.Logger
}

// DB is the open database. Its methods may be called from many goroutines.
type DB struct {
	path  string
	write *sql.DB
	read  *sql.DB
	log   *slog.Logger
	batch int
	ended func(notice string)
	turns turns

	jobs chan *job
	done chan struct{} // closed by the writer when it has ended

	mu     sync.RWMutex // held for reading while a job is handed over
	closed bool
}

// Open opens the SQLite file at path, creates it where there is none, and brings its
// schema up to date. Close it after use.
func Open(ctx context.Context, path string, opt Options) (*DB, error) {
	if scheme, _, ok := strings.Cut(path, "://"); ok {
		if scheme == "postgres" || scheme == "postgresql" {
			return nil, errors.New("data: PostgreSQL is not supported by this version; give the path of an SQLite file, as in latchkey.db")
		}
		return nil, fmt.Errorf("data: %s:// is not known; give the path of an SQLite file, as in latchkey.db", scheme)
	}
	if path == "" {
		return nil, errors.New("data: is empty; give the path of an SQLite file, as in latchkey.db")
	}
	if opt.Readers <= 0 {
		opt.Readers = 8
	}
	if opt.Batch <= 0 {
		opt.Batch = 256
	}
	if opt.BusyTimeout <= 0 {
		opt.BusyTimeout = 5 * time.Second
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if err := ownFile(path); err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	db := &DB{path: path, log: opt.Log, batch: opt.Batch, ended: opt.Ended, jobs: make(chan *job, opt.Batch), done: make(chan struct{})}
	var err error
	if db.write, err = openKeeping(dsn(path, opt.BusyTimeout, "_txlock=immediate")); err != nil {
		return nil, fmt.Errorf("data %s: %w", path, err)
	}
	db.write.SetMaxOpenConns(1)
	if err := migrate(ctx, db.write); err != nil {
		return nil, errors.Join(fmt.Errorf("data %s: %w", path, err), db.write.Close())
	}
	if db.read, err = openKeeping(dsn(path, opt.BusyTimeout, "_pragma=query_only(1)")); err != nil {
		return nil, errors.Join(fmt.Errorf("data %s: %w", path, err), db.write.Close())
	}
	db.read.SetMaxOpenConns(opt.Readers)
	db.read.SetMaxIdleConns(opt.Readers)
	go db.run() // Close ends it
	return db, nil
}

// Read is the pool for queries. It sees what is committed and refuses to write.
func (db *DB) Read() *sql.DB { return db.read }

// Close finishes the writes that were accepted and closes the file. Writes after that are
// refused. Close may be called again.
func (db *DB) Close() error {
	db.mu.Lock()
	if !db.closed {
		db.closed = true
		close(db.jobs)
	}
	db.mu.Unlock()
	<-db.done
	return errors.Join(db.read.Close(), db.write.Close())
}

// truncateLog moves the write-ahead log into the file and empties it: pages with an erased password would stand
// in it until they are overwritten. It waits for nobody; while others read, the next call does it.
func (db *DB) truncateLog(ctx context.Context) error {
	aside, err := sql.Open("sqlite", dsn(db.path, 0))
	if err != nil {
		return err
	}
	defer aside.Close()
	var busy, pages, moved int
	if err := aside.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &moved); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if busy != 0 {
		db.log.Debug("write-ahead log is in use and stays", "pages", pages)
	}
	return nil
}

// ownFile makes the file readable by its owner only: it holds mailboxes, messages and, for
// a short time, the passwords of invitations. SQLite gives -wal and -shm the same mode.
func ownFile(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file", path)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return f.Chmod(0o600)
	}
	return nil
}

// dsn is how the driver opens path. FULL makes each commit wait for the disk, also in WAL.
func dsn(path string, busy time.Duration, more ...string) string {
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath()}
	q := append([]string{
		fmt.Sprintf("_pragma=busy_timeout(%d)", busy.Milliseconds()),
		"_pragma=journal_mode(WAL)", "_pragma=synchronous(FULL)", "_pragma=foreign_keys(1)",
		"_pragma=secure_delete(1)", // a password that was erased is gone from the file, too
	}, more...)
	u.RawQuery = strings.Join(q, "&")
	return u.String()
}

// migrate applies the migrations that are missing, also those with a number below one that
// was applied before: each room has its own files.
func migrate(ctx context.Context, db *sql.DB) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, files,
		goose.WithAllowOutofOrder(true), goose.WithDisableGlobalRegistry(true), goose.WithTableName("schema_version"))
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	return nil
}
