package cpim_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"latchkey/cpim"
)

const xmlns = `xmlns="urn:ietf:params:xml:ns:imdn"`

// B3.09: RFC 5438 §7.2, §11.1.
func TestNotificationIsWrittenByTheSchema(t *testing.T) {
	n := cpim.Notification{MessageID: "a<b>&\"", DateTime: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), RecipientURI: "sip:b@cc.com", Kind: cpim.DisplayNotification, Status: cpim.Displayed}
	want := "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<imdn " + xmlns + ">\r\n<message-id>a&lt;b&gt;&amp;&#34;</message-id>\r\n<datetime>2026-01-02T03:04:05.000Z</datetime>\r\n" +
		"<recipient-uri>sip:b@cc.com</recipient-uri>\r\n<display-notification><status><displayed/></status></display-notification>\r\n</imdn>"
	if got := string(n.XML()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// B3.09: every kind and status comes back.
func TestNotificationsOfAllKindsComeBack(t *testing.T) {
	for kind, statuses := range map[cpim.Kind][]string{
		cpim.DeliveryNotification:   {cpim.Delivered, cpim.Failed, cpim.Forbidden, cpim.ErrorSeen},
		cpim.DisplayNotification:    {cpim.Displayed, cpim.Forbidden, cpim.ErrorSeen},
		cpim.ProcessingNotification: {cpim.Processed, cpim.Stored, cpim.Forbidden, cpim.ErrorSeen},
	} {
		for _, status := range statuses {
			n := cpim.Notification{MessageID: "id1", DateTime: time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC), Kind: kind, Status: status}
			got, err := cpim.ParseIMDN(n.XML())
			if err != nil || len(got) != 1 || got[0] != n {
				t.Errorf("%+v comes back as %+v, %v", n, got, err)
			}
		}
	}
}

// B3.09: as others write it, aggregated too.
func TestNotificationsAreReadAsOthersWriteThem(t *testing.T) {
	one := func(id, inside string) string {
		return "<imdn " + xmlns + "><message-id> " + id + "\n</message-id><datetime>2013-02-08T14:34:02+01:00</datetime>" + inside + "</imdn>"
	}
	const delivered, displayed = "<delivery-notification><status><delivered/></status></delivery-notification>", "<display-notification><status><displayed></displayed></status></display-notification>"
	for _, c := range []struct{ name, in, want string }{
		{"plain", one("a", delivered), "a delivery-notification delivered"},
		{"with declaration and comment", `<?xml version="1.0" encoding="utf-8"?><!-- hi -->` + one("a", delivered), "a delivery-notification delivered"},
		{"with more elements", one("a", "<recipient-uri>sip:b@c</recipient-uri><original-recipient-uri>sip:d@e</original-recipient-uri><subject>s</subject><x:y xmlns:x='urn:x'/>"+displayed), "a display-notification displayed"},
		{"with prefixes", strings.NewReplacer("<imdn xmlns=", "<q:imdn xmlns:q=", "</", "</q:", "<message", "<q:message", "<date", "<q:date", "<deliver", "<q:deliver", "<status", "<q:status").Replace(one("a", delivered)), "a delivery-notification delivered"},
		{"without namespace", strings.Replace(one("a", delivered), " "+xmlns, "", 1), "a delivery-notification delivered"},
		{"CDATA and entities", one("<![CDATA[a<]]>&amp;", delivered), "a<& delivery-notification delivered"},
		{"both kinds at once", one("a", delivered+displayed), "a delivery-notification delivered, a display-notification displayed"},
		{"several", "<imdns>" + one("a", delivered) + one("b", displayed) + "<other/></imdns>", "a delivery-notification delivered, b display-notification displayed"},
		{"a status with details", one("a", "<delivery-notification><status><failed/><x>why</x></status></delivery-notification>"), "a delivery-notification failed"},
	} {
		got, err := cpim.ParseIMDN([]byte(c.in))
		var all []string
		for _, n := range got {
			all = append(all, fmt.Sprint(n.MessageID, " ", n.Kind, " ", n.Status))
			if !n.DateTime.Equal(time.Date(2013, 2, 8, 13, 34, 2, 0, time.UTC)) {
				t.Errorf("%s: %v", c.name, n.DateTime)
			}
		}
		if err != nil || strings.Join(all, ", ") != c.want {
			t.Errorf("%s: %q, %v, want %q", c.name, all, err, c.want)
		}
	}
}

// S16: no DTD, limits on size and depth, nothing twice.
func TestDangerousDocumentsAreRefused(t *testing.T) {
	body := "<message-id>a</message-id><delivery-notification><status><delivered/></status></delivery-notification>"
	deep := func(n int) string { return strings.Repeat("<x>", n) + strings.Repeat("</x>", n) }
	for name, in := range map[string]string{
		"nothing":                "",
		"no XML":                 "hello",
		"DTD":                    "<!DOCTYPE imdn><imdn>" + body + "</imdn>",
		"entity":                 `<!DOCTYPE imdn [<!ENTITY x "y">]><imdn>` + body + "</imdn>",
		"undeclared entity":      "<imdn>" + strings.Replace(body, ">a<", ">&x;<", 1) + "</imdn>",
		"processing instruction": "<?xml-stylesheet href='x'?><imdn>" + body + "</imdn>",
		"declaration within":     "<imdn><?xml version='1.0'?>" + body + "</imdn>",
		"other charset":          "<?xml version='1.0' encoding='utf-16'?><imdn>" + body + "</imdn>",
		"cut off":                "<imdn>" + body,
		"two roots":              "<imdn>" + body + "</imdn><imdn>" + body + "</imdn>",
		"two ids":                "<imdn><message-id>b</message-id>" + body + "</imdn>",
		"two dates":              "<imdn><datetime/><datetime/>" + body + "</imdn>",
		"two recipients":         "<imdn><recipient-uri/><recipient-uri/>" + body + "</imdn>",
		"two statuses":           "<imdn>" + strings.Replace(body, "<status>", "<status/><status>", 1) + "</imdn>",
		"one kind twice":         "<imdn>" + body + "<delivery-notification><status><failed/></status></delivery-notification></imdn>",
		"too deep":               "<imdn>" + body + deep(16) + "</imdn>",
		"too many elements":      "<imdn>" + body + strings.Repeat("<x/>", 4096) + "</imdn>",
		"too large":              "<imdn>" + body + strings.Repeat(" ", 64<<10) + "</imdn>",
		"no id":                  "<imdn>" + strings.Replace(body, ">a<", "> <", 1) + "</imdn>",
		"no status":              "<imdn><message-id>a</message-id><delivery-notification/></imdn>",
		"empty status":           "<imdn><message-id>a</message-id><delivery-notification><status/></delivery-notification></imdn>",
		"no kind":                "<imdn><message-id>a</message-id></imdn>",
		"no notification":        "<imdns/>",
		"one of two is wrong":    "<imdns><imdn>" + body + "</imdn><imdn/></imdns>",
	} {
		if got, err := cpim.ParseIMDN([]byte(in)); !errors.Is(err, cpim.ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for name, in := range map[string]string{"deep enough": "<imdn>" + body + deep(15) + "</imdn>", "many elements": "<imdn>" + body + strings.Repeat("<x/>", 4000) + "</imdn>"} {
		if _, err := cpim.ParseIMDN([]byte(in)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// B3.11: RFC 3994 §3.2, §3.3.
func TestComposingIsRead(t *testing.T) {
	doc := func(inside string) string {
		return `<?xml version="1.0" encoding="UTF-8"?><isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing">` + inside + "</isComposing>"
	}
	for _, c := range []struct {
		in     string
		active bool
		lapse  time.Duration
	}{
		{"<state>active</state><contenttype>text/plain</contenttype><refresh>90</refresh>", true, 90 * time.Second},
		{"<state> active\n</state>", true, 120 * time.Second},
		{"<state>active</state><refresh>0</refresh>", true, 120 * time.Second},
		{"<state>active</state><refresh>-5</refresh>", true, 120 * time.Second},
		{"<state>active</state><refresh>soon</refresh>", true, 120 * time.Second},
		{"<state>active</state><refresh>9999999999</refresh>", true, 24 * time.Hour},
		{"<state>idle</state><lastactive>2003-01-27T10:43:00Z</lastactive>", false, 120 * time.Second},
		{"<state>dancing</state>", false, 120 * time.Second},
		{"<state>Active</state>", false, 120 * time.Second},
		{"", false, 120 * time.Second},
	} {
		got, err := cpim.ParseComposing([]byte(doc(c.in)))
		if err != nil || got.Active != c.active || got.Lapse() != c.lapse {
			t.Errorf("%s: %+v, lapse %v, %v, want %v, %v", c.in, got, got.Lapse(), err, c.active, c.lapse)
		}
	}
	for name, in := range map[string]string{
		"other root": "<imdn/>", "two states": doc("<state>active</state><state>idle</state>"), "two refreshes": doc("<refresh>1</refresh><refresh>2</refresh>"),
		"two types": doc("<contenttype/><contenttype/>"), "DTD": "<!DOCTYPE x>" + doc(""), "nothing": "",
	} {
		if got, err := cpim.ParseComposing([]byte(in)); !errors.Is(err, cpim.ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestComposingIsWrittenByTheSchema(t *testing.T) {
	got := string(cpim.Composing{Active: true, ContentType: "text/plain", Refresh: 90 * time.Second}.XML())
	want := "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<isComposing xmlns=\"urn:ietf:params:xml:ns:im-iscomposing\">\r\n<state>active</state>\r\n<contenttype>text/plain</contenttype>\r\n<refresh>90</refresh>\r\n</isComposing>"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := string(cpim.Composing{Refresh: time.Minute}.XML()); strings.Contains(got, "refresh") || !strings.Contains(got, "<state>idle</state>") {
		t.Errorf("idle is written as\n%s", got)
	}
	if got := string(cpim.Composing{Active: true, Refresh: time.Millisecond}.XML()); !strings.Contains(got, "<refresh>1</refresh>") {
		t.Errorf("a short refresh is written as\n%s", got)
	}
}

// FuzzIMDN: no panic; what was read is written and read again the same.
func FuzzIMDN(f *testing.F) {
	f.Add([]byte("<imdn " + xmlns + "><message-id>a</message-id><datetime>2026-01-02T03:04:05Z</datetime><recipient-uri>sip:b@c</recipient-uri><delivery-notification><status><delivered/></status></delivery-notification><display-notification><status><error/></status></display-notification></imdn>"))
	f.Add([]byte("<m><imdn><message-id><![CDATA[<]]>&amp;</message-id><processing-notification><status><stored/></status></processing-notification></imdn></m>"))
	f.Add([]byte("<!DOCTYPE x [<!ENTITY y 'z'>]><imdn/>"))
	f.Fuzz(func(t *testing.T, in []byte) {
		all, err := cpim.ParseIMDN(in)
		if err != nil {
			if !errors.Is(err, cpim.ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		for _, n := range all {
			back, err := cpim.ParseIMDN(n.XML())
			if err != nil || len(back) != 1 {
				t.Fatalf("%+v comes back as %+v, %v", n, back, err)
			}
			n.DateTime, back[0].DateTime = time.Time{}, time.Time{} // written to the millisecond
			if n != back[0] {
				t.Fatalf("%+v comes back as %+v", n, back[0])
			}
		}
	})
}

// FuzzComposing: no panic; what was read is written and read again the same.
func FuzzComposing(f *testing.F) {
	f.Add(cpim.Composing{Active: true, ContentType: "text/plain", Refresh: time.Minute}.XML())
	f.Add([]byte("<isComposing><state>idle</state><refresh>x</refresh></isComposing>"))
	f.Fuzz(func(t *testing.T, in []byte) {
		c, err := cpim.ParseComposing(in)
		if err != nil {
			if !errors.Is(err, cpim.ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if c.Lapse() <= 0 || c.Lapse() > 24*time.Hour {
			t.Fatalf("%+v lapses after %v", c, c.Lapse())
		}
		if !c.Active {
			c.Refresh = 0 // not written
		}
		if back, err := cpim.ParseComposing(c.XML()); err != nil || back != c {
			t.Fatalf("%+v comes back as %+v, %v", c, back, err)
		}
	})
}
