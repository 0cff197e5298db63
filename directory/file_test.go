package directory

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"latchkey"
)

// quick is a hash that costs little to check.
func quick(t testing.TB, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func openText(t testing.TB, text string) *File {
	t.Helper()
	f, err := OpenFile(write(t, text))
	if err != nil {
		t.Fatalf("OpenFile = %v", err)
	}
	return f
}

const people = `
users:
  - uri: sip:a@cc.com          # public user identity
    uid: "10001"
    tel: +86-138 0000 0001
    email: Alice@CC.com
    name: Alice
    password: $2a$04$EuF0LjGHbAqgp7UkpOMEzuvUNCXZcJ5JpNJGeFLlV7q0dzCeZQ2Ga
    level: 3
    state: suspended
    language: pt-BR
  - {uri: "sip:+8613800000002@cc.com;user=phone", uid: 10002}
  - {uri: "tel:+8613800000003", state: lost}
`

// R2, R10: every field of the file comes out, and what is left out has its default.
func TestUsersAreReadAsWritten(t *testing.T) {
	f := openText(t, people)
	want := latchkey.Subscriber{URI: latchkey.MustAddress("sip:a@cc.com"), UID: "10001", Tel: "+8613800000001", Email: "alice@cc.com", Name: "Alice", Level: 3, State: latchkey.Suspended, Language: "pt-BR"}
	if got, err := f.FindURI(t.Context(), latchkey.MustAddress("sip:a@cc.com")); err != nil || got != want {
		t.Errorf("FindURI = %+v, %v, want %+v", got, err, want)
	}
	want = latchkey.Subscriber{URI: latchkey.MustAddress("sip:+8613800000002@cc.com;user=phone"), UID: "10002", Tel: "+8613800000002", State: latchkey.Active}
	if got, err := f.FindURI(t.Context(), latchkey.MustAddress("tel:+8613800000002")); err != nil || got != want {
		t.Errorf("FindURI = %+v, %v, want %+v", got, err, want)
	}
}

// R10: whoever can be reached as a registered user is found, by each of their names and by no other.
func TestUsersAreFoundByTheirNames(t *testing.T) {
	f := openText(t, people)
	for _, c := range []struct{ asked, want string }{
		{"sip:a@cc.com", "sip:a@cc.com"},
		{"sip:a@CC.com:5070;transport=tcp", "sip:a@cc.com"},
		{"tel:+8613800000001", "sip:a@cc.com"},
		{"sip:+8613800000001@cc.com;user=phone", "sip:a@cc.com"},
		{"sip:+8613800000002@cc.com", "sip:+8613800000002@cc.com"},
		{"tel:+8613800000003", "tel:+8613800000003"},
		{"sip:+8613800000001@evil.example", ""}, // RFC 3261 §19.1.6: the number of another domain
		{"sip:+8613800000003@cc.com", ""},
		{"sip:A@cc.com", ""},
		{"sip:alice@cc.com", ""}, // a mailbox is no SIP URI
		{"sip:b@cc.com", ""},
	} {
		got, err := f.FindURI(t.Context(), latchkey.MustAddress(c.asked))
		if string(got.ID()) != c.want || (err == nil) != (c.want != "") || err != nil && !latchkey.Is(err, latchkey.KindNotFound) {
			t.Errorf("FindURI(%s) = %q, %v, want %q", c.asked, got.ID(), err, c.want)
		}
	}
	for asked, want := range map[string]string{
		"alice@cc.com": "sip:a@cc.com", "+8613800000001": "sip:a@cc.com", "+8613800000002": "sip:+8613800000002@cc.com", "+8613800000003": "tel:+8613800000003",
		"a@cc.com": "", "+8613800000004": "",
	} {
		id, err := latchkey.ParseIdentifier(asked)
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.Find(t.Context(), id)
		if string(got.ID()) != want || (err == nil) != (want != "") || err != nil && !latchkey.Is(err, latchkey.KindNotFound) {
			t.Errorf("Find(%s) = %q, %v, want %q", asked, got.ID(), err, want)
		}
	}
}

// What is wrong is said with line and field, so that an operator finds it.
func TestWrongFileNamesLineAndField(t *testing.T) {
	const a = "users:\n  - uri: sip:a@cc.com\n    tel: +8613800000001\n    uid: 7\n    email: a@cc.com\n"
	for _, c := range []struct{ text, want string }{
		{"", "users.yaml: is empty"},
		{"# nothing\n", "users.yaml: is empty"},
		{"users: [\n", "users.yaml: yaml: line "},
		{"people: []\n", ":1: people: is not a field; known are users"},
		{"- uri: sip:a@cc.com\n", ":1: must be fields"},
		{"users: {}\n", ":1: users: must be a list"},
		{"users: []\nusers: []\n", ":2: users: stands here a second time"},
		{"users: []\n---\nusers: []\n", ":2: a second document"},
		{"users:\n  - sip:a@cc.com\n", ":2: must be fields with values, such as uri: …"},
		{"users:\n  - uid: 1\n", ":2: uri: is missing"},
		{"users:\n  - uri: sip:a@cc.com\n    pasword: x\n", ":3: pasword: is not a field; known are uri, uid"},
		{"users:\n  - uri: sip:a@cc.com\n    uri: sip:b@cc.com\n", ":3: uri: stands here a second time"},
		{"users:\n  - uri: [sip:a@cc.com]\n", ":2: uri: must be one plain value"},
		{"users:\n  - uri: sip:a@cc.com\n    password:\n", ":3: password: must be one plain value"},
		{"users:\n  - uri: a@cc.com\n", ":2: uri: "},
		{"users:\n  - uri: sip:cc.com\n", ":2: uri: must name a person"},
		{"users:\n  - uri: sip:a@cc.com:5060\n", ":2: uri: must name a person, without a port"},
		{"users:\n  - uri: sip:a@cc.com\n    tel: 13800000001\n", ":3: tel: must begin with +"},
		{"users:\n  - uri: sip:a@cc.com\n    email: Alice <a@cc.com>\n", ":3: email: has a space"},
		{"users:\n  - uri: sip:a@cc.com\n    name: \"A\\r\\nBcc: b\"\n", ":3: name: has a control character"},
		{"users:\n  - uri: sip:a@cc.com\n    level: high\n", ":3: level: must be a whole number"},
		{"users:\n  - uri: sip:a@cc.com\n    level: -1\n", ":3: level: must be a whole number"},
		{"users:\n  - uri: sip:a@cc.com\n    state: Active\n", `:3: state: "Active" is not active, suspended or lost`},
		{"users:\n  - uri: sip:a@cc.com\n    language: Deutsch!\n", `:3: language: "Deutsch!" is not a language tag`},
		{"users:\n  - uri: sip:a@cc.com\n    password: secret\n", ":3: password: is not a bcrypt or argon2id hash"},
		{a + "  - uri: sip:a@CC.com\n", ":6: uri: sip:a@cc.com is another user's, of line 2"},
		{a + "  - uri: sip:b@cc.com\n    uid: 7\n", ":7: uid: 7 is another user's, of line 4"},
		{a + "  - uri: sip:b@cc.com\n    tel: \"+86 13800000001\"\n", ":7: tel: +8613800000001 is another user's, of line 3"},
		{a + "  - uri: tel:+8613800000001\n", ":6: tel: +8613800000001 is another user's, of line 3"},
		{a + "  - uri: sip:b@cc.com\n    email: A@cc.com\n", ":7: email: a@cc.com is another user's, of line 5"},
	} {
		_, err := OpenFile(write(t, c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("OpenFile of %q = %v, want one line with %q", c.text, err, c.want)
		}
	}
	if _, err := OpenFile(filepath.Join(t.TempDir(), "none.yaml")); err == nil {
		t.Error("OpenFile of no file has no error")
	}
}

// A wrong hash isn't repeated where a log can take it up.
func TestErrorsDoNotShowHashes(t *testing.T) {
	h := quick(t, "secret")
	_, err := OpenFile(write(t, "users:\n  - {uri: sip:a@cc.com, password: \""+h+"x\"}\n"))
	if err == nil || strings.Contains(err.Error(), h[7:20]) {
		t.Errorf("OpenFile = %v, want an error without the hash", err)
	}
}

// docs/howto/directory-file.md: the file is wrong, and the old one stays in force.
func TestReloadOfWrongFileChangesNothing(t *testing.T) {
	path := write(t, "users:\n  - {uri: sip:a@cc.com, name: Alice}\n")
	f, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	name := func() string {
		s, err := f.FindURI(t.Context(), latchkey.MustAddress("sip:a@cc.com"))
		if err != nil {
			t.Fatal(err)
		}
		return s.Name
	}
	rewrite := func(text string) error {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return f.Reload()
	}
	if err := rewrite("users:\n  - {uri: sip:a@cc.com, name: Al}\n  - {uri: sip:b@cc.com, level: x}\n"); err == nil || name() != "Alice" {
		t.Errorf("Reload of a wrong file = %v, name %s, want an error and Alice", err, name())
	}
	if err := rewrite("users:\n  - {uri: sip:a@cc.com, name: Al}\n"); err != nil || name() != "Al" {
		t.Errorf("Reload = %v, name %s, want Al", err, name())
	}
	if err := rewrite("users:\n"); err != nil {
		t.Errorf("Reload of a file without users = %v", err)
	}
	if _, err := f.FindURI(t.Context(), latchkey.MustAddress("sip:a@cc.com")); !latchkey.Is(err, latchkey.KindNotFound) {
		t.Errorf("FindURI after Reload = %v, want not found", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{people, "", "users:\n", "users: [{uri: sip:a@cc.com}]", "a: &x [*x]", "users: &u\n  - uri: &v sip:a@cc.com\n    name: *v\n", "users: [{<<: {uri: sip:a@cc.com}}]",
		"users: [{uri: sip:a@cc.com, password: $argon2id$v=19$m=64,t=1,p=1$AAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA}]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parse([]byte(text))
		if err != nil {
			return
		}
		dir := &File{}
		dir.now.Store(s)
		for _, e := range s.entries { // each is found by all of its names
			got, err := dir.FindURI(context.Background(), e.URI)
			if err != nil || got != e.Subscriber {
				t.Fatalf("FindURI(%s) = %+v, %v, want %+v", e.URI, got, err, e.Subscriber)
			}
			for _, id := range []latchkey.Identifier{{Kind: latchkey.Tel, Value: e.Tel}, {Kind: latchkey.Mail, Value: e.Email}} {
				if got, err := dir.Find(context.Background(), id); !id.IsZero() && (err != nil || got != e.Subscriber) {
					t.Fatalf("Find(%s) = %+v, %v, want %+v", id, got, err, e.Subscriber)
				}
			}
		}
	})
}
