package gateway_test

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

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
		// F49, F49a over TLS on one leg and TCP on the other, with CEMA on either side or none.
		{"tls here and no cema there", imstest.Manner{Transport: "tls", Path: "notresolvable.invalid:9"}, imstest.Manner{Transport: "tls", NoCEMA: true}, []string{"--msrp-listen=tcp:127.0.0.1:0,tls:127.0.0.1:0"}},
		{"no cema here and tls there", imstest.Manner{NoCEMA: true}, imstest.Manner{Transport: "tls", Path: "notresolvable.invalid:9", Setup: "passive"}, []string{"--msrp-listen=tls:127.0.0.1:0"}},
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

// F49, B4.17, RFC 6714 §4.3: an offer without CEMA whose c=/m= are not its path's is refused, anchored or not; nobody is called.
func TestAnchorRefusesARewrittenOfferWithoutCEMA(t *testing.T) {
	t.Parallel()
	w, alice, carol := inPath(t, imstest.Manner{NoCEMA: true, Path: "192.0.2.9:7777"}, imstest.Manner{})
	if _, err := alice.Send(w.Within(gatewaytest.Patience), carol.URI(), "into the void"); err == nil || !strings.Contains(err.Error(), "488") {
		t.Errorf("Alice's call: %v, want 488", err)
	}
	if n := len(carol.Invites()); n != 0 {
		t.Errorf("%d INVITEs at Carol's", n)
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
			// A message may be read before the phone that it came to has told that MSRP is up.
			up, err := other.Wait(w.Within(gatewaytest.Patience), "media", 1)
			if err != nil {
				t.Fatal(err)
			}
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
			if n := len(other.Events("media")); n != len(up) {
				t.Errorf("the other side's MSRP came up %d times more, want that it stayed", n-len(up))
			}
		})
	}
}

// B2.04, F41, RFC 4975 §11.7: two phones of Carol's take the call. The one that answers later is hung up; its connection, though the first,
// doesn't get in the way of the one that was kept.
func TestOfSeveralPhonesTheOneThatIsKeptHasTheChat(t *testing.T) {
	t.Parallel()
	w, alice, kept := inPath(t, imstest.Manner{}, imstest.Manner{LateMSRP: 3 * time.Second})
	late := w.Phone(gatewaytest.Carol, imstest.Manner{RingFor: 1500 * time.Millisecond, Hasty: true}) // time enough for the other one to be the first
	say(t, w, alice, kept, "to one of you")
	if got := texts(t, w, kept, 1); got[0] != "to one of you" {
		t.Errorf("Carol reads %q", got)
	}
	if _, err := late.Wait(w.Within(gatewaytest.Patience), "hangup", 1); err != nil {
		t.Fatalf("the phone that was not kept: %v", err)
	}
	say(t, w, kept, alice, "I am the one")
	texts(t, w, alice, 1)
	if n := len(late.Events("message")) + len(late.Events("media")); n != 0 || len(late.Events("bound")) != 0 {
		t.Errorf("the phone that was not kept has %+v", late.Events(""))
	}
	if err := alice.HangUp(w.Within(gatewaytest.Patience), kept.URI()); err != nil {
		t.Fatal(err)
	}
	ended(t, w, alice, kept)
}

// X3, RFC 5547: a file of 10 MB goes through the anchor, octet by octet the same, in either direction of the call.
func TestFilesGoThroughTheAnchor(t *testing.T) {
	t.Parallel()
	w, alice, carol := inPath(t, imstest.Manner{Tags: imstest.FileTags}, imstest.Manner{Tags: imstest.FileTags, Setup: "passive"})
	for i, pair := range [][2]*imstest.Phone{{alice, carol}, {carol, alice}} {
		from, to := pair[0], pair[1]
		body := noise(10<<20 - i)
		offer := imstest.FileOffer{Name: "film.mp4", Type: "video/mp4", Body: bytes.NewReader(body), Size: int64(len(body)), Chunk: 64 << 10}
		taken, err := from.SendFile(w.Within(3*gatewaytest.Patience), to.URI(), offer)
		if err != nil || taken != int64(len(body)) {
			t.Fatalf("%s sends %d octets of %d, %v", from.URI(), taken, len(body), err)
		}
		if got := sentTo(t, w, to, 1); got.Sum != sum(body) || got.SHA1 != sum(body) || got.Name != offer.Name || got.Type != offer.Type || got.Size != offer.Size || got.Disposition != "attachment" {
			t.Errorf("%s got %+v, want SHA-1 %s", to.URI(), got, sum(body))
		}
		if _, err := to.Wait(w.Within(gatewaytest.Patience), "hangup", 1); err != nil {
			t.Error(err)
		}
		if sent, got := w.Core.Requests("INVITE")[i].Request, to.Invites()[0]; string(sent.Body) == string(got.Body) || sent.Get("Accept-Contact") != got.Get("Accept-Contact") {
			t.Errorf("the offer was not anchored, or lost whom it is for:\n%s", got.Bytes())
		}
	}
}

// B2.05, RFC 3311: an UPDATE goes through the gateway and comes back with the other's answer.
func TestUPDATEGoesThrough(t *testing.T) {
	t.Parallel()
	w, alice, carol := inPath(t, imstest.Manner{}, imstest.Manner{})
	say(t, w, alice, carol, "one")
	texts(t, w, carol, 1)
	for _, c := range []struct{ by, at *imstest.Phone }{{alice, carol}, {carol, alice}} {
		res, err := c.by.Within(w.Within(gatewaytest.Patience), c.at.URI(), "UPDATE")
		if err != nil || res.Status != 200 {
			t.Fatalf("UPDATE of %s: %v, %+v", c.by.URI(), err, res)
		}
		got := c.at.Requests("UPDATE")
		if len(got) != 1 || got[0].Get("Contact") == "" || len(got[0].Body) != 0 {
			t.Errorf("%s got %d UPDATEs", c.at.URI(), len(got))
		}
	}
	say(t, w, carol, alice, "and the chat stands")
	texts(t, w, alice, 1)
}

// X1, B1.08, B1.10: SUBSCRIBE, PUBLISH and REFER of a subscriber go on to whom they are for, and what that one says comes back.
func TestOtherRequestsAreRouted(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--reg-event=none"}, Core: func(o *imstest.CoreOptions) { o.NoRegEvent = true }})
	w.Core.ServedBy(w.SIP)
	alice, carol := w.Phone(gatewaytest.Alice, imstest.Manner{}), w.Phone(gatewaytest.Carol, imstest.Manner{})
	for i, c := range []struct {
		method string
		fields []imstest.Field
	}{
		{"SUBSCRIBE", []imstest.Field{{Name: "Event", Value: "presence"}, {Name: "Expires", Value: "600"}, {Name: "Accept", Value: "application/pidf+xml"}}},
		{"PUBLISH", []imstest.Field{{Name: "Event", Value: "presence"}, {Name: "Expires", Value: "600"}}},
		{"REFER", []imstest.Field{{Name: "Refer-To", Value: "<sip:d@cc.com>"}}},
	} {
		res, err := alice.Ask(w.Within(gatewaytest.Patience), c.method, carol.URI(), c.fields...)
		if err != nil || res.Status != 405 || res.Get("Allow") == "" { // Carol's phone knows none of them, and says so itself
			t.Fatalf("%s: %v, %+v, want Carol's 405", c.method, err, res)
		}
		got := carol.Requests(c.method)
		if len(got) != 1 {
			t.Fatalf("Carol got %d %s", len(got), c.method)
		}
		for _, f := range c.fields {
			if got[0].Get(f.Name) != f.Value {
				t.Errorf("%s %d has %s: %q, want %q", c.method, i, f.Name, got[0].Get(f.Name), f.Value)
			}
		}
		if got[0].Get("P-Charging-Vector") == "" || !strings.Contains(got[0].Get("P-Asserted-Identity"), alice.URI()) {
			t.Errorf("%s lost who asks: %s", c.method, got[0].Bytes())
		}
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
