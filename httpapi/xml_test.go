package httpapi

import (
	"encoding/json"
	"encoding/xml"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"latchkey"
)

// F24, S16: what can make a parser work for an attacker is refused.
func TestXMLBodiesAreFlatAndPlain(t *testing.T) {
	w := newWorld(t, Options{})
	const to = `<to>sip:a@cc.com</to><message>hi</message>`
	for what, body := range map[string]string{
		"a DTD":                    `<!DOCTYPE m [<!ENTITY x "y">]><m>` + to + `</m>`,
		"an external DTD":          `<!DOCTYPE m SYSTEM "http://10.0.0.1/x"><m>` + to + `</m>`,
		"an entity":                `<m><to>sip:a@cc.com</to><message>&x;</message></m>`,
		"a stylesheet":             `<?xml-stylesheet href="x"?><m>` + to + `</m>`,
		"a late declaration":       `<m><?xml version="1.0"?>` + to + `</m>`,
		"an attribute":             `<m a="1">` + to + `</m>`,
		"a namespace":              `<m xmlns="urn:x">` + to + `</m>`,
		"a prefix":                 `<x:m>` + to + `</x:m>`,
		"depth":                    `<m><to><to>sip:a@cc.com</to></to></m>`,
		"two roots":                `<m>` + to + `</m><m/>`,
		"text before":              `x<m>` + to + `</m>`,
		"text between":             `<m>x` + to + `</m>`,
		"a crossing":               `<m><to>sip:a@cc.com</m></to>`,
		"another end":              `<m>` + to + `</n>`,
		"another end of a field":   `<m><to>sip:a@cc.com</message><message>hi</message></m>`,
		"no end":                   `<m>` + to,
		"only an end":              `</m>`,
		"no root":                  `<?xml version="1.0"?>`,
		"another encoding":         `<?xml version="1.0" encoding="utf-16"?><m>` + to + `</m>`,
		"a control character":      "<m><to>sip:a@cc.com</to><message>\x01</message></m>",
		"a reference to a control": `<m><to>sip:a@cc.com</to><message>&#1;</message></m>`,
		"too many elements":        `<m>` + to + strings.Repeat("<x/>", maxElements) + `</m>`,
		"a field twice":            `<m>` + to + `<to>sip:c@cc.com</to></m>`,
		"JSON":                     `{"to":"sip:a@cc.com","message":"hi"}`,
	} {
		r := w.do("POST", messagePath, body, asGuest, header("Content-Type", "application/xml"), header("Accept", "application/json"))
		if r.status != 400 {
			t.Errorf("%s: %d %s, want 400", what, r.status, r.body)
		}
	}
	if n := len(w.hall.messages); n != 0 {
		t.Fatalf("%d messages were taken", n)
	}
	for _, body := range []string{
		`<m>` + to + `</m>`, `<?xml version="1.0" encoding="UTF-8"?>` + "\n<!-- x --><message>\n  " + to + "\n</message>\n", `<m><unknown/>` + to + `<x>&lt;<![CDATA[<y>]]></x></m>`, "\ufeff<m>" + to + "</m>",
	} {
		w.do("POST", messagePath, body, asGuest, asXML).wants(202)
	}
}

// The two formats say the same: any flat fields read from JSON are those read from XML.
func FuzzBodiesAreTheSameInBothFormats(f *testing.F) {
	f.Add("to", "sip:a@cc.com", "message", "hi\r\n <&>", uint8(2))
	f.Add("interactions", "im", "interactions", "file", uint8(0))
	f.Fuzz(func(t *testing.T, name, text, other, more string, repeats uint8) {
		plainXML := func(s string) bool {
			return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xfffe || r == 0xffff })
		}
		isName := func(s string) bool {
			return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz") == ""
		}
		if !isName(name) || !isName(other) || !plainXML(text) || !plainXML(more) {
			t.Skip()
		}
		values := map[string][]string{}
		values[name] = append(values[name], text)
		for range repeats%3 + 1 {
			values[other] = append(values[other], more)
		}
		object := map[string]any{}
		var doc strings.Builder
		doc.WriteString("<root>")
		for n, v := range values {
			object[n] = v
			if len(v) == 1 {
				object[n] = v[0]
			}
			for _, s := range v {
				doc.WriteString("<" + n + ">" + escapedXML(s) + "</" + n + ">")
			}
		}
		doc.WriteString("</root>")
		body, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		fromJSON, err := readJSON(body)
		if err != nil {
			t.Fatal(err)
		}
		fromXML, err := readXML([]byte(doc.String()))
		if err != nil {
			t.Fatalf("readXML(%q): %v", doc.String(), err)
		}
		for n := range values {
			a, errA := fromJSON.text(n)
			b, errB := fromXML.text(n)
			if a != b || (errA == nil) != (errB == nil) {
				t.Errorf("%s is %q, %v in JSON and %q, %v in XML", n, a, errA, b, errB)
			}
			listA, errA := fromJSON.words(n)
			listB, errB := fromXML.words(n)
			if !slices.Equal(listA, listB) || errA != nil || errB != nil {
				t.Errorf("%s is %q, %v in JSON and %q, %v in XML", n, listA, errA, listB, errB)
			}
		}
		if len(fromJSON) != len(fromXML) {
			t.Errorf("%d names in JSON, %d in XML", len(fromJSON), len(fromXML))
		}
	})
}

// S16: whatever comes, a reader answers with bounded fields or with a KindBadRequest.
func FuzzBodiesAreBounded(f *testing.F) {
	for _, s := range []string{
		`{"to":"sip:a@cc.com","interactions":["im"],"x":{"y":[1]},"n":null}`, `<m><to>x</to><to>y</to><!-- c --><e/></m>`, `<!DOCTYPE m [<!ENTITY x "y">]><m>&x;</m>`,
		`<?xml version="1.0"?><m><![CDATA[]]></m>`, `<a><b></a></b>`, strings.Repeat("[", 100), `{"a":"\ud800"}`, "<m>\xff</m>",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, read := range []func([]byte) (fields, error){readJSON, readXML} {
			got, err := read(body)
			if err != nil {
				if !latchkey.Is(err, latchkey.KindBadRequest) || got != nil {
					t.Fatalf("%v, %v", got, err)
				}
				continue
			}
			size := 0
			for name, v := range got {
				size += len(name)
				for _, s := range v.texts {
					size += len(s)
				}
				if v.other && len(v.texts) > 0 {
					t.Fatalf("%s is both: %+v", name, v)
				}
			}
			// A replacement character has three bytes and stands for one; so much JSON may grow.
			if size > 3*len(body) {
				t.Fatalf("%d bytes of fields out of %d", size, len(body))
			}
		}
	})
}

func TestXMLAnswersHaveTheNamesOfTheJSON(t *testing.T) {
	for _, c := range []struct{ kind, doc, want string }{
		{"status", `{"status":"online","chat":true,"n":7,"x":null}`, `<status><status>online</status><chat>true</chat><n>7</n></status>`},
		{"events", `{"events":[{"id":9007199254740993,"message":{"text":"<&\"\u0001>"}},{"id":2}],"last":2}`,
			`<events><event><id>9007199254740993</id><message><text>&lt;&amp;&#34;` + "\ufffd" + `&gt;</text></message></event><event><id>2</id></event><last>2</last></events>`},
		{"messages", `{"messages":[]}`, `<messages></messages>`},
		{"login", `{"inviters":[{"interactions":["im","file"]},{"interactions":[]}]}`, `<login><inviters><interactions>im</interactions><interactions>file</interactions></inviters><inviters></inviters></login>`},
	} {
		got, err := toXML(c.kind, []byte(c.doc))
		if err != nil || strings.TrimPrefix(string(got), xml.Header) != c.want {
			t.Errorf("%s: %s, %v, want %s", c.doc, got, err, c.want)
		}
	}
	for _, doc := range []string{``, `{`, `{"a":`, `[1`, `{"a" 1}`} {
		if got, err := toXML("x", []byte(doc)); err == nil {
			t.Errorf("toXML(%s) = %s, want an error", doc, got)
		}
	}
}
