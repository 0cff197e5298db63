package storage

import (
	"database/sql"
	"fmt"
	"maps"
	"testing"
	"time"

	"latchkey"
)

// R8: where few have much waiting, a claim costs a handful of statements, however many notices it takes; and still nobody gets more than a
// share while others wait.
func TestRoomIsSharedOutAtOnce(t *testing.T) {
	db := open(t)
	begin := time.Now().Add(-time.Hour)
	for _, q := range []struct {
		inviter latchkey.InviterID
		n       int
	}{{"sip:a@cc.com", 30}, {"sip:b@cc.com", 2}, {"sip:c@cc.com", 30}} {
		for i := range q.n {
			if _, err := db.write.Exec(`INSERT INTO outbox (id, relation, channel, recipient, guest_name, account, inviter, inviter_name, note, link, created, expires, state, due)
				VALUES ($1, '', $2, '', '', '', $3, '', '', '', 0, 0, 'queued', $4)`, fmt.Sprint(q.inviter, i), latchkey.ByMail, q.inviter, micros(begin.Add(time.Duration(i)*time.Second))); err != nil {
				t.Fatal(err)
			}
		}
	}
	statements := 0
	pool := sql.OpenDB(recorder{db.write.Driver(), dsn(db.path, time.Second, "_txlock=immediate"), func(query string) {
		if query == claimTurn {
			statements++
		}
	}})
	pool.SetMaxOpenConns(1)
	_ = db.write.Close()
	db.write = pool
	for _, want := range []map[latchkey.InviterID]int{
		{"sip:a@cc.com": 9, "sip:b@cc.com": 2, "sip:c@cc.com": 9},
		{"sip:a@cc.com": 10, "sip:c@cc.com": 10},
		{"sip:a@cc.com": 10, "sip:c@cc.com": 10},
		{"sip:a@cc.com": 1, "sip:c@cc.com": 1},
	} {
		statements = 0
		got, err := db.ClaimNotices(t.Context(), latchkey.ByMail, time.Now(), time.Now().Add(time.Hour), 20)
		if err != nil {
			t.Fatal(err)
		}
		by := map[latchkey.InviterID]int{}
		for _, n := range got {
			by[n.Inviter]++
		}
		if !maps.Equal(by, want) || statements == 0 || statements > 9 {
			t.Errorf("claimed %v with %d statements, want %v with a few", by, statements, want)
		}
	}
}
