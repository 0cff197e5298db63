package msrpsdp_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"latchkey/msrp"
	"latchkey/msrp/msrpsdp"
)

// offer is a description, spelled out. The peer is 192.0.2.7:7000.
func offer(lines ...string) []byte {
	return []byte(strings.Join(append([]string{"v=0", "o=- 1 1 IN IP4 192.0.2.7", "s=-", "c=IN IP4 192.0.2.7", "t=0 0"}, lines...), "\r\n") + "\r\n")
}

func message(port string, attributes ...string) []string {
	return append([]string{"m=message " + port + " TCP/MSRP *"}, attributes...)
}

const (
	types   = "a=accept-types:message/cpim"
	path    = "a=path:msrp://192.0.2.7:7000/s1;tcp"
	faraway = "a=path:msrp://notresolvable.invalid:9/s1;tcp"
	cema    = "a=msrp-cema"
)

func us() msrpsdp.Local {
	return msrpsdp.Local{
		Addr: "198.51.100.1", Port: 2855, AcceptTypes: []string{"message/cpim"}, AcceptWrappedTypes: []string{"text/plain"},
		URI: msrp.URI{Host: "198.51.100.1", Port: 2855, SessionID: "ours", Transport: "tcp"},
	}
}

// attributes are the a= lines of the media description at index i.
func attributes(t *testing.T, description []byte, i int) map[string]string {
	t.Helper()
	got := map[string]string{}
	media := strings.Split(string(description), "\r\nm=")
	if i+1 >= len(media) {
		t.Fatalf("no media %d in\n%s", i, description)
	}
	for _, l := range strings.Split(media[i+1], "\r\n") {
		if a, ok := strings.CutPrefix(l, "a="); ok {
			name, value, _ := strings.Cut(a, ":")
			got[name] = value
		}
	}
	return got
}

// B4.05, B4.16: an offer has all that RFC 4975 §8 and RFC 6135 §4.2.1 ask for.
func TestOfferSaysWhatIsNeeded(t *testing.T) {
	l := us()
	l.CEMA, l.MaxSize = true, 262144
	got, err := msrpsdp.Offer(l)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(got), "\r\n")
	_, rest, _ = strings.Cut(rest, "\r\n") // o= has a number of its own
	want := "s=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\nm=message 2855 TCP/MSRP *\r\na=accept-types:message/cpim\r\na=accept-wrapped-types:text/plain message/imdn+xml\r\n" +
		"a=max-size:262144\r\na=setup:actpass\r\na=path:msrp://198.51.100.1:2855/ours;tcp\r\na=msrp-cema\r\na=sendrecv\r\n"
	if rest != want || !bytes.HasPrefix(got, []byte("v=0\r\no=- ")) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	again, _ := msrpsdp.Offer(l)
	if !bytes.Equal(got, again) {
		t.Error("an offer with nothing changed has other bytes (RFC 4975 §8.4)")
	}
	l.Version, l.Setup, l.Direction = 2, msrpsdp.Active, "sendonly"
	l.TLS, l.URI.Secure, l.Fingerprint = true, true, print256(t, 0xAB)
	got, err = msrpsdp.Offer(l)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"m=message 2855 TCP/TLS/MSRP *", "a=setup:active", "a=fingerprint:SHA-256 AB" + strings.Repeat(":AB", 31), "a=path:msrps://198.51.100.1:2855/ours;tcp", "a=sendonly", " 2 IN IP4 198.51.100.1"} {
		if !strings.Contains(string(got), line+"\r\n") {
			t.Errorf("%q is missing in\n%s", line, got)
		}
	}
}

func TestOfferRefusesWhatMustNotBe(t *testing.T) {
	for name, spoil := range map[string]func(*msrpsdp.Local){
		"passive (B4.05)":                 func(l *msrpsdp.Local) { l.Setup = msrpsdp.Passive },
		"holdconn":                        func(l *msrpsdp.Local) { l.Setup = "holdconn" },
		"no accept-types (B4.15)":         func(l *msrpsdp.Local) { l.AcceptTypes = nil },
		"path without port (B4.01)":       func(l *msrpsdp.Local) { l.URI.Port = 0 },
		"path without session id":         func(l *msrpsdp.Local) { l.URI.SessionID = "" },
		"no port":                         func(l *msrpsdp.Local) { l.Port = 0 },
		"no address":                      func(l *msrpsdp.Local) { l.Addr = "" },
		"line break in a type (S8)":       func(l *msrpsdp.Local) { l.AcceptTypes = []string{"a/b\r\na=setup:passive"} },
		"line break in the address (S8)":  func(l *msrpsdp.Local) { l.Addr = "a\r\nb=x" },
		"line break in the path (S8)":     func(l *msrpsdp.Local) { l.URI.SessionID = "a\nb" },
		"TLS without msrps (RFC 4975 §6)": func(l *msrpsdp.Local) { l.TLS = true },
		"msrps without TLS":               func(l *msrpsdp.Local) { l.URI.Secure = true },
	} {
		l := us()
		spoil(&l)
		if got, err := msrpsdp.Offer(l); err == nil {
			t.Errorf("%s is offered:\n%s", name, got)
		}
	}
}

// B5.06: message/imdn+xml is among the wrapped types, in offers and answers, once.
func TestIMDNIsAlwaysAWrappedType(t *testing.T) {
	for in, want := range map[string]string{"": "message/imdn+xml", "text/plain": "text/plain message/imdn+xml", "message/imdn+xml text/plain": "message/imdn+xml text/plain", "*": "*"} {
		l := us()
		l.AcceptWrappedTypes = strings.Fields(in)
		o, err := msrpsdp.Offer(l)
		a, _, err2 := msrpsdp.Answer(offer(message("7000", types, "a=setup:active", path)...), l, "")
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		for _, d := range [][]byte{o, a} {
			if got := attributes(t, d, 0)["accept-wrapped-types"]; got != want {
				t.Errorf("%q became %q, want %q", in, got, want)
			}
		}
	}
	l := us()
	l.AcceptTypes, l.AcceptWrappedTypes = []string{"image/png"}, nil
	o, _ := msrpsdp.Offer(l)
	if got, there := attributes(t, o, 0)["accept-wrapped-types"]; there {
		t.Errorf("without message/cpim there is accept-wrapped-types:%s", got)
	}
}

// B4.05: who connects, by the offer's a=setup and what we prefer (RFC 6135 §4.2.2).
func TestAnswerChoosesTheRole(t *testing.T) {
	const dial = "192.0.2.7:7000"
	for _, c := range []struct {
		offered string // a=setup, "" for none
		prefer  msrpsdp.Setup
		answer  string
		dial    string // "": we are passive
	}{
		{"active", "", "passive", ""}, {"active", msrpsdp.Passive, "passive", ""}, {"active", msrpsdp.Active, "passive", ""}, {"active", msrpsdp.ActPass, "passive", ""},
		{"actpass", "", "passive", ""}, {"actpass", msrpsdp.Passive, "passive", ""}, {"actpass", msrpsdp.Active, "active", dial}, {"actpass", msrpsdp.ActPass, "passive", ""},
		{"", "", "passive", ""}, {"", msrpsdp.Passive, "passive", ""}, {"", msrpsdp.Active, "passive", ""}, // RFC 4975 §8.5
		{"holdconn", msrpsdp.Active, "passive", ""}, {"nonsense", msrpsdp.Active, "passive", ""}, {" ACTPASS ", msrpsdp.Active, "active", dial},
		{"passive", "", "active", dial}, {"passive", msrpsdp.Passive, "active", dial}, {"passive", msrpsdp.Active, "active", dial}, // forbidden, but plain
	} {
		lines := message("7000", types, path)
		if c.offered != "" {
			lines = append(lines, "a=setup:"+c.offered)
		}
		answer, role, err := msrpsdp.Answer(offer(lines...), us(), c.prefer)
		if err != nil {
			t.Errorf("%q preferring %q: %v", c.offered, c.prefer, err)
			continue
		}
		if got := attributes(t, answer, 0)["setup"]; got != c.answer || role.Active != (c.dial != "") || role.Dial != c.dial || role.Remote.String() != "msrp://192.0.2.7:7000/s1;tcp" {
			t.Errorf("%q preferring %q: setup:%s, %+v, want %s, dial %q", c.offered, c.prefer, got, role, c.answer, c.dial)
		}
	}
}

// B4.05: who connects after our offer.
func TestConcludeFollowsTheAnswer(t *testing.T) {
	for _, c := range []struct {
		offered  msrpsdp.Setup
		answered string
		active   bool
	}{
		{msrpsdp.ActPass, "active", false}, {msrpsdp.ActPass, "passive", true}, {msrpsdp.ActPass, "", true}, {msrpsdp.ActPass, "holdconn", true}, {msrpsdp.ActPass, "actpass", true},
		{msrpsdp.Active, "passive", true}, {msrpsdp.Active, "", true}, {msrpsdp.Active, "active", true},
	} {
		l := us()
		l.Setup = c.offered
		o, err := msrpsdp.Offer(l)
		if err != nil {
			t.Fatal(err)
		}
		lines := message("7000", types, path, "a=max-size:1000")
		if c.answered != "" {
			lines = append(lines, "a=setup:"+c.answered)
		}
		role, m, err := msrpsdp.Conclude(o, offer(lines...))
		if err != nil || role.Active != c.active || (role.Dial == "192.0.2.7:7000") != c.active || role.FallBack || m.MaxSize != 1000 {
			t.Errorf("%s, answered %q: %+v, %+v, %v, want active: %v", c.offered, c.answered, role, m, err, c.active)
		}
	}
	o, _ := msrpsdp.Offer(us())
	for name, answer := range map[string][]byte{
		"port 0":                     offer(message("0", types, path)...),
		"other transport":            offer("m=message 7000 TCP/TLS/MSRP *", types, path),
		"passive without an address": offer(message("9", types, "a=setup:passive", "a=path:msrp://192.0.2.7:9/s1;tcp")...),
		"no MSRP":                    offer("m=audio 7000 RTP/AVP 0"),
		"no path":                    offer(message("7000", types)...),
		"path is no URI":             offer(message("7000", types, "a=path:sip:a@b")...),
		"no SDP":                     []byte("hello"),
		"nothing":                    nil,
	} {
		if role, _, err := msrpsdp.Conclude(o, answer); err == nil {
			t.Errorf("%s: %+v, want an error", name, role)
		} else if want := name == "port 0" || name == "other transport" || name == "passive without an address"; errors.Is(err, msrpsdp.ErrNotAcceptable) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// F49, F49a, B4.17, B4.17b: whether the offer has CEMA, and whether its c=/m= and path agree (RFC 6714 §4.3).
func TestAnswersByTheCEMAMatrix(t *testing.T) {
	for _, c := range []struct {
		name  string
		lines []string
		dial  string // where we connect if we can; "-": refused with 488
		cema  bool
	}{
		{"cema, equal", message("7000", types, "a=setup:actpass", path, cema), "192.0.2.7:7000", true},
		{"cema, different", message("7000", types, "a=setup:actpass", faraway, cema), "192.0.2.7:7000", true},
		{"cema, other port", message("7001", types, "a=setup:actpass", path, cema), "192.0.2.7:7001", true},
		{"no cema, equal", message("7000", types, "a=setup:actpass", path), "192.0.2.7:7000", false},
		{"no cema, different", message("7000", types, "a=setup:actpass", faraway), "-", false},
		{"no cema, other port", message("7001", types, "a=setup:actpass", path), "-", false},
		{"no cema, equal in other case", message("7000", types, "c=IN IP4 Phone.Example", "a=setup:actpass", "a=path:msrp://phone.example:7000/s1;tcp"), "phone.example:7000", false},
		{"no cema, path without port", message("2855", types, "a=setup:actpass", "a=path:msrp://192.0.2.7/s1;tcp"), "-", false}, // a missing port equals none
		{"cema, c= in the medium", message("7000", "c=IN IP4 192.0.2.8", types, "a=setup:actpass", path, cema), "192.0.2.8:7000", true},
		{"cema, path of a relay", message("7000", types, "a=setup:actpass", "a=path:msrp://relay.example:1/r;tcp msrp://192.0.2.7:7000/s1;tcp", cema), "192.0.2.7:7000", true},
		{"no cema, path of a relay", message("1", types, "c=IN IP4 relay.example", "a=setup:actpass", "a=path:msrp://relay.example:1/r;tcp msrp://192.0.2.7:7000/s1;tcp"), "relay.example:1", false},
		{"port 9, active", message("9", types, "a=setup:active", path), "", false},
		{"port 9, no setup", message("9", types, path), "", false},
		{"port 9, actpass", message("9", types, "a=setup:actpass", path), "", false},
		{"port 9, active, cema", message("9", types, "a=setup:active", faraway, cema), "", true},
		{"port 9, actpass, cema", message("9", types, "a=setup:actpass", path, cema), "", true},
		{"port 9, passive", message("9", types, "a=setup:passive", "a=path:msrp://192.0.2.7:9/s1;tcp"), "-", false},
		{"port 9, passive, cema", message("9", types, "a=setup:passive", faraway, cema), "-", false},
	} {
		answer, role, err := msrpsdp.Answer(offer(c.lines...), us(), msrpsdp.Active)
		if c.dial == "-" {
			if !errors.Is(err, msrpsdp.ErrNotAcceptable) {
				t.Errorf("%s: %+v, %v, want 488", c.name, role, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		a := attributes(t, answer, 0)
		if _, has := a["msrp-cema"]; has != c.cema || role.Dial != c.dial || role.Active != (c.dial != "") {
			t.Errorf("%s: cema %v, %+v, want %v, dial %q", c.name, has, role, c.cema, c.dial)
		}
		// The path is To-Path as it was offered, whoever is dialled.
		for _, l := range c.lines {
			if want, ok := strings.CutPrefix(l, "a=path:"); ok && role.Remote.String() != want {
				t.Errorf("%s: the remote path is %s, want %s", c.name, role.Remote, want)
			}
		}
	}
}

// F49, B4.17: the same after our own offer (RFC 6714 §4.2).
func TestConcludesByTheCEMAMatrix(t *testing.T) {
	for _, c := range []struct {
		name     string
		ours     bool
		lines    []string
		dial     string
		fallBack bool
	}{
		{"both, equal", true, message("7000", types, "a=setup:passive", path, cema), "192.0.2.7:7000", false},
		{"both, different", true, message("7000", types, "a=setup:passive", faraway, cema), "192.0.2.7:7000", false},
		{"ours alone, equal", true, message("7000", types, "a=setup:passive", path), "192.0.2.7:7000", false},
		{"ours alone, different: whoever changed c=/m= listens there", true, message("7001", types, "a=setup:passive", path), "192.0.2.7:7001", false},
		{"ours alone, different, they connect", true, message("7001", types, "a=setup:active", path), "", true},
		{"ours alone, they connect from port 9", true, message("9", types, "a=setup:active", path), "", false},
		{"theirs alone, different", false, message("7001", types, "a=setup:passive", path, cema), "192.0.2.7:7000", false},
		{"none, equal", false, message("7000", types, "a=setup:passive", path), "192.0.2.7:7000", false},
	} {
		l := us()
		l.CEMA = c.ours
		o, err := msrpsdp.Offer(l)
		if err != nil {
			t.Fatal(err)
		}
		role, _, err := msrpsdp.Conclude(o, offer(c.lines...))
		if err != nil || role.Dial != c.dial || role.Active != (c.dial != "") || role.FallBack != c.fallBack {
			t.Errorf("%s: %+v, %v, want dial %q, fall back: %v", c.name, role, err, c.dial, c.fallBack)
		}
	}
}

// RFC 3264 §6: an answer has as many media as the offer, in its order; those that aren't ours have port 0.
func TestOtherMediaAreRefused(t *testing.T) {
	audio, video := "m=audio 7100 RTP/AVP 0 8", "m=video 7200 RTP/AVP 31"
	both := append([]string{audio, "a=rtpmap:0 PCMU/8000"}, message("7000", types, "a=setup:active", path)...)
	answer, role, err := msrpsdp.Answer(offer(append(both, video)...), us(), "")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for l := range strings.SplitSeq(string(answer), "\r\n") {
		if strings.HasPrefix(l, "m=") {
			got = append(got, l)
		}
	}
	if want := []string{"m=audio 0 RTP/AVP 0 8", "m=message 2855 TCP/MSRP *", "m=video 0 RTP/AVP 31"}; fmt.Sprint(got) != fmt.Sprint(want) || role.Active {
		t.Errorf("media %q, %+v, want %q", got, role, want)
	}
	// Of two MSRP media the one that we can do is taken, whichever stands first.
	two := append([]string{"m=message 7443 TCP/TLS/MSRP *", types, "a=setup:active", "a=path:msrps://192.0.2.7:7443/t1;tcp"}, message("7000", types, "a=setup:active", path)...)
	for _, tls := range []bool{false, true} {
		l := us()
		l.TLS, l.URI.Secure = tls, tls
		answer, role, err := msrpsdp.Answer(offer(two...), l, "")
		if err != nil || role.Remote[0].SessionID != map[bool]string{false: "s1", true: "t1"}[tls] {
			t.Errorf("TLS %v: %+v, %v", tls, role, err)
		}
		if off := map[bool]string{false: "m=message 0 TCP/TLS/MSRP *", true: "m=message 0 TCP/MSRP *"}[tls]; strings.Count(string(answer), "\r\nm=") != 2 || !strings.Contains(string(answer), off) {
			t.Errorf("TLS %v:\n%s", tls, answer)
		}
	}
	// A medium that is off, or that can't be read, is passed over.
	third := append(message("0", types, "a=path:msrp://192.0.2.7:1/off;tcp"), append(message("7000", types), message("7000", types, "a=setup:active", path)...)...)
	if _, role, err := msrpsdp.Answer(offer(third...), us(), ""); err != nil || role.Remote[0].SessionID != "s1" {
		t.Errorf("%+v, %v", role, err)
	}
	if m, err := msrpsdp.Parse(offer(third...)); err != nil || m.Path[0].SessionID != "s1" {
		t.Errorf("Parse = %+v, %v", m, err)
	}
}

func TestOffersThatCantBeTakenAreNotAcceptable(t *testing.T) {
	for name, o := range map[string][]byte{
		"media off":       offer(message("0", types, path)...),
		"no MSRP":         offer("m=audio 7100 RTP/AVP 0"),
		"TLS alone":       offer("m=message 7000 TCP/TLS/MSRP *", types, path),
		"no path":         offer(message("7000", types)...),
		"path is no URI":  offer(message("7000", types, "a=path:http://a/b")...),
		"no address":      []byte("v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nt=0 0\r\nm=message 7000 TCP/MSRP *\r\n" + types + "\r\na=setup:passive\r\n" + cema + "\r\n" + path + "\r\n"),
		"another message": offer("m=message 7000 UDP/X *"),
		"no SDP":          []byte("v=1"),
	} {
		if _, role, err := msrpsdp.Answer(o, us(), ""); !errors.Is(err, msrpsdp.ErrNotAcceptable) {
			t.Errorf("%s: %+v, %v", name, role, err)
		}
	}
}

// B5.05, RFC 6135 §4.4: a=connection is ignored and never sent. Unknown lines are ignored. Attributes may stand above the media.
func TestUnusualOffersAreRead(t *testing.T) {
	o := []byte("v=0\r\no=- 1 1 IN IP6 2001:db8::7\r\ns= \r\nc=IN IP6 2001:db8::7\r\nt=0 0\r\na=setup:active\r\na=fingerprint:SHA-1 AA:BB\r\na=recvonly\r\n" +
		"m=message 7000 TCP/MSRP *\r\na=connection:new\r\na=ACCEPT-TYPES:* \r\na=accept-wrapped-types:text/* image/png\r\na=max-size:99999999999999999999\r\na=path:msrp://[2001:DB8:0::7]:7000/s1;tcp\r\na=chatroom\r\n")
	m, err := msrpsdp.Parse(o)
	if err != nil || m.Addr != "2001:db8::7" || m.Setup != msrpsdp.Active || m.Direction != "recvonly" || m.MaxSize != 0 {
		t.Errorf("Parse = %+v, %v", m, err)
	}
	answer, role, err := msrpsdp.Answer(o, us(), "")
	if err != nil || role.Active || bytes.Contains(answer, []byte("a=connection")) {
		t.Errorf("%+v, %v\n%s", role, err, answer)
	}
	answer, role, err = msrpsdp.Answer(bytes.Replace(o, []byte("a=setup:active"), []byte("a=setup:passive"), 1), us(), "")
	if err != nil || role.Dial != "[2001:db8:0::7]:7000" && role.Dial != "[2001:DB8:0::7]:7000" || bytes.Contains(answer, []byte("a=connection")) {
		t.Errorf("%+v, %v", role, err)
	}
	l := us()
	l.Addr, l.URI.Host = "[2001:db8::1]", "[2001:db8::1]"
	answer, _, err = msrpsdp.Answer(o, l, "")
	if err != nil || !bytes.Contains(answer, []byte("c=IN IP6 2001:db8::1\r\n")) || !bytes.Contains(answer, []byte("a=path:msrp://[2001:db8::1]:2855/ours;tcp\r\n")) {
		t.Errorf("%v\n%s", err, answer)
	}
}

// RFC 3264 §6.1, RFC 4975 §8.9.
func TestDirectionsAreAnswered(t *testing.T) {
	for _, c := range []struct{ offered, own, want string }{
		{"", "", "sendrecv"}, {"sendrecv", "", "sendrecv"}, {"sendonly", "", "recvonly"}, {"recvonly", "", "sendonly"}, {"inactive", "", "inactive"},
		{"sendrecv", "recvonly", "recvonly"}, {"sendrecv", "sendonly", "sendonly"}, {"sendonly", "recvonly", "recvonly"}, {"sendonly", "sendonly", "inactive"}, {"recvonly", "sendrecv", "sendonly"}, {"sendrecv", "inactive", "inactive"},
	} {
		lines := message("7000", types, "a=setup:active", path)
		if c.offered != "" {
			lines = append(lines, "a="+c.offered)
		}
		l := us()
		l.Direction = c.own
		answer, _, err := msrpsdp.Answer(offer(lines...), l, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := attributes(t, answer, 0)[c.want]; !ok || strings.Count(string(answer), "only\r\n") > 1 {
			t.Errorf("%q, we want %q: no a=%s in\n%s", c.offered, c.own, c.want, answer)
		}
	}
}

// B4.15: RFC 4975 §8.6.
func TestTypesAreAcceptedAsListed(t *testing.T) {
	m := msrpsdp.Media{AcceptTypes: []string{"message/CPIM", "image/*"}, AcceptWrappedTypes: []string{"text/plain"}}
	for _, c := range []struct {
		contentType   string
		plain, inside bool
	}{
		{"message/cpim", true, true}, {"Message/CPIM; charset=x", true, true}, {"image/png", true, true}, {"text/plain", false, true}, {"text/plain;charset=utf-8", false, true}, {"text/html", false, false}, {"", false, false},
	} {
		if p, w := m.Accepts(c.contentType), m.AcceptsWrapped(c.contentType); p != c.plain || w != c.inside {
			t.Errorf("%q: %v, %v, want %v, %v", c.contentType, p, w, c.plain, c.inside)
		}
	}
	if all := (msrpsdp.Media{AcceptTypes: []string{"*"}}); !all.Accepts("x/y") || !all.AcceptsWrapped("x/y") {
		t.Error("* does not accept all")
	}
	if (msrpsdp.Media{}).Accepts("x/y") {
		t.Error("nothing listed accepts something")
	}
}

// FuzzParse: no panic; what is accepted is answered with as many media, and our own answer can be read.
func FuzzParse(f *testing.F) {
	f.Add(offer(message("7000", types, "a=setup:actpass", path, cema, "a=max-size:1", "a=sendonly")...))
	f.Add(offer(append([]string{"m=audio 1 RTP/AVP 0"}, message("9", types, "a=setup:active", faraway)...)...))
	f.Add(offer("m=message 7443 TCP/TLS/MSRP *", types, "a=fingerprint:SHA-256 AA", "a=path:msrps://[::1]:7443/t1;tcp msrps://a/b;tcp"))
	f.Fuzz(func(t *testing.T, in []byte) {
		m, err := msrpsdp.Parse(in)
		if err == nil && m.Port != 0 && len(m.Path) == 0 {
			t.Fatalf("%+v has no path", m)
		}
		answer, role, err := msrpsdp.Answer(in, us(), msrpsdp.Active)
		if err != nil {
			if !errors.Is(err, msrpsdp.ErrNotAcceptable) {
				t.Fatalf("Answer = %v", err)
			}
			return
		}
		back, err := msrpsdp.Parse(answer)
		if err != nil || back.Port != 2855 || back.Path[0].SessionID != "ours" || (back.Setup == msrpsdp.Active) != role.Active || role.Active != (role.Dial != "") || len(role.Remote) == 0 {
			t.Fatalf("%+v, our answer is read as %+v, %v\n%s", role, back, err, answer)
		}
		if strings.Count(string(in), "\nm=") != strings.Count(string(answer), "\nm=") && strings.Count(string(in), "\rm=") == 0 {
			t.Fatalf("other media:\n%s\n%s", in, answer)
		}
	})
}
