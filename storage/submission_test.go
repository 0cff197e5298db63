package storage_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey"
	"latchkey/storage"
)

// sms queues an SMS of alice's and gives its notice.
func sms(t *testing.T, db *storage.DB) latchkey.Notice {
	t.Helper()
	_, r, err := db.Ask(t.Context(), guestOf(bob), relation(bob, alice))
	if err != nil {
		t.Fatal(err)
	}
	n := notice(r)
	n.Channel, n.Recipient, n.Language = latchkey.BySMS, "+8613900000001", "de"
	if err := db.Settle(t.Context(), r, "salt", "hash", n); err != nil {
		t.Fatal(err)
	}
	return n
}

func part(n latchkey.Notice, i, of int, ids ...string) latchkey.Submission {
	return latchkey.Submission{Notice: n.ID, Part: i, Parts: of, Channel: latchkey.BySMS, Recipient: n.Recipient, IDs: ids, Time: now()}
}

func report(state latchkey.NotificationState, reason, recipient string, ids ...string) latchkey.Report {
	return latchkey.Report{Channel: latchkey.BySMS, IDs: ids, Recipient: recipient, State: state, Reason: reason, Time: now()}
}

// F02, F19: a notice is delivered when all its parts are, and has failed when one has, whichever is written down first:
// the submission, the tick-off or the report.
func TestNoticeGoesWhereItsPartsGo(t *testing.T) {
	const delivered, failed, sent = latchkey.NotificationDelivered, latchkey.NotificationFailed, latchkey.NotificationSent
	type step func(*testing.T, *storage.DB, latchkey.Notice)
	submit := func(i, of int, ids ...string) step {
		return func(t *testing.T, db *storage.DB, n latchkey.Notice) {
			if err := db.AddSubmission(t.Context(), part(n, i, of, ids...)); err != nil {
				t.Fatal(err)
			}
		}
	}
	tell := func(want bool, r latchkey.Report) step {
		return func(t *testing.T, db *storage.DB, _ latchkey.Notice) {
			if found, err := db.AddReport(t.Context(), r); err != nil || found != want {
				t.Fatalf("AddReport(%v) = %v, %v, want %v", r.IDs, found, err, want)
			}
		}
	}
	tick := func(t *testing.T, db *storage.DB, n latchkey.Notice) {
		if err := db.EndNotice(t.Context(), n.ID, sent, ""); err != nil {
			t.Fatal(err)
		}
	}
	const number = "8613900000001" // centres leave the plus out
	for name, c := range map[string]struct {
		steps  []step
		state  latchkey.NotificationState
		reason string
	}{
		"in order":                  {[]step{submit(1, 1, "A"), tick, tell(true, report(delivered, "", number, "A"))}, delivered, ""},
		"no report":                 {[]step{submit(1, 1, "A"), tick}, sent, ""},
		"before the tick-off":       {[]step{submit(1, 1, "A"), tell(true, report(delivered, "", number, "A")), tick}, delivered, ""},
		"before the submission":     {[]step{tell(false, report(delivered, "", number, "A")), submit(1, 1, "A"), tick}, delivered, ""},
		"one part of two":           {[]step{submit(1, 2, "A"), submit(2, 2, "B"), tick, tell(true, report(delivered, "", number, "A"))}, sent, ""},
		"both parts":                {[]step{submit(1, 2, "A"), submit(2, 2, "B"), tick, tell(true, report(delivered, "", number, "B")), tell(true, report(delivered, "", number, "A"))}, delivered, ""},
		"a report twice":            {[]step{submit(1, 2, "A"), submit(2, 2, "B"), tick, tell(true, report(delivered, "", number, "A")), tell(true, report(delivered, "", number, "A"))}, sent, ""},
		"one part fails":            {[]step{submit(1, 2, "A"), submit(2, 2, "B"), tick, tell(true, report(delivered, "", number, "A")), tell(true, report(failed, "switched off", number, "B"))}, failed, "switched off"},
		"failed before it is sent":  {[]step{submit(1, 1, "A"), tell(true, report(failed, "switched off", number, "A")), tick}, failed, "switched off"},
		"in the other base":         {[]step{submit(1, 1, "FF"), tick, tell(true, report(delivered, "", number, "255", "ff", "FF"))}, delivered, ""},
		"another number's":          {[]step{submit(1, 1, "FF"), tick, tell(false, report(failed, "x", "49301234", "255", "FF"))}, sent, ""},
		"early in the other base":   {[]step{tell(false, report(delivered, "", number, "255")), submit(1, 1, "FF", "255"), tick}, delivered, ""},
		"early, another number's":   {[]step{tell(false, report(delivered, "", "49301234", "255")), submit(1, 1, "FF", "255"), tick}, sent, ""},
		"another channel's":         {[]step{submit(1, 1, "A"), tick, tell(false, latchkey.Report{Channel: latchkey.ByMMS, IDs: []string{"A"}, State: delivered})}, sent, ""},
		"repeated under a new id":   {[]step{submit(1, 1, "A"), submit(1, 1, "B"), tick, tell(true, report(delivered, "", number, "B"))}, delivered, ""},
		"the last word is the last": {[]step{submit(1, 1, "A"), tick, tell(true, report(failed, "no", number, "A")), tell(true, report(delivered, "", number, "A"))}, failed, "no"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ended := 0
			db, err := storage.Open(t.Context(), filepath.Join(t.TempDir(), "latchkey.db"), storage.Options{Ended: func(string) { ended++ }})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = db.Close() })
			n := sms(t, db)
			for _, s := range c.steps {
				s(t, db, n)
			}
			if want := map[bool]int{false: 1}[c.state == sent]; ended != want { // the inviter hears of the end, once
				t.Errorf("told of the end %d times, want %d", ended, want)
			}
			if v, err := db.Invitation(t.Context(), n.Relation); err != nil || v.Notification != c.state || v.Reason != c.reason {
				t.Errorf("%s %q, %v, want %s %q", v.Notification, v.Reason, err, c.state, c.reason)
			}
		})
	}
}

// X4: what was submitted is known after a crash, and goes with its notice.
func TestSubmissionsAreKeptAsLongAsTheirNotice(t *testing.T) {
	db := fresh(t)
	n := sms(t, db)
	if err := db.AddSubmission(t.Context(), part(n, 1, 2, "A", "a")); err != nil {
		t.Fatal(err)
	}
	got, err := db.Submissions(t.Context(), n.ID)
	if err != nil || len(got) != 1 || got[0].Part != 1 || got[0].Parts != 2 || got[0].Recipient != n.Recipient || !slices.Equal(got[0].IDs, []string{"A"}) {
		t.Errorf("submissions %+v, %v", got, err)
	}
	claimed, err := db.ClaimNotices(t.Context(), latchkey.BySMS, n.Created, n.Created.Add(time.Minute), 1)
	if err != nil || len(claimed) != 1 || claimed[0].Language != "de" {
		t.Errorf("claimed %+v, %v, want the language", claimed, err)
	}
	ending(t, db, latchkey.Relation{ID: n.Relation, Account: n.Account, Inviter: n.Inviter}, latchkey.Withdrawn)
	if got, err := db.Submissions(t.Context(), n.ID); err != nil || len(got) != 0 {
		t.Errorf("after the relation: %+v, %v", got, err)
	}
	if err := db.AddSubmission(t.Context(), part(n, 2, 2, "B")); err != nil {
		t.Errorf("a part that was taken while the relation ended: %v", err)
	}
	// A report that nobody comes for is forgotten.
	if _, err := db.AddReport(t.Context(), report(latchkey.NotificationDelivered, "", "", "Z")); err != nil {
		t.Fatal(err)
	}
	count := func() (n int) {
		if err := db.Read().QueryRow(`SELECT count(*) FROM early_report`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if err := db.Purge(t.Context(), now().Add(time.Hour), 2*time.Hour); err != nil || count() != 1 {
		t.Errorf("%d reports, %v, want 1", count(), err)
	}
	if err := db.Purge(t.Context(), now().Add(3*time.Hour), 2*time.Hour); err != nil || count() != 0 {
		t.Errorf("%d reports, %v, want none", count(), err)
	}
}

// R8: inviters take turns. Ten thousand notices of one don't delay the single one of another, nor do those that wait for
// another attempt.
func TestInvitersTakeTurns(t *testing.T) {
	db := fresh(t)
	begin := now().Add(-time.Hour)
	queue := func(inviter latchkey.InviterID, n int, at time.Time) {
		t.Helper()
		for i := range n {
			liveSince(t, db, latchkey.AccountID(fmt.Sprintf("sip:%s%d@guest.example", strings.TrimPrefix(string(inviter), "sip:"), i)), inviter, at.Add(time.Duration(i)*time.Millisecond))
		}
	}
	queue("sip:b@cc.com", 300, begin)
	queue("sip:c@cc.com", 3, begin.Add(time.Minute))
	queue("sip:a@cc.com", 1, begin.Add(2*time.Minute))
	var order []string
	for range 4 {
		got, err := db.ClaimNotices(t.Context(), latchkey.ByMail, now(), now().Add(time.Hour), 3)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range got {
			order = append(order, string(n.Account[4:6]))
		}
	}
	if got, want := strings.Join(order, " "), "a@ b@ c@ b@ c@ b@ c@ b@ b@ b@ b@ b@"; got != want {
		t.Errorf("order %s, want %s", got, want)
	}
	queue("sip:d@cc.com", 1, begin.Add(3*time.Minute))
	got, err := db.ClaimNotices(t.Context(), latchkey.ByMail, now(), now().Add(time.Hour), 2)
	if err != nil || len(got) != 2 || got[0].Inviter != "sip:d@cc.com" && got[1].Inviter != "sip:d@cc.com" {
		t.Errorf("claimed %+v, %v, want d's among the next two", got, err)
	}
}
