package gateway_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

// thirdParty sends a third-party REGISTER about a user and wants 200.
func thirdParty(t *testing.T, w *gatewaytest.World, r imstest.ThirdParty) *imstest.Message {
	t.Helper()
	res, err := w.Core.ThirdParty(w.Within(gatewaytest.Patience), w.SIP, r)
	if err != nil || res.Status != 200 {
		t.Fatalf("third-party REGISTER %+v: %+v, %v, want 200", r, res, err)
	}
	return res
}

// left waits until the guest hears that Alice is gone, and why. The stream was opened while the guest could log in.
func left(t *testing.T, events *gatewaytest.Stream) {
	t.Helper()
	if line := events.Until(`"removed"`); !strings.Contains(line, gatewaytest.Alice) || !strings.Contains(line, `"inviter-left"`) {
		t.Errorf("event %s, want that Alice left", line)
	}
}

// F62, B1.02, B1.03: each form of body is taken, and the answer has the Expires that came, within the S-CSCF's 5 s.
func TestThirdPartyREGISTERIsAnsweredWithItsExpires(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	const register = "REGISTER sip:cc.com SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKx\r\nFrom: <sip:a@cc.com>;tag=1\r\nTo: <sip:a@cc.com>\r\nCall-ID: x\r\nCSeq: 1 REGISTER\r\nContact: <sip:a@10.0.0.1>;+g.oma.sip-im\r\nContent-Length: 0\r\n\r\n"
	const service = `<?xml version="1.0"?><ims-3gpp version="1"><service-info>gold</service-info></ims-3gpp>`
	for i, c := range []struct{ kind, body string }{
		{"", ""}, {"message/sip", register}, {"application/3gpp-ims+xml", service},
		{`multipart/mixed;boundary="b"`, "--b\r\nContent-Type: message/sip\r\n\r\n" + register + "\r\n--b\r\nContent-Type: application/3gpp-ims+xml\r\n\r\n" + service + "\r\n--b--\r\n"},
	} {
		begin := time.Now()
		res := thirdParty(t, w, imstest.ThirdParty{
			User: gatewaytest.Alice, Expires: 3600 + i, ContentType: c.kind, Body: c.body,
			Fields: []imstest.Field{{Name: "P-Charging-Vector", Value: `icid-value="i 1";orig-ioi="Type 3cc.com"`}, {Name: "P-Charging-Function-Addresses", Value: "ccf=192.0.2.1; ecf=192.0.2.2"}},
		})
		if got := res.Get("Expires"); got != []string{"3600", "3601", "3602", "3603"}[i] || time.Since(begin) > 5*time.Second {
			t.Errorf("%s: Expires %s after %v, want what was sent", c.kind, got, time.Since(begin))
		}
	}
	if n := w.Count(`SELECT count(*) FROM sighting WHERE identity = 'sip:a@cc.com' AND state = 'seen' AND icid = 'i 1' AND orig_ioi = 'Type 3cc.com'
		AND charging = 'ccf=192.0.2.1; ecf=192.0.2.2' AND features = '+g.oma.sip-im' AND service_info = 'gold' AND scscf LIKE 'sip:127.0.0.1:%'`); n != 1 {
		t.Error("the row does not have what was told")
	}
	// S16: what can't be read, or is not known, is refused, and nobody is gone for it.
	for kind, code := range map[string]int{"application/3gpp-ims+xml": 400, "text/plain": 415} {
		res, err := w.Core.ThirdParty(w.Within(gatewaytest.Patience), w.SIP, imstest.ThirdParty{User: gatewaytest.Alice, ContentType: kind, Body: "<!DOCTYPE x><ims-3gpp/>"})
		if err != nil || res.Status != code {
			t.Errorf("%s: %+v, %v, want %d", kind, res, err, code)
		}
	}
	if n := w.Count(`SELECT count(*) FROM sighting WHERE state = 'seen'`); n != 1 {
		t.Error("a REGISTER that was refused changed what is known")
	}
}

// F62, F63, B1.05: a REGISTER from outside of the trust domain is refused and tells nothing.
func TestREGISTERFromOutsideIsRefused(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--sip-trusted=127.0.0.9"}})
	b := w.Guest()
	for _, expires := range []int{0, 3600} {
		res, err := w.Core.ThirdParty(w.Within(gatewaytest.Patience), w.SIP, imstest.ThirdParty{User: gatewaytest.Alice, Expires: expires})
		if err != nil || res.Status != 403 {
			t.Errorf("Expires %d: %+v, %v, want 403", expires, res, err)
		}
	}
	if n := w.Rows("sighting"); n != 0 {
		t.Errorf("%d sightings, want none", n)
	}
	b.Login().Wants(200)
}

// F57, F57b, R30, B1.04, B1.06: while another contact of A's is active, a third-party REGISTER that says A is gone changes
// nothing. It is the end when the last contact is.
func TestInviterIsGoneWhenTheLastContactIs(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	b := w.Guest()
	b.Login().Wants(200)
	events := b.Stream()
	thirdParty(t, w, imstest.ThirdParty{User: gatewaytest.Alice, Expires: 3600, CallID: "t", CSeq: 1})
	if n := len(w.Core.Requests("SUBSCRIBE")); n != 0 {
		t.Errorf("%d SUBSCRIBEs while nothing is in doubt", n)
	}
	thirdParty(t, w, imstest.ThirdParty{User: gatewaytest.Alice, CallID: "t", CSeq: 2})
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return w.Count(`SELECT count(*) FROM sighting WHERE state = 'seen'`) == 1 })
	asked := w.Core.Requests("SUBSCRIBE")
	if len(asked) != 1 {
		t.Fatalf("%d SUBSCRIBEs, want one", len(asked))
	}
	m := asked[0].Request
	for name, want := range map[string]string{"Event": "reg", "Accept": "application/reginfo+xml", "P-Asserted-Identity": "<sip:latchkey@guest.example>", "Expires": "3761"} {
		if m.Get(name) != want {
			t.Errorf("SUBSCRIBE with %s: %s, want %s", name, m.Get(name), want)
		}
	}
	if m.URI != gatewaytest.Alice || !strings.Contains(m.Get("To"), gatewaytest.Alice) || !strings.Contains(m.Get("From"), "sip:latchkey@guest.example") {
		t.Errorf("SUBSCRIBE %s from %s to %s", m.URI, m.Get("From"), m.Get("To"))
	}
	// An old word that comes late changes nothing (RFC 3261 §10.3).
	thirdParty(t, w, imstest.ThirdParty{User: gatewaytest.Alice, CallID: "t", CSeq: 1})
	b.Send(gatewaytest.Alice, "still there")
	if _, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1); err != nil {
		t.Fatal(err)
	}
	if n := w.Count(`SELECT count(*) FROM relation WHERE state = 'live'`); n != 1 {
		t.Fatalf("%d live relations, want one: A has another contact", n)
	}
	if err := a.Unregister(w.Within(gatewaytest.Patience)); err != nil {
		t.Fatal(err)
	}
	left(t, events)
	imstest.Eventually(t, gatewaytest.Patience, func() bool {
		return w.Rows("relation")+w.Rows("guest")+w.Rows("registration") == 0 && len(w.Core.Bindings(gatewaytest.GuestURI)) == 0 && len(w.Core.Subscribers(gatewaytest.Alice)) == 0
	})
}

// F57: with another inviter left, the guest's account stays.
func TestGuestOfTwoStaysWhenOneInviterLeaves(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	w.Phone(gatewaytest.Carol, imstest.Manner{})
	b := w.Guest()
	w.InviteAs(gatewaytest.Carol).Wants(http.StatusCreated)
	b.Login().Wants(200)
	events := b.Stream()
	thirdParty(t, w, imstest.ThirdParty{User: gatewaytest.Alice})
	thirdParty(t, w, imstest.ThirdParty{User: gatewaytest.Carol, Expires: 600})
	left(t, events)
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return w.Rows("relation") == 1 })
	if n := len(w.Core.Bindings(gatewaytest.GuestURI)); n != 1 || w.Rows("guest") != 1 {
		t.Errorf("%d bindings and %d guests, want that the account stays", n, w.Rows("guest"))
	}
}

// B1.04: a confirmation that can't be had ends nothing; it is tried again, also after a restart.
func TestUnconfirmedLeavingEndsNothing(t *testing.T) {
	t.Parallel()
	for _, code := range []int{489, 503} {
		w := gatewaytest.New(t, gatewaytest.Plan{})
		b := w.Guest()
		b.Login().Wants(200)
		w.Core.Fault("SUBSCRIBE", &imstest.Fault{Code: code})
		thirdParty(t, w, imstest.ThirdParty{User: gatewaytest.Alice})
		imstest.Eventually(t, gatewaytest.Patience, func() bool { return strings.Contains(w.Log.String(), "registration not watched") })
		if n := w.Count(`SELECT count(*) FROM relation WHERE state = 'live'`); n != 1 {
			t.Fatalf("after %d: %d live relations, want one", code, n)
		}
		w.Stop()
		w.Core.Fault("SUBSCRIBE", nil)
		w.Start()
		imstest.Eventually(t, gatewaytest.Patience, func() bool { return w.Rows("relation")+w.Rows("guest") == 0 })
	}
}

// R30: an operator may want relations to outlive the inviter's registration.
func TestInviterLogoutMayBeTurnedOff(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--inviter-logout=keep"}})
	b := w.Guest()
	thirdParty(t, w, imstest.ThirdParty{User: gatewaytest.Alice})
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return w.Count(`SELECT count(*) FROM sighting WHERE state = 'gone'`) == 1 })
	b.Login().Wants(200)
}

// F57: where the core has no reg-event, its third-party REGISTER is believed.
func TestCoreWithoutRegEventIsBelieved(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--reg-event=none"}, Core: func(o *imstest.CoreOptions) { o.NoRegEvent = true }})
	b := w.Guest()
	b.Login().Wants(200)
	// The number is the same inviter, but not under a strange domain.
	thirdParty(t, w, imstest.ThirdParty{User: "sip:+8613800000001@elsewhere.example"})
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return w.Count(`SELECT count(*) FROM sighting WHERE state = 'gone'`) == 1 })
	events := b.Stream()
	thirdParty(t, w, imstest.ThirdParty{User: gatewaytest.AliceTel})
	left(t, events)
	if n := len(w.Core.Requests("SUBSCRIBE")); n != 0 {
		t.Errorf("%d SUBSCRIBEs left", n)
	}
}

// F26c, F34, F57, R24, B1.06, B5.02: with standing subscriptions the guest hears at once that A came, what waited goes out
// though A's side had asked for an hour, and A's leaving is the end.
func TestStandingSubscriptionTellsAtOnce(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--reg-event=standing"}})
	b := w.Guest()
	b.Login().Wants(200)
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return len(w.Core.Subscribers(gatewaytest.Alice)) == 1 })
	w.Core.Fault("INVITE", &imstest.Fault{Code: 480, Fields: []imstest.Field{{Name: "Retry-After", Value: "3600"}}})
	sent := b.Send(gatewaytest.Alice, "later")
	if _, err := w.Core.WaitRequests(w.Within(gatewaytest.Patience), "INVITE", 1); err != nil {
		t.Fatal(err)
	}
	b.Events(func(e gatewaytest.Event) bool { return e.Type == "status" && e.Status == "offline" })
	w.Core.Fault("INVITE", nil)
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	got, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1)
	if err != nil || got[0].ID != sent.ID {
		t.Fatalf("Alice got %+v, %v, want what waited", got, err)
	}
	b.Events(func(e gatewaytest.Event) bool {
		return e.Type == "status" && e.URI == gatewaytest.Alice && e.Status == "online"
	})
	events := b.Stream()
	if err := a.Unregister(w.Within(gatewaytest.Patience)); err != nil {
		t.Fatal(err)
	}
	left(t, events)
}

// B1.24: the core that throws the guest's contact out may ask for a new REGISTER, or for none until the next login.
func TestGuestThrownOutByTheCoreComesBackWhenAsked(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--reg-event=standing"}})
	b := w.Guest()
	watched := func() bool { return len(w.Core.Subscribers(gatewaytest.GuestURI)) == 1 }
	imstest.Eventually(t, gatewaytest.Patience, watched)
	w.Core.Deregister(gatewaytest.GuestURI, "deactivated")
	imstest.Eventually(t, gatewaytest.Patience, func() bool {
		return len(w.Core.Bindings(gatewaytest.GuestURI)) == 1 && watched() // the answer to the REGISTER may be on its way yet
	})
	before := len(w.Core.Requests("REGISTER"))
	w.Core.Deregister(gatewaytest.GuestURI, "rejected")
	imstest.Eventually(t, gatewaytest.Patience, func() bool {
		return w.Count(`SELECT count(*) FROM registration WHERE server = 'core' AND state = 'refused' AND due = 0`) == 1
	})
	if n := len(w.Core.Requests("REGISTER")); n != before {
		t.Errorf("%d REGISTERs after rejected, want none", n-before)
	}
	b.Login().Wants(200)
	if n := len(w.Core.Bindings(gatewaytest.GuestURI)); n != 1 {
		t.Errorf("%d bindings after the login, want one", n)
	}
}

// B3.02, B5.01: who asks for a guest by OPTIONS gets the guest's own abilities; 480 for one who is away by the operator's rule, 404
// for whom nobody knows, and for a stranger; and the gateway itself is alive.
func TestOPTIONSForGuests(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reachable string
		away      int
	}{{"always", 200}, {"stream", 480}} {
		w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--guest-reachable=" + c.reachable}})
		b := w.Guest()
		ask := func(of, by string) *imstest.Message {
			t.Helper()
			res, err := w.Core.Ask(w.Within(gatewaytest.Patience), w.SIP, of, by)
			if err != nil {
				t.Fatal(err)
			}
			return res
		}
		if got := ask(gatewaytest.GuestURI, gatewaytest.Alice).Status; got != c.away {
			t.Errorf("%s: a guest who is away gets %d, want %d", c.reachable, got, c.away)
		}
		b.Stream()
		imstest.Eventually(t, gatewaytest.Patience, func() bool { return ask(gatewaytest.GuestURI, gatewaytest.Alice).Status == 200 })
		contact := ask(gatewaytest.GuestURI, gatewaytest.Alice).Get("Contact")
		for _, tag := range []string{`+g.3gpp.iari-ref="urn%3Aurn-7%3A3gpp-application.ims.iari.rcse.im`, `+g.3gpp.icsi-ref="urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session`, "sip:b_at_cc.com@"} {
			if !strings.Contains(contact, tag) {
				t.Errorf("Contact %s, want %s in it", contact, tag)
			}
		}
		if strings.Contains(contact, "+g.oma.sip-im") {
			t.Errorf("Contact %s with +g.oma.sip-im, which OPTIONS must not have", contact)
		}
		for of, want := range map[string]int{"sip:nobody@guest.example": 404, "sip:" + w.SIP: 200} {
			if got := ask(of, gatewaytest.Alice).Status; got != want {
				t.Errorf("OPTIONS %s = %d, want %d", of, got, want)
			}
		}
		if got := ask(gatewaytest.GuestURI, gatewaytest.Stranger).Status; got != 404 {
			t.Errorf("a stranger gets %d, want 404", got)
		}
	}
}
