package storage

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"testing"
	"time"

	"latchkey"
	"latchkey/imstest"
	"latchkey/notify"
)

var _ notify.Store = (*DB)(nil)

// letterbox is a channel that remembers what it got.
type letterbox struct {
	mu  sync.Mutex
	got map[string]latchkey.Notice
	n   int
}

func (l *letterbox) Deliver(_ context.Context, n latchkey.Notice) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.got[n.ID] = n
	l.n++
	return nil
}

func (l *letterbox) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

// queueNotices fills the outbox as Settle does, n at a time.
func queueNotices(t *testing.T, db *DB, n int) {
	t.Helper()
	err := db.Write(t.Context(), func(tx *sql.Tx) error {
		for i := range n {
			now := time.Now()
			if _, err := tx.Exec(`INSERT INTO outbox (id, relation, channel, recipient, guest_name, account, inviter, inviter_name, note, link, created, expires, state, due)
				VALUES ($1, $2, $3, 'b@cc.com', 'Bob', 'sip:b_at_cc.com@guest.example', 'sip:a@cc.com', 'Alice', 'hello', 'https://chat.example/?passwd=secret', $4, $5, $6, $4)`,
				fmt.Sprintf("n%05d", i), fmt.Sprintf("r%05d", i), latchkey.ByMail, micros(now), micros(now.Add(time.Hour)), latchkey.NotificationQueued); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func runCourier(t *testing.T, db *DB, l *letterbox) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	c := notify.New(db, map[latchkey.Channel]notify.Channel{latchkey.ByMail: l}, notify.Options{})
	go func() { // ends with ctx
		defer close(over)
		_ = c.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-over })
}

// X4, S3: a long outbox is drained, each notice whole and once, and no password stays behind.
func TestCourierDrainsTheRealOutbox(t *testing.T) {
	db, l := open(t), &letterbox{got: map[string]latchkey.Notice{}}
	const n = 120 // fifteen times what is under way at once
	queueNotices(t, db, n)
	runCourier(t, db, l)
	left := func() (queued, secrets int) {
		if err := db.Read().QueryRow(`SELECT count(*) FILTER (WHERE state <> 'sent'), count(*) FILTER (WHERE link <> '' OR note <> '') FROM outbox`).Scan(&queued, &secrets); err != nil {
			t.Fatal(err)
		}
		return
	}
	imstest.Eventually(t, 60*time.Second, func() bool { queued, _ := left(); return queued == 0 })
	if _, secrets := left(); secrets != 0 || len(l.got) != n || l.count() != n {
		t.Errorf("%d deliveries of %d notices, %d with their secret left; want %d of %d and none", l.count(), len(l.got), secrets, n, n)
	}
	if got := l.got["n00007"]; got.Recipient != "b@cc.com" || got.Link != "https://chat.example/?passwd=secret" || got.Note != "hello" || got.Attempts != 1 || got.GuestName != "Bob" {
		t.Errorf("delivered %+v, want the row as it was queued", got)
	}
}

// X4: a process dies with a claim. The next one waits until the claim is over, and delivers then.
func TestClaimOfTheDeadRunsOut(t *testing.T) {
	db, l := open(t), &letterbox{got: map[string]latchkey.Notice{}}
	queueNotices(t, db, 1)
	now := time.Now()
	until := now.Add(300 * time.Millisecond)
	if claimed, err := db.ClaimNotices(t.Context(), latchkey.ByMail, now, until, 8); err != nil || len(claimed) != 1 {
		t.Fatalf("ClaimNotices = %v, %v", claimed, err)
	}
	runCourier(t, db, l)
	imstest.Eventually(t, 60*time.Second, func() bool { return l.count() == 1 })
	if early := time.Until(until); early > 0 {
		t.Errorf("delivered %v before the claim was over", early)
	}
	if got := l.got["n00000"]; got.Attempts != 2 {
		t.Errorf("attempt %d, want 2: the dead one's counts", got.Attempts)
	}
}
