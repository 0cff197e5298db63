package gateway_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"latchkey"
	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
	"latchkey/notify"
	"latchkey/notify/mail"
	"latchkey/storage"
)

// F19, X4: at a hundredth of the time, a mail server that is down for ten minutes, then takes a byte a second, then closes in
// mid-message, costs no invitation, and nobody gets one twice.
func TestOutagesOfTheMailServerCostNothing(t *testing.T) {
	t.Parallel()
	next, err := imstest.NewMailSink("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(next.Close)
	p := imstest.NewPostfix(t, imstest.PostfixOptions{Routes: map[string]string{"cc.com": next.Addr()}})
	hose, err := imstest.NewHose(p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(hose.Close)
	db, err := storage.Open(t.Context(), filepath.Join(t.TempDir(), "latchkey.db"), storage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	courier := notify.New(db, map[latchkey.Channel]notify.Channel{latchkey.ByMail: mail.New(mail.Options{Server: hose.Addr(), From: "invitations@latchkey.example"})},
		notify.Options{Timeout: 10 * time.Second, FirstWait: 50 * time.Millisecond, LastWait: time.Second})
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() { // ends with ctx
		defer close(over)
		_ = courier.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-over })
	queued := 0
	queue := func(n int) {
		t.Helper()
		for range n {
			account := latchkey.AccountID(fmt.Sprintf("sip:g%d@guest.example", queued))
			_, r, err := db.Ask(t.Context(), latchkey.Guest{Account: account, Identifier: latchkey.Identifier{Kind: latchkey.Mail, Value: fmt.Sprintf("g%d@cc.com", queued)}, Created: time.Now()},
				latchkey.Relation{ID: latchkey.NewRelationID(), Account: account, Inviter: latchkey.InviterID(fmt.Sprintf("sip:a%d@cc.com", queued%4)), InviterName: "Alice", Created: time.Now(), Expires: time.Now().Add(time.Hour)})
			if err != nil {
				t.Fatal(err)
			}
			err = db.Settle(t.Context(), r, string(r.ID), "hash", latchkey.Notice{ID: latchkey.NewToken(), Relation: r.ID, Channel: latchkey.ByMail, Recipient: fmt.Sprintf("g%d@cc.com", queued),
				Account: account, Inviter: r.Inviter, InviterName: "Alice", Link: "http://x/?passwd=y", Created: time.Now(), Expires: r.Expires})
			if err != nil {
				t.Fatal(err)
			}
			queued++
		}
		courier.Wake()
	}
	count := func(where string) (n int) {
		t.Helper()
		if err := db.Read().QueryRow(`SELECT count(*) FROM outbox WHERE ` + where).Scan(&n); err != nil && err != sql.ErrNoRows {
			t.Fatal(err)
		}
		return n
	}
	arrived := func(phase string) {
		t.Helper()
		start := time.Now()
		imstest.Eventually(t, 3*gatewaytest.Patience, func() bool { return count("state = 'sent'") == queued && len(next.Mails()) >= queued })
		t.Logf("%s: all have come %v after it was over", phase, time.Since(start).Round(time.Millisecond))
	}
	queue(4)
	arrived("as usual")

	p.Stop()
	queue(12)
	down := time.Now()
	imstest.Eventually(t, gatewaytest.Patience, func() bool { // all wait with their reason while the server is down
		return time.Since(down) > 6*time.Second && count("state = 'queued' AND attempts > 3 AND reason = 'the mail server can''t be reached'") == 12
	})
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	arrived("down for 6 s")

	hose.Behave(imstest.HoseManner{PerByte: time.Second})
	queue(4)
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return count("state = 'queued' AND reason <> ''") == 4 })
	hose.Behave(imstest.HoseManner{})
	arrived("a byte a second")

	hose.Behave(imstest.HoseManner{CutAfter: 1500}) // a mail has about 5000
	queue(4)
	imstest.Eventually(t, gatewaytest.Patience, func() bool { _, cut, _ := hose.Counts(); return cut >= 8 })
	hose.Behave(imstest.HoseManner{})
	arrived("closed in mid-message")

	seen := map[string]bool{}
	for _, m := range next.Mails() {
		if seen[m.To] {
			t.Errorf("%s got two", m.To)
		}
		seen[m.To] = true
		if !strings.Contains(string(m.Raw), "\r\nMessage-Id: <") && !strings.Contains(string(m.Raw), "\r\nMessage-ID: <") {
			t.Errorf("a mail without a name:\n%s", m.Raw)
		}
	}
	if len(seen) != queued {
		t.Errorf("%d have theirs, want %d", len(seen), queued)
	}
}
