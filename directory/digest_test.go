package directory_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"latchkey"
	"latchkey/directory"
)

// B3.13: a user is found by the name that their phone is provisioned with, and has what Digest is checked by, or nothing that others can tell from
// nobody; a field that is wrong is refused with its line.
func TestDigestsAreOfTheirUsers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.yaml")
	open := func(digest string) (*directory.File, error) {
		t.Helper()
		text := "users:\n  - uri: sip:a@cc.com\n    tel: \"+8613800000001\"\n    digest: " + digest + "\n  - uri: sip:b@cc.com\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return directory.OpenFile(path)
	}
	value := directory.DigestPassword("sip:a@cc.com", "hush")
	d, err := open(value)
	if err != nil || strings.Contains(value, "hush") {
		t.Fatal(value, err)
	}
	for _, c := range []struct {
		user, algorithm string
		known           bool
	}{
		{"sip:a@cc.com", "MD5", true}, {"sip:a@cc.com", "SHA-256", true}, {"a@cc.com", "MD5", true}, {"+8613800000001", "MD5", true},
		{"sip:a@cc.com", "SHA-512", false}, {"sip:b@cc.com", "MD5", false}, {"sip:x@cc.com", "MD5", false}, {"", "MD5", false},
	} {
		who, a1, err := d.Digest(t.Context(), c.user, c.algorithm)
		if c.known != (err == nil) || c.known && (who.ID() != "sip:a@cc.com" || !strings.Contains(value, c.algorithm+":"+a1)) || !c.known && !latchkey.Is(err, latchkey.KindUnauthorized) {
			t.Errorf("Digest(%q, %s) = %v, %q, %v", c.user, c.algorithm, who, a1, err)
		}
	}
	for _, bad := range []string{"hush", "MD5:abc", "MD5:" + strings.Repeat("z", 32), "SHA-1:" + strings.Repeat("a", 40), value + " " + value, `""`} {
		if _, err := open(bad); err == nil || !strings.Contains(err.Error(), ":4: digest: ") {
			t.Errorf("digest %q: %v", bad, err)
		}
	}
}
