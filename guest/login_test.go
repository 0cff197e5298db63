package guest_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"latchkey"
	"latchkey/guest"
	"latchkey/storage"
)

// F20, R20-R22: with account and password, after core and interaction servers agreed, a guest gets the inviters and a
// token that stands for the password.
func TestLoginAsksTheCoreAndTellsTheInviters(t *testing.T) {
	o := newOffice(t, guest.Options{})
	o.invited(alice, bob)
	password := o.password()
	o.invited(anna, bob)
	for _, account := range []string{string(bobsAccount), strings.TrimPrefix(string(bobsAccount), "sip:")} {
		o.steps.clear()
		l, err := o.desk.Login(t.Context(), account, password, home)
		if err != nil {
			t.Fatalf("Login(%s) = %v", account, err)
		}
		if got := o.steps.list(); !slices.Equal(got, []string{"confirm " + string(bobsAccount)}) {
			t.Errorf("steps %v", got)
		}
		if l.Guest.Account != bobsAccount || len(l.Relations) != 2 || l.Relations[0].Inviter != alice.ID() || l.Relations[1].Inviter != anna.ID() {
			t.Errorf("login %+v", l)
		}
		if !l.Expires.Equal(l.Relations[1].Expires) || len(l.Token.Reveal()) < 26 {
			t.Errorf("expires %v, want that of the last relation", l.Expires)
		}
		if g, err := o.desk.ByToken(t.Context(), l.Token.Reveal()); err != nil || g.Account != bobsAccount {
			t.Errorf("ByToken = %v, %v", g, err)
		}
	}
	// The table holds hashes: what is in it does not let in.
	var stored string
	if err := o.db.Read().QueryRowContext(t.Context(), "SELECT hash FROM login LIMIT 1").Scan(&stored); err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{stored, "", "x"} {
		if _, err := o.desk.ByToken(t.Context(), token); !latchkey.Is(err, latchkey.KindUnauthorized) {
			t.Errorf("ByToken(%q) = %v, want unauthorized", token, err)
		}
	}
}

// R21: without the core's word nobody is in.
func TestLoginFailsWithTheCore(t *testing.T) {
	o := newOffice(t, guest.Options{})
	o.invited(alice, bob)
	password := o.password()
	o.steps.before = func(step string) error { return latchkey.Errorf(latchkey.KindCoreTimeout, "") }
	if _, err := o.desk.Login(t.Context(), string(bobsAccount), password, home); !latchkey.Is(err, latchkey.KindCoreTimeout) {
		t.Errorf("Login = %v, want core timeout", err)
	}
	if n := o.rows("login"); n != 0 {
		t.Errorf("%d logins", n)
	}
}

// tally counts what a check of a password costs: queries, and hashes that are compared.
type tally struct {
	*storage.DB
	mu      sync.Mutex
	queries int
}

func (s *tally) Guest(ctx context.Context, a latchkey.AccountID) (latchkey.Guest, error) {
	s.add()
	return s.DB.Guest(ctx, a)
}

func (s *tally) Passwords(ctx context.Context, a latchkey.AccountID, now time.Time) ([]string, []string, []bool, error) {
	s.add()
	return s.DB.Passwords(ctx, a, now)
}

func (s *tally) add() { s.mu.Lock(); defer s.mu.Unlock(); s.queries++ }

// F21: unknown account and wrong password fail alike and take the same steps; there is no SIP. Only the right password of
// an expired invitation is told so.
func TestRefusedLoginsLookAlike(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, guest.Options{Lifetime: time.Hour})
		store := &tally{DB: o.db}
		o.desk = guest.New(store, o.directory, o.registrar, conversations{o.steps}, o.opt)
		compared := 0
		o.desk.CountMatches(func() { compared++ })
		o.invited(alice, bob)
		password := o.password()
		o.steps.clear()
		refused := func(account, password string, want latchkey.Kind) error {
			t.Helper()
			store.queries, compared = 0, 0
			_, err := o.desk.Login(t.Context(), account, password, home)
			if !latchkey.Is(err, want) {
				t.Errorf("Login(%q) = %v, want %v", account, err, want)
			}
			if store.queries != 2 || compared != 1 {
				t.Errorf("Login(%q): %d queries and %d hashes, want 2 and 1", account, store.queries, compared)
			}
			return err
		}
		wrong := refused(string(bobsAccount), "wrong", latchkey.KindUnauthorized)
		for _, account := range []string{"sip:nobody@guest.example", "no address at all", "", "tel:+8613800000000"} {
			if err := refused(account, password, latchkey.KindUnauthorized); err.Error() != wrong.Error() {
				t.Errorf("Login(%q) = %v, want %v", account, err, wrong)
			}
		}
		time.Sleep(time.Hour)
		refused(string(bobsAccount), password, latchkey.KindExpired)
		if err := refused(string(bobsAccount), "wrong", latchkey.KindUnauthorized); err.Error() != wrong.Error() {
			t.Errorf("wrong password of an expired account = %v", err)
		}
		if got := o.steps.list(); len(got) != 0 {
			t.Errorf("steps %v, want no SIP", got)
		}
	})
}

// F05, S4: guesses are slowed down, other places are not.
func TestGuessesAreSlowedDown(t *testing.T) {
	o := newOffice(t, guest.Options{})
	o.invited(alice, bob)
	password := o.password()
	for range 10 {
		if _, err := o.desk.Login(t.Context(), string(bobsAccount), "guess", home); !latchkey.Is(err, latchkey.KindUnauthorized) {
			t.Fatalf("guess = %v", err)
		}
	}
	if _, err := o.desk.Login(t.Context(), string(bobsAccount), password, home); !latchkey.Is(err, latchkey.KindTooManyRequests) || latchkey.RetryAfter(err) == 0 {
		t.Errorf("eleventh = %v, want too many requests", err)
	}
	if _, err := o.desk.Login(t.Context(), string(bobsAccount), password, netip.MustParseAddr("198.51.100.7")); err != nil {
		t.Errorf("from elsewhere = %v", err)
	}
}

// A store that fails is not a wrong password.
func TestBrokenStoreIsNoWrongPassword(t *testing.T) {
	o := newOffice(t, guest.Options{})
	o.invited(alice, bob)
	password := o.password()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := o.desk.Login(ctx, string(bobsAccount), password, home); err == nil || latchkey.Is(err, latchkey.KindUnauthorized) {
		t.Errorf("Login = %v", err)
	}
}

// All relations end while the core is asked: nobody gets in.
func TestLoginThatCrossesAFarewell(t *testing.T) {
	o := newOffice(t, guest.Options{})
	v := o.invited(alice, bob)
	password := o.password()
	o.steps.before = func(step string) error {
		if strings.HasPrefix(step, "confirm") {
			return o.desk.Farewell(context.Background(), v.ID, latchkey.Withdrawn)
		}
		return nil
	}
	if _, err := o.desk.Login(t.Context(), string(bobsAccount), password, home); !latchkey.Is(err, latchkey.KindUnauthorized) {
		t.Errorf("Login = %v, want unauthorized", err)
	}
	o.nothing("after the farewell")
}

// R31: the gate opens for an inviter under each of their names, and for nobody else, in both directions.
func TestOnlyRelatedPairsMayTalk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, guest.Options{Lifetime: time.Hour})
		v := o.invited(alice, bob)
		o.invited(anna, mail(t, "c@gmail.example"))
		telOnly := latchkey.Subscriber{URI: latchkey.MustAddress("tel:+8613800000009"), Tel: "+8613800000009", State: latchkey.Active}
		o.invited(telOnly, bob)
		for peer, want := range map[string]bool{
			"sip:a@cc.com": true, "sip:a@CC.com": true, "sip:a@cc.com:5070;transport=tcp": true, "tel:+8613800000001": true, "tel:+86-138-0000-0001": true,
			"sip:+8613800000001@cc.com;user=phone": true, "tel:+8613800000009": true,
			"sip:+8613800000001@evil.example;user=phone": false, "sip:a2@cc.com": false, "sip:A@cc.com": false, "sips:a@cc.com": false, "sip:a@cc.com.evil.example": false,
			"tel:+8613800000002": false, "sip:+8613800000009@evil.example": false, "sip:cc.com": false, "sip:a%40cc.com@evil.example": false,
		} {
			rel, err := o.desk.Authorize(t.Context(), bobsAccount, latchkey.MustAddress(peer))
			if want && (err != nil || rel.Account != bobsAccount) || !want && !latchkey.Is(err, latchkey.KindNoRelation) {
				t.Errorf("Authorize(%s) = %v, %v, want %v", peer, rel.ID, err, want)
			}
		}
		if _, err := o.desk.Authorize(t.Context(), "sip:nobody@guest.example", alice.URI); !latchkey.Is(err, latchkey.KindNoRelation) {
			t.Errorf("unknown account: %v", err)
		}
		if _, err := o.desk.Authorize(t.Context(), bobsAccount, latchkey.Address{}); !latchkey.Is(err, latchkey.KindNoRelation) {
			t.Errorf("no address: %v", err)
		}
		// Asked, ending and over: no gate.
		if _, err := o.db.BeginEnding(t.Context(), []latchkey.RelationID{v.ID}, latchkey.GuestLeft); err != nil {
			t.Fatal(err)
		}
		if _, err := o.desk.Authorize(t.Context(), bobsAccount, alice.URI); !latchkey.Is(err, latchkey.KindNoRelation) {
			t.Errorf("ending: %v", err)
		}
		time.Sleep(time.Hour)
		if _, err := o.desk.Authorize(t.Context(), bobsAccount, telOnly.URI); !latchkey.Is(err, latchkey.KindNoRelation) {
			t.Errorf("over: %v", err)
		}
	})
}

// R31: while the core is still asked, there is no relation yet.
func TestNobodyIsRelatedBeforeTheCoreAgrees(t *testing.T) {
	o := newOffice(t, guest.Options{})
	o.steps.before = func(step string) error {
		if strings.HasPrefix(step, "keep") {
			if _, err := o.desk.Authorize(context.Background(), bobsAccount, alice.URI); !latchkey.Is(err, latchkey.KindNoRelation) {
				return errors.New("related too early")
			}
			if all, err := o.desk.Invitations(context.Background(), alice.ID()); err != nil || len(all) != 0 {
				return errors.New("listed too early")
			}
		}
		return nil
	}
	o.invited(alice, bob)
}

// R10: who is registered can be asked for by either name.
func TestWhoIsRegistered(t *testing.T) {
	o := newOffice(t, guest.Options{})
	if s, ok, err := o.desk.Registered(t.Context(), mail(t, anna.Email)); err != nil || !ok || s.UID != anna.UID {
		t.Errorf("Registered = %v, %v, %v", s, ok, err)
	}
	if _, ok, err := o.desk.Registered(t.Context(), bob); err != nil || ok {
		t.Errorf("Registered(guest) = %v, %v", ok, err)
	}
	if s, ok, err := o.desk.RegisteredURI(t.Context(), anna.URI); err != nil || !ok || s.UID != anna.UID {
		t.Errorf("RegisteredURI = %v, %v, %v", s, ok, err)
	}
	o.directory.err = errors.New("down")
	if _, _, err := o.desk.Registered(t.Context(), bob); err == nil {
		t.Error("a broken directory has no error")
	}
}
