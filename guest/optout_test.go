package guest_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"latchkey"
	"latchkey/guest"
	"latchkey/imstest"
)

// tokenOf is the account and the token of an opt-out link.
func tokenOf(t *testing.T, link string) (account, token string) {
	t.Helper()
	u, err := url.Parse(link)
	if err != nil {
		t.Fatal(err)
	}
	_, account, _ = strings.Cut(u.Path, "/optout/")
	return account, u.Query().Get("token")
}

// sent lists the notices that an inviter believes to be on their way, and what is in the outbox for the courier.
func (o *office) sent() (states []latchkey.NotificationState, waiting int) {
	o.t.Helper()
	for _, who := range []latchkey.Subscriber{alice, anna} {
		all, err := o.desk.Invitations(o.t.Context(), who.ID())
		if err != nil {
			o.t.Fatal(err)
		}
		for _, v := range all {
			states = append(states, v.Notification)
		}
	}
	return states, len(o.notices())
}

// F18, X8, S10: who opted out by the link's token is written to by nobody any more, all relations end, and an inviter
// who tries sees what anybody sees. The token outlives account and relations, and lets back in.
func TestOptedOutPersonIsLeftAlone(t *testing.T) {
	o := newOffice(t, guest.Options{ResendAfter: time.Nanosecond})
	o.invited(alice, bob)
	usual := o.invited(anna, bob)
	link, err := o.desk.OptOutLink(t.Context(), bobsAccount, bob)
	if err != nil {
		t.Fatal(err)
	}
	account, token := tokenOf(t, link)
	for _, wrong := range []struct{ account, token string }{{account, token[1:]}, {account, "x" + token[1:]}, {account, ""}, {"sip:c@guest.example", token}, {account, strings.Repeat("0", len(token))}} {
		if err := o.desk.OptOutByToken(t.Context(), wrong.account, wrong.token); !latchkey.Is(err, latchkey.KindUnauthorized) {
			t.Errorf("OptOutByToken(%v) = %v, want unauthorized", wrong, err)
		}
	}
	if n := o.rows("relation"); n != 2 {
		t.Fatalf("%d relations after wrong tokens, want 2", n)
	}
	for range 2 { // once more is no error
		if err := o.desk.OptOutByToken(t.Context(), account, token); err != nil {
			t.Fatalf("OptOutByToken = %v", err)
		}
	}
	if o.rows("relation")+o.rows("guest")+o.rows("outbox") != 0 || o.registrar.registered() != 0 {
		t.Errorf("%d relations, %d guests, %d notices are left", o.rows("relation"), o.rows("guest"), o.rows("outbox"))
	}
	if n := o.steps.count("close " + string(alice.ID()) + " " + string(latchkey.GuestOptedOut)); n != 1 {
		t.Errorf("steps %v, want one end of Alice's relation", o.steps.list())
	}
	var person string
	if err := o.db.Read().QueryRowContext(t.Context(), "SELECT person || holder FROM opt_out").Scan(&person); err != nil || strings.Contains(person, "gmail") || len(person) != 128 {
		t.Errorf("the list holds %q, %v, want hashes", person, err)
	}
	for range 2 { // the first time, and again
		got := o.invited(anna, bob)
		if got.Account != usual.Account || got.Notification != usual.Notification || got.Registered != usual.Registered || got.GuestState != usual.GuestState {
			t.Errorf("anna is told %+v, want what she was told before: %+v", got, usual)
		}
		if states, waiting := o.sent(); waiting != 0 || len(states) != 1 || states[0] != latchkey.NotificationSent {
			t.Errorf("states %v, %d notices wait; want one that looks sent and none that goes", states, waiting)
		}
	}
	if n := o.rows("secret WHERE relation IN (SELECT id FROM relation)"); n != 0 {
		t.Errorf("%d passwords of an invitation that nobody gets", n)
	}
	o.restart()
	if err := o.desk.OptInByToken(t.Context(), account, token); err != nil {
		t.Fatalf("OptInByToken = %v", err)
	}
	o.invited(alice, bob)
	if _, waiting := o.sent(); waiting != 1 {
		t.Errorf("%d notices after the person opted in, want one", waiting)
	}
}

// X8: the password of the link does the same, may be repeated, and is good for the way back, though it lets nobody in.
func TestPasswordOptsOutAndIn(t *testing.T) {
	o := newOffice(t, guest.Options{OptedOut: guest.Refuse})
	o.invited(alice, bob)
	password := o.password()
	if err := o.desk.OptOutByPassword(t.Context(), string(bobsAccount), "wrong", home); !latchkey.Is(err, latchkey.KindUnauthorized) {
		t.Errorf("a wrong password: %v", err)
	}
	if err := o.desk.OptInByPassword(t.Context(), string(bobsAccount), "wrong", home); !latchkey.Is(err, latchkey.KindUnauthorized) {
		t.Errorf("a wrong password opts in: %v", err)
	}
	for range 2 {
		if err := o.desk.OptOutByPassword(t.Context(), string(bobsAccount), password, home); err != nil {
			t.Fatalf("OptOutByPassword = %v", err)
		}
	}
	if _, err := o.desk.Login(t.Context(), string(bobsAccount), password, home); !latchkey.Is(err, latchkey.KindExpired) {
		t.Errorf("Login = %v, want expired", err)
	}
	// F18: the operator chose to refuse.
	if _, err := o.invite(anna, bob); !latchkey.Is(err, latchkey.KindNotAllowed) {
		t.Errorf("Invite = %v, want not allowed", err)
	}
	if n := o.rows("guest"); n != 0 {
		t.Errorf("%d guests after a refusal, want none", n)
	}
	if err := o.desk.OptInByPassword(t.Context(), string(bobsAccount), password, home); err != nil {
		t.Fatalf("OptInByPassword = %v", err)
	}
	o.invited(anna, bob)
}

// X8: STOP opts the number out, also one that nobody has invited yet, and no other.
func TestNumberOptsOutBeforeAnybodyInvites(t *testing.T) {
	o := newOffice(t, guest.Options{OptedOut: guest.Refuse, Channels: []latchkey.Channel{latchkey.ByMail, latchkey.BySMS}})
	number := latchkey.Identifier{Kind: latchkey.Tel, Value: "+8613800000009"}
	if err := o.desk.OptOut(t.Context(), number); err != nil {
		t.Fatal(err)
	}
	if _, err := o.invite(alice, number); !latchkey.Is(err, latchkey.KindNotAllowed) {
		t.Errorf("Invite = %v, want not allowed", err)
	}
	o.invited(alice, bob)
	o.invited(alice, latchkey.Identifier{Kind: latchkey.Tel, Value: "+8613800000008"})
}

// X8: the invitation that is under way when the person opts out ends with the others.
func TestOptOutMeetsInvitationThatIsUnderWay(t *testing.T) {
	o := newOffice(t, guest.Options{})
	out := make(chan error, 1)
	o.steps.before = func(step string) error {
		if strings.HasPrefix(step, "keep") {
			go func() { out <- o.desk.OptOut(t.Context(), bob) }() // waits for the turn
			imstest.Eventually(t, 20*time.Second, func() bool { return o.rows("opt_out") == 1 })
		}
		return nil
	}
	o.invited(alice, bob)
	if err := <-out; err != nil {
		t.Fatal(err)
	}
	o.steps.before = nil
	if _, waiting := o.sent(); waiting != 0 || o.rows("relation") != 0 {
		t.Errorf("%d notices wait and %d relations stand for who opted out", waiting, o.rows("relation"))
	}
}

// S10: who may be invited is the operator's word, however a domain is spelt, and what is denied stays denied.
func TestTargetsAreAllowedAndDenied(t *testing.T) {
	targets := func(all ...string) (out []guest.Target) {
		for _, s := range all {
			v, err := guest.ParseTarget(s)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, v)
		}
		return out
	}
	for _, s := range []string{"", "+", "+86x", "86", "cc.com", "@", "@a b", "*cc.com", "*.", "b@cc.com"} {
		if v, err := guest.ParseTarget(s); err == nil {
			t.Errorf("ParseTarget(%q) = %q, want an error", s, v)
		}
	}
	for _, c := range []struct {
		targets guest.Targets
		yes, no []string
	}{
		{guest.Targets{}, []string{"b@cc.com", "+8613800000000"}, nil},
		{guest.Targets{Deny: targets("+86", "@Evil.Example", "*.evil.example", "@bücher.example")},
			[]string{"b@cc.com", "+4930123456", "b@notevil.example", "evil.example@cc.com"},
			[]string{"+8613800000000", "b@evil.example", "b@EVIL.example", "b@a.b.evil.example", "b@xn--bcher-kva.example", "b@bücher.example"}},
		{guest.Targets{Allow: targets("+49", "@cc.com"), Deny: targets("+4911")}, []string{"b@cc.com", "+4930123456"}, []string{"+4911123456", "b@x.cc.com", "+8613800000000", "b@gmail.example"}},
	} {
		for want, all := range map[bool][]string{true: c.yes, false: c.no} {
			for _, s := range all {
				id, err := latchkey.ParseIdentifier(s)
				if err != nil {
					t.Fatal(err)
				}
				if got := c.targets.Allows(id); got != want {
					t.Errorf("%+v allows %s: %v, want %v", c.targets, s, got, want)
				}
			}
		}
	}
	o := newOffice(t, guest.Options{Targets: guest.Targets{Deny: targets("@gmail.example")}})
	if _, err := o.invite(alice, bob); !latchkey.Is(err, latchkey.KindNotAllowed) || len(o.steps.list()) != 0 {
		t.Errorf("Invite = %v after %v, want it refused before anything", err, o.steps.list())
	}
}

// S10: after an invitation has failed for good nobody writes to that target for a while; others are written to.
func TestFailedTargetRestsForAll(t *testing.T) {
	o := newOffice(t, guest.Options{Quota: &latchkey.Quota{CoolDown: time.Hour}})
	o.invited(alice, bob)
	id := o.notices()[0].ID
	if err := o.db.EndNotice(t.Context(), id, latchkey.NotificationFailed, "there is no such mailbox"); err != nil {
		t.Fatal(err)
	}
	for _, who := range []latchkey.Subscriber{alice, anna} {
		if _, err := o.invite(who, bob); !latchkey.Is(err, latchkey.KindQuota) || latchkey.RetryAfter(err) < 50*time.Minute || latchkey.RetryAfter(err) > time.Hour {
			t.Errorf("Invite by %s = %v, %v, want the quota with almost an hour", who.Name, err, latchkey.RetryAfter(err))
		}
	}
	o.invited(alice, latchkey.Identifier{Kind: latchkey.Mail, Value: "c@gmail.example"})
}

// F18, S10: there is a limit to all invitations together.
func TestQuotaInTotal(t *testing.T) {
	o := newOffice(t, guest.Options{Quota: &latchkey.Quota{Total: 2, TotalWindow: time.Hour}})
	o.invited(alice, bob)
	o.invited(anna, latchkey.Identifier{Kind: latchkey.Mail, Value: "c@gmail.example"})
	if _, err := o.invite(alice, latchkey.Identifier{Kind: latchkey.Mail, Value: "d@gmail.example"}); !latchkey.Is(err, latchkey.KindQuota) || latchkey.RetryAfter(err) < 50*time.Minute {
		t.Errorf("third invitation: %v", err)
	}
}

// R8, S10: two who invite the same person within the time are one notice that names both. Its link is good for as long as
// one of the relations stands, and each inviter is told what became of it.
func TestInvitersOfOnePersonShareTheNotice(t *testing.T) {
	o := newOffice(t, guest.Options{Merge: time.Minute})
	o.invited(alice, bob)
	o.invited(anna, bob)
	o.invited(anna, latchkey.Identifier{Kind: latchkey.Mail, Value: "c@gmail.example"})
	if early := o.notices(); len(early) != 0 {
		t.Fatalf("%d notices before their time", len(early))
	}
	claim := func() []latchkey.Notice {
		t.Helper()
		all, err := o.db.ClaimNotices(t.Context(), latchkey.ByMail, time.Now().Add(2*time.Minute), time.Now().Add(3*time.Minute), 10)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	all := claim()
	if len(all) != 2 {
		t.Fatalf("%d notices, want one for each person", len(all))
	}
	n := all[0]
	if n.Recipient != bob.Value {
		n = all[1]
	}
	if n.Inviter != alice.ID() || len(n.Beside) != 1 || n.Beside[0].Inviter != anna.ID() || n.Beside[0].InviterName != "Anna" {
		t.Fatalf("notice %+v, want Alice's with Anna beside", n)
	}
	_, password, _ := strings.Cut(n.Link.Reveal(), "passwd=")
	if err := o.db.RetryNotice(t.Context(), n.ID, time.Now().Add(time.Hour), "later"); err != nil {
		t.Fatal(err)
	}
	reasons := func() (got string) {
		for _, who := range []latchkey.Subscriber{alice, anna} {
			v, err := o.desk.Invitations(t.Context(), who.ID())
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range v {
				if i.Identifier == bob {
					got += who.Name + " " + string(i.Notification) + " " + i.Reason + ";"
				}
			}
		}
		return got
	}
	if got := reasons(); got != "Alice queued later;Anna queued later;" {
		t.Errorf("inviters are told %q", got)
	}
	// Alice takes hers back before it went: Anna's goes, with the same link.
	if err := o.desk.Withdraw(t.Context(), alice.ID(), bobsAccount); err != nil {
		t.Fatal(err)
	}
	all, err := o.db.ClaimNotices(t.Context(), latchkey.ByMail, time.Now().Add(2*time.Hour), time.Now().Add(3*time.Hour), 10)
	if err != nil {
		t.Fatal(err)
	}
	var heir latchkey.Notice
	for _, v := range all {
		if v.Recipient == bob.Value {
			heir = v
		}
	}
	if heir.Inviter != anna.ID() || heir.Link.Reveal() != n.Link.Reveal() || len(heir.Beside) != 0 {
		t.Fatalf("notice %+v, want Anna's with the link", heir)
	}
	if err := o.db.EndNotice(t.Context(), heir.ID, latchkey.NotificationSent, ""); err != nil {
		t.Fatal(err)
	}
	if got := reasons(); got != "Anna sent ;" {
		t.Errorf("inviters are told %q", got)
	}
	if l, err := o.desk.Login(t.Context(), string(bobsAccount), password, home); err != nil || len(l.Relations) != 1 {
		t.Errorf("Login = %+v, %v", l, err)
	}
}

// What has been claimed names nobody else: a second message goes (F07).
func TestClaimedNoticeIsNotJoined(t *testing.T) {
	o := newOffice(t, guest.Options{Merge: time.Nanosecond})
	o.invited(alice, bob)
	if n := len(o.notices()); n != 1 {
		t.Fatalf("%d notices", n)
	}
	o.invited(anna, bob)
	if all := o.notices(); len(all) != 1 || all[0].Inviter != anna.ID() {
		t.Errorf("notices %+v, want Anna's own", all)
	}
}
