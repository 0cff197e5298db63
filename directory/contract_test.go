package directory

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"latchkey"
	"latchkey/imstest"
)

// asked is what the rooms ask of any directory.
type asked interface {
	Find(context.Context, latchkey.Identifier) (latchkey.Subscriber, error)
	FindURI(context.Context, latchkey.Address) (latchkey.Subscriber, error)
	Authenticate(ctx context.Context, user, password string) (latchkey.Subscriber, error)
	Reload() error
}

var (
	_ asked = (*File)(nil)
	_ asked = (*HTTP)(nil)
)

// builds is a folder for programs, which goes with the test.
var builds string

func TestMain(m *testing.M) {
	var err error
	if builds, err = os.MkdirTemp("", "directory"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(builds)
	os.Exit(code)
}

// example builds examples/directory, which shares no code with this package.
var example = sync.OnceValues(func() (string, error) {
	path := filepath.Join(builds, "directory")
	if out, err := exec.Command("go", "build", "-o", path, "latchkey/examples/directory").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

// serve runs the example on users, and gives its base URL.
func serve(t *testing.T, users []map[string]any, args ...string) string {
	t.Helper()
	program, err := example()
	if err != nil {
		t.Fatal(err)
	}
	url, _ := imstest.StartDirectory(t, program, users, args...)
	return url
}

// overHTTP makes a directory that the test closes.
func overHTTP(t *testing.T, opt HTTPOptions) *HTTP {
	t.Helper()
	if err := opt.Validate(); err != nil {
		t.Fatal(err)
	}
	d := NewHTTP(opt)
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// R2, R3, R10, F05, F06: a directory file and a directory over HTTP know the same of the same people.
func TestFileAndHTTPAnswerAlike(t *testing.T) {
	hash := quick(t, "right")
	people := []map[string]any{
		{"uri": "sip:a@cc.com", "uid": "10001", "tel": "+8613800000001", "email": "a@mail.example", "name": "Alice Ä.", "level": 3, "state": "active", "password": hash},
		{"uri": "sip:s@cc.com", "name": "Sue", "level": 9, "state": "suspended", "password": hash},
		{"uri": "sip:l@cc.com", "state": "lost", "password": hash},
		{"uri": "sip:mute@cc.com"},
		{"uri": "tel:+8613800000005", "name": "Five", "password": hash},
		{"uri": "sip:+8613800000006@cc.com", "name": "Six", "password": hash},
	}
	var text strings.Builder
	text.WriteString("users:\n")
	for _, p := range people {
		line, err := json.Marshal(p) // which is YAML, too
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&text, "  - %s\n", line)
	}
	alice := latchkey.Subscriber{URI: latchkey.MustAddress("sip:a@cc.com"), UID: "10001", Tel: "+8613800000001", Email: "a@mail.example", Name: "Alice Ä.", Level: 3, State: latchkey.Active}
	for name, d := range map[string]asked{
		"file": openText(t, text.String()),
		"http": overHTTP(t, HTTPOptions{URL: serve(t, people, "-token=of ours"), Token: "of ours"}),
	} {
		t.Run(name, func(t *testing.T) {
			for id, want := range map[latchkey.Identifier]string{
				{Kind: latchkey.Mail, Value: "a@mail.example"}: "sip:a@cc.com", {Kind: latchkey.Tel, Value: "+8613800000001"}: "sip:a@cc.com",
				{Kind: latchkey.Tel, Value: "+8613800000005"}: "tel:+8613800000005", {Kind: latchkey.Tel, Value: "+8613800000006"}: "sip:+8613800000006@cc.com",
				{Kind: latchkey.Mail, Value: "b@cc.com"}: "", {Kind: latchkey.Mail, Value: "a/b?c#d%e+f@cc.com"}: "", {Kind: latchkey.Tel, Value: "+8613800000009"}: "",
			} {
				s, err := d.Find(t.Context(), id)
				if s.URI.Identity() != want || (want == "") != latchkey.Is(err, latchkey.KindNotFound) || want != "" && err != nil {
					t.Errorf("Find(%s) = %+v, %v, want %q", id, s, err, want)
				}
			}
			for uri, want := range map[string]string{
				"sip:a@cc.com": "sip:a@cc.com", "sip:a@CC.com;user=phone": "sip:a@cc.com", "tel:+86-138-0000-0001": "sip:a@cc.com",
				"sip:+8613800000001@cc.com": "sip:a@cc.com", "sip:+8613800000001@evil.example": "", "sip:A@cc.com": "", "sip:b@cc.com": "",
				"tel:+8613800000005": "tel:+8613800000005", "sip:+8613800000006@cc.com": "sip:+8613800000006@cc.com",
			} {
				s, err := d.FindURI(t.Context(), latchkey.MustAddress(uri))
				if s.URI.Identity() != want || (want == "") != latchkey.Is(err, latchkey.KindNotFound) || want != "" && err != nil {
					t.Errorf("FindURI(%s) = %+v, %v, want %q", uri, s, err, want)
				}
			}
			if s, err := d.FindURI(t.Context(), alice.URI); err != nil || s != alice {
				t.Errorf("FindURI(Alice) = %+v, %v, want %+v", s, err, alice)
			}
			for _, user := range []string{"sip:a@cc.com", "a@cc.com", "SIP:a@CC.com", "tel:+8613800000001", "+8613800000001"} {
				if s, err := d.Authenticate(t.Context(), user, "right"); err != nil || s != alice {
					t.Errorf("Authenticate(%s) = %+v, %v, want Alice", user, s, err)
				}
			}
			// The state is judged by who asks (R3).
			if s, err := d.Authenticate(t.Context(), "s@cc.com", "right"); err != nil || s.State != latchkey.Suspended || s.Level != 9 {
				t.Errorf("Authenticate(Sue) = %+v, %v", s, err)
			}
			want := latchkey.Errorf(latchkey.KindUnauthorized, "").Error()
			for _, c := range [][2]string{{"a@cc.com", "wrong"}, {"a@cc.com", ""}, {"x@cc.com", "right"}, {"mute@cc.com", "right"}, {"mute@cc.com", ""}, {"", ""}, {"\r\n", "right"}, {"A@cc.com", "right"}, {"a@cc.com", strings.Repeat("x", 2000)}} {
				if s, err := d.Authenticate(t.Context(), c[0], c[1]); err == nil || err.Error() != want || s != (latchkey.Subscriber{}) {
					t.Errorf("Authenticate(%.40q) = %+v, %v, want %s", c, s, err, want)
				}
			}
			if err := d.Reload(); err != nil {
				t.Errorf("Reload = %v", err)
			}
		})
	}
}

// R9: the directory allots accounts, the same for the same person, with the password for SIP.
func TestDirectoryAllotsAccounts(t *testing.T) {
	d := overHTTP(t, HTTPOptions{URL: serve(t, nil, "-account-secret=hush", "-domain=Guest.example")})
	b := latchkey.Identifier{Kind: latchkey.Mail, Value: "b@cc.com"}
	account, password, err := d.Allot(t.Context(), b)
	if err != nil || account.Address().Host() != "guest.example" || len(password.Reveal()) != 64 {
		t.Fatalf("Allot = %s, %d characters, %v", account, len(password.Reveal()), err)
	}
	if again, same, err := d.Allot(t.Context(), b); err != nil || again != account || same != password {
		t.Errorf("Allot again = %s, %v, want %s", again, err, account)
	}
	if other, _, err := d.Allot(t.Context(), latchkey.Identifier{Kind: latchkey.Tel, Value: "+8613800000000"}); err != nil || other == account {
		t.Errorf("Allot for somebody else = %s, %v", other, err)
	}
}
