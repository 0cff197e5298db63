package cpim_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"latchkey/cpim"
)

// RFC 2045 §6: clients put base64 on text and small files.
func TestTransferEncodingsAreTakenOff(t *testing.T) {
	for _, c := range []struct {
		encoding, body, want string
		malformed            bool
	}{
		{"", "a=3D", "a=3D", false},
		{"Binary", "a\x00b", "a\x00b", false},
		{"8bit", "ü", "ü", false},
		{"BASE64", "aMOp\nbGxv\n", "héllo", false},
		{" base64 ", "", "", false},
		{"base64", "aMOp!", "", true},
		{"base64", "aMO", "", true},
		{"quoted-printable", "h=C3=A9llo=\n there", "héllo there", false},
		{"quoted-printable", "=", "", true},
		{"x-gzip", "a", "", true},
	} {
		m := cpim.Message{ContentType: "text/plain", Body: crlf(c.body)}
		if c.encoding != "" {
			m.ContentHeaders = []cpim.Header{{Name: "content-transfer-encoding", Value: c.encoding}}
		}
		got, err := m.Decoded()
		if string(got) != c.want || errors.Is(err, cpim.ErrMalformed) != c.malformed || (err != nil) != c.malformed {
			t.Errorf("%q of %q: %q, %v, want %q", c.encoding, c.body, got, err, c.want)
		}
	}
	two := cpim.Message{ContentHeaders: []cpim.Header{{Name: "Content-Transfer-Encoding", Value: "7bit"}, {Name: "Content-Transfer-Encoding", Value: "base64"}}}
	if _, err := two.Decoded(); !errors.Is(err, cpim.ErrMalformed) {
		t.Errorf("two encodings: %v", err)
	}
}

// told spells notifications.
func told(all []cpim.Notification) string {
	var s []string
	for _, n := range all {
		s = append(s, fmt.Sprint(n.MessageID, " ", n.Kind, " ", n.Status))
	}
	return strings.Join(s, ", ")
}

// B3.09: RFC 5438 §8.3.
func TestAggregatedNotificationsAreRead(t *testing.T) {
	m := parse(t, string(sample(t, "imdn-aggregated.cpim")))
	all, err := m.Notifications()
	if err != nil || !m.Notifies() || told(all) != "34jk324j delivery-notification delivered, 34jk324j display-notification displayed" {
		t.Errorf("%s, %v", told(all), err)
	}
	sent := time.Date(2008, 4, 4, 17, 16, 49, 0, time.UTC)
	if n := all[1]; n.RecipientURI != "im:bob@example.com" || n.OriginalRecipientURI != "im:team@example.com" || !n.DateTime.Equal(sent) {
		t.Errorf("%+v", n)
	}
	const delivered = "<delivery-notification><status><delivered/></status></delivery-notification>"
	one := func(id string) string {
		return "<imdn " + xmlns + "><message-id>" + id + "</message-id>" + delivered + "</imdn>"
	}
	part := func(headers, body string) string { return "--b\n" + headers + "\n" + body + "\n" }
	const imdn = "Content-Type: message/imdn+xml\n"
	for _, c := range []struct {
		name, contentType, body, want string
	}{
		{"one, plain", "message/imdn+xml", one("a"), "a delivery-notification delivered"},
		{"closed", "multipart/mixed;boundary=b", part(imdn, one("a")) + part(imdn, one("b")) + "--b--\n", "a delivery-notification delivered, b delivery-notification delivered"},
		{"cut off", "multipart/mixed;boundary=b", part(imdn, one("a")) + part(imdn, one("b")), "a delivery-notification delivered, b delivery-notification delivered"},
		{"text before, between and after", "multipart/mixed;boundary=b", "hello\n" + part("Content-Type: text/plain\n", "hi") + part(imdn, one("a")) + part("", "x") + "--b--\nbye", "a delivery-notification delivered"},
		{"parameters and case", "Multipart/Mixed; Boundary=b", part("content-type: Message/IMDN+xml; charset=utf-8\n", one("a")) + "--b--", "a delivery-notification delivered"},
		{"base64 in a part", "multipart/mixed;boundary=b", part(imdn+"Content-Transfer-Encoding: base64\n", "PGltZG4+PG1lc3NhZ2UtaWQ+YTwvbWVzc2FnZS1pZD48ZGVsaXZlcnktbm90aWZpY2F0aW9uPjxzdGF0dXM+PGRlbGl2ZXJlZC8+PC9zdGF0dXM+PC9kZWxpdmVyeS1ub3RpZmljYXRpb24+PC9pbWRuPg==") + "--b--", "a delivery-notification delivered"},
		{"no boundary", "multipart/mixed", one("a"), ""},
		{"no part", "multipart/mixed;boundary=b", "hello", ""},
		{"no notification", "multipart/mixed;boundary=b", part("Content-Type: text/plain\n", one("a")) + "--b--", ""},
		{"one of two is wrong", "multipart/mixed;boundary=b", part(imdn, one("a")) + part(imdn, "<imdn/>") + "--b--", ""},
		{"encoding of a part", "multipart/mixed;boundary=b", part(imdn+"Content-Transfer-Encoding: x\n", one("a")) + "--b--", ""},
		{"DTD in a part", "multipart/mixed;boundary=b", part(imdn, "<!DOCTYPE x>"+one("a")) + "--b--", ""},
		{"too many parts", "multipart/mixed;boundary=b", strings.Repeat(part(imdn, one("a")), 257) + "--b--", ""},
	} {
		m := cpim.Message{ContentType: c.contentType, ContentHeaders: []cpim.Header{{Name: "Content-Disposition", Value: "notification"}}, Body: crlf(c.body)}
		all, err := m.Notifications()
		if told(all) != c.want || (err == nil) != (c.want != "") || err != nil && !errors.Is(err, cpim.ErrMalformed) {
			t.Errorf("%s: %s, %v, want %s", c.name, told(all), err, c.want)
		}
		if !m.Notifies() {
			t.Errorf("%s does not notify", c.name)
		}
	}
	if m := (cpim.Message{ContentType: "multipart/mixed;boundary=b"}); m.Notifies() {
		t.Error("a multipart without Content-Disposition notifies")
	}
	if m := (cpim.Message{ContentType: "text/plain", ContentHeaders: []cpim.Header{{Name: "Content-Disposition", Value: "notification"}}}); m.Notifies() {
		t.Error("a text notifies")
	}
}

// RFC 5438 §11.1: elements of other namespaces extend, they mean nothing else.
func TestExtensionsOfNotificationsAreNotTakenForThem(t *testing.T) {
	in := "<imdn " + xmlns + ` xmlns:x="urn:x"><x:message-id>other</x:message-id><message-id>a</message-id><x:delivery-notification><x:status/></x:delivery-notification>` +
		"<delivery-notification><x:status/><status><x:maybe/><delivered/></status></delivery-notification></imdn>"
	if all, err := cpim.ParseIMDN([]byte(in)); err != nil || told(all) != "a delivery-notification delivered" {
		t.Errorf("%s, %v", told(all), err)
	}
	in = strings.Replace(in, "<delivered/>", "", 1)
	if all, err := cpim.ParseIMDN([]byte(in)); !errors.Is(err, cpim.ErrMalformed) {
		t.Errorf("%s, %v", told(all), err)
	}
}

// FuzzNotifications: no panic, bounded; whatever encoding and type a message claims.
func FuzzNotifications(f *testing.F) {
	f.Add("multipart/mixed; boundary=b", "base64", []byte("--b\r\nContent-Type: message/imdn+xml\r\n\r\n<imdn/>\r\n--b--"))
	f.Add("message/imdn+xml", "quoted-printable", []byte("<imdn><message-id>a</message-id><display-notification><status><displayed/></status></display-notification></imdn>"))
	f.Add("multipart/mixed; boundary=b", "", []byte("--b\r\nContent-Type: message/imdn+xml\r\n\r\n<imdn><message-id>a</message-id><display-notification><status><displayed/></status></display-notification></imdn>\r\n--b"))
	f.Fuzz(func(t *testing.T, contentType, encoding string, body []byte) {
		m := cpim.Message{ContentType: contentType, ContentHeaders: []cpim.Header{{Name: "Content-Transfer-Encoding", Value: encoding}}, Body: body}
		b, err := m.Decoded()
		if err != nil && !errors.Is(err, cpim.ErrMalformed) || len(b) > len(body) {
			t.Fatalf("%d octets became %d, %v", len(body), len(b), err)
		}
		all, err := m.Notifications()
		if err != nil && !errors.Is(err, cpim.ErrMalformed) || err == nil && len(all) == 0 || len(all) > len(body) {
			t.Fatalf("%d notifications of %d octets, %v", len(all), len(body), err)
		}
	})
}
