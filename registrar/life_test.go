package registrar_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey"
	"latchkey/registrar"
)

// F15, B1.20: refreshed before it ends, with the same Call-ID and the next CSeq.
func TestRegistrationIsRefreshedInTime(t *testing.T) {
	for _, c := range []struct{ granted, after time.Duration }{
		{10 * time.Minute, 5 * time.Minute},
		{20 * time.Minute, 10 * time.Minute},
		{time.Hour, 50 * time.Minute},
		{600000 * time.Second, 599400 * time.Second},
	} {
		t.Run(c.granted.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				n.granted = c.granted
				r := registrar.New(newMemory(), n, options())
				defer run(t, r)()
				if err := r.Keep(t.Context(), bob, im()); err != nil {
					t.Fatalf("Keep = %v", err)
				}
				time.Sleep(2*c.after + time.Second)
				all := n.requests()
				if len(all) != 3 {
					t.Fatalf("%d REGISTERs in two periods, want 3", len(all))
				}
				for i, h := range all {
					if want := time.Duration(i) * c.after; h.at.Sub(all[0].at) != want {
						t.Errorf("REGISTER %d after %v, want %v", i, h.at.Sub(all[0].at), want)
					}
					if h.callID != all[0].callID || h.cseq != uint32(i+1) {
						t.Errorf("REGISTER %d: Call-ID %s, CSeq %d; want %s, %d", i, h.callID, h.cseq, all[0].callID, i+1)
					}
				}
			})
		})
	}
}

// F15, B1.20: the core's Service-Route is kept with the registration and given to later requests.
func TestServiceRouteIsKept(t *testing.T) {
	n, store := newNetwork(t), newMemory()
	n.extra = []sip.Header{
		sip.NewHeader("Service-Route", `"a<b" <sip:orig@scscf.example;lr>, <sip:second.example;lr>`),
		sip.NewHeader("Service-Route", "<sip:third.example;lr>"),
		sip.NewHeader("P-Associated-URI", "<sip:b@guest.example>, <tel:+8613800000000>"),
	}
	r := registrar.New(store, n, options())
	if err := r.Keep(t.Context(), bob, im()); err != nil {
		t.Fatalf("Keep = %v", err)
	}
	got, err := r.ServiceRoute(t.Context(), bob)
	want := []string{"sip:orig@scscf.example;lr", "sip:second.example;lr", "sip:third.example;lr"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("ServiceRoute = %v, %v, want %v", got, err, want)
	}
	if got, want := store.row(t, latchkey.CoreServer).Associated, []string{"sip:b@guest.example", "tel:+8613800000000"}; !slices.Equal(got, want) {
		t.Errorf("associated: %v, want %v", got, want)
	}
	if err := r.Drop(t.Context(), bob); err != nil {
		t.Fatalf("Drop = %v", err)
	}
	if got, err := r.ServiceRoute(t.Context(), bob); got != nil || err != nil {
		t.Errorf("ServiceRoute after Drop = %v, %v", got, err)
	}
}

// B1.22, RFC 5626 §4.5: failures are spread out, and the registration comes back.
func TestFailedRefreshIsRepeatedMoreAndMoreSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, store := newNetwork(t), newMemory()
		n.granted = time.Hour
		r := registrar.New(store, n, options())
		defer run(t, r)()
		if err := r.Keep(t.Context(), bob, im()); err != nil {
			t.Fatalf("Keep = %v", err)
		}
		n.says(500, "Server Internal Error")
		time.Sleep(4 * time.Hour)
		all := n.requests()[1:]
		for i := 1; i < len(all); i++ {
			upper := min(30*time.Minute, 30*time.Second<<i)
			if gap := all[i].at.Sub(all[i-1].at); gap < upper/2 || gap > upper {
				t.Errorf("attempt %d after %v, want between %v and %v", i, gap, upper/2, upper)
			}
		}
		if b := store.row(t, latchkey.CoreServer); b.Standing(time.Now()) || b.State != latchkey.Registered || b.Failures != len(all) {
			t.Errorf("%s until %v, %d failures; want over, %d", b.State, b.Expires, b.Failures, len(all))
		}
		n.answers()
		time.Sleep(time.Hour)
		if b := store.row(t, latchkey.CoreServer); !b.Standing(time.Now()) || b.Failures != 0 {
			t.Errorf("%s until %v, %d failures; want it back", b.State, b.Expires, b.Failures)
		}
	})
}

// F12, B1.22: a refresh waits for Retry-After; 403 ends the attempts until somebody asks again.
func TestRefreshHeedsRetryAfterAndTakesNoForAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, store := newNetwork(t), newMemory()
		n.granted = 10 * time.Minute
		r := registrar.New(store, n, options())
		defer run(t, r)()
		if err := r.Keep(t.Context(), bob, im()); err != nil {
			t.Fatalf("Keep = %v", err)
		}
		n.says(503, "Service Unavailable", sip.NewHeader("Retry-After", "17"))
		time.Sleep(5*time.Minute + time.Second)
		n.says(403, "Forbidden")
		time.Sleep(24 * time.Hour)
		all := n.requests()
		if len(all) != 3 {
			t.Fatalf("%d REGISTERs, want 3", len(all))
		}
		if gap := all[2].at.Sub(all[1].at); gap != 17*time.Second {
			t.Errorf("repeat after %v, want 17s", gap)
		}
		if got := store.row(t, latchkey.CoreServer).State; got != latchkey.RegistrationRefused {
			t.Errorf("state %s, want %s", got, latchkey.RegistrationRefused)
		}
		n.answers()
		if err := r.Confirm(t.Context(), bob); err != nil {
			t.Errorf("Confirm after 403 = %v", err)
		}
	})
}

// F15, S: a crash in the middle of a REGISTER never uses a CSeq twice, and the Call-ID stays.
func TestRestartGoesOnWhereItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, store := newNetwork(t), newMemory()
		n.granted = time.Hour
		opt := options()
		n.password, opt.Auth = "x", must(registrar.ParseAuth("shared:x"))
		first := registrar.New(store, n, opt)
		if err := first.Keep(t.Context(), bob, im()); err != nil {
			t.Fatalf("Keep = %v", err)
		}
		var written latchkey.Registration
		n.set(func() {
			n.answer = func(string, *sip.Request) (*sip.Response, error) {
				written = store.row(t, latchkey.CoreServer) // what a crash would leave
				return nil, nil
			}
		})
		if err := first.Confirm(t.Context(), bob); err != nil {
			t.Fatalf("Confirm = %v", err)
		}
		used := n.requests()
		if last := used[len(used)-1]; written.CallID != last.callID || written.CSeq < last.cseq {
			t.Fatalf("while CSeq %d was under way the row said %d", last.cseq, written.CSeq)
		}
		_ = store.SaveRegistration(t.Context(), written)
		n.answers()

		second := registrar.New(store, n, opt)
		if err := second.Resume(t.Context()); err != nil {
			t.Fatalf("Resume = %v", err)
		}
		defer run(t, second)()
		time.Sleep(time.Hour) // network itself checks that CSeq grows
		all := n.requests()
		if last := all[len(all)-1]; len(all) == len(used) || last.callID != used[0].callID {
			t.Errorf("after the restart %d requests, Call-ID %s, want %s", len(all)-len(used), last.callID, used[0].callID)
		}
	})
}

// X6: the morning after a long outage everything is overdue; the core sees a bounded rate.
func TestOverdueRefreshesArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, store := newNetwork(t), newMemory()
		for i := range 500 {
			_ = store.SaveRegistration(t.Context(), latchkey.Registration{
				Account: latchkey.AccountID(fmt.Sprintf("sip:g%d@guest.example", i)), Server: latchkey.CoreServer, State: latchkey.Registered,
				CallID: fmt.Sprint(i), CSeq: 7, Expires: time.Now().Add(-time.Hour), Due: time.Now().Add(-2 * time.Hour),
			})
		}
		n.delay = 100 * time.Millisecond
		opt := options()
		opt.Rate, opt.Parallel = 50, 8
		r := registrar.New(store, n, opt)
		if err := r.Resume(t.Context()); err != nil {
			t.Fatalf("Resume = %v", err)
		}
		defer run(t, r)()
		time.Sleep(2 * time.Second)
		if got := len(n.requests()); got < 80 || got > 102 {
			t.Errorf("%d REGISTERs in 2 s at 50 a second", got)
		}
		time.Sleep(9 * time.Second)
		if got := len(n.requests()); got != 500 {
			t.Errorf("%d REGISTERs in the end, want 500", got)
		}
	})
}

// R29, B1.23: deregistered at the servers and at the core, and forgotten.
func TestDropDeregistersEverywhere(t *testing.T) {
	n, store := newNetwork(t), newMemory()
	opt := options()
	opt.IMServer = imURI
	r := registrar.New(store, n, opt)
	if err := r.Keep(t.Context(), bob, im()); err != nil {
		t.Fatalf("Keep = %v", err)
	}
	for range 2 { // the second finds nothing to do
		if err := r.Drop(t.Context(), bob); err != nil {
			t.Fatalf("Drop = %v", err)
		}
	}
	all := n.requests()[2:]
	if len(all) != 2 || all[0].hop != imURI || all[1].hop != coreURI || all[0].expires != 0 || all[1].expires != 0 {
		t.Errorf("deregistrations: %+v, want Expires 0 at the IM server, then at the core", all)
	}
	if all[1].callID != n.requests()[0].callID {
		t.Error("deregistration has another Call-ID than the registration")
	}
	if store.len() != 0 || n.registered() != 0 {
		t.Errorf("%d rows, %d registrations left", store.len(), n.registered())
	}
}

// B1.23: Drop doesn't hang on a silent core; Run ends what it began, a new invite takes it over.
func TestDropOfASilentCoreIsFinishedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, store := newNetwork(t), newMemory()
		r := registrar.New(store, n, options())
		defer run(t, r)()
		if err := r.Keep(t.Context(), bob, im()); err != nil {
			t.Fatalf("Keep = %v", err)
		}
		n.set(func() {
			n.answer = func(string, *sip.Request) (*sip.Response, error) { return nil, errSilent }
		})
		start := time.Now()
		if err := r.Drop(t.Context(), bob); err != nil || time.Since(start) > 10*time.Second {
			t.Errorf("Drop = %v after %v", err, time.Since(start))
		}
		if err := r.Ensure(t.Context(), bob, latchkey.IM); !latchkey.Is(err, latchkey.KindRegistrationFailed) {
			t.Errorf("Ensure of a dropped account = %v, want %v", err, latchkey.KindRegistrationFailed)
		}
		n.answers()
		time.Sleep(70 * time.Second)
		if store.len() != 0 || n.registered() != 0 {
			t.Errorf("%d rows, %d registrations left", store.len(), n.registered())
		}
	})
}

func TestInviteDuringAFarewellKeepsTheRegistration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, store := newNetwork(t), newMemory()
		r := registrar.New(store, n, options())
		defer run(t, r)()
		_ = r.Keep(t.Context(), bob, im())
		n.says(500, "Server Internal Error")
		_ = r.Drop(t.Context(), bob)
		n.answers()
		if err := r.Keep(t.Context(), bob, im()); err != nil {
			t.Fatalf("Keep = %v", err)
		}
		time.Sleep(time.Hour)
		all := n.requests()
		if last := all[len(all)-1]; len(all) != 3 || last.expires == 0 || last.callID != all[0].callID {
			t.Errorf("%d requests, last with Expires %v, want the account registered", len(all), last.expires)
		}
	})
}

// A registration that the server ended by itself needs no REGISTER to go.
func TestExpiredRegistrationIsJustForgotten(t *testing.T) {
	n, store := newNetwork(t), newMemory()
	_ = store.SaveRegistration(t.Context(), latchkey.Registration{Account: bob, Server: latchkey.CoreServer, State: latchkey.Registered, CallID: "x", Held: time.Now().Add(-time.Second)})
	if err := registrar.New(store, n, options()).Drop(t.Context(), bob); err != nil {
		t.Fatalf("Drop = %v", err)
	}
	if len(n.requests()) != 0 || store.len() != 0 {
		t.Errorf("%d requests, %d rows, want none", len(n.requests()), store.len())
	}
}

func TestNothingIsSentThatIsNotWrittenDown(t *testing.T) {
	n, store := newNetwork(t), newMemory()
	store.fail = errors.New("disk full")
	err := registrar.New(store, n, options()).Keep(t.Context(), bob, im())
	if !latchkey.Is(err, latchkey.KindInternal) || !errors.Is(err, store.fail) {
		t.Errorf("Keep = %v, want %v", err, store.fail)
	}
	if len(n.requests()) != 0 {
		t.Error("a REGISTER left without a row")
	}
}

// Servers that were two and are one now have one registration.
func TestResumeForgetsServersThatWereMerged(t *testing.T) {
	n, store := newNetwork(t), newMemory()
	opt := options()
	opt.IMServer = imURI
	if err := registrar.New(store, n, opt).Keep(t.Context(), bob, im()); err != nil {
		t.Fatalf("Keep = %v", err)
	}
	if err := registrar.New(store, n, options()).Resume(t.Context()); err != nil {
		t.Fatalf("Resume = %v", err)
	}
	if store.len() != 1 {
		t.Errorf("%d rows, want 1", store.len())
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
