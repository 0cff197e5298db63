package gateway_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

// inPath gives a world in which the gateway is the application server of two phones.
func inPath(t *testing.T, a, c imstest.Manner, args ...string) (w *gatewaytest.World, alice, carol *imstest.Phone) {
	t.Helper()
	w = gatewaytest.New(t, gatewaytest.Plan{Args: args})
	w.Core.ServedBy(w.SIP)
	return w, w.Phone(gatewaytest.Alice, a), w.Phone(gatewaytest.Carol, c)
}

// texts waits for n messages and tells their texts.
func texts(t *testing.T, w *gatewaytest.World, p *imstest.Phone, n int) []string {
	t.Helper()
	events, err := p.Wait(w.Within(gatewaytest.Patience), "message", n)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range events {
		all = append(all, e.Text)
	}
	return all
}

func say(t *testing.T, w *gatewaytest.World, from, to *imstest.Phone, text string) string {
	t.Helper()
	id, err := from.Send(w.Within(gatewaytest.Patience), to.URI(), text)
	if err != nil {
		t.Fatalf("%s says %q: %v", from.URI(), text, err)
	}
	return id
}

// ended waits until neither phone has the chat any more, nor the gateway its legs.
func ended(t *testing.T, w *gatewaytest.World, alice, carol *imstest.Phone) {
	t.Helper()
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return !alice.Chatting(carol.URI()) && !carol.Chatting(alice.URI()) })
}

// X1, X2, F61, B1.08, B1.11, B1.13, B2.15: two subscribers chat through the gateway; each sees the gateway alone.
func TestTwoSubscribersChatThroughTheGateway(t *testing.T) {
	t.Parallel()
	w, alice, carol := inPath(t, imstest.Manner{}, imstest.Manner{})
	id := say(t, w, alice, carol, "hello Carol")
	say(t, w, carol, alice, "hello Alice")
	if got := texts(t, w, carol, 1); got[0] != "hello Carol" {
		t.Errorf("Carol reads %q", got)
	}
	if got := texts(t, w, alice, 1); got[0] != "hello Alice" {
		t.Errorf("Alice reads %q", got)
	}
	receipts, err := alice.Wait(w.Within(gatewaytest.Patience), "receipt", 1)
	if err != nil || receipts[0].ID != id || receipts[0].Status != "delivered" {
		t.Fatalf("Alice's receipts %+v, %v", receipts, err)
	}
	carol.Display(alice.URI(), id)
	if receipts, err = alice.Wait(w.Within(gatewaytest.Patience), "receipt", 2); err != nil || receipts[1].Status != "displayed" {
		t.Fatalf("Alice's receipts %+v, %v", receipts, err)
	}
	if err := carol.Composing(w.Within(gatewaytest.Patience), alice.URI(), true); err != nil {
		t.Fatal(err)
	}
	if _, err := alice.Wait(w.Within(gatewaytest.Patience), "composing", 1); err != nil {
		t.Fatal(err)
	}

	sent, got := w.Core.Requests("INVITE")[0].Request, carol.Invites()[0]
	for _, name := range []string{"Call-ID", "Contact"} {
		if sent.Get(name) == got.Get(name) || got.Get(name) == "" {
			t.Errorf("%s is the same on both legs: %s", name, got.Get(name))
		}
	}
	aliceAt := strings.TrimSuffix(sent.Get("Contact")[strings.IndexByte(sent.Get("Contact"), '@')+1:], ">")
	aliceAt, _, _ = strings.Cut(aliceAt, ">")
	if raw := string(got.Bytes()); strings.Contains(raw, aliceAt) {
		t.Errorf("Alice's address %s is in Carol's INVITE:\n%s", aliceAt, raw)
	}
	for _, name := range []string{"Contribution-ID", "Conversation-ID", "Accept-Contact"} {
		if sent.Get(name) != got.Get(name) {
			t.Errorf("%s %q became %q", name, sent.Get(name), got.Get(name))
		}
	}
	icid := got.Get("P-Charging-Vector")
	if !strings.Contains(icid, "icid-value=") {
		t.Errorf("P-Charging-Vector %q", icid)
	}
	if !strings.Contains(got.Get("Contact"), "oma.cpm.session") {
		t.Errorf("Contact %s has not the tags of Alice's phone", got.Get("Contact"))
	}
	if err := alice.HangUp(w.Within(gatewaytest.Patience), carol.URI()); err != nil {
		t.Fatal(err)
	}
	ended(t, w, alice, carol)
	bye := carol.Requests("BYE")[0]
	if value, _, _ := strings.Cut(bye.Get("P-Charging-Vector"), ";"); !strings.HasPrefix(icid, value) || value == "" {
		t.Errorf("the BYE has the charging vector %q, its INVITE %q", bye.Get("P-Charging-Vector"), icid)
	}
}

// X2: either side may hang up, and whoever calls may be the one who connects, or not; a certificate on one leg is no matter for the other.
func TestAnchorFitsEveryPairOfPhones(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		a, c imstest.Manner
		args []string
	}{
		{"active and active", imstest.Manner{Setup: "active"}, imstest.Manner{Setup: "active"}, nil},
		{"actpass and passive", imstest.Manner{}, imstest.Manner{Setup: "passive"}, nil},
		{"active and passive", imstest.Manner{Setup: "active", DiscardPort: true}, imstest.Manner{Setup: "passive"}, nil},
		{"no cema", imstest.Manner{NoCEMA: true}, imstest.Manner{NoCEMA: true, Setup: "passive"}, nil},
		{"cema on one side", imstest.Manner{}, imstest.Manner{NoCEMA: true}, nil},
		{"a path that leads nowhere", imstest.Manner{Path: "notresolvable.invalid:9"}, imstest.Manner{Path: "notresolvable.invalid:9", Setup: "passive"}, nil}, // F49a
		{"tls", imstest.Manner{Transport: "tls"}, imstest.Manner{}, []string{"--msrp-listen=tcp:127.0.0.1:0,tls:127.0.0.1:0"}},
		{"tcp here and tls there", imstest.Manner{}, imstest.Manner{Transport: "tls"}, []string{"--msrp-listen=tls:127.0.0.1:0"}},
		{"connected late", imstest.Manner{}, imstest.Manner{LateMSRP: 300_000_000}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w, alice, carol := inPath(t, c.a, c.c, c.args...)
			say(t, w, alice, carol, "there")
			say(t, w, carol, alice, "and back")
			long := strings.Repeat("a long text ", 9000)
			say(t, w, alice, carol, long)
			if got := texts(t, w, carol, 2); !slices.Equal(got, []string{"there", long}) {
				t.Errorf("Carol reads %.60q", got)
			}
			if got := texts(t, w, alice, 1); got[0] != "and back" {
				t.Errorf("Alice reads %q", got)
			}
			if err := carol.HangUp(w.Within(gatewaytest.Patience), alice.URI()); err != nil {
				t.Fatal(err)
			}
			ended(t, w, alice, carol)
		})
	}
}

// F38: the connection of one side is cut, it comes again by a re-INVITE, and the other side's stays what it was.
func TestLostConnectionComesAgain(t *testing.T) {
	t.Parallel()
	for _, cut := range []string{"caller", "callee"} {
		t.Run(cut, func(t *testing.T) {
			t.Parallel()
			// A receipt that is cut off would come again by MESSAGE.
			w, alice, carol := inPath(t, imstest.Manner{NoReceipts: true}, imstest.Manner{NoReceipts: true})
			say(t, w, alice, carol, "one")
			texts(t, w, carol, 1)
			lost, other := alice, carol
			if cut == "callee" {
				lost, other = carol, alice
			}
			media := len(other.Events("media"))
			if err := lost.Break(w.Within(gatewaytest.Patience), other.URI()); err != nil {
				t.Fatal(err)
			}
			if err := lost.Renew(w.Within(gatewaytest.Patience), other.URI()); err != nil {
				t.Fatal(err)
			}
			say(t, w, alice, carol, "two")
			say(t, w, carol, alice, "three")
			if got := texts(t, w, carol, 2); got[1] != "two" {
				t.Errorf("Carol reads %q", got)
			}
			if got := texts(t, w, alice, 1); got[0] != "three" {
				t.Errorf("Alice reads %q", got)
			}
			if n := len(other.Events("media")); n != media {
				t.Errorf("the other side's MSRP came up %d times more, want that it stayed", n-media)
			}
		})
	}
}

// X2: who wants signalling only gets the peers' own paths through.
func TestSessionDescriptionsPassWhereNothingIsAnchored(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"never", "guests"} {
		w, alice, carol := inPath(t, imstest.Manner{}, imstest.Manner{}, "--anchor="+mode)
		say(t, w, alice, carol, "directly")
		texts(t, w, carol, 1)
		sent, got := w.Core.Requests("INVITE")[0].Request, carol.Invites()[0]
		if string(sent.Body) != string(got.Body) {
			t.Errorf("%s: the description changed:\n%s\nto\n%s", mode, sent.Body, got.Body)
		}
	}
}

// B5.04, S13: a call whose MSRP can't come up, as where it leads to a place that isn't allowed, is hung up on both sides.
func TestCallWithoutMediaIsHungUp(t *testing.T) {
	t.Parallel()
	w, alice, carol := inPath(t, imstest.Manner{Setup: "active"}, imstest.Manner{Setup: "passive"}, "--msrp-peers=192.0.2.0/24")
	go func() {
		_, _ = alice.Send(context.WithoutCancel(w.Within(gatewaytest.Patience)), carol.URI(), "nobody hears")
	}()
	for _, p := range []*imstest.Phone{alice, carol} {
		if _, err := p.Wait(w.Within(gatewaytest.Patience), "hangup", 1); err != nil {
			t.Errorf("%s: %v", p.URI(), err)
		}
	}
	ended(t, w, alice, carol)
}

// B1.10, F63, B2.15: a MESSAGE and an OPTIONS between two subscribers go through, with what they hold.
func TestRequestsOutsideOfDialogsGoThrough(t *testing.T) {
	t.Parallel()
	w, alice, carol := inPath(t, imstest.Manner{}, imstest.Manner{})
	if err := alice.Page(w.Within(gatewaytest.Patience), carol.URI(), "text/plain", []byte("a page")); err != nil {
		t.Fatal(err)
	}
	if got := texts(t, w, carol, 1); got[0] != "a page" {
		t.Errorf("Carol reads %q", got)
	}
	sent, got := w.Core.Requests("MESSAGE")[0].Request, carol.Requests("MESSAGE")[0]
	if sent.Get("Call-ID") == got.Get("Call-ID") || len(got.All("Via")) > 2 {
		t.Errorf("Alice's side is seen: %s", got.Bytes())
	}
	res, err := alice.Options(w.Within(gatewaytest.Patience), carol.URI())
	if err != nil || res.Status != 200 || !strings.Contains(res.Get("Contact"), "rcse.im") {
		t.Fatalf("OPTIONS: %v, %+v, want Carol's tags", err, res)
	}
	if strings.Contains(res.Get("Contact"), strings.TrimPrefix(carol.Requests("OPTIONS")[0].URI, "sip:c@")) {
		t.Errorf("Carol's address is in %s", res.Get("Contact"))
	}
	carol.Behave(func(m *imstest.Manner) { m.OptionsCode = 480 })
	if res, err = alice.Options(w.Within(gatewaytest.Patience), carol.URI()); err != nil || res.Status != 480 {
		t.Errorf("OPTIONS: %v, %+v, want Carol's own 480", err, res)
	}
}

// R31, S12: in the path or not, a guest's account is the doorkeeper's.
func TestGuestsAreStillBehindTheDoor(t *testing.T) {
	t.Parallel()
	w, alice, carol := inPath(t, imstest.Manner{}, imstest.Manner{})
	b := w.Guest()
	_ = b
	if _, err := carol.Send(w.Within(gatewaytest.Patience), gatewaytest.GuestURI, "let me in"); err == nil {
		t.Error("a stranger's call to a guest went through")
	}
	if _, err := alice.Send(w.Within(gatewaytest.Patience), gatewaytest.GuestURI, "come in"); err != nil {
		t.Errorf("the inviter's call: %v", err)
	}
}
