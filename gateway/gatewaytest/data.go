package gatewaytest

import (
	"database/sql"
)

// Count reads a number from the gateway's database as it stands on disk.
func (w *World) Count(query string) (n int) {
	w.t.Helper()
	db := w.open("&_pragma=query_only(1)")
	defer db.Close()
	if err := db.QueryRow(query).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// Rows is the number of rows in a table.
func (w *World) Rows(table string) int {
	w.t.Helper()
	return w.Count("SELECT count(*) FROM " + table)
}

// Change writes to the gateway's database. Stop the gateway first.
func (w *World) Change(statement string) {
	w.t.Helper()
	db := w.open("")
	defer db.Close()
	if _, err := db.Exec(statement); err != nil {
		w.t.Fatal(err)
	}
}

func (w *World) open(more string) *sql.DB {
	w.t.Helper()
	db, err := sql.Open("sqlite", "file:"+w.Data+"?_pragma=busy_timeout(5000)"+more) // the driver comes with package storage
	if err != nil {
		w.t.Fatal(err)
	}
	return db
}

// Nothing fails the test if anything is left of an invitation: rows or mails.
func (w *World) Nothing(why string) {
	w.t.Helper()
	for _, table := range []string{"guest", "relation", "secret", "outbox", "registration", "allowance"} {
		if n := w.Rows(table); n != 0 {
			w.t.Errorf("%s: %d rows in %s, want none", why, n, table)
		}
	}
	if m := w.Mail.Mails(); len(m) != 0 {
		w.t.Errorf("%s: %d mails were sent", why, len(m))
	}
}
