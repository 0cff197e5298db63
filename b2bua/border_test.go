package b2bua

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"latchkey/internal/dialog"
)

// The network of these tests: AS is the border's own, core is trusted, all else isn't.
func newBorder(change ...func(*ISCOptions)) *ISC {
	opt := ISCOptions{
		Own:     func(route string) bool { return strings.HasPrefix(route, "sip:as.example") },
		Trusted: func(host string) bool { return host == "core.example" },
		Core:    "core.example",
		Host:    "as.example",
	}
	for _, f := range change {
		f(&opt)
	}
	return NewISC(opt)
}

const (
	toUs   = "Route: <sip:as.example;lr>"
	odi    = "<sip:iscmark@core.example:6060;lr;s=1;h=0;d=0;a=7369703a61>"
	onward = "Route: " + odi
	away   = "Route: <sip:other.example;lr>"
)

// inviteWith makes an INVITE with those fields beside the usual ones.
func inviteWith(t *testing.T, lines ...string) *sip.Request {
	t.Helper()
	all := []string{
		"INVITE sip:c@cc.com SIP/2.0", "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx", "From: <sip:a@cc.com>;tag=1", "To: <sip:c@cc.com>", "Call-ID: 1",
		"CSeq: 1 INVITE", "Contact: <sip:a@192.0.2.1>",
	}
	m, err := sip.ParseMessage([]byte(strings.Join(append(all, "Content-Length: 0", "", ""), "\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	req := m.(*sip.Request)
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		req.AppendHeader(sip.NewHeader(name, value))
	}
	return req
}

// across is what comes out of an INVITE: its fields other than the dialog's own, as lines.
func across(t *testing.T, b *ISC, trusted bool, req *sip.Request) ([]string, *Crossing) {
	t.Helper()
	c, refused := b.Open(req, trusted)
	if refused != nil {
		t.Fatalf("refused with %d", refused.Code)
	}
	out := onwardOf(req)
	if r := c.Request(req, out, SideB); r != nil {
		t.Fatalf("refused with %d", r.Code)
	}
	return linesOf(out), c
}

// onwardOf copies a request as a bridge does.
func onwardOf(req *sip.Request) *sip.Request {
	out := sip.NewRequest(req.Method, req.Recipient)
	for _, h := range req.Headers() {
		if h.Name() != "Route" {
			out.AppendHeader(sip.HeaderClone(h))
		}
	}
	if req.GetHeader("Route") != nil {
		out.AppendHeader(sip.NewHeader("Route", "<sip:core.example;lr>"))
	}
	return out
}

func linesOf(m interface{ Headers() []sip.Header }) []string {
	var all []string
	for _, h := range m.Headers() {
		if !slices.Contains([]string{"Via", "From", "To", "Call-ID", "CSeq", "Contact", "Content-Length"}, h.Name()) {
			all = append(all, h.Name()+": "+h.Value())
		}
	}
	return all
}

// has tells whether a field is among lines, and with which value; several are joined.
func has(lines []string, name string) string {
	var all []string
	for _, l := range lines {
		if n, v, _ := strings.Cut(l, ": "); strings.EqualFold(n, name) {
			all = append(all, v)
		}
	}
	return strings.Join(all, ", ")
}

// F61, F63, B1.08, B1.11, B1.12, B1.14-B1.16, B1.19, B2.15, B2.17: what becomes of each field, by who sent it and where it goes.
func TestFieldsAtTheBorder(t *testing.T) {
	for _, c := range []struct {
		field                          string
		within, fromOutside, toOutside string // "=": as it is; "": gone; else what it becomes
	}{
		{"P-Asserted-Identity: <sip:a@cc.com>, <tel:+8613800000001>", "=", "", "="},
		{"P-Preferred-Identity: <sip:x@cc.com>", "", "", ""},
		{"P-Asserted-Service: urn:urn-7:3gpp-service.ims.icsi.oma.cpm.session", "=", "", ""},
		{"P-Preferred-Service: urn:urn-7:3gpp-service.ims.icsi.oma.cpm.session", "", "", ""},
		{"P-Served-User: <sip:a@cc.com>;sescase=orig;regstate=reg", "=", "", ""},
		{"P-Charging-Function-Addresses: ccf=192.0.2.9", "=", "", ""},
		{"P-Access-Network-Info: 3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=1", "=", "", ""},
		{"P-Called-Party-ID: <sip:c@cc.com>", "=", "", ""},
		{"Feature-Caps: *;+g.3gpp.srvcc", "=", "", ""},
		{"Accept-Contact: *;+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\";require;explicit", "=", "=", "="},
		{"Request-Disposition: no-fork", "=", "=", "="},
		{"Identity: eyJ.x.y;info=<https://cert.example/a.pem>;alg=ES256;ppt=shaken", "=", "=", "="},
		{"Session-ID: ab30317f1a784dc48ff824d0d3715d86;remote=00000000000000000000000000000000", "=", "=", "="},
		{"Privacy: id", "=", "=", "="},
		{"User-Agent: Phone/1 (internal build)", "", "", ""},
		{"Contribution-ID: 8ec2", "=", "=", "="},
		{"X-Never-Heard-Of: a, \"b\";c", "=", "=", "="},
		{"Max-Breadth: 7", "=", "=", "="},
		{"Allow: INVITE, ACK", "=", "=", "="},
		{"History-Info: <sip:c@cc.com>;index=1", "<sip:c@cc.com>;index=1, <sip:c@cc.com>;index=1.1;np=1", "", ""},
		{"Max-Forwards: 66", "65", "65", "65"},
	} {
		name, value, _ := strings.Cut(c.field, ": ")
		for way, want := range map[string]string{"within": c.within, "from outside": c.fromOutside, "to outside": c.toOutside} {
			if want == "=" {
				want = value
			}
			next := onward
			if way == "to outside" {
				next = away
			}
			lines, _ := across(t, newBorder(), way != "from outside", inviteWith(t, toUs, next, c.field))
			if got := has(lines, name); got != want {
				t.Errorf("%s %s: %q, want %q", way, name, got, want)
			}
		}
	}
}

// B1.10, B1.14: a request that nobody has said the service of gets it by the feature tag that it asks for, within the trust domain and
// where that is wanted; what is there stays.
func TestServiceIsAsserted(t *testing.T) {
	const (
		chat = "urn:urn-7:3gpp-service.ims.icsi.oma.cpm.session"
		ref  = "Accept-Contact: *;+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\";explicit"
	)
	services := func(o *ISCOptions) { o.Services = true }
	for _, c := range []struct {
		name   string
		change func(*ISCOptions)
		next   string
		fields []string
		want   string
	}{
		{"asked for", services, onward, []string{ref}, chat},
		{"not wanted", func(*ISCOptions) {}, onward, []string{ref}, ""},
		{"to outside", services, away, []string{ref}, ""},
		{"said already", services, onward, []string{ref, "P-Asserted-Service: urn:urn-7:3gpp-service.ims.icsi.mmtel"}, "urn:urn-7:3gpp-service.ims.icsi.mmtel"},
		{"preferred only", services, onward, []string{"P-Preferred-Service: " + chat}, ""},
		{"no service", services, onward, []string{"Accept-Contact: *;+g.3gpp.icsi-ref=\"urn%3Ax%0D%0AX-Evil:1\""}, ""},
		{"with a line end", services, onward, []string{"Accept-Contact: *;+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.x%0D%0AX-Evil:1\""}, ""},
	} {
		lines, _ := across(t, newBorder(c.change), true, inviteWith(t, append([]string{toUs, c.next}, c.fields...)...))
		if got := has(lines, "P-Asserted-Service"); got != c.want {
			t.Errorf("%s: P-Asserted-Service %q, want %q", c.name, got, c.want)
		}
	}
}

// F61, B1.08: our Route goes, however it stands there, and all the others stay to the byte.
func TestOnlyOurRouteIsTakenOff(t *testing.T) {
	for _, c := range []struct{ in, out []string }{
		{[]string{toUs, onward}, []string{odi}},
		{[]string{"Route: <sip:as.example;lr>, " + odi}, []string{odi}},
		{[]string{"Route: <sip:as.example;lr> ,\t" + odi + `, "later, on" <sip:c.example;lr;X=%41>;y`}, []string{odi, `"later, on" <sip:c.example;lr;X=%41>;y`}},
		{[]string{toUs, toUs, onward}, []string{odi}},
		{[]string{toUs}, []string{"<sip:core.example;lr>"}},
		{[]string{onward, toUs}, []string{odi, "<sip:as.example;lr>"}},
	} {
		lines, _ := across(t, newBorder(), true, inviteWith(t, c.in...))
		var got []string
		for _, l := range lines {
			if v, ok := strings.CutPrefix(l, "Route: "); ok {
				got = append(got, v)
			}
		}
		if !slices.Equal(got, c.out) {
			t.Errorf("Routes %q become %q, want %q", c.in, got, c.out)
		}
	}
}

// F63, B1.12: PAI stays within where Privacy asks for that, and goes out where it doesn't.
func TestPrivacyKeepsTheIdentityWithin(t *testing.T) {
	const pai = "P-Asserted-Identity: <sip:a@cc.com>"
	for _, c := range []struct {
		privacy, next, want string
	}{
		{"id", away, ""}, {"header;id", away, ""}, {"ID", away, ""}, {"header", away, "<sip:a@cc.com>"}, {"none", away, "<sip:a@cc.com>"}, {"id", onward, "<sip:a@cc.com>"},
	} {
		lines, _ := across(t, newBorder(), true, inviteWith(t, toUs, c.next, pai, "Privacy: "+c.privacy))
		if got := has(lines, "P-Asserted-Identity"); got != c.want {
			t.Errorf("Privacy: %s towards %s: PAI %q, want %q", c.privacy, c.next, got, c.want)
		}
	}
}

// B1.13, F61: the icid is that of the first request, in all requests and responses of the dialog; ioi of type 3 is ours.
func TestChargingVectorIsThatOfTheFirstRequest(t *testing.T) {
	const pcv = `P-Charging-Vector: icid-value="AyretyU0dm+6O2IrT5tAFrbHLso=023551024";icid-generated-at=192.0.2.1;orig-ioi=home.example;related-icid=r1`
	ioi := newBorder(func(o *ISCOptions) { o.IOI = "as.ioi" })
	lines, c := across(t, ioi, true, inviteWith(t, toUs, onward, pcv))
	want := `icid-value="AyretyU0dm+6O2IrT5tAFrbHLso=023551024";icid-generated-at=192.0.2.1;orig-ioi=as.ioi;related-icid=r1`
	if got := has(lines, "P-Charging-Vector"); got != want {
		t.Errorf("first request: %s, want %s", got, want)
	}
	later := inviteWith(t, "P-Charging-Vector: icid-value=another;orig-ioi=home.example")
	out := onwardOf(later)
	c.Request(later, out, SideA)
	if got := has(linesOf(out), "P-Charging-Vector"); got != want {
		t.Errorf("within the dialog: %s, want %s", got, want)
	}
	in := sip.NewResponse(180, "Ringing")
	in.AppendHeader(sip.NewHeader("P-Charging-Vector", "icid-value=another;orig-ioi=as.ioi;term-ioi=home.example;access-network-charging-info=x"))
	back := sip.NewResponse(180, "Ringing")
	back.AppendHeader(sip.HeaderClone(in.Headers()[0]))
	c.Response(in, back, SideA)
	want = `icid-value="AyretyU0dm+6O2IrT5tAFrbHLso=023551024";orig-ioi=home.example;term-ioi=as.ioi;access-network-charging-info=x`
	if got := has(linesOf(back), "P-Charging-Vector"); got != want {
		t.Errorf("response: %s, want %s", got, want)
	}

	lines, _ = across(t, newBorder(), true, inviteWith(t, toUs, onward, pcv))
	if got := has(lines, "P-Charging-Vector"); got != strings.TrimPrefix(pcv, "P-Charging-Vector: ") {
		t.Errorf("without an ioi of ours: %s, want it unchanged", got)
	}
	one, _ := across(t, newBorder(), true, inviteWith(t, toUs, onward))
	two, c := across(t, newBorder(), false, inviteWith(t, toUs, onward, pcv)) // a stranger's icid is none
	a, b := has(one, "P-Charging-Vector"), has(two, "P-Charging-Vector")
	if !strings.HasPrefix(a, "icid-value=") || !strings.HasSuffix(a, ";icid-generated-at=as.example") || a == b || strings.Contains(b, "AyretyU0") || !strings.Contains(b, c.ICID()) {
		t.Errorf("made here: %s and %s, want two of ours", a, b)
	}
}

// B1.11: a request that has come too far goes no further.
func TestHopsAndBreadthAreCounted(t *testing.T) {
	for field, code := range map[string]int{
		"Max-Forwards: 0": 483, "Max-Forwards: 1": 0, "Max-Breadth: 0": 440, "Max-Breadth: 1": 0, "Max-Breadth: -1": 400, "Max-Breadth: many": 400,
	} {
		_, refused := newBorder(func(o *ISCOptions) { o.ResponseSource = "<urn:3gpp:fe:as>" }).Open(inviteWith(t, toUs, onward, field), true)
		switch {
		case refused == nil && code == 0:
		case refused == nil || refused.Code != code:
			t.Errorf("%s: refused %+v, want %d", field, refused, code)
		case !slices.Contains(refused.Header, Field{"Response-Source", "<urn:3gpp:fe:as>"}): // B1.17
			t.Errorf("%s: %+v without Response-Source", field, refused)
		}
	}
	lines, _ := across(t, newBorder(), true, inviteWith(t, toUs, onward))
	if mf, mb := has(lines, "Max-Forwards"), has(lines, "Max-Breadth"); mf != "70" || mb != "60" {
		t.Errorf("without limits: Max-Forwards %s, Max-Breadth %s, want 70 and 60", mf, mb)
	}
}

// B1.13: what a bridge sends by itself has the call's icid and our orig-ioi, within the trust domain.
func TestOwnRequestsHaveTheICID(t *testing.T) {
	for route, want := range map[string]string{onward: "icid-value=x;orig-ioi=us.example", away: ""} {
		c, refused := newBorder(func(o *ISCOptions) { o.IOI = "us.example" }).Open(inviteWith(t, toUs, route, "P-Charging-Vector: icid-value=x;orig-ioi=a;term-ioi=c"), true)
		if refused != nil {
			t.Fatalf("%+v", refused)
		}
		for side, want := range map[Side]string{SideA: "icid-value=x;orig-ioi=us.example", SideB: want} {
			req := inviteWith(t)
			c.Own(req, side)
			if got := first(req, "P-Charging-Vector"); got != want {
				t.Errorf("%s, toward %v: %q, want %q", route, side, got, want)
			}
		}
	}
}

// B1.11: what comes back as it left is a loop; the same call at its other end, or through another server, is not.
func TestLoopIsFound(t *testing.T) {
	b := newBorder()
	first := inviteWith(t, toUs, onward)
	lines, _ := across(t, b, true, first)
	mark := passedField + ": " + has(lines, passedField)
	for _, c := range []struct {
		what string
		in   *sip.Request
		code int
		by   *ISC
	}{
		{"the same again", inviteWith(t, toUs, onward, mark), 482, b},
		{"with others' marks before it", inviteWith(t, toUs, onward, passedField+": abc", mark), 482, b},
		{"for the one who is called", inviteWith(t, toUs, "Route: <sip:iscmark@core.example:6060;lr;s=1;h=0;d=1>", mark), 0, b},
		{"at another server", inviteWith(t, toUs, onward, mark), 0, newBorder()},
	} {
		_, refused := c.by.Open(c.in, true)
		if got := refused; (got == nil) != (c.code == 0) || got != nil && got.Code != c.code {
			t.Errorf("%s: %+v, want %d", c.what, got, c.code)
		}
	}
	if lines, _ := across(t, b, true, inviteWith(t, toUs, away, passedField+": abc")); has(lines, passedField) != "" {
		t.Errorf("marks leave the trust domain: %q", lines)
	}
}

// B1.07: who is served, and on which side, with P-Served-User and without.
func TestServedUser(t *testing.T) {
	const pai = "P-Asserted-Identity: <sip:a@cc.com>, <tel:+86>"
	for _, c := range []struct {
		fields []string
		want   Served
	}{
		{[]string{"P-Served-User: <sip:a@cc.com>;sescase=orig;regstate=reg"}, Served{User: "sip:a@cc.com", Originating: true, Said: true}},
		{[]string{"P-Served-User: \"x;sescase=orig\" <sip:c@cc.com>; SesCase=TERM ;regstate=unreg"}, Served{User: "sip:c@cc.com", Unregistered: true, Said: true}},
		{[]string{pai, toUs, onward}, Served{User: "sip:a@cc.com", Originating: true}},
		{[]string{pai, "Route: <sip:as.example;lr;orig>"}, Served{User: "sip:a@cc.com", Originating: true}},
		{[]string{pai, toUs, "Route: <sip:iscmark@core.example;lr;s=1;h=0;d=1>"}, Served{User: "sip:c@cc.com"}},
		{[]string{pai, toUs}, Served{User: "sip:c@cc.com"}},
	} {
		if got := servedBy(inviteWith(t, c.fields...), true); got != c.want {
			t.Errorf("%q: %+v, want %+v", c.fields, got, c.want)
		}
	}
	// S11: a stranger's word counts for nothing.
	if got := servedBy(inviteWith(t, "P-Served-User: <sip:a@cc.com>;sescase=orig"), false); got.Originating || got.User != "sip:c@cc.com" {
		t.Errorf("a stranger says whom to serve: %+v", got)
	}
}

// B2.15: a response shows nothing of the other side's machines.
func TestResponsesHideTheOtherSide(t *testing.T) {
	_, c := across(t, newBorder(), true, inviteWith(t, toUs, onward))
	in := sip.NewResponse(488, "Not Acceptable Here")
	for _, h := range []string{`Warning: 305 10.1.2.3:5060 "Incompatible, at 1", 399 pcscf.inside "x"`, "Server: Phone/1", "Reason: SIP;cause=488"} {
		name, value, _ := strings.Cut(h, ": ")
		in.AppendHeader(sip.NewHeader(name, value))
	}
	out := in.Clone()
	c.Response(in, out, SideA)
	got := linesOf(out)
	if w := has(got, "Warning"); w != `305 as.example "Incompatible, at 1", 399 as.example "x"` {
		t.Errorf("Warning: %s", w)
	}
	if has(got, "Server") != "" || has(got, "Reason") != "SIP;cause=488" {
		t.Errorf("fields %q", got)
	}
}

// Whatever a Charging Vector holds, what is written is read back the same.
func FuzzChargingVector(f *testing.F) {
	for _, s := range []string{"", "icid-value=1", `icid-value="a;b\"c";orig-ioi=x`, ";;a=;b", `icid-value=1;ICID-value=2`, `x="`} {
		f.Add(s, "v;1")
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		v := readVector(text)
		again := readVector(v.String())
		if fmt.Sprint(again) != fmt.Sprint(v) {
			t.Fatalf("%q: read %q, then %q", text, v, again)
		}
		if strings.ContainsAny(text+value, "\"\\") {
			return
		}
		v.set("icid-value", value)
		if got := readVector(v.String()).get("icid-value"); strings.TrimSpace(got) != strings.TrimSpace(value) {
			t.Fatalf("%q: icid %q, want %q", text, got, value)
		}
	})
}

// Any Route that isn't ours stays as it is, and in its order.
func FuzzRestRoutes(f *testing.F) {
	for _, s := range []string{toUs[7:] + "," + odi, `"a,b" <sip:x>;c="<,"`, "<", ",,", `"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		req := sip.NewRequest(sip.INVITE, sip.Uri{Host: "x"})
		req.AppendHeader(sip.NewHeader("Route", text))
		all := dialog.Split(text)
		rest := restRoutes(req, func(r string) bool { return strings.HasPrefix(r, "sip:as.example") })
		if len(rest) > len(all) || !slices.Equal(rest, all[len(all)-len(rest):]) {
			t.Fatalf("%q: %q of %q", text, rest, all)
		}
	})
}
