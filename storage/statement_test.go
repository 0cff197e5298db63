package storage

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"
)

// statements are those that the only connection of a pool keeps.
func statements(t *testing.T, pool *sql.DB) (all map[string]*kept) {
	t.Helper()
	c, err := pool.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Raw(func(conn any) error {
		all = conn.(*keeper).kept
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// Issue 7: a text is parsed once for a connection; what comes of it is as fresh as before, after failures, changes of the schema, and a call that
// was given up.
func TestStatementsAreKept(t *testing.T) {
	db := open(t)
	run := func(query string, args ...any) error {
		return db.Write(t.Context(), func(tx *sql.Tx) error {
			_, err := tx.Exec(query, args...)
			return err
		})
	}
	count := func(query string) (n int) {
		t.Helper()
		if err := db.Write(t.Context(), func(tx *sql.Tx) error { return tx.QueryRow(query).Scan(&n) }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	const all, add = `SELECT count(*) FROM shelf`, `INSERT INTO shelf (id, text) VALUES (?, ?)`
	if err := run(`CREATE TABLE shelf (id INTEGER PRIMARY KEY, text TEXT)`); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if err := run(add, i, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
		if n := count(all); n != i+1 {
			t.Errorf("%d rows, want %d", n, i+1)
		}
	}
	before := statements(t, db.write)[add]
	if before == nil {
		t.Fatal("the statement is not kept")
	}
	if err := run(add, 1, "twice"); err == nil {
		t.Error("a key was taken twice")
	}
	if err := run(add, 5, "after a failure"); err != nil || statements(t, db.write)[add] != before {
		t.Errorf("after a failure: %v", err)
	}
	if err := run(`ALTER TABLE shelf ADD COLUMN more TEXT NOT NULL DEFAULT 'x'`); err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := db.Write(gone, func(*sql.Tx) error { return nil }); err == nil {
		t.Error("written for nobody")
	}
	if err := run(add, 6, "after a change"); err != nil || count(all) != 7 || count(`SELECT count(*) FROM shelf WHERE more = 'x'`) != 7 {
		t.Errorf("after a change of the schema: %v, %d rows", err, count(all))
	}
	for _, query := range []string{`CREATE TABLE shelf (id INTEGER PRIMARY KEY, text TEXT)`, `ALTER TABLE shelf ADD COLUMN more TEXT NOT NULL DEFAULT 'x'`} {
		if statements(t, db.write)[query] != nil {
			t.Errorf("kept: %s", query)
		}
	}
	for i := range mostKept + 50 {
		if n := count(fmt.Sprintf("SELECT %d", i)); n != i {
			t.Fatalf("SELECT %d = %d", i, n)
		}
	}
	if n := len(statements(t, db.write)); n != mostKept {
		t.Errorf("%d statements are kept, want %d", n, mostKept)
	}
}

// Issue 7: the same text may be asked again while its rows are read, and rows that are left hold up no checkpoint.
func TestKeptStatementIsNotSharedByRows(t *testing.T) {
	db := open(t)
	const query = `WITH RECURSIVE c (i) AS (SELECT ? UNION ALL SELECT i + 1 FROM c WHERE i < 5) SELECT i FROM c`
	tx, err := db.read.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	read := func(from int, inside func()) (got []int) {
		t.Helper()
		rows, err := tx.Query(query, from)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var i int
			if err := rows.Scan(&i); err != nil {
				t.Fatal(err)
			}
			got = append(got, i)
			inside()
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		return got
	}
	outer := read(1, func() {
		if inner := read(3, func() {}); fmt.Sprint(inner) != "[3 4 5]" {
			t.Errorf("inner rows %v", inner)
		}
	})
	if fmt.Sprint(outer) != "[1 2 3 4 5]" {
		t.Errorf("outer rows %v", outer)
	}
	rows, err := tx.Query(query, 1)
	if err != nil || !rows.Next() {
		t.Fatal(err)
	}
	_ = rows.Close() // in the middle
	if again := read(4, func() {}); fmt.Sprint(again) != "[4 5]" {
		t.Errorf("after rows that were left: %v", again)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := db.Write(t.Context(), func(tx *sql.Tx) error { _, err := tx.Exec(`CREATE TABLE t (i)`); return err }); err != nil {
		t.Fatal(err)
	}
	aside, err := sql.Open("sqlite", dsn(db.path, time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer aside.Close()
	var busy, pages, moved int
	if err := aside.QueryRow("PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &moved); err != nil || busy != 0 {
		t.Errorf("the checkpoint: busy %d, %v", busy, err)
	}
}
