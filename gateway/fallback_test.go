package gateway_test

import (
	"fmt"
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
	if n := len(a.Events("call")) + len(a.Events("hangup")); n != 1 {
		t.Errorf("%d calls and hangups, want one call", n)
	}
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
