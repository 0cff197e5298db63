package sipua

import (
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
)

// F61, B1.08: what another one put into a Route comes out as it went in.
// B2.11: compact names are those of their fields (RFC 3261 §7.3.3).
func TestFieldsKeepTheirTextAndHaveLongNames(t *testing.T) {
	const route = `"S-CSCF" <sip:iscmark@scscf.example:6060;lr;s=1;h=0;d=0;a=7369703A%61;lr=;s=2?x=1>;p="a;b"`
	text := strings.ReplaceAll(`MESSAGE sip:b@cc.com SIP/2.0
v: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx
f: <sip:a@cc.com>;tag=1
t: <sip:b@cc.com>
i: 1
CSeq: 1 MESSAGE
ROUTE: `+route+`
k: 100rel, timer
x: 90
o: presence
r: "R" <sip:c@cc.com?Replaces=1%3B2>;z=1
y: "sig";info=<https://cert.example>
a: *;+g.x="y"
l: 0

`, "\n", "\r\n")
	msg, err := newParser().ParseSIP([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"Route": route, "Supported": "100rel, timer", "Session-Expires": "90", "Event": "presence", "Refer-To": `"R" <sip:c@cc.com?Replaces=1%3B2>;z=1`,
		"Identity": `"sig";info=<https://cert.example>`, "Accept-Contact": `*;+g.x="y"`,
	} {
		if h := msg.(*sip.Request).GetHeader(name); h == nil || h.Value() != want {
			t.Errorf("%s = %v, want %s", name, h, want)
		}
		if !strings.Contains(msg.String(), "\r\n"+name+": "+want+"\r\n") {
			t.Errorf("%s: is not written as it came", name)
		}
	}
}
