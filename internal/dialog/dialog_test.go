package dialog

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
	"pgregory.net/rapid"
)

// parse reads a message; lines are joined by CRLF and Content-Length is added.
func parse[M sip.Message](t *testing.T, lines ...string) M {
	t.Helper()
	m, err := sip.ParseMessage([]byte(strings.Join(lines, "\r\n") + "\r\nContent-Length: 0\r\n\r\n"))
	if err != nil {
		t.Fatalf("parse %q: %v", lines, err)
	}
	return m.(M)
}

const via = "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKx"

func invite(t *testing.T, more ...string) *sip.Request {
	t.Helper()
	return parse[*sip.Request](t, append([]string{
		"INVITE sip:a@cc.com SIP/2.0", via, "Max-Forwards: 70", "From: \"B\" <sip:b@guest.example>;tag=b1", "To: <sip:a@cc.com>", "Call-ID: c1", "CSeq: 7 INVITE",
	}, more...)...)
}

func ok(t *testing.T, more ...string) *sip.Response {
	t.Helper()
	return parse[*sip.Response](t, append([]string{
		"SIP/2.0 200 OK", via, "From: <sip:b@guest.example>;tag=b1", "To: <sip:a@cc.com>;tag=a1", "Call-ID: c1", "CSeq: 7 INVITE",
	}, more...)...)
}

func values(req *sip.Request, name string) []string {
	var all []string
	for _, h := range req.GetHeaders(name) {
		all = append(all, h.Value())
	}
	return all
}

// RFC 3261 §12.1, §12.2.1.1: what a dialog's requests look like, from either end.
func TestRouteSetAndTarget(t *testing.T) {
	for _, c := range []struct {
		name    string
		records []string // Record-Route fields, top first
		contact string
		target  string   // R-URI of a request of the caller's
		routes  []string // Route of a request of the caller's
		callee  []string // and of the callee's
		hop     string   // the destination that is set; "": by Route or R-URI
	}{
		{"no proxy", nil, "<sip:a@192.0.2.9>", "sip:a@192.0.2.9", nil, nil, ""},
		{"two loose", []string{"<sip:p2;lr>", "<sip:p1;lr>"}, "<sip:a@192.0.2.9>", "sip:a@192.0.2.9", []string{"<sip:p1;lr>", "<sip:p2;lr>"}, []string{"<sip:p2;lr>", "<sip:p1;lr>"}, ""},
		{"in one field", []string{`"x, y" <sip:p3;lr>;z=1,<sip:p2;lr>`, "<sip:p1;lr>"}, "<sip:a@192.0.2.9>", "sip:a@192.0.2.9",
			[]string{"<sip:p1;lr>", "<sip:p2;lr>", "<sip:p3;lr>"}, []string{"<sip:p3;lr>", "<sip:p2;lr>", "<sip:p1;lr>"}, ""},
		{"parameters stay", []string{"<sip:mark@p1:5070;lr;s=1;h=0;d=0;transport=tcp>"}, "<sip:a@192.0.2.9;transport=tcp>", "sip:a@192.0.2.9;transport=tcp",
			[]string{"<sip:mark@p1:5070;lr;s=1;h=0;d=0;transport=tcp>"}, []string{"<sip:mark@p1:5070;lr;s=1;h=0;d=0;transport=tcp>"}, ""},
		{"strict first", []string{"<sip:p2;lr>", "<sip:192.0.2.5:5070>"}, "<sip:a@192.0.2.9>", "sip:192.0.2.5:5070", []string{"<sip:p2;lr>", "<sip:a@192.0.2.9>"},
			[]string{"<sip:p2;lr>", "<sip:192.0.2.5:5070>"}, "192.0.2.5:5070"},
		{"strict alone, IPv6", []string{"<sip:[2001:db8::5]>"}, "<sip:a@192.0.2.9>", "sip:[2001:db8::5]", []string{"<sip:a@192.0.2.9>"}, []string{"<sip:b@192.0.2.2>"}, "[2001:db8::5]:5060"},
		{"no contact", nil, "", "sip:a@cc.com", nil, nil, ""},
		{"star", nil, "*", "sip:a@cc.com", nil, nil, ""},
	} {
		var fields []string
		for _, r := range c.records {
			fields = append(fields, "Record-Route: "+r)
		}
		res := fields
		if c.contact != "" {
			res = append(slices.Clone(fields), "Contact: "+c.contact)
		}
		s, err := FromResponse(invite(t), ok(t, res...))
		if err != nil {
			t.Errorf("%s: FromResponse = %v", c.name, err)
			continue
		}
		for _, req := range []*sip.Request{s.Request(sip.BYE), s.ACK(7)} {
			if got := values(req, "Route"); req.Recipient.String() != c.target || !slices.Equal(got, c.routes) || req.MessageData.Destination() != c.hop {
				t.Errorf("%s: %s to %s by %q at %q, want %s by %q at %q", c.name, req.Method, req.Recipient.String(), got, req.MessageData.Destination(), c.target, c.routes, c.hop)
			}
		}
		s = FromRequest(invite(t, append(fields, "Contact: <sip:b@192.0.2.2>")...), "a1")
		if got := values(s.Request(sip.BYE), "Route"); !slices.Equal(got, c.callee) {
			t.Errorf("%s: the callee's BYE goes by %q, want %q", c.name, got, c.callee)
		}
	}
}

// RFC 3261 §12.1, §12.2.1.1: names, tags and numbers from either end.
func TestTagsAndNumbers(t *testing.T) {
	s, err := FromResponse(invite(t), ok(t, "Contact: <sip:a@192.0.2.9>"))
	if err != nil {
		t.Fatal(err)
	}
	check := func(req *sip.Request, from, to, cseq string) {
		t.Helper()
		if req.From().Value() != from || req.To().Value() != to || req.CSeq().Value() != cseq || req.CallID().Value() != "c1" || req.MaxForwards().Val() != 70 {
			t.Errorf("%s\nwant From %s, To %s, CSeq %s", req.String(), from, to, cseq)
		}
	}
	us, them := "<sip:b@guest.example>;tag=b1", "<sip:a@cc.com>;tag=a1"
	check(s.ACK(7), us, them, "7 ACK")
	check(s.Request(sip.PRACK), us, them, "8 PRACK")
	check(s.Request(sip.BYE), us, them, "9 BYE")
	check(s.ACK(7), us, them, "7 ACK")
	s = FromRequest(invite(t, "Contact: <sip:b@192.0.2.2>"), "a1")
	check(s.Request(sip.BYE), them, us, "1 BYE")
	if s.Key() != Key("c1", "a1", "b1") || s.Key() == Key("c1", "a1", "b2") || s.Target.String() != "sip:b@192.0.2.2" {
		t.Errorf("Key %q, Target %s", s.Key(), s.Target.String())
	}
	// Tags that RFC 2543 knew nothing of (§12.1.1, §12.1.2).
	old := ok(t)
	old.To().Params.Remove("tag")
	if s, err = FromResponse(invite(t), old); err != nil || s.RemoteTag != "" || s.Request(sip.BYE).To().Value() != "<sip:a@cc.com>" {
		t.Errorf("without tag: %+v, %v", s, err)
	}
	if _, err := FromResponse(invite(t), parse[*sip.Response](t, "SIP/2.0 200 OK", via, "From: <sip:b@guest.example>;tag=b1", "Call-ID: c1", "CSeq: 7 INVITE")); !errors.Is(err, ErrNoPeer) {
		t.Errorf("without To: %v", err)
	}
}

// RFC 3261 §12.2.2, §8.1.1.5: numbers grow, gaps are legal, and 2^31 is none.
func TestNumbersOfThePeerGrow(t *testing.T) {
	s := FromRequest(invite(t, "Contact: <sip:b@192.0.2.2>"), "a1")
	for _, c := range []struct {
		seq      uint32
		gap, err bool
	}{{7, false, true}, {6, false, true}, {0, false, true}, {8, false, false}, {8, false, true}, {10, true, false}, {9, false, true}, {1<<31 - 1, true, false}, {1 << 31, false, true}, {1<<32 - 1, true, true}} {
		req := invite(t)
		req.CSeq().SeqNo = c.seq
		if got := s.Gap(req); got != c.gap {
			t.Errorf("Gap(%d) after %d = %v", c.seq, s.RemoteSeq, got)
		}
		if err := s.Take(req); (err != nil) != c.err || err != nil && !errors.Is(err, ErrOrder) {
			t.Errorf("Take(%d) = %v", c.seq, err)
		}
	}
	// The first number of a callee may be any.
	s, err := FromResponse(invite(t), ok(t))
	if err != nil {
		t.Fatal(err)
	}
	req := invite(t)
	req.CSeq().SeqNo = 4711
	if s.Gap(req) || s.Take(req) != nil || s.RemoteSeq != 4711 {
		t.Errorf("the callee's first number: RemoteSeq %d", s.RemoteSeq)
	}
}

// RFC 3261 §12.2.1.2, §12.2.2: which messages move the target.
func TestTargetRefresh(t *testing.T) {
	request := func(method sip.RequestMethod, contact string) *sip.Request {
		req := invite(t, "Contact: "+contact)
		req.Method = method
		return req
	}
	s := FromRequest(invite(t, "Contact: <sip:b@192.0.2.2>"), "a1")
	for i, c := range []struct {
		method        sip.RequestMethod
		contact, want string
	}{
		{sip.INVITE, "<sip:new@192.0.2.3>", "sip:new@192.0.2.3"}, {sip.UPDATE, "<sip:newer@192.0.2.4>", "sip:newer@192.0.2.4"},
		{sip.OPTIONS, "<sip:other@192.0.2.5>", "sip:newer@192.0.2.4"}, {sip.UPDATE, "*", "sip:newer@192.0.2.4"},
	} {
		req := request(c.method, c.contact)
		req.CSeq().SeqNo = uint32(10 + i)
		if err := s.Take(req); err != nil || s.Target.String() != c.want {
			t.Errorf("after %s with %s: %s, %v; want %s", c.method, c.contact, s.Target.String(), err, c.want)
		}
	}
	old := request(sip.INVITE, "<sip:late@192.0.2.6>")
	if err := s.Take(old); err == nil || s.Target.String() != "sip:newer@192.0.2.4" {
		t.Errorf("an old request moves the target to %s", s.Target.String())
	}
	s.Refresh(ok(t, "Contact: <sip:final@192.0.2.7>"))
	s.Refresh(ok(t))
	if s.Target.String() != "sip:final@192.0.2.7" {
		t.Errorf("after a 2xx: %s", s.Target.String())
	}
}

// RFC 3261 §9.1: a CANCEL is its INVITE in all that names it, and in nothing else.
func TestCancelNamesItsInvite(t *testing.T) {
	inv := invite(t, "Route: <sip:p1;lr>, <sip:p2;lr>", "Contact: <sip:b@192.0.2.2>", "Require: 100rel", "Subject: x")
	inv.PrependHeader(&sip.ViaHeader{ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: "TCP", Host: "192.0.2.2", Port: 5080, Params: sip.HeaderParams{{K: "branch", V: "z9hG4bKtop"}}})
	inv.SetTransport("TCP")
	inv.SetDestination("192.0.2.1:5060")
	c := Cancel(inv)
	if c.Method != sip.CANCEL || c.Recipient.String() != "sip:a@cc.com" || c.CSeq().Value() != "7 CANCEL" || len(values(c, "Via")) != 1 ||
		c.Via().Value() != "SIP/2.0/TCP 192.0.2.2:5080;branch=z9hG4bKtop" || c.From().Value() != inv.From().Value() || c.To().Value() != inv.To().Value() ||
		c.CallID().Value() != "c1" || c.Transport() != "TCP" || c.Destination() != "192.0.2.1:5060" || len(values(c, "Require"))+len(values(c, "Contact"))+len(values(c, "Subject")) != 0 {
		t.Errorf("CANCEL\n%s", c.String())
	}
	if got := values(c, "Route"); !slices.Equal(got, []string{"<sip:p1;lr>", "<sip:p2;lr>"}) {
		t.Errorf("Route = %q", got)
	}
}

// RFC 3262 §3, §7.1: only a 101 to 199 with both fields is reliable.
func TestRSeq(t *testing.T) {
	for _, c := range []struct {
		status string
		fields []string
		want   uint32
	}{
		{"183 Session Progress", []string{"Require: 100rel", "RSeq: 4711"}, 4711},
		{"180 Ringing", []string{"Require: foo, 100REL", "RSeq:  9 "}, 9},
		{"180 Ringing", []string{"RSeq: 9"}, 0},
		{"180 Ringing", []string{"Supported: 100rel", "RSeq: 9"}, 0},
		{"180 Ringing", []string{"Require: 100rel"}, 0},
		{"180 Ringing", []string{"Require: 100rel", "RSeq: 4294967296"}, 0},
		{"180 Ringing", []string{"Require: 100rel", "RSeq: -1"}, 0},
		{"100 Trying", []string{"Require: 100rel", "RSeq: 9"}, 0},
		{"200 OK", []string{"Require: 100rel", "RSeq: 9"}, 0},
	} {
		res := parse[*sip.Response](t, append([]string{"SIP/2.0 " + c.status, via, "CSeq: 1 INVITE"}, c.fields...)...)
		if got := RSeq(res); got != c.want {
			t.Errorf("RSeq(%s, %q) = %d, want %d", c.status, c.fields, got, c.want)
		}
	}
}

// RFC 3262 §7.2.
func TestRAck(t *testing.T) {
	for value, want := range map[string]bool{
		"1 2 INVITE": true, "776656  1\tINVITE": true, " 4294967295 4294967295 INVITE ": true,
		"": false, "1 2": false, "1 2 INVITE x": false, "0 2 INVITE": false, "-1 2 INVITE": false, "1 x INVITE": false, "4294967296 1 INVITE": false, "0x1 2 INVITE": false, "1_0 2 INVITE": false,
	} {
		rseq, cseq, method, ok := ParseRAck(value)
		if ok != want || ok && method != sip.INVITE || !ok && rseq+cseq != 0 {
			t.Errorf("ParseRAck(%q) = %d, %d, %s, %v", value, rseq, cseq, method, ok)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		r, c, m := rapid.Uint32Min(1).Draw(t, "rseq"), rapid.Uint32().Draw(t, "cseq"), sip.RequestMethod(rapid.StringMatching("[A-Z]{1,9}").Draw(t, "method"))
		if r2, c2, m2, ok := ParseRAck(RAck(r, c, m)); !ok || r2 != r || c2 != c || m2 != m {
			t.Fatalf("RAck(%d, %d, %s) = %q comes back as %d, %d, %s, %v", r, c, m, RAck(r, c, m), r2, c2, m2, ok)
		}
	})
}
