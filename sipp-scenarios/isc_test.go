package scenarios

import (
	"fmt"
	"strings"
	"testing"

	"latchkey/imstest"
)

// F57, F62, B1.02, B1.03, B1.04: Kamailio tells the gateway of A's registration and of its end by third-party REGISTER, with A's own
// REGISTER inside. The end is believed where the core has no reg-event, else confirmed by its notifier, which SIPp plays.
func TestKamailioTellsOfAnInviterWhoComesAndGoes(t *testing.T) {
	for _, mode := range []string{"none", "confirm"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			sip, notifier := freePort(t), freePort(t)
			w := newWorldAt(t, sip, []string{"--reg-event", mode}, "none", fmt.Sprintf(`ISC_AS="sip:127.0.0.1:%d"`, sip), fmt.Sprintf(`REG_EVENT="sip:127.0.0.1:%d"`, notifier))
			a := newPhone(t, w.core, "a")
			a.register()
			seen := func(where string) func() bool {
				return func() bool {
					return w.count("SELECT count(*) FROM sighting WHERE identity = 'sip:a@cc.com' AND "+where) == 1
				}
			}
			imstest.Eventually(t, patience, seen("state = 'seen' AND features LIKE '%cpm.session%' AND icid <> '' AND orig_ioi = 'cc.com' AND expires > 0"))
			w.invited()
			var told *run
			if mode == "confirm" {
				told = (&phone{t: t, core: w.core, user: "a", port: notifier}).start("reg-notifier.xml")
			}
			a.start("unregister.xml").wait()
			imstest.Eventually(t, patience, func() bool {
				rows := w.rows()
				return rows["relation"]+rows["guest"]+rows["registration"] == 0
			})
			if told != nil {
				told.wait()
			}
			if left := w.core.registered(bobAOR); len(left) != 0 {
				t.Errorf("the core still has %+v", left)
			}
			imstest.Eventually(t, patience, seen("state = 'gone'"))
			imstest.Eventually(t, patience, func() bool { // Kamailio may hear of it after the test has
				n := strings.Count(w.core.log.String(), "third-party REGISTER of sip:a@cc.com answered 200")
				if n > 2 {
					t.Fatalf("Kamailio's third-party REGISTERs had %d times 200, want 2", n)
				}
				return n == 2
			})
		})
	}
}

// X1, X2, F61, B1.08, B1.11, B1.13: Kamailio, as an S-CSCF, has the gateway as application server of two SIPp phones. It knows its
// mark again; the chat's MSRP goes through the gateway; and either phone's BYE, or a shutdown, ends both legs.
func TestKamailioHasTheGatewayInItsPath(t *testing.T) {
	port := freePort(t)
	w := newWorld(t, "none", fmt.Sprintf(`AS_URI="sip:127.0.0.1:%d"`, port))
	w.move(port)
	phone, other := newMedia(t), newMedia(t)
	rec := record(t, []int{w.core.port, w.sip}, []int{w.msrp, number(t, phone.Port()), number(t, other.Port())})
	a, c := newPhone(t, w.core, "a"), newPhone(t, w.core, "c")
	a.register()
	c.register()

	// A hangs up.
	called := c.start("isc-uas.xml", nowhere("active")...)
	a.start("invite-uac.xml", append(nowhere("actpass"), "called", "c@cc.com")...).wait()
	called.wait()

	// Both stay, and talk; A connects to the gateway, and the gateway to C.
	other.Await()
	called = c.start("isc-uas.xml", describe(other, "passive")...)
	call := a.start("invite-uac-stays.xml", append(describe(phone, "active"), "called", "c@cc.com")...)
	if err := phone.Connect(call.remotePath(phone)); err != nil {
		t.Fatalf("A's connection: %v", err)
	}
	id, err := phone.Send(bounded(t), "through the core")
	if err != nil {
		t.Fatalf("A's SEND: %v", err)
	}
	if got, err := other.Wait(bounded(t), "message", 1); err != nil || got[0].ID != id || got[0].Text != "through the core" {
		t.Fatalf("C has %+v, %v", got, err)
	}
	if _, err := other.Send(bounded(t), "and back"); err != nil {
		t.Fatalf("C's SEND: %v", err)
	}
	if got, err := phone.Wait(bounded(t), "message", 1); err != nil || got[0].Text != "and back" {
		t.Fatalf("A has %+v, %v", got, err)
	}
	for _, m := range []*imstest.Media{phone, other} { // so that nothing is on its way when the gateway leaves
		if _, err := m.Wait(bounded(t), "receipt", 1); err != nil {
			t.Fatalf("no receipt: %v", err)
		}
	}
	if strings.Contains(called.messages(), fmt.Sprintf("msrp://127.0.0.1:%s/", phone.Port())) {
		t.Error("A's own path is in what C got")
	}
	w.close()
	call.wait()
	called.wait()
	rec.inspect([]seen{ // two calls over four hops each
		{"sip.Method", "INVITE", 8}, {"sip.Method", "ACK", 8}, {"sip.Method", "BYE", 8}, {"sip.Status-Code", "200", 16}, {"sdp.media", "", 16},
		{"msrp.method", "SEND", 8}, {"msrp.status.code", "200", 8},
	})
}

// X1, X2: a phone that SIPp plays over TCP is called through Kamailio and the gateway, over a connection that Kamailio opens to where the phone
// has registered. Once 408: its Contact didn't say TCP, so nobody was there.
func TestCalleeOnTCPIsReached(t *testing.T) {
	port := freePort(t)
	w := newWorld(t, "none", fmt.Sprintf(`AS_URI="sip:127.0.0.1:%d"`, port))
	w.move(port)
	a, c := newPhone(t, w.core, "a"), newPhone(t, w.core, "c")
	c.transport = "t1"
	a.register()
	c.register()
	called := c.start("isc-uas.xml", nowhere("active")...)
	a.start("invite-uac.xml", append(nowhere("actpass"), "called", "c@cc.com")...).wait()
	called.wait()
	w.close()
}
