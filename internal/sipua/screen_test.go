package sipua

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

var someone = &net.UDPAddr{IP: net.IPv4(192, 0, 2, 7).To4(), Port: 4444}

// screened is what an endpoint without sockets makes of a datagram.
func screened(e *Endpoint, text string) (on, answer string, port int) {
	var l letter
	if !l.cut([]byte(text)) {
		return "", "", 0
	}
	a, b, port := e.screen(&l, []byte(text), someone.AddrPort(), true, time.Now())
	return string(a), string(b), port
}

func bare() *Endpoint { return &Endpoint{log: silent, agent: "Latchkey"} }

// B2.11, RFC 3261 §7.3, §20, §25.1: what is out of the ordinary, and what is wrong.
func TestScreen(t *testing.T) {
	p := &peer{addr: "192.0.2.7:4444"}
	many := make([]string, maxFields)
	for i := range many {
		many[i] = fmt.Sprintf("+X-%d: y", i)
	}
	for _, c := range []struct {
		name    string
		changes []string
		want    string // beginning of the answer; "": it goes on as it came; "=" with what must stand in what goes on
	}{
		{"ordinary", nil, ""},
		{"lower case version", []string{"first=OPTIONS sip:b@guest.example sip/2.0"}, ""},
		{"folded", []string{"Subject: a\r\n \t b\r\n\tc \r\n "}, "=\r\nSubject: a b c\r\n"},
		{"folded from nothing", []string{"Subject:\r\n a"}, "=\r\nSubject: a\r\n"},
		{"blanks before the colon", []string{"-To", "+To \t : <sip:b@guest.example>"}, ""},
		{"Vias in one", []string{`Via: SIP/2.0/UDP h1, SIP / 2.0 / TCP h2 : 99 ; x="a,b;c"`}, "=\r\nVia: SIP/2.0/UDP h1\r\nVia: SIP / 2.0 / TCP h2 : 99 ; x=\"a,b;c\"\r\n"},
		{"trailing octets", []string{"body=\r\nmore"}, "=\r\nContent-Length: 0\r\n\r\n"},
		{"octets that a body has", []string{"Content-Length: 2", "Content-Type: a/b", "body=hiMORE"}, "=\r\n\r\nhi"},
		{"no length", []string{"-Content-Length", "Content-Type: a/b;c=\"d/e\"", "body=hi"}, ""},
		{"UTF-8", []string{"From: Ä \"\xd1\x80\" <sip:a@cc.com>;tag=1"}, "SIP/2.0 400 "},
		{"UTF-8 in quotes", []string{"From: \"Ä\\\"\" <sip:a@cc.com>;tag=1"}, ""},
		{"UTF-8 without", []string{"From: Ä B <sip:a@cc.com>;tag=1"}, ""},
		{"quoted parameter that looks like a tag", []string{`From: <sip:a@cc.com>;x=";tag=evil";tag=1`}, ""},
		{"two tags", []string{`From: <sip:a@cc.com>;tag=evil;tag=1`}, "SIP/2.0 400 "},
		{"From with an empty tag", []string{`From: <sip:a@cc.com>;tag=`}, "SIP/2.0 400 "}, {"To with an empty tag", []string{`To: <sip:a@cc.com>;tag=`}, ""},
		{"To that is two", []string{`To: <sip:a@cc.com>, <sip:b@cc.com>`}, "SIP/2.0 400 "},
		{"LF alone", []string{"Subject: a\nEvil: x"}, "SIP/2.0 400 "},
		{"CR alone", []string{"Subject: a\rEvil: x"}, "SIP/2.0 400 "},
		{"LF escaped", []string{"Subject: \"a\\\nEvil: x\""}, "SIP/2.0 400 "},
		{"NUL escaped", []string{"Subject: \"a\\\x00\""}, ""},
		{"field without name", []string{"+: x"}, "SIP/2.0 400 "},
		{"name with a blank", []string{"+a b: x"}, "SIP/2.0 400 "},
		{"two Expires", []string{"+Expires: 1", "+expires: 1"}, "SIP/2.0 400 "},
		{"two Events, one short", []string{"+Event: a", "+o: a"}, "SIP/2.0 400 "},
		{"two of what may be many", []string{"+Subject: a", "+Accept: a/b", "+Accept: c/d"}, ""},
		{"too many fields", many, "SIP/2.0 513 "},
		{"Call-ID of two words", []string{"Call-ID: a b"}, "SIP/2.0 400 "},
		{"CSeq without method", []string{"CSeq: 1"}, "SIP/2.0 400 "},
		{"CSeq with zeros", []string{"CSeq: 0001 \t OPTIONS"}, ""},
		{"Contact star", []string{"Contact: *"}, ""},
		{"Contacts", []string{`Contact: "a, b" <sip:a@cc.com;x=y>;q=0.5 , sip:b@cc.com;expires=1, <tel:+1>`}, ""},
		{"Contact of nothing", []string{`Contact: `}, "SIP/2.0 400 "},
		{"Contact that ends with a comma", []string{`Contact: <sip:a@cc.com>,`}, "SIP/2.0 400 "},
		{"Route without brackets' end", []string{`Route: <sip:a@cc.com;lr`}, "SIP/2.0 400 "},
		{"Route of an S-CSCF", []string{`Route: <sip:as.example;lr>,<sip:iscmark@scscf.example:6060;lr;s=1;h=0;d=0;a=7369703A%61;lr=>`}, ""},
		{"Path of IPv6", []string{`Path: <sip:p@[2001:db8::1]:5060;transport=tcp;lr;ob>`}, ""},
		{"type without subtype", []string{"Content-Length: 2", "Content-Type: text", "body=hi"}, "SIP/2.0 400 "},
		{"port too large", []string{"first=OPTIONS sip:b@guest.example:65536 SIP/2.0"}, "SIP/2.0 400 "},
		{"escape that is none", []string{"first=OPTIONS sip:b%zz@guest.example SIP/2.0"}, "SIP/2.0 400 "},
		{"blank before the port", []string{"first=OPTIONS sip:b@guest.example :5060 SIP/2.0"}, "SIP/2.0 400 "},
		{"two hosts", []string{"first=OPTIONS sip:b@x@guest.example SIP/2.0"}, "SIP/2.0 400 "},
		{"emergency", []string{"first=OPTIONS urn:service:sos SIP/2.0"}, ""},
		{"fire", []string{"first=OPTIONS URN:service:sos.fire SIP/2.0"}, ""},
		{"another service", []string{"first=OPTIONS urn:service:sosx SIP/2.0"}, "SIP/2.0 416 "},
		{"method in lower case", []string{"first=options sip:b@guest.example SIP/2.0", "CSeq: 1 options"}, "SIP/2.0 501 "},
		{"unknown method", []string{"first=FETCH sip:b@guest.example SIP/2.0", "CSeq: 1 FETCH"}, ""},
		{"fold at the beginning", []string{"first=OPTIONS sip:b@guest.example SIP/2.0\r\n x"}, "SIP/2.0 400 "},
	} {
		text := p.options("s", c.changes...)
		on, answer, _ := screened(bare(), text)
		switch {
		case c.want == "":
			if on != text || answer != "" {
				t.Errorf("%s: goes on as %q, answer %q", c.name, on, answer)
			}
		case c.want[0] == '=':
			if !strings.Contains(on, c.want[1:]) || answer != "" || strings.HasSuffix(c.want, "\r\n\r\n") && !strings.HasSuffix(on, c.want[1:]) {
				t.Errorf("%s: goes on as %q, answer %q", c.name, on, answer)
			}
		default:
			if on != "" || !strings.HasPrefix(answer, c.want) {
				t.Errorf("%s: goes on as %q, answer %q", c.name, on, firstLine(answer))
			}
		}
		if ack := strings.ReplaceAll(text, "OPTIONS ", "ACK "); answer != "" && strings.HasPrefix(ack, "ACK") {
			if _, answer, _ := screened(bare(), strings.ReplaceAll(ack, " OPTIONS", " ACK")); answer != "" {
				t.Errorf("%s: an ACK is answered", c.name)
			}
		}
		res := strings.Replace(text, firstLine(text), "SIP/2.0 200 OK", 1)
		if on, answer, _ := screened(bare(), res); answer != "" || strings.HasPrefix(c.want, "SIP/2.0 400") && !strings.HasPrefix(strings.Join(c.changes, ""), "first=") && on != "" {
			t.Errorf("%s: a response goes on as %q, answer %q", c.name, on, answer)
		}
	}
}

// RFC 3261 §8.2.7, §18.2, RFC 3581 §4: a refusal without transaction goes where a response goes, says what one says, and is the same for a repeat.
func TestRefusalGoesBack(t *testing.T) {
	for _, c := range []struct {
		name, via, want string
		port            int
	}{
		{"rport", "SIP/2.0/UDP 192.0.2.7;rport;branch=z9hG4bK1", "SIP/2.0/UDP 192.0.2.7;rport=4444;branch=z9hG4bK1;received=192.0.2.7", 0},
		{"port", "SIP/2.0/UDP 192.0.2.7:9;branch=z9hG4bK1", "SIP/2.0/UDP 192.0.2.7:9;branch=z9hG4bK1", 9},
		{"name", "SIP/2.0/UDP h.example;branch=z9hG4bK1", "SIP/2.0/UDP h.example;branch=z9hG4bK1;received=192.0.2.7", 5060},
		{"several", "SIP/2.0/UDP h.example;branch=z9hG4bK1 , SIP/2.0/TCP x", "SIP/2.0/UDP h.example;branch=z9hG4bK1;received=192.0.2.7 , SIP/2.0/TCP x", 5060},
		{"illegal", "SIP/2.0/UDP 192.0.2.15;;,;,,", "SIP/2.0/UDP 192.0.2.15;;,;,,", 0},
		{"another's rport", "SIP/2.0/UDP 192.0.2.7;rport=1;branch=z9hG4bK1", "SIP/2.0/UDP 192.0.2.7;rport=4444;branch=z9hG4bK1;received=192.0.2.7", 0},
	} {
		p := &peer{addr: "x"}
		text := p.options("r", "Via: "+c.via, "Max-Forwards: many")
		e := bare()
		_, first, port := screened(e, text)
		_, second, _ := screened(e, text)
		if get(first, "Via") != c.want || port != c.port {
			t.Errorf("%s: to port %d with Via %q, want %d, %q", c.name, port, get(first, "Via"), c.port, c.want)
		}
		if first != second || !strings.Contains(get(first, "To"), "<sip:b@guest.example>;tag=") || get(first, "CSeq") != "1 OPTIONS" || get(first, "Content-Length") != "0" || get(first, "Server") != "Latchkey" {
			t.Errorf("%s: refused by\n%s\nand then by\n%s", c.name, first, second)
		}
	}
	p := &peer{addr: "x"}
	if _, a, _ := screened(bare(), p.options("r", "To: <sip:b@x>;tag=mine", "Max-Forwards: many")); get(a, "To") != "<sip:b@x>;tag=mine" {
		t.Errorf("To = %q", get(a, "To"))
	}
}

// RFC 3261 §25.1: a tag in a quoted string is none, and a comma in one ends nothing.
func TestQuotedParametersAreRead(t *testing.T) {
	p := &peer{addr: "h"}
	text := p.options("q", `From: "a \"<sip:x>" <sip:a@cc.com>;x=";tag=evil";y="two words";tag=good`, `Via: SIP/2.0/UDP h;x="a,b;branch=evil";branch=z9hG4bKgood;oc;oc-algo="loss,rate"`,
		`Contact: <sip:a@h>;+sip.instance="<urn:a;b>";description="two, words"`)
	m, err := newParser().ParseSIP([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	req := m.(*sip.Request)
	if tag, _ := req.From().Params.Get("tag"); tag != "good" {
		t.Errorf("tag = %q", tag)
	}
	if branch, _ := req.Via().Params.Get("branch"); branch != "z9hG4bKgood" || len(req.GetHeaders("Via")) != 1 {
		t.Errorf("branch = %q in %v", branch, req.GetHeaders("Via"))
	}
	for _, field := range []string{`From: "a \"<sip:x>" <sip:a@cc.com>;x=";tag=evil";y="two words";tag=good`, `Contact: <sip:a@h>;+sip.instance="<urn:a;b>";description="two, words"`, `x="a,b;branch=evil";branch=z9hG4bKgood;oc;oc-algo="loss,rate"`} {
		if !strings.Contains(m.String(), field+"\r\n") {
			t.Errorf("%s is written as\n%s", field, m)
		}
	}
}

// What goes on can be read by sipgo, has what rooms rely on, and goes on unchanged a second time; what doesn't is answered once at most, and never a response.
func FuzzScreen(f *testing.F) {
	p := &peer{addr: "127.0.0.1:5060"}
	for _, c := range bads {
		f.Add(p.options("x", c.changes...))
	}
	for _, c := range corpus {
		f.Add(corpusFile(f, c.file))
	}
	f.Add(answer(p.options("x"), "200 OK"))
	f.Add(p.options("x", "Via: SIP/2.0/UDP h\x00.example;branch=z9hG4bKlonger", "+Via: x")) // the first is not repeated
	f.Add(p.options("x", "Subject: a\r\n \t b\r\n\tc \r\n "))
	f.Add(p.options("x", `Via: SIP/2.0/UDP h1, SIP / 2.0 / TCP h2 : 99 ; x="a,b;c"`))
	parser := newParser()
	e := bare()
	f.Fuzz(func(t *testing.T, text string) {
		on, answer, _ := screened(e, text)
		if answer != "" {
			if on != "" || !strings.HasPrefix(answer, "SIP/2.0 ") || strings.HasPrefix(text, "SIP/2.0") || !strings.HasSuffix(answer, "\r\n\r\n") ||
				strings.Count(answer, "\r\n\r\n") != 1 || strings.Count(answer, "\n") != strings.Count(answer, "\r") {
				t.Errorf("%q is answered by %q", text, answer)
			}
			return
		}
		if on == "" {
			return
		}
		if again, _, _ := screened(e, on); again != on {
			t.Errorf("%q goes on as %q and then as %q", text, on, again)
		}
		m, err := parser.ParseSIP([]byte(on))
		if err != nil {
			if strings.Contains(strings.ToLower(err.Error()), "uri") || strings.Contains(err.Error(), "IPV6") {
				t.Skip("sipgo doesn't read a URI like a:b")
			}
			t.Errorf("%q goes on as %q, and sipgo says %v", text, on, err)
			return
		}
		if m.Via() == nil || m.From() == nil || m.To() == nil || m.CallID() == nil || m.CSeq() == nil {
			t.Errorf("%q goes on without what it must have", text)
		}
	})
}
