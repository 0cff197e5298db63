package storage_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"latchkey"
)

// R11, F07: a guest keeps the account, an inviter has one relation to it, and rows come back as they were.
func TestGuestKeepsTheAccount(t *testing.T) {
	db := fresh(t)
	want := relation(bob, alice)
	g, r, err := db.Ask(t.Context(), guestOf(bob), want)
	if err != nil || g != guestOf(bob) && g.Account != bob || !reflect.DeepEqual(r, want) {
		t.Fatalf("Ask = %+v, %+v, %v, want %+v", g, r, err, want)
	}
	if live, err := db.Relations(t.Context(), bob); err != nil || len(live) != 0 {
		t.Errorf("an asked relation is listed as live: %v, %v", live, err)
	}
	second := guestOf(bob)
	second.Account = "sip:g7@guest.example"
	g, again, err := db.Ask(t.Context(), second, relation(second.Account, alice))
	if err != nil || g.Account != bob || again.ID != want.ID {
		t.Errorf("second Ask = %v, %v, %v, want the first account and relation", g.Account, again.ID, err)
	}
	_, other, err := db.Ask(t.Context(), second, relation(second.Account, "sip:a2@cc.com"))
	if err != nil || other.Account != bob || other.ID == want.ID {
		t.Errorf("other inviter's Ask = %+v, %v", other, err)
	}
	taken := guestOf(bob)
	taken.Identifier.Value = "somebody-else@cc.com"
	if _, _, err := db.Ask(t.Context(), taken, relation(bob, alice)); !latchkey.Is(err, latchkey.KindConflict) {
		t.Errorf("Ask for another's account = %v, want conflict", err)
	}
	if by, err := db.GuestBy(t.Context(), guestOf(bob).Identifier); err != nil || by.Account != bob {
		t.Errorf("GuestBy = %+v, %v", by, err)
	}
	for _, err := range []error{
		second2(db.Guest(t.Context(), "sip:none@guest.example")), second2(db.GuestBy(t.Context(), taken.Identifier)),
		second2(db.Relation(t.Context(), "none")), second2(db.Invitation(t.Context(), "none")),
	} {
		if !latchkey.Is(err, latchkey.KindNotFound) {
			t.Errorf("error %v, want not found", err)
		}
	}
	if n := rows(t, db, "guest") + rows(t, db, "relation"); n != 3 {
		t.Errorf("%d rows, want one guest and two relations", n)
	}
}

func second2[T any](_ T, err error) error { return err }

// F11: a number of a series is given once, however many ask.
func TestSerialsAreGivenOnce(t *testing.T) {
	db := fresh(t)
	var mu sync.Mutex
	seen := map[int64]bool{}
	var all sync.WaitGroup
	for range 300 {
		all.Go(func() {
			n, err := db.NextSerial(t.Context(), "account")
			mu.Lock()
			defer mu.Unlock()
			if err != nil || seen[n] {
				t.Errorf("NextSerial = %d, %v", n, err)
			}
			seen[n] = true
		})
	}
	all.Wait()
	if n, err := db.NextSerial(t.Context(), "account"); n != 301 || err != nil {
		t.Errorf("then %d, %v, want 301", n, err)
	}
	if n, err := db.NextSerial(t.Context(), "other"); n != 1 || err != nil {
		t.Errorf("another series begins with %d, %v", n, err)
	}
}

// A relation becomes live together with its password and notice, or none of it.
func TestSettleIsAllOrNothing(t *testing.T) {
	db := fresh(t)
	r := live(t, db, bob, alice)
	v, err := db.Invitation(t.Context(), r.ID)
	if err != nil || !reflect.DeepEqual(v.Relation, r) || v.Notification != latchkey.NotificationQueued || v.Notified.IsZero() || !v.LastLogin.IsZero() {
		t.Errorf("Invitation = %+v, %v", v, err)
	}
	// A notice that waits is overtaken; a second password is added.
	if err := db.Settle(t.Context(), r, "salt2", "hash2", notice(r)); err != nil {
		t.Fatal(err)
	}
	if rows(t, db, "outbox") != 1 || rows(t, db, "secret") != 2 {
		t.Errorf("%d notices and %d passwords, want 1 and 2", rows(t, db, "outbox"), rows(t, db, "secret"))
	}
	r.Interactions, r.Note = []latchkey.Interaction{latchkey.IM}, "new"
	if err := db.Renew(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if got, err := db.Relation(t.Context(), r.ID); err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("after Renew: %+v, %v, want %+v", got, err, r)
	}
	ending(t, db, r, latchkey.GuestLeft)
	for _, err := range []error{db.Settle(t.Context(), r, "salt3", "hash3", notice(r)), db.Renew(t.Context(), r)} {
		if !latchkey.Is(err, latchkey.KindConflict) {
			t.Errorf("on an ending relation: %v, want conflict", err)
		}
	}
	if rows(t, db, "outbox")+rows(t, db, "secret") != 0 {
		t.Error("a notice or password came back to an ending relation")
	}
}

func TestInvitationsAreTheInvitersOwnNewestFirst(t *testing.T) {
	db := fresh(t)
	var want []latchkey.RelationID
	for i := range 3 {
		r := liveSince(t, db, latchkey.AccountID(fmt.Sprintf("sip:g%d@guest.example", i)), alice, now().Add(time.Duration(i)*time.Second))
		want = append(want, r.ID)
	}
	live(t, db, bob, "sip:a2@cc.com")
	ended := live(t, db, "sip:g9@guest.example", alice)
	ending(t, db, ended, latchkey.Withdrawn)
	all, err := db.Invitations(t.Context(), alice)
	if err != nil {
		t.Fatal(err)
	}
	var got []latchkey.RelationID
	for _, v := range all {
		got = append(got, v.ID)
	}
	slices.Reverse(want)
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// F18: a quota counts within its window, for inviter and target apart, and a refund gives back.
func TestQuotaCountsWithinItsWindow(t *testing.T) {
	db := fresh(t)
	q := latchkey.Quota{PerInviter: 2, InviterWindow: time.Hour, PerTarget: 3, TargetWindow: 24 * time.Hour}
	begin := now()
	spend := func(id string, inviter latchkey.InviterID, target string, after time.Duration) time.Duration {
		t.Helper()
		wait, err := db.Spend(t.Context(), id, inviter, latchkey.Identifier{Kind: latchkey.Mail, Value: target}, begin.Add(after), 24*time.Hour, q)
		if err != nil {
			t.Fatal(err)
		}
		return wait
	}
	for _, step := range []struct {
		id      string
		inviter latchkey.InviterID
		target  string
		after   time.Duration
		want    time.Duration
	}{
		{"1", alice, "b", 0, 0},
		{"2", alice, "c", 10 * time.Minute, 0},
		{"3", alice, "d", 20 * time.Minute, 40 * time.Minute},
		{"4", "sip:a2@cc.com", "b", 20 * time.Minute, 0}, // others are unaffected
		{"5", alice, "d", time.Hour, 0},                  // the first has left the window
		{"6", alice, "d", time.Hour, 10 * time.Minute},
		{"7", "sip:a3@cc.com", "b", time.Hour, 0},
		{"8", "sip:a4@cc.com", "b", time.Hour, 23 * time.Hour}, // the target has had three
	} {
		if got := spend(step.id, step.inviter, step.target, step.after); got != step.want {
			t.Errorf("spend %s: wait %v, want %v", step.id, got, step.want)
		}
	}
	if err := db.Refund(t.Context(), "5"); err != nil {
		t.Fatal(err)
	}
	if got := spend("9", alice, "d", time.Hour); got != 0 {
		t.Errorf("after a refund: wait %v", got)
	}
	q = latchkey.Quota{}
	if got := spend("10", alice, "b", time.Hour); got != 0 {
		t.Errorf("without limits: wait %v", got)
	}
}

// F18, F59: what no notice followed counts as long as an invitation may take and no longer, and leaves no row; what one followed counts on.
func TestAllowanceThatIsNotSettledEnds(t *testing.T) {
	db := fresh(t)
	q := latchkey.Quota{PerInviter: 2, InviterWindow: time.Hour, PerTarget: 2, TargetWindow: time.Hour, Total: 2, TotalWindow: time.Hour}
	_, r, err := db.Ask(t.Context(), guestOf(bob), relation(bob, alice))
	if err != nil {
		t.Fatal(err)
	}
	n := notice(r)
	target, begin := latchkey.Identifier{Kind: latchkey.Mail, Value: n.Recipient}, now()
	spend := func(id string, after time.Duration) (wait time.Duration) {
		t.Helper()
		if wait, err = db.Spend(t.Context(), id, alice, target, begin.Add(after), 3*time.Minute, q); err != nil {
			t.Fatal(err)
		}
		return wait
	}
	if spend(n.ID, 0) != 0 || spend("crash", 0) != 0 || spend("x", 179*time.Second) == 0 {
		t.Error("what is under way does not count")
	}
	if err := db.Settle(t.Context(), r, "salt", "hash", n); err != nil {
		t.Fatal(err)
	}
	if spend("next", 3*time.Minute) != 0 || spend("y", 3*time.Minute) == 0 {
		t.Error("of two, one that was settled and one that was not, other than one counts")
	}
	rows := func(want int) {
		t.Helper()
		var n int
		if err := db.Read().QueryRow(`SELECT count(*) FROM allowance`).Scan(&n); err != nil || n != want {
			t.Errorf("%d rows, %v, want %d", n, err, want)
		}
	}
	rows(3)
	if err := db.Purge(t.Context(), begin.Add(3*time.Minute), 24*time.Hour); err != nil {
		t.Fatal(err)
	}
	rows(2)
}

// F18: parallel invitations can't slip through together.
func TestQuotaHoldsInParallel(t *testing.T) {
	db := fresh(t)
	q := latchkey.Quota{PerInviter: 10, InviterWindow: time.Hour}
	var mu sync.Mutex
	passed := 0
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			wait, err := db.Spend(t.Context(), fmt.Sprint(i), alice, latchkey.Identifier{Value: fmt.Sprint(i)}, now(), time.Hour, q)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			if wait == 0 {
				passed++
			}
		})
	}
	all.Wait()
	if passed != 10 {
		t.Errorf("%d passed, want 10", passed)
	}
}

// R20, F21: a password is valid while its relation is live and not over, and says so afterwards where it expired.
func TestPasswordsKnowWhetherTheyAreValid(t *testing.T) {
	db := fresh(t)
	r := live(t, db, bob, alice)
	other := live(t, db, bob, "sip:a2@cc.com")
	valid := func(at time.Time) map[string]bool {
		t.Helper()
		salts, hashes, valid, err := db.Passwords(t.Context(), bob, at)
		if err != nil || len(salts) != len(hashes) || len(salts) != len(valid) {
			t.Fatalf("Passwords = %v, %v, %v, %v", salts, hashes, valid, err)
		}
		m := map[string]bool{}
		for i, s := range salts {
			m[s] = valid[i]
		}
		return m
	}
	a, b := string(r.ID), string(other.ID)
	if got := valid(now()); !reflect.DeepEqual(got, map[string]bool{a: true, b: true}) {
		t.Errorf("live: %v", got)
	}
	if got := valid(r.Expires.Add(time.Minute)); got[a] || got[b] || len(got) != 2 {
		t.Errorf("over: %v", got)
	}
	ending(t, db, r, latchkey.ValidityOver)
	ending(t, db, other, latchkey.GuestLeft)
	if got := valid(now()); !reflect.DeepEqual(got, map[string]bool{a: false}) {
		t.Errorf("after the end: %v, want the expired one alone", got)
	}
	if err := db.End(t.Context(), bob, []latchkey.RelationID{r.ID, other.ID}, true); err != nil {
		t.Fatal(err)
	}
	if got := valid(now()); !reflect.DeepEqual(got, map[string]bool{a: false}) {
		t.Errorf("after the deletion: %v, want the expired one alone", got)
	}
	if err := db.Purge(t.Context(), now().Add(time.Hour), time.Minute); err != nil {
		t.Fatal(err)
	}
	if got := valid(now()); len(got) != 0 {
		t.Errorf("after Purge: %v", got)
	}
}

// R20: a login is found by its hash until it or its guest's last relation is over.
func TestLoginEndsWithItsRelation(t *testing.T) {
	db := fresh(t)
	r := live(t, db, bob, alice)
	other := live(t, db, bob, "sip:a2@cc.com")
	if err := db.AddLogin(t.Context(), bob, "token", now(), now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if g, err := db.GuestByLogin(t.Context(), "token", now()); err != nil || g.Account != bob {
		t.Errorf("GuestByLogin = %v, %v", g, err)
	}
	if v, err := db.Invitation(t.Context(), r.ID); err != nil || v.LastLogin.IsZero() {
		t.Errorf("last login %v, %v", v.LastLogin, err)
	}
	for hash, at := range map[string]time.Time{"other": now(), "token": now().Add(time.Minute)} {
		if _, err := db.GuestByLogin(t.Context(), hash, at); !latchkey.Is(err, latchkey.KindNotFound) {
			t.Errorf("GuestByLogin(%s) = %v, want not found", hash, err)
		}
	}
	ending(t, db, r, latchkey.GuestLeft)
	if _, err := db.GuestByLogin(t.Context(), "token", now()); err != nil {
		t.Errorf("with another relation: %v", err)
	}
	ending(t, db, other, latchkey.GuestLeft)
	if _, err := db.GuestByLogin(t.Context(), "token", now()); !latchkey.Is(err, latchkey.KindNotFound) || rows(t, db, "login") != 0 {
		t.Errorf("after the last relation: %v, %d rows", err, rows(t, db, "login"))
	}
	if err := db.AddLogin(t.Context(), bob, "late", now(), now().Add(time.Minute)); !latchkey.Is(err, latchkey.KindNotFound) {
		t.Errorf("AddLogin without a relation = %v, want not found", err)
	}
}

// R29: a relation ends once, in two steps, and the account goes with the last one unless it is to be kept.
func TestRelationEndsOnce(t *testing.T) {
	for _, keep := range []bool{false, true} {
		db := fresh(t)
		r := live(t, db, bob, alice)
		other := live(t, db, bob, "sip:a2@cc.com")
		ending(t, db, r, latchkey.Withdrawn)
		if again, err := db.BeginEnding(t.Context(), []latchkey.RelationID{r.ID, "none"}, latchkey.GuestLeft); err != nil || len(again) != 0 {
			t.Errorf("second BeginEnding = %v, %v, want nothing", again, err)
		}
		relations, causes, err := db.Unsettled(t.Context(), bob)
		if err != nil || len(relations) != 1 || relations[0].ID != r.ID || !relations[0].Ending() || causes[0] != latchkey.Withdrawn {
			t.Errorf("Unsettled = %v, %v, %v", relations, causes, err)
		}
		if accounts, err := db.UnsettledAccounts(t.Context()); err != nil || !slices.Equal(accounts, []latchkey.AccountID{bob}) {
			t.Errorf("UnsettledAccounts = %v, %v", accounts, err)
		}
		for range 2 {
			if err := db.End(t.Context(), bob, []latchkey.RelationID{r.ID}, !keep); err != nil {
				t.Errorf("End = %v", err)
			}
		}
		if rows(t, db, "guest") != 1 || rows(t, db, "relation") != 1 {
			t.Errorf("another relation stands, but %d guests and %d relations are left", rows(t, db, "guest"), rows(t, db, "relation"))
		}
		ending(t, db, other, latchkey.GuestLeft)
		if err := db.End(t.Context(), bob, []latchkey.RelationID{other.ID}, !keep); err != nil {
			t.Fatal(err)
		}
		want := 0
		if keep {
			want = 1
		}
		if rows(t, db, "guest") != want || rows(t, db, "relation")+rows(t, db, "secret")+rows(t, db, "outbox") != 0 {
			t.Errorf("keep %v: %d guests left, want %d; or rows of the relation are", keep, rows(t, db, "guest"), want)
		}
	}
}

// F58: what is over is found, the longest first.
func TestExpiredRelationsAreFound(t *testing.T) {
	db := fresh(t)
	if at, err := db.NextExpiry(t.Context()); err != nil || !at.IsZero() {
		t.Errorf("NextExpiry of nothing = %v, %v", at, err)
	}
	begin := now()
	for i := range 5 {
		r := live(t, db, latchkey.AccountID(fmt.Sprintf("sip:g%d@guest.example", i)), alice)
		r.Expires = begin.Add(time.Duration(5-i) * time.Minute)
		if err := db.Renew(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if at, err := db.NextExpiry(t.Context()); err != nil || !at.Equal(begin.Add(time.Minute)) {
		t.Errorf("NextExpiry = %v, %v", at, err)
	}
	got, err := db.Expired(t.Context(), begin.Add(3*time.Minute), 2)
	if err != nil || len(got) != 2 || got[0].Account != "sip:g4@guest.example" || got[1].Account != "sip:g3@guest.example" {
		t.Errorf("Expired = %+v, %v", got, err)
	}
	if got, err := db.Expired(t.Context(), begin.Add(3*time.Minute), 100); err != nil || len(got) != 3 {
		t.Errorf("Expired = %d, %v, want 3", len(got), err)
	}
	ending(t, db, got[0], latchkey.ValidityOver)
	if got, err := db.Expired(t.Context(), begin.Add(3*time.Minute), 100); err != nil || len(got) != 2 {
		t.Errorf("with one ending: %d, %v, want 2", len(got), err)
	}
}

// Many writers of every sort at once: all or nothing each, under the race detector.
func TestWritersDoNotDisturbEachOther(t *testing.T) {
	db := fresh(t)
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			account := latchkey.AccountID(fmt.Sprintf("sip:g%d@guest.example", i%10))
			_, r, err := db.Ask(t.Context(), guestOf(account), relation(account, latchkey.InviterID(fmt.Sprintf("sip:a%d@cc.com", i))))
			if err == nil {
				err = db.Settle(t.Context(), r, fmt.Sprint(i), "hash", notice(r))
			}
			if err == nil {
				_, err = db.AddEvent(t.Context(), latchkey.Event{Type: latchkey.StatusEvent, Account: account})
			}
			if err == nil && i%4 == 0 {
				_, err = db.BeginEnding(t.Context(), []latchkey.RelationID{r.ID}, latchkey.GuestLeft)
				err = errors.Join(err, db.End(t.Context(), account, []latchkey.RelationID{r.ID}, true))
			}
			if err != nil {
				t.Errorf("writer %d: %v", i, err)
			}
		})
	}
	all.Wait()
	if rows(t, db, "relation") != 30 || rows(t, db, "secret") != 30 || rows(t, db, "event") < 30 {
		t.Errorf("%d relations, %d passwords, %d events", rows(t, db, "relation"), rows(t, db, "secret"), rows(t, db, "event"))
	}
}
