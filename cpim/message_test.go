package cpim_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey/cpim"
)

// crlf spells a message with its line ends.
func crlf(s string) []byte { return []byte(strings.ReplaceAll(s, "\n", "\r\n")) }

func parse(t *testing.T, s string) *cpim.Message {
	t.Helper()
	m, err := cpim.Parse(crlf(s))
	if err != nil {
		t.Fatalf("Parse = %v of\n%s", err, s)
	}
	return m
}

// B3.08: as RCS writes it (RFC 3862 §2, RFC 5438 §6).
func TestMessageIsWrittenByTheGrammar(t *testing.T) {
	m := cpim.Message{
		From: cpim.Party{URI: "sip:anonymous@anonymous.invalid"}, To: cpim.Party{Name: "Bob \"B\" <x>", URI: "sip:b@cc.com"},
		DateTime: time.Date(2026, 1, 2, 4, 4, 5, 678e6, time.FixedZone("", 3600)), Subject: "Ü\nb", MessageID: "id1",
		Disposition: []cpim.Disposition{cpim.PositiveDelivery, cpim.Display}, Other: []cpim.Header{{Namespace: "urn:x", Name: "Y", Value: `a\b`}, {Namespace: cpim.IMDN, Name: "Original-To", Value: "<sip:c@cc.com>"}},
		ContentType: "text/plain; charset=utf-8", ContentHeaders: []cpim.Header{{Name: "Content-ID", Value: "<1>"}, {Name: "Content-Length", Value: "99"}}, Body: []byte("héllo"),
	}
	got, err := m.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	want := crlf("From: <sip:anonymous@anonymous.invalid>\nTo: \"Bob 'B' 'x'\" <sip:b@cc.com>\nNS: imdn <urn:ietf:params:imdn>\nDateTime: 2026-01-02T03:04:05.678Z\n" +
		`Subject: Ü\nb` + "\nimdn.Message-ID: id1\nimdn.Disposition-Notification: positive-delivery, display\nNS: x2 <urn:x>\n" + `x2.Y: a\\b` +
		"\nimdn.Original-To: <sip:c@cc.com>\n\nContent-Type: text/plain; charset=utf-8\nContent-ID: <1>\nContent-Length: 6\n\nhéllo")
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
	if m.Content() != "text/plain" || !m.Wants(cpim.Display) || m.Wants(cpim.NegativeDelivery) {
		t.Errorf("Content %q, Wants %v", m.Content(), m.Disposition)
	}
}

// F43, S8, B3.08: a text can't be taken for anything else, and arrives byte-identical.
func TestContentIsOpaque(t *testing.T) {
	for name, body := range map[string]string{
		"empty":                "",
		"blank lines":          "\r\n\r\n\r\n",
		"CPIM look-alike":      "From: <sip:evil@x>\r\nimdn.Message-ID: other\r\n\r\nContent-Type: text/html\r\n\r\n<b>",
		"MIME look-alike":      "Content-Type: text/html\r\nContent-Length: 3\r\n\r\nabc",
		"MSRP look-alike":      "x\r\n-------abcd1234$\r\nMSRP abcd1234 SEND\r\nTo-Path: msrp://a/b;tcp\r\n",
		"emoji":                "👩‍👩‍👧 \U0001F600 ü",
		"NUL and controls":     "a\x00b\x01\x7f\x1b[2J",
		"no UTF-8":             "\xff\xfe\x80",
		"bare CR and LF":       "a\rb\nc\r",
		"100 kB":               strings.Repeat("0123456789abcdeé", 100<<10/17),
		"trailing line end":    "text\r\n",
		"escapes are no thing": `\n\u0041\\`,
	} {
		m := cpim.Message{From: cpim.Party{URI: "sip:a@cc.com"}, To: cpim.Party{URI: "sip:b@cc.com"}, MessageID: "id1", ContentType: "text/plain", Body: []byte(body)}
		b, err := m.Bytes()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := cpim.Parse(b)
		if err != nil || string(got.Body) != body || got.MessageID != "id1" || got.From.URI != "sip:a@cc.com" || got.ContentType != "text/plain" || len(got.Other) > 0 || len(got.ContentHeaders) != 1 {
			t.Errorf("%s: %.200q, %v comes back", name, got, err)
		}
	}
}

// S8: a value can't end its line, nor a name or URI.
func TestHeadersCantBreakOut(t *testing.T) {
	evil := "x\r\nimdn.Message-ID: evil\r\n\r\nContent-Type: text/html\r\n\r\n\x00\\"
	escaped := cpim.Message{
		From: cpim.Party{Name: evil, URI: "sip:a@cc.com"}, Subject: evil, MessageID: "id" + evil, Disposition: []cpim.Disposition{cpim.Disposition(strings.ReplaceAll(evil, ";", ""))},
		Other: []cpim.Header{{Name: "X", Value: evil}}, ContentType: "text/plain", Body: []byte("x"),
	}
	b, err := escaped.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	got, err := cpim.Parse(b)
	if err != nil || got.From != escaped.From || got.Subject != evil || got.MessageID != "id"+evil || !slices.Equal(got.Other, escaped.Other) || string(got.Body) != "x" || bytes.Count(b, []byte("\r\n\r\n")) != 2 {
		t.Errorf("%+v, %v comes back of\n%s", got, err, b)
	}
	for name, spoil := range map[string]func(*cpim.Message){
		"uri":            func(m *cpim.Message) { m.From.URI = "sip:a@b>\r\nX: y" },
		"uri with space": func(m *cpim.Message) { m.To.URI = "sip:a b" },
		"uri with >":     func(m *cpim.Message) { m.To.URI = "sip:a>b" },
		"name":           func(m *cpim.Message) { m.Other = []cpim.Header{{Name: "X: y\r\nZ", Value: "z"}} },
		"no name":        func(m *cpim.Message) { m.Other = []cpim.Header{{Value: "z"}} },
		"namespace":      func(m *cpim.Message) { m.Other = []cpim.Header{{Namespace: "urn:x>\r\nY: z", Name: "Z"}} },
		"NS":             func(m *cpim.Message) { m.Other = []cpim.Header{{Name: "NS", Value: "imdn <urn:other>"}} },
		"content type":   func(m *cpim.Message) { m.ContentType = "text/plain\r\n\r\nevil" },
		"content header": func(m *cpim.Message) { m.ContentHeaders = []cpim.Header{{Name: "Content-ID", Value: "a\nb"}} },
		"content name":   func(m *cpim.Message) { m.ContentHeaders = []cpim.Header{{Name: "A\r\nB", Value: "a"}} },
	} {
		m := cpim.Message{From: cpim.Party{URI: "sip:a@cc.com"}, ContentType: "text/plain"}
		spoil(&m)
		if b, err := m.Bytes(); err == nil {
			t.Errorf("%s is written:\n%s", name, b)
		}
	}
}

// B3.08: RFC 3862 §2.3.1.
func TestEscapesAreRead(t *testing.T) {
	for in, want := range map[string]string{
		`plain`: "plain", `a\\b`: `a\b`, `a\"b`: `a"b`, `a\'b`: `a'b`, `a\nb\rc\td\be`: "a\nb\rc\td\be", `\u00fc\u4E2D`: "ü中", `\uD83D\uDE00`: "\U0001F600", `\uD83D!`: "\uFFFD!", `\uD83D\u0041`: "\uFFFDA",
		`  two`: "  two", `\q`: "q", `a\`: "a", `\u12`: "u12", `\u12G4`: "u12G4", `\uD83D\u1`: "\uFFFDu1", "tab\there": "tab\there", "ü": "ü",
	} {
		if got := parse(t, "From: <sip:a@b>\nSubject: "+in+"\n\n\n").Subject; got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
	for _, in := range []string{"\xff", "a\x00b", "a\rb", "a\x01"} {
		if m, err := cpim.Parse(crlf("Subject: " + in + "\n\n\n")); !errors.Is(err, cpim.ErrMalformed) {
			t.Errorf("%q is read as %+v, %v", in, m, err)
		}
	}
}

// B3.08: RFC 3862 §3.4: prefixes mean what NS says, not how they look.
func TestPrefixesAreArbitrary(t *testing.T) {
	const imdn = "<urn:ietf:params:imdn>"
	for _, c := range []struct{ name, in, id string }{
		{"the usual", "NS: imdn " + imdn + "\nimdn.Message-ID: id1", "id1"},
		{"another", "NS: q.r " + imdn + "\nq.r.Message-ID: id1", "id1"},
		{"forgotten", "imdn.Message-ID: id1", "id1"},
		{"default namespace", "NS: " + imdn + "\nMessage-ID: id1", "id1"},
		{"default and back", "NS: " + imdn + "\nMessage-ID: id1\nNS: <urn:ietf:params:cpim-headers:>\nSubject: s", "id1"},
		{"imdn means something else", "NS: imdn <urn:other>\nimdn.Message-ID: id1", ""},
		{"not declared", "x.Message-ID: id1", ""},
		{"declared later", "x.Message-ID: id1\nNS: x " + imdn, ""},
		{"other case", "NS: imdn " + imdn + "\nimdn.message-id: id1", ""},
		{"no prefix", "Message-ID: id1", ""},
	} {
		m := parse(t, "NS: c <urn:ietf:params:cpim-headers:>\nc.From: <sip:a@b>\n"+c.in+"\n\n\n")
		if m.MessageID != c.id || m.From.URI != "sip:a@b" || c.name == "default and back" && m.Subject != "s" {
			t.Errorf("%s: %+v, want id %q", c.name, m, c.id)
		}
	}
	m := parse(t, "NS: my <urn:x>\nmy.A: 1\nB: 2\nother.C: 3\n\n\n")
	if fmt.Sprint(m.Other) != "[{urn:x A 1} { B 2}]" {
		t.Errorf("others %v", m.Other)
	}
}

// B3.08: RFC 3862 §4.7.
func TestRequiredHeadersMustBeUnderstood(t *testing.T) {
	for in, ok := range map[string]bool{
		"Require: From":                   true,
		"Require: From, DateTime,Subject": true,
		"Require: imdn.Message-ID":        true,
		"NS: q <urn:ietf:params:imdn>\nRequire: q.Message-ID, q.Disposition-Notification": true,
		"Require: Foo":          false,
		"Require: from":         false,
		"Require: q.Message-ID": false,
		"NS: imdn <urn:other>\nRequire: imdn.Message-ID": false,
		"Require: imdn.IMDN-Route":                       false,
		"NS: x <urn:x>\nRequire: x.Y":                    false,
		"Require: From, x.Y":                             false,
		"NS: <urn:x>\nRequire: From":                     false, // From is no more CPIM's
	} {
		_, err := cpim.Parse(crlf(in + "\n\n\n"))
		if (err == nil) != ok || err != nil && !errors.Is(err, cpim.ErrRequired) {
			t.Errorf("%q: %v, want understood: %v", in, err, ok)
		}
	}
}

func TestMessagesAsClientsSendThem(t *testing.T) {
	m := parse(t, "From: Alice <sip:a@cc.com>\nTo: \"Bob\" <sip:b@cc.com>\nTo: <sip:c@cc.com>\nDateTime: 2013-02-08T14:34:02+01:00\nSubject:;lang=fr Salut\nSubject:;lang=en Hello\n"+
		"NS: imdn <urn:ietf:params:imdn>\nimdn.Disposition-Notification: positive-delivery;x=y , display,,\n\ncontent-type: text/plain;\n charset=utf-8\nContent-Disposition: render\n\nhi\n")
	if m.From != (cpim.Party{Name: "Alice", URI: "sip:a@cc.com"}) || m.To != (cpim.Party{Name: "Bob", URI: "sip:b@cc.com"}) || !m.DateTime.Equal(time.Date(2013, 2, 8, 13, 34, 2, 0, time.UTC)) || m.Subject != "Salut" ||
		!slices.Equal(m.Disposition, []cpim.Disposition{cpim.PositiveDelivery, cpim.Display}) || m.ContentType != "text/plain; charset=utf-8" || string(m.Body) != "hi\r\n" ||
		fmt.Sprint(m.Other) != "[{ To <sip:c@cc.com>} { Subject Hello}]" || fmt.Sprint(m.ContentHeaders) != "[{ Content-Disposition render}]" {
		t.Errorf("got %+v", m)
	}
	// LF alone; no space behind the colon; a bare URI; a date that is none.
	lf, err := cpim.Parse([]byte("From:sip:a@cc.com\nDateTime: yesterday\n\nContent-Type:text/plain\n\nhi"))
	if err != nil || lf.From.URI != "sip:a@cc.com" || lf.ContentType != "text/plain" || string(lf.Body) != "hi" || !lf.DateTime.IsZero() {
		t.Errorf("got %+v, %v", lf, err)
	}
	for in, want := range map[string]string{ // Content-Length against what is there
		"Content-Length: 2\n\nhi": "hi", "Content-Length: 2\n\nhi\n\n": "hi", "Content-Length: 4\n\nhéhé": "héhé", "Content-Length: x\n\nhi": "hi", "Content-Length: 0\n\n": "",
	} {
		if got := string(parse(t, "From: <sip:a@b>\n\nContent-Type: text/plain\n"+in).Body); got != want {
			t.Errorf("%q has the content %q, want %q", in, got, want)
		}
	}
}

// S16: limits, and nothing twice that is there once.
func TestMalformedMessagesAreRefused(t *testing.T) {
	for name, in := range map[string]string{
		"nothing":               "",
		"one line":              "From: <sip:a@b>",
		"no end of headers":     "From: <sip:a@b>\n",
		"no end of MIME":        "From: <sip:a@b>\n\nContent-Type: text/plain\n",
		"line without name":     "hello\n\n\n",
		"empty name":            ": x\n\n\n",
		"name with space":       "Sub ject: x\n\n\n",
		"MIME without name":     "From: <sip:a@b>\n\nhello\n\n",
		"two From":              "From: <sip:a@b>\nFrom: <sip:c@d>\n\n\n",
		"two Message-ID":        "imdn.Message-ID: a\nNS: q <urn:ietf:params:imdn>\nq.Message-ID: b\n\n\n",
		"two DateTime":          "DateTime: x\nDateTime: y\n\n\n",
		"two Content-Type":      "From: <sip:a@b>\n\nContent-Type: a/b\nContent-Type: c/d\n\n",
		"NS without URI":        "NS: imdn\n\n\n",
		"NS with empty URI":     "NS: imdn <>\n\n\n",
		"content is cut":        "From: <sip:a@b>\n\nContent-Type: a/b\nContent-Length: 9\n\nshort",
		"long line":             "Subject: " + strings.Repeat("x", 5000) + "\n\n\n",
		"long MIME line":        "From: <sip:a@b>\n\nContent-Type: " + strings.Repeat("x", 5000) + "\n\n",
		"many headers":          strings.Repeat("X: y\n", 65) + "\n\n",
		"many in both parts":    strings.Repeat("X: y\n", 40) + "\n" + strings.Repeat("X: y\n", 40) + "\n",
		"fold without a header": "From: <sip:a@b>\n\n  x\n\n",
	} {
		if m, err := cpim.Parse(crlf(in)); !errors.Is(err, cpim.ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
}

// FuzzMessage: no panic; what was read and can be written is in a form that stays the same; the content is the same always.
func FuzzMessage(f *testing.F) {
	f.Add(crlf("From: A <sip:a@b>\nTo: <sip:b@c>\nNS: imdn <urn:ietf:params:imdn>\nDateTime: 2026-01-02T03:04:05Z\nimdn.Message-ID: x\nimdn.Disposition-Notification: display, positive-delivery\n\nContent-Type: text/plain\nContent-Length: 2\n\nhi"))
	f.Add(crlf("NS: q.r <urn:x>\nq.r.A: \\n\\u00fc\\uD83D\\uDE00\\\\\nRequire: From\nSubject:;lang=x y\nTo: a\nTo: b\n\nContent-Type: a/b;\n c=d\n\n\n"))
	f.Add([]byte("From:x\nNS: <urn:ietf:params:cpim-headers:>\n\n\n\x00\xff"))
	f.Fuzz(func(t *testing.T, in []byte) {
		m, err := cpim.Parse(in)
		if err != nil {
			if !errors.Is(err, cpim.ErrMalformed) && !errors.Is(err, cpim.ErrRequired) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Contains(in, m.Body) {
			t.Fatalf("content %q is not in %q", m.Body, in)
		}
		b, err := m.Bytes()
		if err != nil {
			return // a URI that we don't write
		}
		again, err := cpim.Parse(b)
		if err != nil || !bytes.Equal(again.Body, m.Body) || again.MessageID != m.MessageID || again.Subject != m.Subject || again.ContentType != m.ContentType || again.From.URI != m.From.URI {
			t.Fatalf("%+v comes back as %+v, %v\n%q", m, again, err, b)
		}
		if c, err := again.Bytes(); err != nil || !bytes.Equal(b, c) {
			t.Fatalf("%q is written once more as %q, %v", b, c, err)
		}
	})
}

// FuzzContent: whatever the fields are, what is written is read with the same content and no more headers.
func FuzzContent(f *testing.F) {
	f.Add("id1", "Alice", "subject", "text/plain", []byte("hello"))
	f.Add("a\r\nX: y", "\"<>\\", "\x00\u2028", "text/plain", []byte("From: <x>\r\n\r\n"))
	f.Fuzz(func(t *testing.T, id, name, subject, contentType string, body []byte) {
		m := cpim.Message{From: cpim.Party{Name: name, URI: "sip:a@b"}, MessageID: id, Subject: subject, ContentType: contentType, Body: body}
		b, err := m.Bytes()
		if err != nil {
			return
		}
		got, err := cpim.Parse(b)
		if err != nil || !bytes.Equal(got.Body, body) || len(got.Other) > 0 || len(got.ContentHeaders) != 1 || got.From.URI != "sip:a@b" {
			t.Fatalf("%+v comes back as %+v, %v", m, got, err)
		}
		if strings.ToValidUTF8(id, "") == id && got.MessageID != id || strings.ToValidUTF8(subject, "") == subject && got.Subject != subject {
			t.Fatalf("%+v comes back as %+v", m, got)
		}
	})
}

// RFC 3862 §2.1: the head of a content that is not in memory is that of one that is.
func TestHeadIsWhatComesBeforeTheContent(t *testing.T) {
	m := cpim.Message{From: cpim.Party{URI: "sip:b@cc.com"}, To: cpim.Party{URI: "sip:a@cc.com"}, ContentType: "image/png", Body: []byte("12345")}
	whole, err := m.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	m.Body = nil
	head, err := m.Head(5)
	if err != nil || string(head)+"12345" != string(whole) {
		t.Errorf("Head = %q, %v; want the beginning of %q", head, err, whole)
	}
}
