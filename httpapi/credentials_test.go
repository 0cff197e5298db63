package httpapi

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// RFC 7617 §2 and the interface's own rule for accounts, which hold a colon.
func TestUserIDMayBeAURI(t *testing.T) {
	for in, want := range map[string][2]string{
		"sip:b@cc.com:12345":        {"sip:b@cc.com", "12345"},
		"SIPS:b@cc.com:1:2":         {"SIPS:b@cc.com", "1:2"},
		"tel:+8613800000000:x":      {"tel:+8613800000000", "x"},
		"b@cc.com:12345":            {"b@cc.com", "12345"},
		"b@cc.com:":                 {"b@cc.com", ""},
		"sip:b@cc.com::":            {"sip:b@cc.com", ":"},
		"sipx:y:z":                  {"sipx", "y:z"},
		"sip:b@cc.com":              {},
		"sip::x":                    {},
		":x":                        {},
		"":                          {},
		"b@cc.com":                  {},
		"b@cc.com\x00:x":            {},
		"b@cc.com:x\ny":             {},
		"b\xff@cc.com:x":            {},
		"sip:b\u00e9@cc.com:\u4f60": {"sip:b\u00e9@cc.com", "\u4f60"},
	} {
		user, password, ok := splitCredentials(in)
		if user != want[0] || password != want[1] || ok != (want[0] != "") {
			t.Errorf("splitCredentials(%q) = %q, %q, %v, want %q", in, user, password, ok, want)
		}
	}
}

// What is accepted is put together again from its parts, and has no control characters.
func FuzzCredentials(f *testing.F) {
	for _, s := range []string{"sip:b@cc.com:12345", "tel:+86:x", "b@cc.com:x:y", "sips:", "SIP:a:", ":", "\xff:x", "a:\x7f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		user, password, ok := splitCredentials(s)
		if !ok {
			if user != "" || password != "" {
				t.Fatalf("%q is refused and gives %q, %q", s, user, password)
			}
			return
		}
		if user+":"+password != s || user == "" || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
			t.Fatalf("%q gives %q, %q", s, user, password)
		}
		rest := user
		for _, scheme := range []string{"sip:", "sips:", "tel:"} {
			if len(user) >= len(scheme) && strings.EqualFold(user[:len(scheme)], scheme) {
				rest = user[len(scheme):]
			}
		}
		if rest == "" || strings.Contains(rest, ":") {
			t.Fatalf("%q gives the user-id %q", s, user)
		}
		if again, _, ok := splitCredentials(user + ":" + password); !ok || again != user {
			t.Fatalf("%q is read as %q, and then as %q", s, user, again)
		}
	})
}
