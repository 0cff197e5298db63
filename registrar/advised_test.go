package registrar_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey"
	"latchkey/internal/sipua"
	"latchkey/registrar"
)

// responds makes the network answer the first REGISTERs with these, in turn, and the others as a registrar.
func (n *network) responds(all ...func(*sip.Request) *sip.Response) {
	n.set(func() {
		base := len(n.heard)
		n.answer = func(_ string, req *sip.Request) (*sip.Response, error) {
			if i := len(n.heard) - 1 - base; i < len(all) {
				return all[i](req), nil
			}
			return nil, nil
		}
	})
}

func response(code int, body string, headers ...sip.Header) func(*sip.Request) *sip.Response {
	return func(req *sip.Request) *sip.Response {
		res := sip.NewResponseFromRequest(req, code, "Whatever", nil)
		for _, h := range headers {
			res.AppendHeader(h)
		}
		res.SetBody([]byte(body))
		return res
	}
}

func contactHeader(t *testing.T, uri string) sip.Header {
	t.Helper()
	var u sip.Uri
	if err := sip.ParseUri(uri, &u); err != nil {
		t.Fatal(err)
	}
	return &sip.ContactHeader{Address: u}
}

// B1.22: 305 and 302 name another hop, by which the registration then stands: it is refreshed and taken back there, and the account's requests
// go that way. A detour that fails ends with it, and the usual way is gone at once. A circle ends.
func TestRedirectedREGISTERGoesWhereItIsTold(t *testing.T) {
	const detour = "sip:127.0.0.1:5061"
	hopsOf := func(n *network, from int) (hops []string) {
		for _, h := range n.requests()[from:] {
			hops = append(hops, h.hop)
		}
		return hops
	}
	for _, code := range []int{302, 305} {
		n, store := newNetwork(t), newMemory()
		n.responds(response(code, "", contactHeader(t, "sip:x@127.0.0.1:5061")))
		r := registrar.New(store, n, options())
		if err := r.Keep(t.Context(), bob, im()); err != nil {
			t.Fatalf("%d: Keep = %v", code, err)
		}
		r = registrar.New(store, n, options()) // a restart does not forget
		if err := r.Confirm(t.Context(), bob); err != nil {
			t.Fatalf("%d: Confirm = %v", code, err)
		}
		if got, want := hopsOf(n, 0), []string{coreURI, detour, detour}; !slices.Equal(got, want) {
			t.Errorf("%d: REGISTERs at %v, want %v", code, got, want)
		}
		if hop, err := r.Hop(t.Context(), bob); err != nil || hop != detour+";lr" {
			t.Errorf("%d: Hop = %q, %v, want %s;lr", code, hop, err, detour)
		}
		if err := r.Drop(t.Context(), bob); err != nil {
			t.Fatal(err)
		}
		if got := hopsOf(n, 3); !slices.Equal(got, []string{detour}) {
			t.Errorf("%d: taken back at %v, want %s", code, got, detour)
		}
		if hop, err := r.Hop(t.Context(), bob); err != nil || hop != "" {
			t.Errorf("%d: Hop of an account that is gone = %q, %v", code, hop, err)
		}
	}
	for what, c := range map[string]struct {
		says  func(*sip.Request) (*sip.Response, error)
		usual bool
	}{
		"silence": {func(*sip.Request) (*sip.Response, error) { return nil, sipua.ErrTimeout }, true},
		"refused": {func(*sip.Request) (*sip.Response, error) { return nil, sipua.ErrTransport }, true},
		"503":     {func(req *sip.Request) (*sip.Response, error) { return response(503, "")(req), nil }, true},
		"408":     {func(req *sip.Request) (*sip.Response, error) { return response(408, "")(req), nil }, true},
		"403":     {func(req *sip.Request) (*sip.Response, error) { return response(403, "")(req), nil }, false},
	} {
		n, store := newNetwork(t), newMemory()
		n.responds(response(305, "", contactHeader(t, detour)))
		r := registrar.New(store, n, options())
		if err := r.Keep(t.Context(), bob, im()); err != nil {
			t.Fatal(err)
		}
		n.set(func() {
			n.answer = func(hop string, req *sip.Request) (*sip.Response, error) {
				if hop == detour {
					return c.says(req)
				}
				return nil, nil
			}
		})
		err, want := r.Confirm(t.Context(), bob), []string{detour}
		if c.usual {
			want = append(want, coreURI)
		}
		if got := hopsOf(n, 2); (err == nil) != c.usual || !slices.Equal(got, want) || store.row(t, latchkey.CoreServer).Hop != "" {
			t.Errorf("%s: Confirm = %v, REGISTERs at %v, want %v; then the usual way, not by %q", what, err, got, want, store.row(t, latchkey.CoreServer).Hop)
		}
	}
	n, store := newNetwork(t), newMemory()
	n.set(func() {
		n.answer = func(hop string, req *sip.Request) (*sip.Response, error) {
			to := "sip:127.0.0.1:5061"
			if hop == to {
				to = coreURI
			}
			return response(302, "", contactHeader(t, to))(req), nil
		}
	})
	if err := registrar.New(store, n, options()).Keep(t.Context(), bob, im()); !latchkey.Is(err, latchkey.KindRegistrationFailed) {
		t.Errorf("Keep in a circle = %v, want it refused", err)
	}
	if got := len(n.requests()); got > 5 {
		t.Errorf("%d REGISTERs in a circle", got)
	}
}

// B1.22: 504 with the body that asks for an initial registration gets one at once, with a Call-ID of its own; without, it is a time-out.
func TestRestorationIsAnInitialRegistration(t *testing.T) {
	const body = `<?xml version="1.0"?><ims-3gpp version="1"><alternative-service><type>restoration</type><action>initial-registration</action><reason/></alternative-service></ims-3gpp>`
	n, store := newNetwork(t), newMemory()
	r := registrar.New(store, n, options())
	if err := r.Keep(t.Context(), bob, im()); err != nil {
		t.Fatal(err)
	}
	n.responds(response(504, body, sip.NewHeader("Content-Type", "application/3gpp-ims+xml")))
	if err := r.Confirm(t.Context(), bob); err != nil {
		t.Fatalf("Confirm = %v", err)
	}
	all := n.requests()
	if len(all) != 3 || all[1].callID != all[0].callID || all[2].callID == all[0].callID || all[2].cseq != 1 {
		t.Errorf("REGISTERs %+v, want a third one with a fresh Call-ID", all)
	}
	if row := store.row(t, latchkey.CoreServer); row.CallID != all[2].callID || row.State != latchkey.Registered {
		t.Errorf("row %+v", row)
	}
	n.responds(response(504, ""))
	if err := r.Confirm(t.Context(), bob); !latchkey.Is(err, latchkey.KindRegistrationFailed) || len(n.requests()) != 4 {
		t.Errorf("Confirm = %v after %d REGISTERs, want one that failed", err, len(n.requests()))
	}
}

// B1.22, RFC 3329: 494 wants a security agreement, which is none of ours; asking again is of no use.
func TestSecurityAgreementIsFinal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, store := newNetwork(t), newMemory()
		r := registrar.New(store, n, options())
		if err := r.Keep(t.Context(), bob, im()); err != nil {
			t.Fatal(err)
		}
		n.says(494, "Security Agreement Required", sip.NewHeader("Security-Server", "ipsec-3gpp"))
		stop := run(t, r)
		if err := r.Confirm(t.Context(), bob); !latchkey.Is(err, latchkey.KindRegistrationFailed) {
			t.Errorf("Confirm = %v", err)
		}
		before := len(n.requests())
		time.Sleep(24 * time.Hour)
		if got := len(n.requests()); got != before || store.row(t, latchkey.CoreServer).State != latchkey.RegistrationRefused {
			t.Errorf("%d REGISTERs in a day after the refusal", got-before)
		}
		stop()
	})
}

// B1.20: the account is the default identity where the core lists it, else the first that is listed.
func TestDefaultPublicIdentity(t *testing.T) {
	for list, want := range map[string]string{
		"": string(bob), "<tel:+8613800000000>, <" + string(bob) + ">": string(bob), "<sip:other@guest.example>, <tel:+861>": "sip:other@guest.example",
	} {
		n := newNetwork(t)
		if list != "" {
			n.set(func() { n.extra = []sip.Header{sip.NewHeader("P-Associated-URI", list)} })
		}
		r := registrar.New(newMemory(), n, options())
		if err := r.Keep(t.Context(), bob, im()); err != nil {
			t.Fatal(err)
		}
		if got, err := r.Identity(t.Context(), bob); err != nil || got != want {
			t.Errorf("P-Associated-URI %s: Identity = %s, %v, want %s", list, got, err, want)
		}
	}
}

// B1.24: what follows from the core's throwing the account out; what is leaving stays so.
func TestLostRegistration(t *testing.T) {
	for event, want := range map[string]struct {
		state latchkey.RegistrationState
		least time.Duration
		again int
	}{
		"deactivated": {latchkey.Registered, 0, 1}, "probation": {latchkey.Registered, 100 * time.Second, 1}, "expired": {latchkey.Registered, time.Second, 1},
		"rejected":  {latchkey.RegistrationRefused, 0, 0},
		"shortened": {latchkey.Registered, 0, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			n, store := newNetwork(t), newMemory()
			r := registrar.New(store, n, options())
			if err := r.Keep(t.Context(), bob, im()); err != nil {
				t.Fatal(err)
			}
			stop := run(t, r)
			begin := time.Now()
			r.Lost(t.Context(), bob, registrar.Loss{Event: event, After: want.least, Heard: begin})
			time.Sleep(time.Hour)
			all := n.requests()[1:]
			if len(all) != want.again || store.row(t, latchkey.CoreServer).State != want.state {
				t.Errorf("%s: %d REGISTERs, row %+v", event, len(all), store.row(t, latchkey.CoreServer))
			} else if want.again > 0 && all[0].at.Sub(begin) < want.least {
				t.Errorf("%s: REGISTER after %v, want %v at least", event, all[0].at.Sub(begin), want.least)
			}
			stop()
			if err := r.Drop(t.Context(), bob); err != nil {
				t.Fatal(err)
			}
			r.Lost(t.Context(), bob, registrar.Loss{Event: "deactivated", Heard: time.Now()})
			if store.len() != 0 {
				t.Errorf("%s: a registration that was taken back came back", event)
			}
		})
	}
}

// B1.24: a rejection and a REGISTER that cross each other are put in order by the number of the REGISTER that the lost contact came of, and
// where that is not told, by the times. What the core rejected stays so if the answer to our REGISTER never comes; what it took after all is
// asked for anew.
func TestRejectionThatCrossesTheAnswerIsPutInOrder(t *testing.T) {
	const before, during, after = -time.Second, time.Second, 3 * time.Second // the REGISTER leaves at 0, its answer comes at 2 s
	for name, c := range map[string]struct {
		heard  time.Duration
		cseq   uint32 // the first REGISTER has 1, the one that is crossed 2
		callID string
		silent bool // the crossed one gets no answer
		found  bool // at last the core says that the contact is there
		want   latchkey.RegistrationState
	}{
		"of the crossed REGISTER":             {heard: during, cseq: 2, want: latchkey.RegistrationRefused},
		"of the crossed REGISTER, heard late": {heard: after, cseq: 2, want: latchkey.RegistrationRefused},
		"of the one before":                   {heard: during, cseq: 1, want: latchkey.Registered},
		"of the one before, heard late":       {heard: after, cseq: 1, want: latchkey.Registered},
		"heard first":                         {heard: before, want: latchkey.Registered},
		"heard meanwhile":                     {heard: during, want: latchkey.RegistrationRefused},
		"another's Call-ID":                   {heard: during, cseq: 1, callID: "border", want: latchkey.RegistrationRefused},
		"heard meanwhile, but taken":          {heard: during, found: true, want: latchkey.Registered},
		"found without a loss":                {heard: before, found: true, want: latchkey.Registered},
		"no answer, of that":                  {heard: during, cseq: 2, silent: true, want: latchkey.RegistrationRefused},
		"no answer, of the one before":        {heard: during, cseq: 1, silent: true, want: latchkey.RegistrationRefused},
		"no answer, heard first":              {heard: before, silent: true, want: latchkey.RegistrationRefused},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, store := newNetwork(t), newMemory()
				r := registrar.New(store, n, options())
				if err := r.Keep(t.Context(), bob, im()); err != nil {
					t.Fatal(err)
				}
				defer run(t, r)()
				loss := registrar.Loss{Event: "rejected", CSeq: c.cseq, CallID: n.requests()[0].callID}
				if c.callID != "" {
					loss.CallID = c.callID
				}
				n.set(func() { n.delay = 2 * time.Second })
				if c.silent {
					n.set(func() { n.answer = func(string, *sip.Request) (*sip.Response, error) { return nil, errSilent } })
				}
				time.Sleep(time.Minute)
				if c.heard < 0 {
					loss.Heard = time.Now()
					time.Sleep(-c.heard)
				}
				login := make(chan error, 1)
				go func() { login <- r.Confirm(t.Context(), bob) }()
				time.Sleep(max(c.heard, during))
				if c.heard > 0 {
					loss.Heard = time.Now()
				}
				r.Lost(t.Context(), bob, loss) // waits for its turn
				if err := <-login; (err != nil) != c.silent {
					t.Fatalf("Confirm = %v", err)
				}
				n.answers()
				if c.found {
					r.Lost(t.Context(), bob, registrar.Loss{Heard: time.Now()})
				}
				before := len(n.requests())
				time.Sleep(2 * time.Hour)
				again := 0
				if c.found && c.heard > 0 {
					again = 1
				}
				if got := store.row(t, latchkey.CoreServer).State; got != c.want || len(n.requests())-before != again {
					t.Errorf("state %s and %d REGISTERs, want %s and %d", got, len(n.requests())-before, c.want, again)
				}
			})
		})
	}
}

// F16, B1.01, B1.09: without registrations nothing is sent, and the S-CSCF is the one that is known best.
func TestUnregisteredGuests(t *testing.T) {
	store := newMemory()
	_ = store.SaveRegistration(t.Context(), latchkey.Registration{Account: bob, Server: latchkey.CoreServer})
	seen := ""
	hop := func(scscf string) string {
		u := registrar.NewUnregistered(store, coreURI, scscf, func(_ context.Context, _ latchkey.AccountID) (string, error) { return seen, nil })
		for what, err := range map[string]error{"Keep": u.Keep(t.Context(), bob, im()), "Ensure": u.Ensure(t.Context(), bob, latchkey.IM), "Confirm": u.Confirm(t.Context(), bob), "Drop": u.Drop(t.Context(), bob)} {
			if err != nil {
				t.Errorf("%s = %v", what, err)
			}
		}
		got, err := u.Hop(t.Context(), bob)
		if err != nil {
			t.Errorf("Hop = %v", err)
		}
		return got
	}
	for _, c := range []struct{ scscf, seen, want string }{
		{"", "", "sip:127.0.0.1:5060;lr;orig"}, {"", "sip:odi-7@127.0.0.7:6060;transport=tcp", "sip:127.0.0.7:6060;transport=tcp;lr;orig"},
		{"sip:scscf.cc.com;lr;orig", "sip:127.0.0.7", "sip:scscf.cc.com;lr;orig"}, {"", "tel:+1", "sip:127.0.0.1:5060;lr;orig"},
	} {
		if seen = c.seen; hop(c.scscf) != c.want {
			t.Errorf("configured %q, seen %q: %s, want %s", c.scscf, c.seen, hop(c.scscf), c.want)
		}
	}
	if store.len() != 0 {
		t.Error("Drop leaves the row of a former registration")
	}
}
