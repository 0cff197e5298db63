package presence_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"latchkey"
	"latchkey/internal/sipua"
	"latchkey/presence"
)

// F26, B3.01, B5.01, B5.03: the table.
func TestEachAnswerHasItsMeaning(t *testing.T) {
	for _, c := range []struct {
		name    string
		code    int
		headers []string
		want    latchkey.Status
	}{
		{"IARI among others", 200, []string{"Contact: " + rcsContact}, latchkey.Status{State: latchkey.StatusOnline, Chat: true, File: true}},
		{"ICSI of CPM", 200, []string{`Contact: <sip:a@h>;+g.3gpp.icsi-ref="urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session"`}, latchkey.Status{State: latchkey.StatusOnline, Chat: true}},
		{"spaces and escapes", 200, []string{`Contact: "A, B;x" <sip:a@h;x=y> ; +G.3GPP.IARI-REF = "urn%3aurn-7%3a3gpp-application.ims.iari.x, urn%3Aurn-7%3A3gpp-application.ims.iari.rcse.im"`}, latchkey.Status{State: latchkey.StatusOnline, Chat: true}},
		{"old peer", 200, []string{"Contact: <sip:a@h>;+g.oma.sip-im"}, latchkey.Status{State: latchkey.StatusOnline, Chat: true}},
		{"second contact", 200, []string{`Contact: <sip:a@h>;q=0.1, <sip:a@i>;+g.3gpp.iari-ref="urn%3Aurn-7%3A3gpp-application.ims.iari.rcse.im"`}, latchkey.Status{State: latchkey.StatusOnline, Chat: true}},
		{"without tags", 200, []string{"Contact: <sip:a@h>"}, latchkey.Status{State: latchkey.StatusOnline}},
		{"group chat only", 200, []string{`Contact: <sip:a@h>;+g.3gpp.icsi-ref="urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session.group"`}, latchkey.Status{State: latchkey.StatusOnline}},
		{"without Contact", 200, nil, latchkey.Status{State: latchkey.StatusOnline}},
		{"not registered", 480, nil, latchkey.Status{State: latchkey.StatusOffline}},
		{"408 of the network", 408, nil, latchkey.Status{State: latchkey.StatusOffline}},
		{"not found", 404, nil, latchkey.Status{State: latchkey.StatusNotRCS}},
		{"nowhere", 604, nil, latchkey.Status{State: latchkey.StatusNotRCS}},
		{"overload", 503, nil, latchkey.Status{State: latchkey.StatusUnknown}},
		{"server error", 500, nil, latchkey.Status{State: latchkey.StatusUnknown}},
		{"refused", 403, nil, latchkey.Status{State: latchkey.StatusUnknown}},
		{"moved", 302, []string{"Contact: " + rcsContact}, latchkey.Status{State: latchkey.StatusUnknown}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := &network{t: t}
			n.says(c.code, c.headers...)
			got, err := newBoard(t, n, presence.Options{}).Status(t.Context(), bob, alice)
			if err != nil || !got.Same(c.want) {
				t.Errorf("Status = %+v, %v, want %+v", got, err, c.want)
			}
			if time.Since(got.Checked) > time.Minute {
				t.Errorf("checked at %v", got.Checked)
			}
		})
	}
}

// F26: silence and a dead core are unknown, not offline, and nobody waits longer than 5 s.
func TestSilenceIsUnknownWithinFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{t: t}
		b := newBoard(t, n, presence.Options{})
		start := time.Now()
		got, err := b.Status(t.Context(), bob, alice)
		if err != nil || got.State != latchkey.StatusUnknown || time.Since(start) != 5*time.Second {
			t.Errorf("Status = %+v, %v after %v, want unknown after 5s", got, err, time.Since(start))
		}
		n.err = sipua.ErrTransport
		time.Sleep(time.Second)
		if got, err := b.Status(t.Context(), bob, alice); err != nil || got.State != latchkey.StatusUnknown {
			t.Errorf("Status = %+v, %v, want unknown", got, err)
		}
	})
}

// F26, B3.02: what the OPTIONS looks like.
func TestOneOPTIONSAsksOnBehalfOfTheGuest(t *testing.T) {
	n := &network{t: t}
	n.says(200, "Contact: "+rcsContact)
	b := newBoard(t, n, presence.Options{
		Credentials: func(a latchkey.AccountID) sipua.Credentials { return sipua.Credentials{Username: string(a)} },
		ServiceRoute: func(context.Context, latchkey.AccountID) ([]string, error) {
			return []string{"sip:orig@scscf.example;lr"}, nil
		},
	})
	if _, err := b.Status(t.Context(), bob, alice); err != nil {
		t.Fatalf("Status = %v", err)
	}
	if n.asked() != 1 {
		t.Fatalf("%d OPTIONS, want 1", n.asked())
	}
	req := n.requests[0]
	const own = `+g.3gpp.iari-ref="urn%3Aurn-7%3A3gpp-application.ims.iari.rcse.im,urn%3Aurn-7%3A3gpp-application.ims.iari.rcse.ft,urn%3Aurn-7%3A3gpp-application.ims.iari.rcs.ftthumb,urn%3Aurn-7%3A3gpp-application.ims.iari.rcs.fthttp";` +
		`+g.3gpp.icsi-ref="urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session,urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.msg,urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.largemsg"`
	for _, c := range []struct{ what, got, want string }{
		{"request line", req.StartLine(), "OPTIONS sip:a@cc.com SIP/2.0"},
		{"From", req.From().Address.String(), string(bob)},
		{"To", req.To().Value(), "<sip:a@cc.com>"},
		{"first Route", req.GetHeaders("Route")[0].Value(), "<sip:127.0.0.1:5060;lr>"},
		{"second Route", req.GetHeaders("Route")[1].Value(), "<sip:orig@scscf.example;lr>"},
		{"Contact", req.Contact().Value(), "<sip:b_at_cc.com@127.0.0.1:5080>;" + own},
		{"Accept-Contact", req.GetHeader("Accept-Contact").Value(), "*;" + own},
		{"P-Asserted-Identity", req.GetHeader("P-Asserted-Identity").Value(), "<" + string(bob) + ">"},
		{"Accept", req.GetHeader("Accept").Value(), "application/sdp"},
		{"credentials", n.names[0], string(bob)},
	} {
		if c.got != c.want {
			t.Errorf("%s: %s, want %s", c.what, c.got, c.want)
		}
	}
}

// F26d, B5.01: an inviter who is a number.
func TestStatusOfANumber(t *testing.T) {
	n := &network{t: t}
	n.says(200, "Contact: "+rcsContact)
	got, err := newBoard(t, n, presence.Options{}).Status(t.Context(), bob, latchkey.MustAddress("tel:+8613800000000"))
	if err != nil || !got.Chat {
		t.Errorf("Status = %+v, %v", got, err)
	}
	req := n.requests[0]
	if line, to := req.StartLine(), req.To().Value(); line != "OPTIONS tel:+8613800000000 SIP/2.0" || to != "<tel:+8613800000000>" {
		t.Errorf("%s, To: %s", line, to)
	}
}

// F26: exactly one OPTIONS, however many ask; another one when the answer is old.
func TestManyWhoAskShareOneOPTIONS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{t: t, delay: time.Second}
		n.says(200, "Contact: "+rcsContact)
		b := newBoard(t, n, presence.Options{})
		gone, leave := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := b.Status(gone, bob, alice); !errors.Is(err, context.Canceled) {
				t.Errorf("Status of one who left = %v, want %v", err, context.Canceled)
			}
		})
		synctest.Wait()
		for range 100 {
			all.Go(func() {
				if got, err := b.Status(t.Context(), "sip:other@guest.example", alice); err != nil || !got.Chat {
					t.Errorf("Status = %+v, %v", got, err)
				}
			})
		}
		synctest.Wait()
		leave()
		all.Wait()
		if _, err := b.Status(t.Context(), bob, alice); err != nil || n.asked() != 1 {
			t.Errorf("%d OPTIONS, %v, want 1", n.asked(), err)
		}
		_, _ = b.Status(t.Context(), bob, latchkey.MustAddress("sip:a2@cc.com"))
		time.Sleep(time.Second)
		_, _ = b.Status(t.Context(), bob, alice)
		if n.asked() != 3 {
			t.Errorf("%d OPTIONS, want 3: another person, and an answer that is a second old", n.asked())
		}
	})
}

func TestClosedBoardAsksNothing(t *testing.T) {
	n := &network{t: t}
	b := newBoard(t, n, presence.Options{})
	_ = b.Close()
	if _, err := b.Status(t.Context(), bob, alice); !latchkey.Is(err, latchkey.KindUnavailable) || n.asked() != 0 {
		t.Errorf("Status = %v with %d OPTIONS", err, n.asked())
	}
	b.Watch(bob, alice, func(latchkey.Status) { t.Error("Watch of a closed Board tells something") })()
	if n.asked() != 0 {
		t.Error("Watch of a closed Board asks")
	}
}
