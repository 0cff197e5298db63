package gatewaytest

import (
	"database/sql"
	"fmt"
	"os"
	"time"
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
	db, err := sql.Open("sqlite", "file:"+w.Data+"?_pragma=busy_timeout(60000)"+more) // the driver comes with package storage
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

// QueueSMS puts n invitations by SMS of an inviter into the outbox, to +86139 and the numbers from 00000000 on. Stop the gateway first.
func (w *World) QueueSMS(inviter string, n int) {
	w.t.Helper()
	w.Change(fmt.Sprintf(`WITH RECURSIVE c (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i + 1 < %d)
		INSERT INTO outbox (id, relation, channel, recipient, guest_name, account, inviter, inviter_name, note, link, created, expires, state, due)
		SELECT '%[2]s' || i, '%[2]s' || i, 'sms', printf('+86139%%08d', i), '', 'sip:g' || i || '@guest.example', '%[2]s', 'Alice', '',
			'https://chat.example.com/rcsgw/invitee/session/sip:g' || i || '@guest.example?passwd=abcdefghijklmnopqrstuvwxyz', %[3]d, %[4]d, 'queued', %[3]d FROM c`,
		n, inviter, time.Now().UnixMicro(), time.Now().Add(168*time.Hour).UnixMicro()))
}

// Memory is the resident size of the gateway's process in octets. It needs Plan.Command.
func (w *World) Memory() int {
	w.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", w.running.process.Pid))
	if err != nil {
		w.t.Fatal(err)
	}
	var size, resident int
	if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
		w.t.Fatal(err)
	}
	return resident * os.Getpagesize()
}
