package storage_test

import (
	"path/filepath"
	"testing"
	"time"

	"latchkey"
	"latchkey/storage"
)

// Issue 8, line 1, X4: what became of a notice is owed to each inviter whom it named, in their own language, is there after a restart under
// the same id, comes back while nobody ticks it off, and never again once it is.
func TestOutcomeIsOwedUntilItIsToldOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "latchkey.db")
	db := open(t, path)
	var lead latchkey.Notice
	for i, inviter := range []latchkey.InviterID{alice, "sip:c@cc.com"} {
		_, r, err := db.Ask(t.Context(), guestOf(bob), relation(bob, inviter))
		if err != nil {
			t.Fatal(err)
		}
		n := notice(r)
		n.Due, n.Language, n.Speaks = n.Created.Add(time.Hour), "en", []string{"de", "fr"}[i]
		if err := db.Settle(t.Context(), r, string(r.ID), "hash", n); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			lead = n
		}
	}
	claim := func(db *storage.DB, at time.Time) []latchkey.Outcome {
		t.Helper()
		all, err := db.ClaimOutcomes(t.Context(), at, at.Add(time.Minute), 8)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	if err := db.EndNotice(t.Context(), lead.ID, latchkey.NotificationSent, ""); err != nil {
		t.Fatal(err)
	}
	if all := claim(db, now().Add(time.Second)); len(all) != 0 {
		t.Fatalf("owed before the end: %+v", all)
	}
	if err := db.AddSubmission(t.Context(), latchkey.Submission{Notice: lead.ID, Channel: latchkey.ByMail, Part: 1, Parts: 1, Recipient: lead.Recipient, IDs: []string{lead.ID}, Time: now()}); err != nil {
		t.Fatal(err)
	}
	bounce := latchkey.Report{Channel: latchkey.ByMail, IDs: []string{lead.ID}, State: latchkey.NotificationFailed, Reason: "the mailbox is full", Time: now()}
	for range 2 {
		if _, err := db.AddReport(t.Context(), bounce); err != nil {
			t.Fatal(err)
		}
	}
	at := now().Add(time.Second)
	all := claim(db, at)
	if len(all) != 2 {
		t.Fatalf("%d outcomes, want one for each inviter: %+v", len(all), all)
	}
	spoken := map[string]bool{}
	for _, o := range all {
		spoken[o.Language] = true
		if o.State != latchkey.NotificationFailed || o.Reason != "the mailbox is full" || o.Recipient != lead.Recipient || o.Attempts != 1 || o.ID == "" {
			t.Errorf("outcome %+v", o)
		}
	}
	if !spoken["de"] || !spoken["fr"] || all[0].ID == all[1].ID {
		t.Errorf("outcomes %+v, want one in German and one in French", all)
	}
	if n, oldest, err := db.OutcomesWaiting(t.Context()); err != nil || n != 2 || oldest.IsZero() {
		t.Errorf("OutcomesWaiting = %d, %v, %v", n, oldest, err)
	}
	if again := claim(db, at); len(again) != 0 {
		t.Errorf("claimed twice: %+v", again)
	}
	if err := db.EndOutcome(t.Context(), all[0].ID); err != nil {
		t.Fatal(err)
	}
	if err := db.RetryOutcome(t.Context(), all[1].ID, at.Add(2*time.Minute)); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil { // in mid-flow
		t.Fatal(err)
	}
	db = open(t, path)
	if early := claim(db, at.Add(90*time.Second)); len(early) != 0 {
		t.Errorf("claimed before it is due: %+v", early)
	}
	later := claim(db, at.Add(2*time.Minute))
	if len(later) != 1 || later[0].ID != all[1].ID || later[0].Attempts != 2 {
		t.Fatalf("after a restart %+v, want %s once more", later, all[1].ID)
	}
	if err := db.EndOutcome(t.Context(), later[0].ID); err != nil {
		t.Fatal(err)
	}
	if _, err := db.AddReport(t.Context(), bounce); err != nil { // a late repeat
		t.Fatal(err)
	}
	if left := claim(db, at.Add(24*time.Hour)); len(left) != 0 {
		t.Errorf("told, and owed again: %+v", left)
	}
	if due, err := db.NextOutcome(t.Context()); err != nil || !due.IsZero() {
		t.Errorf("NextOutcome = %v, %v", due, err)
	}
}

// What there is to tell goes with the relation.
func TestOutcomeGoesWithItsRelation(t *testing.T) {
	db := fresh(t)
	r := live(t, db, bob, alice)
	claimed, err := db.ClaimNotices(t.Context(), latchkey.ByMail, now(), now().Add(time.Minute), 1)
	if err != nil || len(claimed) != 1 {
		t.Fatal(claimed, err)
	}
	if err := db.EndNotice(t.Context(), claimed[0].ID, latchkey.NotificationFailed, "no"); err != nil {
		t.Fatal(err)
	}
	if n := rows(t, db, "outcome"); n != 1 {
		t.Fatalf("%d outcomes, want one", n)
	}
	ending(t, db, r, latchkey.Withdrawn)
	if n := rows(t, db, "outcome"); n != 0 {
		t.Errorf("%d outcomes are left", n)
	}
}
