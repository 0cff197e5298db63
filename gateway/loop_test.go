package gateway_test

import (
	"slices"
	"strings"
	"testing"

	"latchkey/gateway/gatewaytest"
)

// passing are the methods that go through outside of dialogs, with what each must have.
var passing = map[string][]string{
	"MESSAGE": nil, "OPTIONS": nil, "PUBLISH": {"Event: presence"}, "SUBSCRIBE": {"Event: presence"}, "REFER": {"Refer-To: <sip:d@cc.com>"},
}

// B1.11, RFC 3261 §16.3: what comes back as it left is refused with 482, whatever its method; what comes for the one who is called goes on.
func TestLoopOfAnyMethodIsRefused(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	for method, more := range passing {
		l := newTrunk(t, w)
		here := l.conn.LocalAddr().String()
		route := "Route: <sip:" + w.SIP + ";lr>, <sip:" + here + ";lr;odi="
		l.say(l.request(method, "sip:c@cc.com", "loop"+method, 1, append(more, "To: <sip:c@cc.com>", route+"1>")...))
		on := l.hear(method+" sip:c@cc.com ", "odi=1")
		mark := "X-Latchkey-Passed: " + field(on, "X-Latchkey-Passed")
		l.say(l.request(method, "sip:c@cc.com", "again"+method, 1, append(more, "To: <sip:c@cc.com>", route+"1>", mark)...))
		l.hear("SIP/2.0 482 ", "Call-ID: again"+method+"\r\n")
		l.say(l.request(method, "sip:c@cc.com", "called"+method, 1, append(more, "To: <sip:c@cc.com>", route+"2>", mark)...))
		l.hear(method+" sip:c@cc.com ", "odi=2")
	}
}

// B1.11, RFC 3261 §8.2.2.2: what two ways bring here goes on once. SUBSCRIBE and REFER keep their names, as at a proxy: they go on once for each way that is
// another one behind us, and who gets them finds out by itself (§16.3).
func TestRequestThatCameByTwoWaysGoesOnOnce(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	for method, more := range passing {
		more = slices.Clone(more)
		l := newTrunk(t, w)
		here := l.conn.LocalAddr().String()
		by := func(way, target, odi string) string {
			text := l.request(method, target, "merged"+method, 1, append(more, "To: <sip:c@cc.com>", "Route: <sip:"+w.SIP+";lr>, <sip:"+here+";lr;odi="+odi+">")...)
			return strings.Replace(text, ";branch=z9hG4bK", ";branch=z9hG4bK"+way, 1)
		}
		l.say(by("one", "sip:c@cc.com", "1"))
		on := l.hear(method+" sip:c@cc.com ", "odi=1")
		l.say(by("two", "sip:c@cc.com", "1"))
		l.hear("SIP/2.0 482 ", "branch=z9hG4bKtwo")
		l.say(ok(on, here))
		l.hear("SIP/2.0 200 ", "branch=z9hG4bKone")
		l.say(by("three", "sip:c@cc.com", "1"))
		l.hear("SIP/2.0 482 ", "branch=z9hG4bKthree")
		l.say(by("four", "sip:d@cc.com", "1")) // the same, forked before us to somebody else
		l.hear(method+" sip:d@cc.com ", "odi=1")
		l.say(by("five", "sip:c@cc.com", "2"))
		if method == "SUBSCRIBE" || method == "REFER" {
			l.hear(method+" sip:c@cc.com ", "odi=2") // for the one who is called
			more = append(more, "P-Served-User: <sip:c@cc.com>;sescase=term;regstate=reg")
			l.say(by("six", "sip:c@cc.com", "1")) // the same, where the Routes don't tell
			l.hear(method+" sip:c@cc.com ", "sescase=term")
		} else {
			l.hear("SIP/2.0 482 ", "branch=z9hG4bKfive")
		}
	}
}

// RFC 3261 §8.2.2.2: who was refused may ask again.
func TestRefusedRequestMayComeAgain(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	l := newTrunk(t, w)
	here := l.conn.LocalAddr().String()
	for _, way := range []string{"one", "two"} {
		text := l.request("MESSAGE", "sip:c@cc.com", "refused", 1, "To: <sip:c@cc.com>", "Route: <sip:"+w.SIP+";lr>, <sip:"+here+";lr>")
		l.say(strings.Replace(text, ";branch=z9hG4bK", ";branch=z9hG4bK"+way, 1))
		l.say(strings.Replace(ok(l.hear("MESSAGE sip:c@cc.com ", ""), here), "200 OK", "500 Out of order", 1))
		l.hear("SIP/2.0 500 ", "branch=z9hG4bK"+way)
	}
}
