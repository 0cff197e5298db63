package guest_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"latchkey"
	"latchkey/guest"
)

func mail(t *testing.T, s string) latchkey.Identifier {
	t.Helper()
	id, err := latchkey.ParseMail(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// R1-R7, R12: an invitation registers the account, and only then is there a notice with a link that lets in.
func TestInvitationLetsTheGuestIn(t *testing.T) {
	woken := 0
	o := newOffice(t, guest.Options{Notify: func() { woken++ }})
	v, err := o.desk.Invite(t.Context(), guest.InviteRequest{Inviter: alice, Identifier: bob, Name: "Bob\r\nBcc: x@y", Note: "Hi\x00\u202e there"})
	if err != nil {
		t.Fatal(err)
	}
	if v.Account != bobsAccount || !v.Created || !v.Registered || v.Notification != latchkey.NotificationQueued || v.GuestState != latchkey.GuestInvited ||
		v.Inviter != alice.ID() || v.InviterUID != alice.UID || v.InviterTel != alice.Tel || !slices.Equal(v.Interactions, []latchkey.Interaction{latchkey.IM}) {
		t.Errorf("invited %+v", v)
	}
	if got := time.Until(v.Expires); got < 167*time.Hour || got > 168*time.Hour {
		t.Errorf("expires in %v, want 168h", got)
	}
	if got := o.steps.list(); !slices.Equal(got, []string{"keep " + string(bobsAccount) + " [im]", "open sip:a@cc.com"}) {
		t.Errorf("steps %v", got)
	}
	if woken != 1 {
		t.Errorf("the courier was woken %d times", woken)
	}
	n := o.notices()
	if len(n) != 1 || n[0].Recipient != bob.Value || n[0].Relation != v.ID || n[0].GuestName != "Bob  Bcc: x@y" && n[0].GuestName != "Bob Bcc: x@y" || n[0].Note != "Hi there" || n[0].InviterName != "Alice" {
		t.Fatalf("notices %+v", n)
	}
	link, err := url.Parse(n[0].Link.Reveal())
	if err != nil || link.Scheme+"://"+link.Host != "https://chat.example" || link.Path != "/rcsgw/invitee/session/"+string(bobsAccount) || len(link.Query().Get("passwd")) < 26 {
		t.Errorf("link %v, %v", link, err)
	}
	l, err := o.desk.Login(t.Context(), string(bobsAccount), link.Query().Get("passwd"), home)
	if err != nil || len(l.Relations) != 1 || l.Relations[0].ID != v.ID {
		t.Errorf("Login = %+v, %v", l, err)
	}
	if got, err := o.desk.Invitations(t.Context(), alice.ID()); err != nil || len(got) != 1 || got[0].GuestState != latchkey.GuestOffline || !got[0].Created {
		if err != nil || len(got) != 1 || got[0].GuestState != latchkey.GuestOffline {
			t.Errorf("Invitations = %+v, %v", got, err)
		}
	}
}

// S2: in the fragment style, the password is sent to no server.
func TestLinkStyles(t *testing.T) {
	for style, sep := range map[guest.LinkStyle]string{"": "?", guest.Query: "?", guest.Fragment: "#"} {
		o := newOffice(t, guest.Options{LinkStyle: style, PublicURL: "https://chat.example/base/"})
		o.invited(alice, bob)
		link := o.notices()[0].Link.Reveal()
		if want := "https://chat.example/base/rcsgw/invitee/session/" + url.PathEscape(string(bobsAccount)) + sep + "passwd="; !strings.HasPrefix(link, want) {
			t.Errorf("%q: link %s, want %s…", style, link, want)
		}
	}
}

// F04, R3: who may not invite changes nothing and reaches nobody, under each of the three policies.
func TestInviterWhomThePolicyRefusesReachesNobody(t *testing.T) {
	with := func(level int, state latchkey.SubscriberState) latchkey.Subscriber {
		s := alice
		s.Level, s.State = level, state
		return s
	}
	for name, c := range map[string]struct {
		policy  guest.Policy
		inviter latchkey.Subscriber
		allowed bool
	}{
		"any, suspended":       {guest.Policy{Any: true}, with(0, latchkey.Suspended), true},
		"any, nobody":          {guest.Policy{Any: true}, latchkey.Subscriber{}, false},
		"valid, active":        {guest.Policy{}, with(0, latchkey.Active), true},
		"valid, suspended":     {guest.Policy{}, with(9, latchkey.Suspended), false},
		"valid, lost":          {guest.Policy{}, with(9, latchkey.Lost), false},
		"level, enough":        {guest.Policy{Level: 3}, with(3, latchkey.Active), true},
		"level, too low":       {guest.Policy{Level: 3}, with(2, latchkey.Active), false},
		"level, but suspended": {guest.Policy{Level: 3}, with(9, latchkey.Suspended), false},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t, guest.Options{Policy: c.policy})
			_, err := o.invite(c.inviter, bob)
			if c.allowed {
				if err != nil {
					t.Errorf("Invite = %v", err)
				}
				return
			}
			if !latchkey.Is(err, latchkey.KindNotAllowed) && !latchkey.Is(err, latchkey.KindUnauthorized) {
				t.Errorf("Invite = %v, want not allowed", err)
			}
			o.nothing("refused")
			if got := o.steps.list(); len(got) != 0 {
				t.Errorf("steps %v, want none", got)
			}
		})
	}
}

// F06, R10: a registered user is not invited; the inviter is told whom to write to.
func TestRegisteredUserIsNotInvited(t *testing.T) {
	o := newOffice(t, guest.Options{})
	_, err := o.invite(alice, mail(t, anna.Email))
	e, ok := errors.AsType[*latchkey.Error](err)
	if !ok || e.Kind != latchkey.KindAlreadyRegistered || e.URI != anna.URI.String() {
		t.Errorf("Invite = %v, want already registered with a URI", err)
	}
	o.nothing("registered")
	if got := o.steps.list(); len(got) != 0 {
		t.Errorf("steps %v", got)
	}
	// A directory that can't be asked is not one that says no.
	o.directory.err = errors.New("down")
	if _, err := o.invite(alice, bob); err == nil || latchkey.Is(err, latchkey.KindNotFound) {
		t.Errorf("Invite without a directory = %v", err)
	}
	o.nothing("directory down")
}

// F07, R11: another inviter of the same guest adds a relation, not an account.
func TestSecondInviterSharesTheAccount(t *testing.T) {
	o := newOffice(t, guest.Options{})
	first, second := o.invited(alice, bob), o.invited(anna, bob)
	if first.Account != second.Account || first.ID == second.ID || !second.Created {
		t.Errorf("%+v and %+v", first, second)
	}
	if o.rows("guest") != 1 || o.rows("relation") != 2 || len(o.notices()) != 2 {
		t.Errorf("%d guests, %d relations", o.rows("guest"), o.rows("relation"))
	}
}

// F08: the same invitation again gives the same relation. A new notice goes out when the last one failed or is old, and
// the old link lets in as well as the new one.
func TestSameInvitationAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, guest.Options{ResendAfter: time.Hour})
		first := o.invited(alice, bob)
		password := o.password()
		again := func(wantNotices int, when string) guest.Invited {
			t.Helper()
			v := o.invited(alice, bob)
			if v.ID != first.ID || v.Account != first.Account || v.Created {
				t.Errorf("%s: %+v, want the first relation", when, v)
			}
			if n := len(o.notices()); n != wantNotices {
				t.Errorf("%s: %d notices, want %d", when, n, wantNotices)
			}
			return v
		}
		again(0, "at once")
		time.Sleep(59 * time.Minute)
		again(0, "after 59 min")
		time.Sleep(time.Minute)
		if v := again(1, "after an hour"); !v.Expires.After(first.Expires) {
			t.Errorf("expires %v, want later than %v", v.Expires, first.Expires)
		}
		if o.rows("relation") != 1 || o.rows("guest") != 1 || o.rows("secret") != 2 {
			t.Errorf("%d relations, %d guests, %d passwords", o.rows("relation"), o.rows("guest"), o.rows("secret"))
		}
		if _, err := o.desk.Login(t.Context(), string(bobsAccount), password, home); err != nil {
			t.Errorf("Login by the first link = %v", err)
		}
		// A failed one is sent again at once.
		time.Sleep(time.Hour)
		o.invited(alice, bob)
		if err := o.db.EndNotice(t.Context(), o.notices()[0].ID, latchkey.NotificationFailed, "no such mailbox"); err != nil {
			t.Fatal(err)
		}
		again(1, "after a failure")
	})
}

// F08: parallel invitations of the same pair give one relation and one account, and one mail.
func TestParallelInvitationsOfOnePair(t *testing.T) {
	o := newOffice(t, guest.Options{})
	var mu sync.Mutex
	ids := map[latchkey.RelationID]int{}
	created := 0
	var all sync.WaitGroup
	for range 30 {
		all.Go(func() {
			v, err := o.invite(alice, bob)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			ids[v.ID]++
			if v.Created {
				created++
			}
		})
	}
	all.Wait()
	if len(ids) != 1 || created != 1 || o.rows("relation") != 1 || o.rows("guest") != 1 || len(o.notices()) != 1 {
		t.Errorf("%d relations, %d created, %d accounts", len(ids), created, o.rows("guest"))
	}
	if n := o.steps.count("keep"); n != 1 {
		t.Errorf("registered %d times, want once", n)
	}
}

// More interactions are added to the relation that stands.
func TestInteractionsAreAdded(t *testing.T) {
	o := newOffice(t, guest.Options{})
	o.invited(alice, bob)
	o.steps.clear()
	v, err := o.desk.Invite(t.Context(), guest.InviteRequest{Inviter: alice, Identifier: bob, Interactions: []latchkey.Interaction{latchkey.File, latchkey.File}})
	if err != nil || !slices.Equal(v.Interactions, []latchkey.Interaction{latchkey.IM, latchkey.File}) {
		t.Errorf("Invite = %v, %v", v.Interactions, err)
	}
	if got := o.steps.list(); !slices.Equal(got, []string{"keep " + string(bobsAccount) + " [im file]"}) {
		t.Errorf("steps %v", got)
	}
	if rel, err := o.desk.Authorize(t.Context(), bobsAccount, alice.URI); err != nil || !rel.Allows(latchkey.File) {
		t.Errorf("relation %v, %v", rel.Interactions, err)
	}
}

// F11, R9: serial accounts of parallel invitations are all different, and none is lost.
func TestSerialAccountsAreDistinct(t *testing.T) {
	n := 500 // SCENARIOS has 10,000; the counter is the same
	if testing.Short() {
		n = 50
	}
	o := newOffice(t, guest.Options{Scheme: guest.Serial})
	var mu sync.Mutex
	accounts := map[latchkey.AccountID]string{}
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			v, err := o.invite(alice, latchkey.Identifier{Kind: latchkey.Mail, Value: fmt.Sprintf("b%d@gmail.example", i)})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			accounts[v.Account] = v.Identifier.Value
		})
	}
	all.Wait()
	if len(accounts) != n || o.rows("guest") != n || o.registrar.registered() != n || len(o.notices()) != n {
		t.Errorf("%d accounts, %d guests, %d registered, want %d", len(accounts), o.rows("guest"), o.registrar.registered(), n)
	}
}

// F12: an account that the core refuses leaves nothing behind, not even in the quota.
func TestRefusedRegistrationLeavesNothing(t *testing.T) {
	for _, keep := range []bool{false, true} {
		for _, want := range []latchkey.Kind{latchkey.KindRegistrationFailed, latchkey.KindCoreTimeout} {
			o := newOffice(t, guest.Options{KeepAccount: keep})
			o.steps.before = func(step string) error {
				if strings.HasPrefix(step, "keep") {
					return latchkey.Errorf(want, "")
				}
				return nil
			}
			if _, err := o.invite(alice, bob); !latchkey.Is(err, want) {
				t.Errorf("Invite = %v, want %v", err, want)
			}
			o.nothing("refused")
			if n := o.rows("allowance"); n != 0 {
				t.Errorf("%d allowances spent for nothing", n)
			}
			if o.steps.count("open")+o.steps.count("close") != 0 {
				t.Error("the guest was told")
			}
		}
	}
}

// F12: a failed invitation to a guest who has another inviter takes nothing from that one.
func TestRefusedSecondInvitationLeavesTheFirst(t *testing.T) {
	o := newOffice(t, guest.Options{})
	first := o.invited(alice, bob)
	o.steps.before = func(step string) error {
		if strings.HasPrefix(step, "keep") {
			return latchkey.Errorf(latchkey.KindCoreTimeout, "")
		}
		return nil
	}
	if _, err := o.invite(anna, bob); err == nil {
		t.Fatal("Invite has no error")
	}
	if _, err := o.desk.Authorize(t.Context(), first.Account, alice.URI); err != nil || o.registrar.registered() != 1 || o.rows("relation") != 1 || o.rows("guest") != 1 {
		t.Errorf("Authorize = %v, %d registered, %d relations", err, o.registrar.registered(), o.rows("relation"))
	}
	if o.steps.count("drop") != 0 {
		t.Error("the standing account was deregistered")
	}
}

// The inviter hangs up in the middle: undone, too.
func TestCallerWhoLeavesLeavesNothing(t *testing.T) {
	o := newOffice(t, guest.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	o.steps.before = func(step string) error {
		if strings.HasPrefix(step, "keep") {
			cancel()
			return context.Canceled
		}
		return nil
	}
	if _, err := o.desk.Invite(ctx, guest.InviteRequest{Inviter: alice, Identifier: bob}); err == nil {
		t.Error("Invite has no error")
	}
	o.nothing("cancelled")
}

// F17: what is no identifier, and what does not fit it, sends nothing.
func TestBadRequestsSendNothing(t *testing.T) {
	o := newOffice(t, guest.Options{Channels: []latchkey.Channel{latchkey.ByMail, latchkey.BySMS}})
	tel := latchkey.Identifier{Kind: latchkey.Tel, Value: "+8613900000001"}
	for name, c := range map[string]struct {
		req  guest.InviteRequest
		want latchkey.Kind
	}{
		"nobody":          {guest.InviteRequest{Inviter: alice}, latchkey.KindBadIdentifier},
		"no inviter":      {guest.InviteRequest{Identifier: bob}, latchkey.KindUnauthorized},
		"mail to a phone": {guest.InviteRequest{Inviter: alice, Identifier: tel, Channel: latchkey.ByMail}, latchkey.KindBadRequest},
		"sms to a mail":   {guest.InviteRequest{Inviter: alice, Identifier: bob, Channel: latchkey.BySMS}, latchkey.KindBadRequest},
		"mms":             {guest.InviteRequest{Inviter: alice, Identifier: tel, Channel: latchkey.ByMMS}, latchkey.KindBadRequest},
		"interaction":     {guest.InviteRequest{Inviter: alice, Identifier: bob, Interactions: []latchkey.Interaction{"voice"}}, latchkey.KindBadRequest},
		"long name":       {guest.InviteRequest{Inviter: alice, Identifier: bob, Name: strings.Repeat("x", 81)}, latchkey.KindBadRequest},
		"long note":       {guest.InviteRequest{Inviter: alice, Identifier: bob, Note: strings.Repeat("x", 501)}, latchkey.KindBadRequest},
	} {
		c.req.Inviter.State = latchkey.Active
		if _, err := o.desk.Invite(t.Context(), c.req); !latchkey.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	o.nothing("bad requests")
	if v, err := o.desk.Invite(t.Context(), guest.InviteRequest{Inviter: alice, Identifier: tel}); err != nil || v.Account != "sip:+8613900000001@guest.example" {
		t.Errorf("by telephone: %v, %v", v.Account, err)
	}
	if n := o.notices(); len(n) != 1 || n[0].Channel != latchkey.BySMS {
		t.Errorf("notices %+v", n)
	}
}

// F18: over the quota, nothing is left behind; others are unaffected, and the wait is told.
func TestQuotaOfOneInviter(t *testing.T) {
	o := newOffice(t, guest.Options{Quota: &latchkey.Quota{PerInviter: 2, InviterWindow: time.Hour, PerTarget: 2, TargetWindow: time.Hour}})
	o.invited(alice, bob)
	o.invited(alice, mail(t, "c@gmail.example"))
	before := o.steps.count("keep")
	_, err := o.invite(alice, mail(t, "d@gmail.example"))
	if !latchkey.Is(err, latchkey.KindQuota) || latchkey.RetryAfter(err) < 50*time.Minute {
		t.Errorf("Invite = %v, after %v, want quota", err, latchkey.RetryAfter(err))
	}
	if o.rows("guest") != 2 || o.rows("relation") != 2 || o.steps.count("keep") != before {
		t.Errorf("%d guests, %d relations", o.rows("guest"), o.rows("relation"))
	}
	o.invited(anna, bob)
	third := latchkey.Subscriber{URI: latchkey.MustAddress("sip:a3@cc.com"), State: latchkey.Active}
	if _, err := o.invite(third, bob); !latchkey.Is(err, latchkey.KindQuota) {
		t.Errorf("third inviter of one target = %v, want quota", err)
	}
	o.invited(third, mail(t, "e@gmail.example"))
}

// F18: a second invitation without a notice costs nothing.
func TestRepeatWithoutANoticeIsFree(t *testing.T) {
	o := newOffice(t, guest.Options{Quota: &latchkey.Quota{PerInviter: 1, InviterWindow: time.Hour}})
	for range 3 {
		o.invited(alice, bob)
	}
	if n := o.rows("allowance"); n != 1 {
		t.Errorf("%d allowances, want 1", n)
	}
}

// An invitation to somebody whose relation is over, but not swept yet, begins anew.
func TestInvitationAfterTheEndBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, guest.Options{Lifetime: time.Hour})
		first := o.invited(alice, bob)
		time.Sleep(time.Hour)
		second := o.invited(alice, bob)
		if second.ID == first.ID || !second.Created || second.Account != first.Account {
			t.Errorf("%+v after %+v", second, first)
		}
		if got := o.steps.list(); got[2] != "close sip:a@cc.com expired" {
			t.Errorf("steps %v", got)
		}
		if o.rows("relation") != 1 || o.registrar.registered() != 1 {
			t.Errorf("%d relations, %d registered", o.rows("relation"), o.registrar.registered())
		}
	})
}

// R9, F10: an account that the directory allots keeps its SIP password until it is gone; two people never get one.
func TestAllottedAccountHasItsOwnSIPPassword(t *testing.T) {
	account := latchkey.AccountID("sip:x1@guest.example")
	o := newOffice(t, guest.Options{Scheme: guest.Allotted, Allot: func(context.Context, latchkey.Identifier) (latchkey.AccountID, latchkey.Secret, error) {
		return account, "hush", nil
	}})
	if v := o.invited(alice, bob); v.Account != account {
		t.Errorf("account %s, want %s", v.Account, account)
	}
	if got, err := o.db.SIPPassword(t.Context(), account); err != nil || got != "hush" {
		t.Errorf("SIPPassword = %q, %v", got.Reveal(), err)
	}
	if _, err := o.invite(alice, mail(t, "c@gmail.example")); !latchkey.Is(err, latchkey.KindDirectoryFailed) {
		t.Errorf("Invite with another's account = %v, want the directory's failure", err)
	}
	if err := o.db.SaveRegistration(t.Context(), latchkey.Registration{Account: account, Server: latchkey.CoreServer, State: latchkey.RegistrationLeaving}); err != nil {
		t.Fatal(err)
	}
	if err := o.desk.Logout(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	o.nothing("after logout")
	if got, err := o.db.SIPPassword(t.Context(), account); err != nil || got != "hush" {
		t.Errorf("SIPPassword while deregistering = %q, %v; the last REGISTER needs it", got.Reveal(), err)
	}
	if err := o.db.DeleteRegistration(t.Context(), account, latchkey.CoreServer); err != nil {
		t.Fatal(err)
	}
	if n := o.rows("sip_password"); n != 0 {
		t.Errorf("%d SIP passwords are left", n)
	}
}
