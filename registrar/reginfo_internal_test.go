package registrar

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// doc writes a reg-event document with one registration of sip:a@cc.com.
func doc(version int, state, registration string, contacts ...string) string {
	return fmt.Sprintf(`<?xml version="1.0"?><reginfo xmlns="urn:ietf:params:xml:ns:reginfo" version="%d" state="%s"><registration aor="sip:a@cc.com" id="r" state="%s">%s</registration></reginfo>`,
		version, state, registration, strings.Join(contacts, ""))
}

func contactOf(id, state, event string) string {
	return fmt.Sprintf(`<contact id="%s" state="%s" event="%s"><uri>sip:%s@10.0.0.1</uri></contact>`, id, state, event, id)
}

func mustParse(t *testing.T, text string) *reginfo {
	t.Helper()
	info, err := parseReginfo([]byte(text))
	if err != nil {
		t.Fatalf("parseReginfo(%s) = %v", text, err)
	}
	return info
}

// B1.06: every event of the package, and what it says of the user. Who was thrown out for a moment has not left.
func TestOnlyActiveContactsAreOnline(t *testing.T) {
	for _, c := range []struct {
		state, event string
		want         verdict
	}{
		{"active", "registered", present}, {"active", "created", present}, {"active", "refreshed", present}, {"active", "shortened", present},
		{"terminated", "expired", absent}, {"terminated", "unregistered", absent}, {"terminated", "rejected", absent},
		{"terminated", "deactivated", undecided}, {"terminated", "probation", undecided},
	} {
		var l reglog
		l.take(mustParse(t, doc(0, "full", "active", contactOf("c", c.state, c.event))))
		if got, _ := l.verdict("sip:a@cc.com"); got != c.want {
			t.Errorf("%s %s = %v, want %v", c.state, c.event, got, c.want)
		}
		l.take(mustParse(t, doc(1, "partial", "active", contactOf("d", "active", "registered"))))
		if got, _ := l.verdict("sip:a@cc.com"); got != present {
			t.Errorf("%s %s and another contact = %v, want present", c.state, c.event, got)
		}
	}
	var l reglog
	if got, _ := l.verdict("sip:a@cc.com"); got != undecided {
		t.Errorf("before the first document = %v", got)
	}
	l.take(mustParse(t, doc(0, "full", "init")))
	if got, _ := l.verdict("sip:a@cc.com"); got != absent {
		t.Errorf("nobody registered = %v, want absent", got)
	}
	l.take(mustParse(t, doc(1, "full", "terminated", contactOf("c", "active", "registered"))))
	if got, _ := l.verdict("sip:a@cc.com"); got != absent {
		t.Errorf("a contact of a registration that is over = %v, want absent", got)
	}
}

// B1.06, RFC 3680 §5.2: a partial state builds on the one before it; a gap asks for the full state, and what is old is passed over.
func TestVersionsAreKeptInOrder(t *testing.T) {
	type step struct {
		text       string
		gap, stale bool
		want       verdict
	}
	var l reglog
	for i, s := range []step{
		{doc(4, "partial", "active", contactOf("c", "active", "registered")), true, false, undecided},
		{doc(5, "full", "active", contactOf("c", "active", "registered"), contactOf("d", "active", "registered")), false, false, present},
		{doc(5, "full", "terminated"), false, true, present},
		{doc(6, "partial", "active", contactOf("c", "terminated", "unregistered")), false, false, present},
		{doc(8, "partial", "active", contactOf("d", "terminated", "unregistered")), true, false, present},
		{doc(7, "partial", "active", contactOf("d", "terminated", "unregistered")), false, false, absent},
		{doc(20, "full", "active", contactOf("d", "active", "registered")), false, false, present},
	} {
		gap, stale := l.take(mustParse(t, s.text))
		if v, _ := l.verdict("sip:a@cc.com"); gap != s.gap || stale != s.stale || v != s.want {
			t.Errorf("step %d: gap %v, stale %v, verdict %v, want %v, %v, %v", i, gap, stale, v, s.gap, s.stale, s.want)
		}
	}
	l.restarted = true
	if gap, stale := l.take(mustParse(t, doc(0, "full", "init"))); gap || stale {
		t.Errorf("the first document of a new subscription: gap %v, stale %v", gap, stale)
	}
}

// B1.06, B5.02: what the phone can is told as unknown-params, by the identity's own registration.
func TestFeaturesAndIdentity(t *testing.T) {
	text := `<reginfo xmlns="urn:ietf:params:xml:ns:reginfo" version="0" state="full"><registration aor="tel:+861" id="t" state="active">` +
		contactOf("x", "active", "registered") + `</registration><registration aor="sip:A@cc.com" id="s" state="terminated"/><registration aor="sip:a@CC.com:5060" id="r" state="active">
		<contact id="c" state="active" event="registered" retry-after="7"><uri>sip:c@10.0.0.1</uri><unknown-param name="+g.oma.sip-im"></unknown-param>
		<unknown-param name="+g.3gpp.icsi-ref">"urn%3Ax"</unknown-param><other xmlns="urn:other"/></contact></registration></reginfo>`
	info := mustParse(t, text)
	if c := info.registrations[2].contacts[0]; c.uri != "sip:c@10.0.0.1" || c.retryAfter != 7*time.Second {
		t.Errorf("contact %+v", c)
	}
	var l reglog
	l.take(info)
	if v, f := l.verdict("sip:a@cc.com"); v != present || f != `+g.oma.sip-im;+g.3gpp.icsi-ref="urn%3Ax"` {
		t.Errorf("verdict %v, features %s", v, f)
	}
	if v, _ := l.verdict("sip:A@cc.com"); v != absent {
		t.Errorf("another user's verdict %v, want absent", v)
	}
}

// S16: documents that are too much, or that try something, are refused.
func TestDocumentsAreReadStrictly(t *testing.T) {
	const head = `<reginfo xmlns="urn:ietf:params:xml:ns:reginfo" version="0" state="full">`
	reg := func(in string) string { return head + in + `</reginfo>` }
	for name, text := range map[string]string{
		"empty": "", "DTD": `<!DOCTYPE reginfo [<!ENTITY a "b">]>` + reg(""), "entity": reg("&a;"), "instruction": `<?php x?>` + reg(""),
		"another root": `<presence xmlns="urn:ietf:params:xml:ns:reginfo"/>`, "no namespace": `<reginfo version="0" state="full"/>`,
		"two roots": reg("") + reg(""), "open": head, "no version": `<reginfo xmlns="urn:ietf:params:xml:ns:reginfo" state="full"/>`,
		"negative version": `<reginfo xmlns="urn:ietf:params:xml:ns:reginfo" version="-1" state="full"/>`,
		"state":            `<reginfo xmlns="urn:ietf:params:xml:ns:reginfo" version="1" state="some"/>`,
		"depth":            reg(strings.Repeat("<a>", 20) + strings.Repeat("</a>", 20)), "elements": reg(strings.Repeat("<a/>", 5000)),
		"length": reg(strings.Repeat(" ", 70000)), "no id": reg(`<registration aor="sip:a@cc.com" state="active"/>`),
		"registration twice": reg(strings.Repeat(`<registration id="r" aor="sip:a@cc.com" state="active"/>`, 2)),
		"attribute twice":    reg(`<registration id="r" id="s" aor="sip:a@cc.com" state="active"/>`),
		"contact twice":      doc(0, "full", "active", contactOf("c", "active", "registered"), contactOf("c", "active", "registered")),
		"uri twice":          doc(0, "full", "active", `<contact id="c" state="active"><uri>a</uri><uri>b</uri></contact>`),
		"contact state":      doc(0, "full", "active", contactOf("c", "maybe", "registered")),
	} {
		if info, err := parseReginfo([]byte(text)); !errors.Is(err, errDocument) {
			t.Errorf("%s: %+v, %v, want an error", name, info, err)
		}
	}
}

// What is accepted is within the limits, and a log of documents never grows beyond them or panics.
func FuzzReginfo(f *testing.F) {
	for _, text := range []string{
		doc(0, "full", "active", contactOf("c", "active", "registered")), doc(1, "partial", "terminated", contactOf("c", "terminated", "expired")),
		doc(2, "full", "init"), `<!DOCTYPE x>`, `<reginfo xmlns="urn:ietf:params:xml:ns:reginfo" version="3" state="full"/>`,
		doc(3, "partial", "active", `<contact id="c" state="active" event="probation" retry-after="9"><uri>sip:c@x</uri><unknown-param name="+sip.instance">"&lt;urn:x&gt;"</unknown-param></contact>`),
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		info, err := parseReginfo([]byte(text))
		if err != nil {
			if !errors.Is(err, errDocument) {
				t.Errorf("error %v", err)
			}
			return
		}
		l := reglog{heard: true, regs: map[string]reginfoRegistration{}}
		for range 3 {
			info.version++
			l.take(info)
		}
		if len(l.regs) > maxRegistrations {
			t.Errorf("%d registrations", len(l.regs))
		}
		for _, reg := range l.regs {
			if len(reg.contacts) > maxContacts || reg.id == "" {
				t.Errorf("registration %q with %d contacts", reg.id, len(reg.contacts))
			}
		}
		if _, features := l.verdict("sip:a@cc.com"); len(features) > maxFeatures || strings.ContainsAny(features, "\r\n\x00") {
			t.Errorf("features %q", features)
		}
	})
}

// B1.03: the forms of bodies.
func TestThirdPartyBodies(t *testing.T) {
	const register = "REGISTER sip:cc.com SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKx\r\nFrom: <sip:a@cc.com>;tag=1\r\nTo: <sip:a@cc.com>\r\nCall-ID: x\r\nCSeq: 1 REGISTER\r\n" +
		"Contact: <sip:a@10.0.0.1>;+g.3gpp.iari-ref=\"urn%3Ab,urn%3Ac\"\r\nContent-Length: 0\r\n\r\n"
	const ok = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKx\r\nFrom: <sip:a@cc.com>;tag=1\r\nTo: <sip:a@cc.com>;tag=2\r\nCall-ID: x\r\nCSeq: 1 REGISTER\r\n" +
		"Contact: <sip:a@10.0.0.1>;+g.oma.sip-im;expires=60\r\nContent-Length: 0\r\n\r\n"
	const service = `<ims-3gpp version="1"><service-info>gold &amp; more</service-info></ims-3gpp>`
	part := func(head, body string) string { return "--b\r\n" + head + "\r\n\r\n" + body + "\r\n" }
	for _, c := range []struct {
		name, kind, body string
		want             thirdPartyBody
		err              error
	}{
		{"none", "", "", thirdPartyBody{}, nil},
		{"REGISTER", "message/sip", register, thirdPartyBody{features: `+g.3gpp.iari-ref="urn%3Ab,urn%3Ac"`}, nil},
		{"200", "message/sip;version=2.0", ok, thirdPartyBody{features: "+g.oma.sip-im;expires=60"}, nil},
		{"rubbish", "message/sip", "rubbish", thirdPartyBody{}, nil},
		{"service", "Application/3GPP-IMS+XML", service, thirdPartyBody{serviceInfo: "gold & more"}, nil},
		{"both", "multipart/mixed;boundary=b", part("Content-Type: message/sip", ok) + part("Content-Type: application/3gpp-ims+xml", service) + "--b--", thirdPartyBody{"+g.oma.sip-im;expires=60", "gold & more"}, nil},
		{"nested", "multipart/mixed;boundary=a", "--a\r\nContent-Type: multipart/mixed;boundary=b\r\n\r\n" + part("Content-Type: message/sip", ok) + part("Content-Type: application/3gpp-ims+xml", service) + "--b--\r\n--a--", thirdPartyBody{"+g.oma.sip-im;expires=60", "gold & more"}, nil},
		{"optional part", "multipart/mixed;boundary=b", part("Content-Type: x/y\r\nContent-Disposition: signal;handling=optional", "z") + "--b--", thirdPartyBody{}, nil},
		{"other part", "multipart/mixed;boundary=b", part("Content-Type: x/y", "z") + "--b--", thirdPartyBody{}, errMediaType},
		{"no end", "multipart/mixed;boundary=b", part("Content-Type: message/sip", ok), thirdPartyBody{}, errDocument},
		{"other", "text/plain", "x", thirdPartyBody{}, errMediaType},
		{"no type", "", "x", thirdPartyBody{}, errMediaType},
		{"DTD", "application/3gpp-ims+xml", "<!DOCTYPE x>" + service, thirdPartyBody{}, errDocument},
		{"twice", "application/3gpp-ims+xml", `<ims-3gpp><service-info>a</service-info><service-info>b</service-info></ims-3gpp>`, thirdPartyBody{}, errDocument},
	} {
		got, err := parseThirdPartyBody(c.kind, []byte(c.body))
		if !errors.Is(err, c.err) || err == nil && got != c.want {
			t.Errorf("%s: %+v, %v, want %+v, %v", c.name, got, err, c.want, c.err)
		}
	}
}

// No body panics or gives more than fits into a row.
func FuzzThirdPartyBody(f *testing.F) {
	const service = `<ims-3gpp version="1"><service-info>gold</service-info><alternative-service><type>restoration</type><action>initial-registration</action></alternative-service></ims-3gpp>`
	for _, s := range [][2]string{
		{"message/sip", "SIP/2.0 200 OK\r\nContact: <sip:a@x>;a=b\r\n\r\n"}, {"application/3gpp-ims+xml", service},
		{"multipart/mixed;boundary=b", "--b\r\nContent-Type: application/3gpp-ims+xml\r\n\r\n" + service + "\r\n--b--"}, {"text/plain", "x"}, {"multipart/mixed", "--"},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, kind, body string) {
		b, err := parseThirdPartyBody(kind, []byte(body))
		if err != nil && !errors.Is(err, errDocument) && !errors.Is(err, errMediaType) {
			t.Errorf("error %v", err)
		}
		if len(b.features) > maxFeatures || strings.ContainsAny(b.features, "\r\n\x00") || len(b.serviceInfo) > maxText {
			t.Errorf("body %+v", b)
		}
	})
}

// B1.13: parameters of P-Charging-Vector, as tokens and in quotes.
func TestChargingParameters(t *testing.T) {
	for field, want := range map[string][2]string{
		`icid-value=1a;orig-ioi=home1.net`:                               {"1a", "home1.net"},
		`Orig-IOI="Type 3;x" ; icid-value = "a;b,c";icid-generated-at=h`: {"a;b,c", "Type 3;x"},
		`term-ioi=x`: {"", ""}, "": {"", ""},
	} {
		if got := [2]string{parameter(field, "icid-value"), parameter(field, "orig-ioi")}; !slices.Equal(got[:], want[:]) {
			t.Errorf("%s: %q, want %q", field, got, want)
		}
	}
}
