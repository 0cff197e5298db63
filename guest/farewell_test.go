package guest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"latchkey"
	"latchkey/guest"
)

// F56, R29: the conversation is closed, then the account deregistered, then the rows go; passwords and logins are dead
// before the first of it. A second logout is the same.
func TestLogoutInItsOrder(t *testing.T) {
	o := newOffice(t, guest.Options{})
	v := o.invited(alice, bob)
	password := o.password()
	o.invited(anna, bob)
	l, err := o.desk.Login(t.Context(), string(bobsAccount), password, home)
	if err != nil {
		t.Fatal(err)
	}
	o.steps.clear()
	o.steps.before = func(step string) error {
		ctx := context.Background()
		if _, err := o.desk.ByToken(ctx, l.Token.Reveal()); !latchkey.Is(err, latchkey.KindUnauthorized) {
			t.Errorf("%s: the login lives: %v", step, err)
		}
		if _, err := o.desk.Authenticate(ctx, string(bobsAccount), password, home); !latchkey.Is(err, latchkey.KindUnauthorized) {
			t.Errorf("%s: the password lives: %v", step, err)
		}
		if rel, err := o.db.Relation(ctx, v.ID); err != nil || !rel.Ending() {
			t.Errorf("%s: the relation is %v, %v, want it ending", step, rel.State, err)
		}
		return nil
	}
	if err := o.desk.Logout(t.Context(), bobsAccount); err != nil {
		t.Fatalf("Logout = %v", err)
	}
	want := []string{"close sip:a2@cc.com guest-left", "close sip:a@cc.com guest-left", "drop " + string(bobsAccount)}
	got := o.steps.list()
	slices.Sort(got[:min(2, len(got))])
	if !slices.Equal(got, want) {
		t.Errorf("steps %v, want %v", got, want)
	}
	o.nothing("after logout")
	for range 2 {
		if err := o.desk.Logout(t.Context(), bobsAccount); err != nil {
			t.Errorf("second Logout = %v", err)
		}
		if err := o.desk.Farewell(t.Context(), v.ID, latchkey.Withdrawn); err != nil {
			t.Errorf("Farewell of a relation that is gone = %v", err)
		}
	}
	if n := len(o.steps.list()); n != 3 {
		t.Errorf("a second logout took %d more steps", n-3)
	}
}

// R29: password and relation are dead at once, also while another flow of the same guest waits for the core.
func TestLogoutDoesNotWaitToLockTheDoor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, guest.Options{})
		o.invited(alice, bob)
		password := o.password()
		o.steps.before = func(step string) error {
			if strings.HasPrefix(step, "keep") {
				time.Sleep(30 * time.Second)
			}
			return nil
		}
		var both sync.WaitGroup
		both.Go(func() { _, _ = o.invite(anna, bob) })
		synctest.Wait()
		both.Go(func() {
			if err := o.desk.Logout(t.Context(), bobsAccount); err != nil {
				t.Errorf("Logout = %v", err)
			}
		})
		synctest.Wait()
		if _, err := o.desk.Authenticate(t.Context(), string(bobsAccount), password, home); !latchkey.Is(err, latchkey.KindUnauthorized) {
			t.Errorf("Authenticate = %v, want unauthorized", err)
		}
		if _, err := o.desk.Authorize(t.Context(), bobsAccount, alice.URI); !latchkey.Is(err, latchkey.KindNoRelation) {
			t.Errorf("Authorize = %v, want no relation", err)
		}
		both.Wait()
		if _, err := o.desk.Authorize(t.Context(), bobsAccount, anna.URI); err != nil {
			t.Errorf("the invitation that came meanwhile: %v", err)
		}
	})
}

// F57, R30: an inviter leaves; the guest's other relations stand, and the account with them.
func TestInviterLeaves(t *testing.T) {
	o := newOffice(t, guest.Options{})
	o.invited(alice, bob)
	o.invited(anna, bob)
	o.invited(alice, mail(t, "c@gmail.example"))
	if err := o.desk.WithdrawAll(t.Context(), alice.ID()); err != nil {
		t.Fatal(err)
	}
	if o.steps.count("close sip:a@cc.com inviter-left") != 2 || o.steps.count("drop") != 1 {
		t.Errorf("steps %v", o.steps.list())
	}
	if _, err := o.desk.Authorize(t.Context(), bobsAccount, anna.URI); err != nil {
		t.Errorf("the other inviter's relation: %v", err)
	}
	if o.rows("guest") != 1 || o.registrar.registered() != 1 {
		t.Errorf("%d guests, %d registered, want 1", o.rows("guest"), o.registrar.registered())
	}
	if err := o.desk.Withdraw(t.Context(), alice.ID(), bobsAccount); !latchkey.Is(err, latchkey.KindNotFound) {
		t.Errorf("Withdraw without a relation = %v, want not found", err)
	}
	if err := o.desk.Withdraw(t.Context(), anna.ID(), bobsAccount); err != nil {
		t.Errorf("Withdraw = %v", err)
	}
	o.nothing("after the last")
}

// R29: an account that is to be kept is deregistered and comes back with the next invitation.
func TestKeptAccountComesBack(t *testing.T) {
	o := newOffice(t, guest.Options{KeepAccount: true, Scheme: guest.Serial})
	first := o.invited(alice, bob)
	password := o.password()
	if err := o.desk.Logout(t.Context(), first.Account); err != nil {
		t.Fatal(err)
	}
	if o.rows("guest") != 1 || o.rows("relation") != 0 || o.rows("secret") != 0 || o.registrar.registered() != 0 {
		t.Errorf("%d guests, %d relations, %d passwords, %d registered", o.rows("guest"), o.rows("relation"), o.rows("secret"), o.registrar.registered())
	}
	if _, err := o.desk.Login(t.Context(), string(first.Account), password, home); !latchkey.Is(err, latchkey.KindUnauthorized) {
		t.Errorf("Login = %v, want unauthorized", err)
	}
	if second := o.invited(anna, bob); second.Account != first.Account {
		t.Errorf("account %s, want %s again", second.Account, first.Account)
	}
	// An account made for an invitation that came to nothing is not kept.
	o.steps.before = func(step string) error { return errors.New("no") }
	if _, err := o.invite(alice, mail(t, "c@gmail.example")); err == nil {
		t.Fatal("Invite has no error")
	}
	o.steps.before = nil
	if err := o.desk.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := o.rows("guest"); n != 1 {
		t.Errorf("%d guests, want the first alone", n)
	}
}

// F56: what fails in the middle is finished by Resume, and by Run.
func TestFailedFarewellIsFinished(t *testing.T) {
	for _, step := range []string{"close", "drop"} {
		for _, by := range []string{"Resume", "Run"} {
			t.Run(step+" "+by, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					o := newOffice(t, guest.Options{})
					v := o.invited(alice, bob)
					down := errors.New("core is down")
					o.steps.before = func(s string) error {
						if strings.HasPrefix(s, step) {
							return down
						}
						return nil
					}
					if err := o.desk.Farewell(t.Context(), v.ID, latchkey.Withdrawn); !errors.Is(err, down) {
						t.Fatalf("Farewell = %v, want %v", err, down)
					}
					if _, err := o.desk.Authorize(t.Context(), bobsAccount, alice.URI); !latchkey.Is(err, latchkey.KindNoRelation) {
						t.Errorf("Authorize = %v, want no relation", err)
					}
					o.steps.before = nil
					o.restart()
					if by == "Resume" {
						if err := o.desk.Resume(t.Context()); err != nil {
							t.Fatal(err)
						}
					} else {
						o.run(2 * time.Minute)
					}
					o.nothing("then")
					if got := o.steps.list(); got[len(got)-1] != "drop "+string(bobsAccount) || o.steps.count("close sip:a@cc.com withdrawn") == 0 {
						t.Errorf("steps %v", got)
					}
				})
			})
		}
	}
}

// run lets Run work for a time.
func (o *office) run(d time.Duration) {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(o.t.Context(), d)
	defer cancel()
	if err := o.desk.Run(ctx); err != nil {
		o.t.Errorf("Run = %v", err)
	}
}

// F58: a relation that is over ends by itself, on time and each on its own, and its password says so.
func TestRelationsEndWhenTheyAreOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, guest.Options{Lifetime: time.Hour})
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = o.desk.Run(ctx) })
		time.Sleep(17 * time.Second) // out of step with the sweeper
		o.invited(alice, bob)
		password := o.password()
		time.Sleep(30 * time.Minute)
		o.invited(anna, bob)
		o.invited(anna, mail(t, "c@gmail.example"))
		time.Sleep(30*time.Minute - time.Second)
		synctest.Wait()
		if n := o.rows("relation"); n != 3 {
			t.Errorf("%d relations before the time, want 3", n)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if o.steps.count("close sip:a@cc.com expired") != 1 || o.rows("relation") != 2 || o.steps.count("drop") != 0 {
			t.Errorf("steps %v, %d relations", o.steps.list(), o.rows("relation"))
		}
		if _, err := o.desk.Login(t.Context(), string(bobsAccount), password, home); !latchkey.Is(err, latchkey.KindExpired) {
			t.Errorf("Login = %v, want expired", err)
		}
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		if o.rows("relation") != 0 || o.rows("guest") != 0 || o.registrar.registered() != 0 {
			t.Errorf("%d relations, %d registered", o.rows("relation"), o.registrar.registered())
		}
		if _, err := o.desk.Login(t.Context(), string(bobsAccount), password, home); !latchkey.Is(err, latchkey.KindExpired) {
			t.Errorf("Login after the deletion = %v, want expired", err)
		}
		cancel()
		running.Wait()
		time.Sleep(31 * 24 * time.Hour)
		o.run(time.Minute)
		if _, err := o.desk.Login(t.Context(), string(bobsAccount), password, home); !latchkey.Is(err, latchkey.KindUnauthorized) {
			t.Errorf("Login a month later = %v, want unauthorized", err)
		}
	})
}

// A relation that can't be ended does not keep the sweeper from the others, nor make it spin.
func TestOneStuckRelationHoldsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, guest.Options{Lifetime: time.Minute})
		o.invited(alice, bob)
		o.invited(anna, mail(t, "c@gmail.example"))
		o.steps.before = func(s string) error {
			if strings.HasPrefix(s, "close sip:a@cc.com") {
				return errors.New("stuck")
			}
			return nil
		}
		o.run(10 * time.Minute)
		if n := o.rows("relation"); n != 1 {
			t.Errorf("%d relations, want the stuck one", n)
		}
		if n := o.steps.count("close sip:a@cc.com"); n < 5 || n > 20 {
			t.Errorf("tried %d times in 10 minutes", n)
		}
	})
}

// The caller's patience is not the farewell's: a guest who closes the browser is logged out all the same.
func TestFarewellOutlivesItsCaller(t *testing.T) {
	o := newOffice(t, guest.Options{})
	o.invited(alice, bob)
	ctx, cancel := context.WithCancel(t.Context())
	o.steps.before = func(step string) error {
		if strings.HasPrefix(step, "close") {
			cancel()
		}
		return nil
	}
	if err := o.desk.Logout(ctx, bobsAccount); err != nil {
		t.Errorf("Logout = %v", err)
	}
	o.nothing("after logout")
}

// Invitation and farewell of one guest take turns: whatever comes first, rows and registration agree at the end.
func TestInvitationsAndFarewellsTakeTurns(t *testing.T) {
	o := newOffice(t, guest.Options{ResendAfter: time.Nanosecond, Quota: &latchkey.Quota{}})
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			if i%2 == 0 {
				if _, err := o.invite(alice, bob); err != nil && !latchkey.Is(err, latchkey.KindConflict) {
					t.Errorf("Invite = %v", err)
				}
			} else if err := o.desk.Logout(t.Context(), bobsAccount); err != nil {
				t.Errorf("Logout = %v", err)
			}
		})
	}
	all.Wait()
	if o.rows("guest") != o.registrar.registered() || o.rows("relation") != o.rows("guest") {
		t.Errorf("%d guests, %d relations, %d registered", o.rows("guest"), o.rows("relation"), o.registrar.registered())
	}
}

// F59: whichever step fails, or kills the process, after Resume on the same rows there is a complete relation or none.
func TestCrashAtEachStepLeavesAllOrNothing(t *testing.T) {
	flows := map[string]struct {
		before func(o *office)
		flow   func(o *office)
	}{
		"invite": {func(*office) {}, func(o *office) { _, _ = o.invite(alice, bob) }},
		"second": {func(o *office) { o.invited(alice, bob) }, func(o *office) { _, _ = o.invite(anna, bob) }},
		"interactions": {func(o *office) { o.invited(alice, bob) }, func(o *office) {
			_, _ = o.desk.Invite(context.Background(), guest.InviteRequest{Inviter: alice, Identifier: bob, Interactions: []latchkey.Interaction{latchkey.File}})
		}},
		"logout":       {func(o *office) { o.invited(alice, bob); o.invited(anna, bob) }, func(o *office) { _ = o.desk.Logout(context.Background(), bobsAccount) }},
		"withdraw":     {func(o *office) { o.invited(alice, bob); o.invited(anna, bob) }, func(o *office) { _ = o.desk.Withdraw(context.Background(), alice.ID(), bobsAccount) }},
		"inviter-left": {func(o *office) { o.invited(alice, bob); o.invited(alice, mail(o.t, "c@gmail.example")) }, func(o *office) { _ = o.desk.WithdrawAll(context.Background(), alice.ID()) }},
	}
	for name, f := range flows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, c := range []struct {
				keep bool
				how  error
			}{{false, errors.New("refused")}, {false, errCrash}, {true, errCrash}} {
				for step, reached := 1, true; reached; step++ {
					what := fmt.Sprintf("keep %v, step %d %v", c.keep, step, c.how)
					o := newOffice(t, guest.Options{KeepAccount: c.keep})
					f.before(o)
					o.steps.clear()
					o.steps.failAt, o.steps.broken = step, c.how
					f.flow(o)
					reached = len(o.steps.list()) >= step
					o.steps.failAt = 0
					o.restart()
					if err := o.desk.Resume(t.Context()); err != nil {
						t.Errorf("%s: Resume = %v", what, err)
					}
					o.consistent(what)
					_ = o.db.Close()
					if !reached && step == 1 {
						t.Errorf("%s: the flow has no steps", what)
					}
				}
			}
		})
	}
}

// consistent looks that every row that is left is part of something complete.
func (o *office) consistent(what string) {
	o.t.Helper()
	one := func(query string) (n int) {
		o.t.Helper()
		if err := o.db.Read().QueryRowContext(o.t.Context(), query).Scan(&n); err != nil {
			o.t.Fatal(err)
		}
		return n
	}
	for wrong, query := range map[string]string{
		"relations that aren't live":         `SELECT count(*) FROM relation WHERE state <> 'live'`,
		"live relations without a password":  `SELECT count(*) FROM relation WHERE id NOT IN (SELECT relation FROM secret)`,
		"live relations without a notice":    `SELECT count(*) FROM relation WHERE id NOT IN (SELECT relation FROM outbox)`,
		"notices without a relation":         `SELECT count(*) FROM outbox WHERE relation NOT IN (SELECT id FROM relation)`,
		"passwords without a relation":       `SELECT count(*) FROM secret WHERE relation NOT IN (SELECT id FROM relation)`,
		"logins without a relation":          `SELECT count(*) FROM login WHERE account NOT IN (SELECT account FROM relation)`,
		"relations without a guest":          `SELECT count(*) FROM relation WHERE account NOT IN (SELECT account FROM guest)`,
		"accounts with relations, not there": `SELECT count(DISTINCT account) - ` + fmt.Sprint(o.registrar.registered()) + ` FROM relation`,
	} {
		if n := one(query); n != 0 {
			o.t.Errorf("%s: %d %s", what, n, wrong)
		}
	}
	if n := one(`SELECT count(*) FROM allowance WHERE until > 0`); n != 0 && !strings.Contains(what, "killed") {
		o.t.Errorf("%s: %d allowances of nothing", what, n) // after a crash they stop counting by themselves
	}
	if n := one(`SELECT count(*) FROM guest WHERE account NOT IN (SELECT account FROM relation)`); n != 0 && !o.opt.KeepAccount {
		o.t.Errorf("%s: %d guests without a relation", what, n)
	}
}

// F18, F59: a crash in the middle of an invitation costs the inviter nothing; one that went through still counts.
func TestCrashGivesTheAllowanceBack(t *testing.T) {
	day := 24 * time.Hour
	o := newOffice(t, guest.Options{Quota: &latchkey.Quota{PerInviter: 2, InviterWindow: day, PerTarget: 2, TargetWindow: day}})
	o.invited(alice, mail(t, "c@gmail.example"))
	// What a process leaves that dies with its REGISTER on the way; and what another one has under way that shares the data base.
	const hold = 3 * time.Minute
	for i, id := range []string{"left behind", "another's"} {
		if wait, err := o.db.Spend(t.Context(), id, alice.ID(), bob, time.Now().Add(time.Duration(i-1)*hold), hold, *o.opt.Quota); err != nil || wait != 0 {
			t.Fatalf("Spend = %v, %v", wait, err)
		}
	}
	o.restart()
	if err := o.desk.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := o.invite(alice, bob); !latchkey.Is(err, latchkey.KindQuota) {
		t.Errorf("third invitation while another process has the second under way = %v, want quota", err)
	}
	if err := o.db.Refund(t.Context(), "another's"); err != nil {
		t.Fatal(err)
	}
	o.invited(alice, bob)
	if _, err := o.invite(alice, mail(t, "d@gmail.example")); !latchkey.Is(err, latchkey.KindQuota) {
		t.Errorf("third invitation of two = %v, want quota", err)
	}
}

// F18: an invitation never takes longer than its allowance counts while it is under way: a core that is too slow is a core that fails.
func TestInvitationEndsBeforeItsAllowance(t *testing.T) {
	o := newOffice(t, guest.Options{Registering: 20 * time.Millisecond, Quota: &latchkey.Quota{PerInviter: 1, InviterWindow: time.Hour}})
	o.steps.before = func(step string) error {
		if strings.HasPrefix(step, "keep") {
			<-time.After(40 * time.Millisecond) // the core takes its time
		}
		return nil
	}
	if _, err := o.invite(alice, bob); err == nil {
		t.Error("it took longer than its allowance counts, and went through")
	}
	o.consistent("too slow")
	o.steps.before = nil
	o.opt.Registering = time.Minute
	o.restart()
	o.invited(alice, bob)
}

// R30, F57: the core may name an inviter by URI or number; a stranger's leaving, or the number under a strange domain, ends nothing.
func TestInviterWhoLeftIsKnownByAnyName(t *testing.T) {
	for name, want := range map[string]int{
		"sip:a@cc.com": 1, "tel:+8613800000001": 1, "sip:+8613800000001@cc.com;user=phone": 1, "sip:+8613800000001@strange.com;user=phone": 2, "sip:A2@cc.com": 2, "sip:a@CC.com:5060;transport=tcp": 1, "sip:z@cc.com": 2,
	} {
		o := newOffice(t, guest.Options{})
		o.invited(alice, bob)
		o.invited(anna, bob)
		o.steps.clear()
		address := latchkey.MustAddress(name)
		if err := o.desk.Left(t.Context(), address); err != nil {
			t.Fatalf("Left(%s) = %v", name, err)
		}
		left, err := o.desk.Relations(t.Context(), bobsAccount)
		if err != nil || len(left) != want {
			t.Errorf("after Left(%s) %d relations stand, %v, want %d", name, len(left), err, want)
		}
		if want == 1 && !slices.Equal(o.steps.list(), []string{"close sip:a@cc.com inviter-left"}) {
			t.Errorf("Left(%s): steps %v", name, o.steps.list())
		}
	}
}
