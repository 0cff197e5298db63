package storage_test

import (
	"reflect"
	"sync"
	"testing"
	"time"

	"latchkey"
)

// R8, F59: a due notice is claimed by one courier, comes back when its lease is over, and is then counted on.
func TestNoticeIsClaimedOnceForALease(t *testing.T) {
	db := fresh(t)
	_, r, err := db.Ask(t.Context(), guestOf(bob), relation(bob, alice))
	if err != nil {
		t.Fatal(err)
	}
	want := notice(r)
	if err := db.Settle(t.Context(), r, "salt", "hash", want); err != nil {
		t.Fatal(err)
	}
	if at, err := db.NextNotice(t.Context(), latchkey.ByMail); err != nil || !at.Equal(want.Created) {
		t.Errorf("NextNotice = %v, %v", at, err)
	}
	if at, err := db.NextNotice(t.Context(), latchkey.BySMS); err != nil || !at.IsZero() {
		t.Errorf("NextNotice of another channel = %v, %v", at, err)
	}
	begin := now()
	var mu sync.Mutex
	var claimed []latchkey.Notice
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			n, err := db.ClaimNotices(t.Context(), latchkey.ByMail, begin, begin.Add(time.Minute), 10)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			claimed = append(claimed, n...)
		})
	}
	all.Wait()
	want.Attempts = 1
	if len(claimed) != 1 || !reflect.DeepEqual(claimed[0], want) {
		t.Fatalf("claimed %+v, want %+v once", claimed, want)
	}
	again := func(at time.Time) int {
		t.Helper()
		n, err := db.ClaimNotices(t.Context(), latchkey.ByMail, at, at.Add(time.Minute), 10)
		if err != nil {
			t.Fatal(err)
		}
		if len(n) == 1 && n[0].Attempts < 2 {
			t.Errorf("attempts %d", n[0].Attempts)
		}
		return len(n)
	}
	if n := again(begin.Add(59 * time.Second)); n != 0 {
		t.Error("claimed within the lease")
	}
	if n := again(begin.Add(time.Minute)); n != 1 {
		t.Error("not claimed after the lease")
	}
	// F19: a retry is planned and tells why.
	if err := db.RetryNotice(t.Context(), want.ID, begin.Add(time.Hour), "mailbox full"); err != nil {
		t.Fatal(err)
	}
	if v, err := db.Invitation(t.Context(), r.ID); err != nil || v.Notification != latchkey.NotificationQueued || v.Reason != "mailbox full" {
		t.Errorf("invitation %+v, %v", v, err)
	}
	if again(begin.Add(59*time.Minute)) != 0 || again(begin.Add(time.Hour)) != 1 {
		t.Error("the retry is not due when it was planned")
	}
	if err := db.EndNotice(t.Context(), want.ID, latchkey.NotificationSent, ""); err != nil {
		t.Fatal(err)
	}
	if n := again(begin.Add(24 * time.Hour)); n != 0 {
		t.Error("claimed after it was sent")
	}
	// The end is the end.
	if err := db.EndNotice(t.Context(), want.ID, latchkey.NotificationFailed, "late"); err != nil {
		t.Fatal(err)
	}
	if v, err := db.Invitation(t.Context(), r.ID); err != nil || v.Notification != latchkey.NotificationSent {
		t.Errorf("invitation %+v, %v", v, err)
	}
}

// Claims take no more than they were asked to, the longest due first.
func TestClaimIsLimited(t *testing.T) {
	db := fresh(t)
	for i, a := range []latchkey.AccountID{"sip:g1@guest.example", "sip:g2@guest.example", "sip:g3@guest.example"} {
		liveSince(t, db, a, alice, now().Add(time.Duration(i)*time.Second))
	}
	n, err := db.ClaimNotices(t.Context(), latchkey.ByMail, now().Add(time.Minute), now().Add(time.Hour), 2)
	if err != nil || len(n) != 2 {
		t.Fatalf("claimed %d, %v, want 2", len(n), err)
	}
	for _, one := range n {
		if one.Account == "sip:g3@guest.example" {
			t.Error("the newest was claimed before an older one")
		}
	}
}

// R29: the notice of a relation that ends is not sent.
func TestNoticeGoesWithItsRelation(t *testing.T) {
	db := fresh(t)
	r := live(t, db, bob, alice)
	ending(t, db, r, latchkey.Withdrawn)
	if n, err := db.ClaimNotices(t.Context(), latchkey.ByMail, now(), now().Add(time.Hour), 2); err != nil || len(n) != 0 {
		t.Errorf("claimed %v, %v", n, err)
	}
}
