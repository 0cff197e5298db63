package sipua

import (
	"fmt"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
)

// B2.11: what is wrong in ways of RFC 4475, and how it is answered; 0 means that nothing answers, since it is no SIP message.
var bads = []struct {
	name    string
	changes []string
	code    int
}{
	{"fine", nil, 200},
	{"unknown version (RFC 4475 §3.1.2.16)", []string{"first=OPTIONS sip:b@guest.example SIP/7.0"}, 505},
	{"unknown scheme (§3.3.2)", []string{"first=OPTIONS nobodyKnowsThisScheme:totallyopaquecontent SIP/2.0"}, 416},
	{"known, but not for SIP (§3.3.3)", []string{"first=OPTIONS http://guest.example SIP/2.0"}, 416},
	{"tel", []string{"first=OPTIONS tel:+8613800000001 SIP/2.0"}, 200},
	{"R-URI in brackets (§3.1.2.7)", []string{"first=OPTIONS <sip:b@guest.example> SIP/2.0"}, 400},
	{"R-URI with a blank (§3.1.2.8)", []string{"first=OPTIONS sip:b@guest.example; lr SIP/2.0"}, 400},
	{"R-URI with header fields (§3.1.2.11)", []string{"first=OPTIONS sip:b@guest.example?Route=%3Csip:x%3E SIP/2.0"}, 400},
	{"R-URI without host", []string{"first=OPTIONS sip: SIP/2.0"}, 400},
	{"R-URI with a user and no host", []string{"first=OPTIONS sip:b@ SIP/2.0"}, 400},
	{"method differs (§3.1.2.17)", []string{"CSeq: 1 INVITE"}, 400},
	{"method unknown and different (§3.1.2.18)", []string{"first=NEWMETHOD sip:b@guest.example SIP/2.0"}, 501},
	{"wide CSeq", []string{"CSeq: 1   OPTIONS"}, 200},
	{"CSeq 2^31 (§3.1.2.4)", []string{"CSeq: 2147483648 OPTIONS"}, 400},
	{"CSeq just below", []string{"CSeq: 2147483647 OPTIONS"}, 200},
	{"negative CSeq", []string{"CSeq: -1 OPTIONS"}, 400},
	{"no Via", []string{"-Via"}, 400},
	{"no From", []string{"-From"}, 400},
	{"no To", []string{"-To"}, 400},
	{"no Call-ID", []string{"-Call-ID"}, 400},
	{"no CSeq (§3.3.1)", []string{"-CSeq"}, 400},
	{"no Max-Forwards (RFC 2543)", []string{"-Max-Forwards"}, 200},
	{"two From", []string{"+From: <sip:x@cc.com>;tag=x"}, 400},
	{"two To", []string{"+t: <sip:x@cc.com>"}, 400},
	{"two Call-ID", []string{"+i: x"}, 400},
	{"two CSeq", []string{"+CSeq: 2 OPTIONS"}, 400},
	{"two Content-Length (§3.3.9)", []string{"+Content-Length: 0"}, 400},
	{"two Content-Type", []string{"+Content-Type: text/plain", "+c: application/sdp"}, 400},
	{"two Max-Forwards (§3.3.8)", []string{"+Max-Forwards: 5"}, 400},
	{"From without tag", []string{"From: <sip:a@cc.com>"}, 400},
	{"From with an empty tag", []string{"From: <sip:a@cc.com>;tag="}, 400},
	{"From that never ends (§3.1.2.6)", []string{`From: "a <sip:a@cc.com>;tag=1`}, 400},
	{"branch that is a cookie only", []string{"Via: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK;rport"}, 400},
	{"branch of RFC 2543", []string{"Via: SIP/2.0/UDP 127.0.0.1;branch=old;rport"}, 200},
	{"no branch (§3.4.1)", []string{"Via: SIP/2.0/UDP 127.0.0.1;rport"}, 200},
	{"Max-Forwards 300", []string{"Max-Forwards: 300"}, 400},
	{"Max-Forwards 0 (§3.3.11)", []string{"Max-Forwards: 0"}, 200},
	{"Max-Forwards -1", []string{"Max-Forwards: -1"}, 400},
	{"Content-Length -1 (§3.1.2.3)", []string{"Content-Length: -1"}, 400},
	{"Content-Length too large (§3.1.2.2)", []string{"Content-Length: 99", "Content-Type: text/plain", "body=hi"}, 400},
	{"Content-Length too small", []string{"Content-Length: 1", "Content-Type: text/plain", "body=hi"}, 200},
	{"body of no type", []string{"Content-Length: 2", "body=hi"}, 400},
	{"INVITE without Contact", []string{"first=INVITE sip:b@guest.example SIP/2.0", "CSeq: 1 INVITE"}, 400},
	{"compact forms", []string{"-From", "+f: <sip:a@cc.com>;tag=1", "-To", "+t: <sip:b@guest.example>", "-Content-Length", "+l: 0"}, 200},
	{"folded", []string{"To: <sip:b@guest.example>\r\n ;x=y"}, 200},
	{"no message", []string{"first=hello"}, 0},
	{"a line without colon", []string{"+nonsense"}, 400},
	{"NUL", []string{"+Subject: a\x00b"}, 400},
}

// B2.11: each is answered as it should be, over both transports, and none stops what comes after it.
func TestBadMessages(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, true)
			e := listen(t, func(tx *Transaction) { _ = tx.Respond(200, "") })
			for i, c := range bads {
				if network == "tcp" && strings.Contains(c.name, "too ") {
					continue // the length says where the next message begins
				}
				text := p.options(fmt.Sprint("bad", i), c.changes...)
				if network == "tcp" {
					text = strings.Replace(text, "SIP/2.0/UDP", "SIP/2.0/TCP", 1)
				}
				p.send(network, e, text)
				after := p.options(fmt.Sprint("after", i))
				if c.code == 0 {
					p.send("udp", e, after)
				}
				a := p.fresh()
				want := fmt.Sprintf("SIP/2.0 %d ", c.code)
				if c.code == 0 {
					if get(a.text, "Call-ID") != fmt.Sprint("after", i) {
						t.Errorf("%s: %s, want silence", c.name, firstLine(a.text))
					}
					continue
				}
				if !strings.HasPrefix(a.text, want) || a.network != network {
					t.Errorf("%s: %s, want %d", c.name, firstLine(a.text), c.code)
				}
			}
		})
	}
}

func message[M sip.Message](t *testing.T, text string) M {
	t.Helper()
	m, err := sip.ParseMessage([]byte(text))
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return m.(M)
}

// RFC 3261 §8.1.3.3, §17.1.3: a response that belongs elsewhere.
func TestFits(t *testing.T) {
	p := &peer{addr: "127.0.0.1:5060"}
	text := p.options("x")
	req := message[*sip.Request](t, text)
	ok := answer(text, "200 OK")
	for _, c := range []struct {
		name, old, new string
		want           bool
	}{
		{"it does", "", "", true},
		{"another To tag", "tag=p1", "tag=p2", true},
		{"two Vias", "Via: ", "Via: SIP/2.0/UDP 192.0.2.1\r\nVia: ", false},
		{"no From", "From: ", "X: ", false},
		{"another From tag", "tag=a1", "tag=a2", false},
		{"no To", "To: ", "X: ", false},
		{"no Call-ID", "Call-ID: ", "X: ", false},
		{"another Call-ID", "Call-ID: ", "Call-ID: y", false},
	} {
		res := message[*sip.Response](t, strings.Replace(ok, c.old, c.new, 1))
		if got := Fits(req, res); got != c.want {
			t.Errorf("%s: Fits = %v", c.name, got)
		}
	}
}

// Nothing that sipgo can read makes the look at a response fail, and what fits has what the rooms rely on.
func FuzzFits(f *testing.F) {
	p := &peer{addr: "127.0.0.1:5060"}
	req, _ := NewRequest(sip.OPTIONS, "sip:a@cc.com", "sip:b@guest.example", "sip:a@cc.com")
	for _, c := range bads {
		f.Add(answer(p.options("x", c.changes...), "200 OK"))
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := sip.ParseMessage([]byte(text))
		if res, ok := m.(*sip.Response); err == nil && ok && Fits(req, res) && res.To() == nil {
			t.Errorf("Fits %q", text)
		}
	})
}
