package storage_test

import (
	"testing"
	"time"

	"latchkey"
)

// F19: what waits for one reason is left a share of its wait, in its order; what is due soon, waits for another reason or goes by another channel is not touched.
func TestNoticesOfOneReasonAreHastened(t *testing.T) {
	db := fresh(t)
	start := now()
	wait := func(inviter latchkey.InviterID, d time.Duration, reason string) string {
		t.Helper()
		live(t, db, latchkey.AccountID("sip:g-"+inviter.Address().User()+"@guest.example"), inviter)
		all, err := db.ClaimNotices(t.Context(), latchkey.ByMail, now(), start.Add(time.Minute), 1)
		if err != nil || len(all) != 1 {
			t.Fatal(all, err)
		}
		if err := db.RetryNotice(t.Context(), all[0].ID, start.Add(d), reason); err != nil {
			t.Fatal(err)
		}
		return all[0].ID
	}
	const away = "the server is away"
	want := map[string]time.Duration{
		wait("sip:u1@cc.com", time.Hour, away): time.Minute, wait("sip:u2@cc.com", 30*time.Minute, away): 30 * time.Second,
		wait("sip:u3@cc.com", 90*time.Second, away): 90 * time.Second, wait("sip:u4@cc.com", time.Hour, "busy"): time.Hour,
	}
	for _, channel := range []latchkey.Channel{latchkey.BySMS, latchkey.ByMail} {
		if err := db.HastenNotices(t.Context(), channel, away, start, start.Add(90*time.Second), 60); err != nil {
			t.Fatal(err)
		}
		if channel == latchkey.BySMS {
			if next, err := db.NextNotice(t.Context(), latchkey.ByMail); err != nil || !next.Equal(start.Add(90*time.Second)) {
				t.Errorf("another channel's haste makes mail due at %v, %v", next, err)
			}
		}
	}
	for reason, channels := range map[string]map[latchkey.Channel]bool{away: {latchkey.ByMail: true, latchkey.BySMS: false}, "other": {latchkey.ByMail: false}} {
		for channel, waits := range channels {
			if got, err := db.NoticesWait(t.Context(), channel, reason); err != nil || got != waits {
				t.Errorf("NoticesWait(%s, %s) = %v, %v", channel, reason, got, err)
			}
		}
	}
	for id, d := range want {
		var due int64
		if err := db.Read().QueryRow(`SELECT due FROM outbox WHERE id = $1`, id).Scan(&due); err != nil || due != start.Add(d).UnixMicro() {
			t.Errorf("%s is due after %v, %v, want %v", id, time.UnixMicro(due).Sub(start), err, d)
		}
	}
}

// Issue 8, line 1: what is owed to an inviter is due when they are there again, by whichever name, and nobody else's is.
func TestOutcomesOfOneInviterAreHastened(t *testing.T) {
	db := fresh(t)
	start := now()
	for inviter, tel := range map[latchkey.InviterID]string{alice: "+8613800000001", "sip:c@cc.com": "+8613800000003"} {
		r := relation(latchkey.AccountID("sip:g-"+inviter.Address().User()+"@guest.example"), inviter)
		r.InviterTel = tel
		_, r, err := db.Ask(t.Context(), guestOf(r.Account), r)
		if err != nil {
			t.Fatal(err)
		}
		n := notice(r)
		if err := db.Settle(t.Context(), r, string(r.ID), "hash", n); err != nil {
			t.Fatal(err)
		}
		if err := db.EndNotice(t.Context(), n.ID, latchkey.NotificationFailed, "no"); err != nil {
			t.Fatal(err)
		}
	}
	hasten := func(inviter latchkey.InviterID, tel string, want int64) {
		t.Helper()
		all, err := db.ClaimOutcomes(t.Context(), start.Add(24*time.Hour), start.Add(time.Hour), 8) // as after an attempt that failed
		if err != nil || len(all) != 2 {
			t.Fatal(all, err)
		}
		if n, err := db.HastenOutcomes(t.Context(), inviter, tel, start, start.Add(2*time.Hour)); err != nil || n != 0 {
			t.Errorf("%d that are due soon anyway were hastened, %v", n, err)
		}
		if n, err := db.HastenOutcomes(t.Context(), inviter, tel, start, start.Add(time.Minute)); err != nil || n != want {
			t.Errorf("HastenOutcomes(%s, %s) = %d, %v, want %d", inviter, tel, n, err, want)
		}
		due, err := db.ClaimOutcomes(t.Context(), start, start.Add(time.Hour), 8)
		if err != nil || int64(len(due)) != want {
			t.Errorf("%d are due, %v, want %d", len(due), err, want)
		}
	}
	hasten(alice, "", 1)
	hasten("tel:+8613800000003", "+8613800000003", 1)
	hasten("sip:nobody@cc.com", "", 0)
}
