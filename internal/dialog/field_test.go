package dialog

import (
	"slices"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
	"pgregory.net/rapid"
)

// RFC 3261 §7.3.1, §25.1.
func TestSplit(t *testing.T) {
	for field, want := range map[string][]string{
		"":                                   nil,
		" , ,":                               nil,
		"<sip:p1;lr>":                        {"<sip:p1;lr>"},
		"<sip:p1;lr>,<sip:p2;lr>":            {"<sip:p1;lr>", "<sip:p2;lr>"},
		" <sip:p1> ;x=1 , <sip:p2>,":         {"<sip:p1> ;x=1", "<sip:p2>"},
		`"a, <sip:x>, b" <sip:p1>, <sip:p2>`: {`"a, <sip:x>, b" <sip:p1>`, "<sip:p2>"},
		`"a\", <sip:x>" <sip:p1>`:            {`"a\", <sip:x>" <sip:p1>`},
		`"a\\", <sip:p1>`:                    {`"a\\"`, "<sip:p1>"},
		"<sip:a,b@c>, <sip:p2>":              {"<sip:a,b@c>", "<sip:p2>"},
		`<sip:p1;x=">", <sip:p2>`:            {`<sip:p1;x=">", <sip:p2>`},
		`"open, <sip:p1>`:                    {`"open, <sip:p1>`},
		"<open, <sip:p1>, x":                 {"<open, <sip:p1>", "x"},
		">, x":                               {">", "x"},
		`"\`:                                 {`"\`},
	} {
		if got := Split(field); !slices.Equal(got, want) {
			t.Errorf("Split(%q) = %q, want %q", field, got, want)
		}
	}
}

// RFC 3261 §20.10; S11: a display name is no URI, whatever stands in it.
func TestURI(t *testing.T) {
	for value, want := range map[string]string{
		"":                                     "",
		"sip:a@cc.com":                         "sip:a@cc.com",
		" sip:a@cc.com ; tag=1":                "sip:a@cc.com",
		"<sip:a@cc.com;user=phone>;tag=1":      "sip:a@cc.com;user=phone",
		"Alice < sip:a@cc.com >":               "sip:a@cc.com",
		`"Alice" <sip:a@cc.com>`:               "sip:a@cc.com",
		`"<sip:boss@cc.com>" <sip:a@cc.com>`:   "sip:a@cc.com",
		`"\"<sip:boss@cc.com>" <sip:a@cc.com>`: "sip:a@cc.com",
		`"<sip:boss@cc.com>`:                   "",
		`"\`:                                   "",
		"<sip:a@cc.com":                        "",
		"<>":                                   "",
		"tel:+86138;phone-context=x":           "tel:+86138",
		"<sip:a@cc.com>, <sip:boss@cc.com>":    "sip:a@cc.com",
	} {
		if got := URI(value); got != want {
			t.Errorf("URI(%q) = %q, want %q", value, got, want)
		}
	}
}

func TestTokens(t *testing.T) {
	req := sip.NewRequest(sip.INVITE, sip.Uri{})
	req.AppendHeader(sip.NewHeader("Require", "100rel, ,timer"))
	req.AppendHeader(sip.NewHeader("require", " path "))
	if got := Tokens(req, "Require"); !slices.Equal(got, []string{"100rel", "timer", "path"}) {
		t.Errorf("Tokens = %q", got)
	}
	if !HasToken(req, "Require", "TIMER") || HasToken(req, "Require", "100") || HasToken(req, "Supported", "timer") {
		t.Error("HasToken")
	}
}

// What is joined by commas comes apart as it was, with any display name and any URI.
func TestSplitIsTheInverseOfJoin(t *testing.T) {
	name := rapid.Custom(func(t *rapid.T) string {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(rapid.StringOf(rapid.RuneFrom([]rune(`ab ,;<>"\:@`))).Draw(t, "name")) + `" `
	})
	rapid.Check(t, func(t *rapid.T) {
		var values, uris []string
		for range rapid.IntRange(1, 5).Draw(t, "n") {
			uri := rapid.StringMatching(`sip:[a-z,;=]{1,8}@[a-z.]{1,8}(;lr)?`).Draw(t, "uri")
			v := rapid.OneOf(rapid.Just(""), rapid.Just("Bob "), name).Draw(t, "display") + "<" + uri + ">" + rapid.SampledFrom([]string{"", ";x=1", `;x="a,b"`}).Draw(t, "params")
			values, uris = append(values, v), append(uris, uri)
		}
		got := Split(strings.Join(values, rapid.SampledFrom([]string{",", ", ", " ,\t"}).Draw(t, "comma")))
		if !slices.Equal(got, values) {
			t.Fatalf("Split gives %q, want %q", got, values)
		}
		for i, v := range got {
			if URI(v) != uris[i] {
				t.Fatalf("URI(%q) = %q, want %q", v, URI(v), uris[i])
			}
		}
	})
}

// Nothing makes the readers of fields fail. A value that was split off is not split again, and what they
// find stands in the field.
func FuzzField(f *testing.F) {
	for _, s := range []string{"", "<sip:p1;lr>,<sip:p2;lr>", `"a\", <x>" <sip:p1>;y="z,", tel:+1`, `"\`, "<", ">,<", "1 2 INVITE", "a , ,b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, field string) {
		for _, v := range Split(field) {
			if !strings.Contains(field, v) || strings.TrimSpace(v) != v || v == "" {
				t.Errorf("Split(%q) has %q", field, v)
			}
			if again := Split(v); len(again) != 1 || again[0] != v {
				t.Errorf("Split(%q) = %q, but it came out of Split(%q)", v, again, field)
			}
			if u := URI(v); !strings.Contains(v, u) || strings.ContainsAny(u, "<>\"\t ") {
				t.Errorf("URI(%q) = %q", v, u)
			}
		}
		if r, c, m, ok := ParseRAck(field); ok {
			if r2, c2, m2, ok := ParseRAck(RAck(r, c, m)); !ok || r != r2 || c != c2 || m != m2 {
				t.Errorf("ParseRAck(%q) = %d, %d, %q and does not come back", field, r, c, m)
			}
		}
		req := sip.NewRequest(sip.INVITE, sip.Uri{})
		req.AppendHeader(sip.NewHeader("Record-Route", field))
		recorded(req)
		Tokens(req, "Record-Route")
	})
}
