package registrar_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey"
	"latchkey/registrar"
)

// F01, B1.20: what the REGISTER looks like.
func TestKeepSendsTheAccountsREGISTER(t *testing.T) {
	n, store := newNetwork(t), newMemory()
	opt := options()
	opt.Tags = sip.HeaderParams{{K: "+g.oma.sip-im", V: ""}}
	r := registrar.New(store, n, opt)
	if err := r.Keep(t.Context(), bob, im()); err != nil {
		t.Fatalf("Keep = %v", err)
	}
	all := n.requests()
	if len(all) != 1 {
		t.Fatalf("%d requests, want 1: the core is the IM server", len(all))
	}
	req := all[0].request
	for _, c := range []struct{ what, got, want string }{
		{"R-URI", req.Recipient.String(), "sip:guest.example"},
		{"From", req.From().Address.String(), string(bob)},
		{"To", req.To().Value(), "<" + string(bob) + ">"},
		{"Route", req.GetHeader("Route").Value(), "<sip:127.0.0.1:5060;lr>"},
		{"Contact", req.Contact().Value(), "<sip:b_at_cc.com@127.0.0.1:5080>;+g.oma.sip-im"},
		{"Expires", req.GetHeader("Expires").Value(), "600000"},
		{"Supported", req.GetHeader("Supported").Value(), "path"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %s, want %s", c.what, c.got, c.want)
		}
	}
	if tag, _ := req.From().Params.Get("tag"); tag == "" {
		t.Error("From has no tag")
	}
}

// F01, F09: the core first, then the server of each interaction, one REGISTER for each place.
func TestKeepRegistersAtTheCoreAndThenAtEachServer(t *testing.T) {
	const fileURI = "sip:127.0.0.1:5090;transport=tcp"
	for _, c := range []struct {
		name         string
		interactions []latchkey.Interaction
		im, file     string
		want         []string
	}{
		{"im", []latchkey.Interaction{latchkey.IM}, imURI, fileURI, []string{coreURI, imURI}},
		{"file", []latchkey.Interaction{latchkey.File}, imURI, fileURI, []string{coreURI, fileURI}},
		{"both", []latchkey.Interaction{latchkey.IM, latchkey.File}, imURI, fileURI, []string{coreURI, imURI, fileURI}},
		{"both at one server", []latchkey.Interaction{latchkey.File, latchkey.IM}, imURI, imURI, []string{coreURI, imURI}},
		{"file at the core", []latchkey.Interaction{latchkey.IM, latchkey.File}, imURI, "", []string{coreURI, imURI}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNetwork(t)
			opt := options()
			opt.IMServer, opt.FileServer = c.im, c.file
			r := registrar.New(newMemory(), n, opt)
			if err := r.Keep(t.Context(), bob, c.interactions); err != nil {
				t.Fatalf("Keep = %v", err)
			}
			var hops []string
			for _, h := range n.requests() {
				hops = append(hops, h.hop)
			}
			if hops[0] != coreURI {
				t.Errorf("first REGISTER went to %s, want the core", hops[0])
			}
			slices.Sort(hops)
			want := slices.Sorted(slices.Values(c.want))
			if !slices.Equal(hops, want) {
				t.Errorf("REGISTERs at %v, want %v", hops, want)
			}
		})
	}
}

// F07, F08: a guest who stands registered is not registered again.
func TestSecondInviteSendsNoREGISTER(t *testing.T) {
	n := newNetwork(t)
	opt := options()
	opt.IMServer = imURI
	r := registrar.New(newMemory(), n, opt)
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			if err := r.Keep(t.Context(), bob, im()); err != nil {
				t.Errorf("Keep = %v", err)
			}
		})
	}
	all.Wait()
	if got := len(n.requests()); got != 2 {
		t.Errorf("%d REGISTERs for five invites, want 2", got)
	}
}

// F12: 403 is final, the invite fails and leaves no row.
func TestRefusedAccountLeavesNothing(t *testing.T) {
	n, store := newNetwork(t), newMemory()
	n.says(403, "Forbidden")
	r := registrar.New(store, n, options())
	err := r.Keep(t.Context(), bob, im())
	if !latchkey.Is(err, latchkey.KindRegistrationFailed) {
		t.Errorf("Keep = %v, want %v", err, latchkey.KindRegistrationFailed)
	}
	if len(n.requests()) != 1 || store.len() != 0 {
		t.Errorf("%d requests and %d rows, want 1 and 0", len(n.requests()), store.len())
	}
}

// F12, B1.22: 423 is answered with a REGISTER that asks for Min-Expires, and so are refreshes.
func TestTooBriefIntervalIsRaised(t *testing.T) {
	n, store := newNetwork(t), newMemory()
	n.set(func() {
		n.answer = func(_ string, req *sip.Request) (*sip.Response, error) {
			if req.GetHeader("Expires").Value() != "600" {
				return nil, nil
			}
			res := sip.NewResponseFromRequest(req, 423, "Interval Too Brief", nil)
			res.AppendHeader(sip.NewHeader("Min-Expires", "1800"))
			return res, nil
		}
	})
	opt := options()
	opt.Expires = 600 * time.Second
	r := registrar.New(store, n, opt)
	if err := r.Keep(t.Context(), bob, im()); err != nil {
		t.Fatalf("Keep = %v", err)
	}
	if err := r.Confirm(t.Context(), bob); err != nil {
		t.Fatalf("Confirm = %v", err)
	}
	var asked []time.Duration
	for _, h := range n.requests() {
		asked = append(asked, h.expires)
	}
	if want := []time.Duration{600 * time.Second, 1800 * time.Second, 1800 * time.Second}; !slices.Equal(asked, want) {
		t.Errorf("asked for %v, want %v", asked, want)
	}

	// A server that repeats the same 423 must not be asked for ever.
	n.says(423, "Interval Too Brief", sip.NewHeader("Min-Expires", "1800"))
	if err := r.Confirm(t.Context(), bob); !latchkey.Is(err, latchkey.KindRegistrationFailed) {
		t.Errorf("Confirm = %v, want %v", err, latchkey.KindRegistrationFailed)
	}
	if got := len(n.requests()); got != 4 {
		t.Errorf("%d requests, want 4", got)
	}
}

// F12: after 503 with Retry-After the server is left alone until then, by everybody.
func TestServerThatAsksToWaitIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, store := newNetwork(t), newMemory()
		n.says(503, "Service Unavailable", sip.NewHeader("Retry-After", "5 (restarting);duration=60"))
		r := registrar.New(store, n, options())
		err := r.Keep(t.Context(), bob, im())
		if !latchkey.Is(err, latchkey.KindRegistrationFailed) || latchkey.RetryAfter(err) != 5*time.Second {
			t.Errorf("Keep = %v, Retry-After %v, want 5s", err, latchkey.RetryAfter(err))
		}
		if store.len() != 0 {
			t.Errorf("%d rows, want 0", store.len())
		}
		n.answers()
		time.Sleep(4 * time.Second)
		err = r.Keep(t.Context(), "sip:other@guest.example", im())
		if !latchkey.Is(err, latchkey.KindRegistrationFailed) || latchkey.RetryAfter(err) != time.Second {
			t.Errorf("Keep = %v, Retry-After %v, want 1s", err, latchkey.RetryAfter(err))
		}
		if got := len(n.requests()); got != 1 {
			t.Fatalf("%d requests within the 5 s, want 1", got)
		}
		time.Sleep(time.Second)
		if err := r.Keep(t.Context(), bob, im()); err != nil {
			t.Errorf("Keep after 5 s = %v", err)
		}
	})
}

// R5: silence is told apart from refusal. The core may have heard us, so the registration
// is taken back as soon as it answers.
func TestSilentCoreFailsTheInviteAndIsTidiedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, store := newNetwork(t), newMemory()
		n.set(func() {
			n.answer = func(string, *sip.Request) (*sip.Response, error) { return nil, errSilent }
		})
		r := registrar.New(store, n, options())
		defer run(t, r)()
		start := time.Now()
		if err := r.Keep(t.Context(), bob, im()); !latchkey.Is(err, latchkey.KindCoreTimeout) {
			t.Errorf("Keep = %v, want %v", err, latchkey.KindCoreTimeout)
		}
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("Keep took %v, want 10s", took)
		}
		if got := store.row(t, latchkey.CoreServer).State; got != latchkey.RegistrationLeaving {
			t.Errorf("state %s, want %s", got, latchkey.RegistrationLeaving)
		}
		n.answers()
		time.Sleep(2 * time.Minute)
		all := n.requests()
		if last := all[len(all)-1]; len(all) != 2 || last.expires != 0 || store.len() != 0 {
			t.Errorf("%d requests, last with Expires %v, %d rows; want 2, 0, 0", len(all), last.expires, store.len())
		}
		if err := r.Confirm(t.Context(), bob); !latchkey.Is(err, latchkey.KindRegistrationFailed) {
			t.Errorf("Confirm of an account that isn't kept = %v", err)
		}
	})
}

// F13, F27: an IM server that is down does not stop the invite; the account is registered there
// when it is needed, or when the server is back.
func TestInteractionServerMayComeLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, store := newNetwork(t), newMemory()
		n.set(func() {
			n.answer = func(hop string, req *sip.Request) (*sip.Response, error) {
				if hop == imURI {
					return nil, errSilent
				}
				return nil, nil
			}
		})
		opt := options()
		opt.IMServer = imURI
		r := registrar.New(store, n, opt)
		start := time.Now()
		if err := r.Keep(t.Context(), bob, im()); err != nil {
			t.Fatalf("Keep = %v, want nil though the IM server is down", err)
		}
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("Keep took %v", took)
		}
		if err := r.Ensure(t.Context(), bob, latchkey.IM); !latchkey.Is(err, latchkey.KindCoreTimeout) {
			t.Errorf("Ensure = %v, want %v", err, latchkey.KindCoreTimeout)
		}
		n.answers()
		if err := r.Ensure(t.Context(), bob, latchkey.IM); err != nil {
			t.Errorf("Ensure = %v", err)
		}
		before := len(n.requests())
		if err := r.Ensure(t.Context(), bob, latchkey.IM); err != nil || len(n.requests()) != before {
			t.Errorf("second Ensure = %v with %d requests, want none", err, len(n.requests())-before)
		}
		if n.registered() != 2 {
			t.Errorf("registered at %d servers, want 2", n.registered())
		}
		// An interaction type that was not among those of the invite.
		if err := r.Ensure(t.Context(), bob, latchkey.File); err != nil || len(n.requests()) != before {
			t.Errorf("Ensure file at the core = %v with %d requests, want none", err, len(n.requests())-before)
		}
	})
}

// F13: nobody needs to ask: Run goes on trying.
func TestRunRegistersAtAnInteractionServerThatComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, store := newNetwork(t), newMemory()
		n.set(func() {
			n.answer = func(hop string, req *sip.Request) (*sip.Response, error) {
				if hop == imURI {
					return sip.NewResponseFromRequest(req, 500, "Server Internal Error", nil), nil
				}
				return nil, nil
			}
		})
		opt := options()
		opt.IMServer = imURI
		r := registrar.New(store, n, opt)
		defer run(t, r)()
		if err := r.Keep(t.Context(), bob, im()); err != nil {
			t.Fatalf("Keep = %v", err)
		}
		n.answers()
		time.Sleep(61 * time.Second)
		if b := store.row(t, "im"); b.State != latchkey.Registered || b.Failures != 0 {
			t.Errorf("state %s, %d failures, want %s", b.State, b.Failures, latchkey.Registered)
		}
	})
}

// F20, R21: a login is a REGISTER with digest at the core and at the IM server; both must agree.
func TestLoginIsConfirmedByCoreAndIMServer(t *testing.T) {
	n, store := newNetwork(t), newMemory()
	n.password = "s3cret"
	opt := options()
	opt.IMServer = imURI
	opt.Auth, _ = registrar.ParseAuth("shared:s3cret")
	r := registrar.New(store, n, opt)
	if err := r.Keep(t.Context(), bob, im()); err != nil {
		t.Fatalf("Keep = %v", err)
	}
	n.set(func() { n.heard = nil })
	if err := r.Confirm(t.Context(), bob); err != nil {
		t.Fatalf("Confirm = %v", err)
	}
	var hops []string
	for _, h := range n.requests() {
		hops = append(hops, h.hop)
	}
	if want := []string{coreURI, coreURI, imURI, imURI}; !slices.Equal(hops, want) { // 401 and 200 at each
		t.Errorf("REGISTERs at %v, want %v", hops, want)
	}
	n.set(func() {
		n.answer = func(hop string, req *sip.Request) (*sip.Response, error) {
			if hop == imURI {
				return sip.NewResponseFromRequest(req, 403, "Forbidden", nil), nil
			}
			return nil, nil
		}
	})
	if err := r.Confirm(t.Context(), bob); !latchkey.Is(err, latchkey.KindRegistrationFailed) {
		t.Errorf("Confirm that the IM server refuses = %v, want %v", err, latchkey.KindRegistrationFailed)
	}
	n.set(func() { n.heard, n.answer, n.password = nil, nil, "changed" })
	if err := r.Confirm(t.Context(), bob); !latchkey.Is(err, latchkey.KindRegistrationFailed) {
		t.Errorf("Confirm with a wrong password = %v, want %v", err, latchkey.KindRegistrationFailed)
	}
	if got := len(n.requests()); got != 1 {
		t.Errorf("%d requests with a wrong password, want 1: the core's word is enough", got)
	}
}

// R21: ten devices log in at once, the core is asked once.
func TestLoginsAtTheSameTimeShareOneREGISTER(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		r := registrar.New(newMemory(), n, options())
		if err := r.Keep(t.Context(), bob, im()); err != nil {
			t.Fatalf("Keep = %v", err)
		}
		n.set(func() { n.delay = time.Second })
		gone, leave := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			if err := r.Confirm(gone, bob); !errors.Is(err, context.Canceled) {
				t.Errorf("Confirm of one who left = %v, want %v", err, context.Canceled)
			}
		})
		synctest.Wait()
		for range 10 {
			all.Go(func() {
				if err := r.Confirm(t.Context(), bob); err != nil {
					t.Errorf("Confirm = %v", err)
				}
			})
		}
		synctest.Wait()
		leave() // the ten must not suffer from the one
		all.Wait()
		if got := len(n.requests()); got != 2 {
			t.Errorf("%d REGISTERs, want 2: one for Keep, one for ten logins", got)
		}
	})
}
