package gateway_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

// F49, RFC 6714 §4.2 (1): Alice's phone has no CEMA and connects, and c=/m= of its answer are not its path's: the gateway offers again, in the
// same call, without CEMA and with a new path, and the chat goes on there.
func TestGatewayFallsBackFromCEMAWithinTheCall(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{Setup: "active", NoCEMA: true, Path: "192.0.2.9:7777"})
	b := w.Guest()
	b.Login().Wants(200)
	sent := b.Send(gatewaytest.Alice, "abcdefg")
	got, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1)
	if err != nil || got[0].Text != "abcdefg" {
		t.Fatalf("Alice got %+v, %v", got, err)
	}
	b.Delivery(sent.ID, "delivered")
	invites := a.Invites()
	if len(invites) != 2 || invites[0].Get("Call-ID") != invites[1].Get("Call-ID") {
		t.Fatalf("%d INVITEs, want a re-INVITE", len(invites))
	}
	first, second := string(invites[0].Body), string(invites[1].Body)
	if !strings.Contains(first, "\r\na=msrp-cema\r\n") || strings.Contains(second, "msrp-cema") {
		t.Errorf("CEMA in the first offer and not in the second:\n%s\n%s", first, second)
	}
	if p, q := line(first, "a=path:"), line(second, "a=path:"); p == q || q == "" {
		t.Errorf("the path is %q again", q)
	}
	// RFC 3264 §8: the same session, its version one more.
	var o1, o2 struct {
		id, version uint64
		rest        string
	}
	fmt.Sscanf(line(first, "o="), "- %d %d IN %s", &o1.id, &o1.version, &o1.rest)
	fmt.Sscanf(line(second, "o="), "- %d %d IN %s", &o2.id, &o2.version, &o2.rest)
	if o1.id == 0 || o1.id != o2.id || o2.version != o1.version+1 {
		t.Errorf("o=%s after o=%s", line(second, "o="), line(first, "o="))
	}
	if calls, err := a.Wait(w.Within(gatewaytest.Patience), "call", 1); err != nil || len(calls)+len(a.Events("hangup")) != 1 {
		t.Errorf("%d calls, %v, and %d hangups, want one call", len(calls), err, len(a.Events("hangup")))
	}
}

// F49, X2, RFC 6714 §4.2 (1), RFC 3264 §8: with an anchored call the gateway does so on the leg that needs it, whoever that is, and the other phone
// hears nothing of it; what that one offers later has a version that is higher yet.
func TestAnchorFallsBackFromCEMAOnOneSide(t *testing.T) {
	t.Parallel()
	// A receipt that is on its way when Alice's connection is lost would be answered on the next one.
	w, alice, carol := inPath(t, imstest.Manner{NoReceipts: true}, imstest.Manner{Setup: "active", NoCEMA: true, Path: "192.0.2.9:7777", NoReceipts: true})
	say(t, w, alice, carol, "before or after")
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return len(carol.Invites()) == 2 })
	say(t, w, alice, carol, "there")
	say(t, w, carol, alice, "and back")
	if got := texts(t, w, carol, 2); !slices.Equal(got, []string{"before or after", "there"}) {
		t.Errorf("Carol reads %q", got)
	}
	if got := texts(t, w, alice, 1); got[0] != "and back" {
		t.Errorf("Alice reads %q", got)
	}
	if n := len(alice.Invites()) + len(alice.Events("media")); n != 1 {
		t.Errorf("Alice's phone has %d re-INVITEs and media, want the first media alone", n)
	}
	if err := alice.Break(w.Within(gatewaytest.Patience), carol.URI()); err != nil {
		t.Fatal(err)
	}
	if err := alice.Renew(w.Within(gatewaytest.Patience), carol.URI()); err != nil {
		t.Fatal(err)
	}
	say(t, w, alice, carol, "and again")
	texts(t, w, carol, 3)
	invites := carol.Invites()
	if len(invites) != 3 {
		t.Fatalf("%d INVITEs at Carol's, want the fall-back and Alice's own", len(invites))
	}
	version := func(body string) (v uint64) {
		if f := strings.Fields(line(body, "o=")); len(f) == 6 {
			v, _ = strconv.ParseUint(f[2], 10, 64)
		}
		return v
	}
	var versions []uint64
	for i, m := range invites {
		body := string(m.Body)
		versions = append(versions, version(body))
		if has := strings.Contains(body, "msrp-cema"); has != (i == 0) {
			t.Errorf("INVITE %d has CEMA: %v\n%s", i+1, has, body)
		}
	}
	var own []uint64 // Alice's
	asked := w.Core.Requests("INVITE")
	for _, s := range asked { // those that come back from the gateway have another Call-ID
		if v := version(string(s.Request.Body)); s.Request.Get("Call-ID") == asked[0].Request.Get("Call-ID") && !slices.Contains(own, v) {
			own = append(own, v)
		}
	}
	if len(own) < 2 || versions[1] != versions[0]+1 || !slices.Equal([]uint64{own[0], own[len(own)-1] + 1}, []uint64{versions[0], versions[2]}) {
		t.Errorf("versions %v at Carol's, of Alice's %v; want one more for the offer of ours, from then on", versions, own)
	}
	// RFC 4975 §8.4: with the path, a connection that is there stays, and so no message is lost.
	if p, q := line(string(invites[0].Body), "a=path:"), line(string(invites[1].Body), "a=path:"); p != q || q == "" {
		t.Errorf("the path was %q and is %q", p, q)
	}
	if up, err := carol.Wait(w.Within(gatewaytest.Patience), "media", 1); err != nil || len(up) != 1 {
		t.Errorf("Carol's MSRP came up %d times, %v, want once", len(up), err)
	}
	if err := alice.HangUp(w.Within(gatewaytest.Patience), carol.URI()); err != nil {
		t.Fatal(err)
	}
	ended(t, w, alice, carol)
}

// line is the rest of the first line with a prefix.
func line(sdp, prefix string) string {
	for l := range strings.SplitSeq(sdp, "\r\n") {
		if rest, ok := strings.CutPrefix(l, prefix); ok {
			return rest
		}
	}
	return ""
}
