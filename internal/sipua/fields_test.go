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

// What is read from a field can be written and read again, and says the same; what setParam sets is what is read.
func FuzzFields(f *testing.F) {
	for _, s := range []string{
		"SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1;rport", `SIP / 2.0 / TCP [2001:db8::1] : 99 ; x="a,b;c\"d" ;received=2001:db8::2`, "SIP/2.0/UDP h;oc;oc-algo=\"loss,rate\"",
		`"a \"<sip:x>" <sip:a@cc.com;x=y?z=1>;x=";tag=evil";tag=good`, "sip:a@cc.com;tag=1", `Ä B <tel:+1> ; tag = 2`, "<sip:[2001:db8:::192.0.2.1]>", "0009 \t INVITE", "*",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, name := range []string{"via", "from", "to", "cseq"} {
			h := parseField(name, []byte(text))
			if h == nil || !clean([]byte(text)) {
				continue
			}
			again := parseField(name, []byte(h.Value()))
			if again == nil {
				if strings.Contains(text, "%") || strings.Contains(text, "[") || strings.Contains(text, "//") {
					continue // sipgo writes such URIs in a way of its own
				}
				t.Errorf("%s: %q is written as %q, which can't be read", name, text, h.Value())
				continue
			}
			var a, b string
			switch h := h.(type) {
			case *sip.FromHeader:
				a, b = h.Params.GetOr("tag", ""), again.(*sip.FromHeader).Params.GetOr("tag", "")
			case *sip.ViaHeader:
				a, b = h.Params.GetOr("branch", ""), again.(*sip.ViaHeader).Params.GetOr("branch", "")
				if v, ok := readVia([]byte(setParam(text, "rport", "4711"))); !ok {
					t.Errorf("with rport %q is %q", text, setParam(text, "rport", "4711"))
				} else if port, _ := v.param("rport"); string(port) != "4711" {
					t.Errorf("rport of %q = %q", setParam(text, "rport", "4711"), port)
				}
			case *sip.CSeqHeader:
				a, b = h.Value(), again.Value()
			}
			if a != b {
				t.Errorf("%s: %q says %q, and written again %q says %q", name, text, a, h.Value(), b)
			}
		}
	})
}
