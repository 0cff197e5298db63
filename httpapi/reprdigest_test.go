package httpapi

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"testing"

	"latchkey"
	"latchkey/files"
)

// abc is the hash of "abc", as it is declared, and as it is told.
const (
	abc    = "sha=:qZk+NkcGgWq6PiVxeFDCbJzQ2J0=:"
	abcHex = "a9993e364706816aba3e25717850c26c9cd0d89d"
)

// RFC 9530, RFC 9651: how a hash is declared, among others, and how it isn't.
func TestHashIsDeclared(t *testing.T) {
	for _, c := range []struct {
		field []string
		want  string
		wrong bool
	}{
		{nil, "", false},
		{[]string{abc}, abcHex, false},
		{[]string{"sha-256=:AAAA:, " + abc + ";x=1"}, abcHex, false},
		{[]string{"sha-256=:AAAA:", "md5=:AAAA:,  " + abc}, abcHex, false},
		{[]string{"sha=:AAAAAAAAAAAAAAAAAAAAAAAAAAA=:, " + abc}, abcHex, false}, // the last one
		{[]string{"sha-256=:AAAA:"}, "", false},
		{[]string{"SHA=:AAAA:"}, "", false}, // RFC 9651 §3.1.2 (unverified): keys are in lower case
		{[]string{"sha=:AAAA:"}, "", true},
		{[]string{"sha=qZk+NkcGgWq6PiVxeFDCbJzQ2J0="}, "", true},
		{[]string{`sha=":qZk+NkcGgWq6PiVxeFDCbJzQ2J0=:"`}, "", true},
		{[]string{"sha=" + abcHex}, "", true},
		{[]string{"sha"}, "", true},
		{[]string{"sha=::"}, "", true},
		{[]string{"sha=:"}, "", true},
	} {
		got, err := declared(&http.Request{Header: http.Header{digestHeader: c.field}})
		if got != c.want || c.wrong != latchkey.Is(err, latchkey.KindBadRequest) || c.wrong != (err != nil) {
			t.Errorf("declared(%q) = %q, %v", c.field, got, err)
		}
	}
}

// What a stranger declares is a hash, nothing, or refused.
func FuzzHashIsDeclared(f *testing.F) {
	for _, s := range []string{abc, "sha-256=:AAAA:, " + abc, abc + ";q=1, sha=::", `a="x, sha=:AA==:"`, "sha=:AAAA:", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, field string) {
		got, err := declared(&http.Request{Header: http.Header{digestHeader: {field}}})
		if b, wrong := hex.DecodeString(got); wrong != nil || len(b) != 0 && len(b) != sha1.Size || err != nil && got != "" || got != "" && !strings.Contains(field, "sha") {
			t.Fatalf("declared(%q) = %q, %v", field, got, err)
		}
		sum := sha1.Sum([]byte(field))
		own := "sha=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
		if got, err := declared(&http.Request{Header: http.Header{digestHeader: {own}}}); err != nil || got != hex.EncodeToString(sum[:]) {
			t.Fatalf("declared(%q) = %q, %v", own, got, err)
		}
	})
}

// F51: a hash is declared for a file that is the body, or that comes in one piece after its name; the hall hears of it before a byte came, and the
// bytes are held against it. One in a form, in pieces, or of unknown length goes as ever.
func TestHallHearsOfADeclaredFile(t *testing.T) {
	w := filesWorld(t, files.Options{})
	declare := header(digestHeader, abc)
	simple, asForm := form(t, func(m *multipart.Writer) {
		part, _ := m.CreateFormFile("file", "m.png")
		_, _ = part.Write([]byte("abc"))
	})
	var got file
	heard := func(what string, want bool, r response) {
		t.Helper()
		r.wants(202).into(&got)
		first := fmt.Sprintf("file %s of 3 is coming to %s: %s", got.ID, aliceURI, abcHex)
		all := w.hall.noted()
		if at := slices.Index(all, first); (at >= 0) != want || want && at != len(all)-2 || got.SHA1 != abcHex {
			t.Errorf("%s: calls %q of %s", what, all, r.body)
		}
	}
	heard("the body", true, w.do("POST", toAlice, "abc", asGuest, declare))
	heard("nothing declared", false, w.do("POST", toAlice, "abc", asGuest))
	heard("a form", false, w.do("POST", toAlice, simple, asGuest, asForm, header(digestHeader, "sha=:AAAAAAAAAAAAAAAAAAAAAAAAAAA=:")))
	heard("no length", false, w.do("POST", toAlice, "abc", asGuest, declare, func(r *http.Request) { r.ContentLength = -1 }))
	heard("resumable, at once", true, w.do("POST", toAlice, "abc", asGuest, declare, header("Upload-Complete", "?1"), header("Upload-Length", "3")))

	parts := func(at, complete string) []change {
		return []change{asGuest, header("Content-Type", partialUpload), header("Upload-Offset", at), header("Upload-Complete", complete)}
	}
	begin := func() string {
		return w.do("POST", toAlice, "", asGuest, declare, header("Upload-Complete", "?0"), header("Upload-Length", "3")).wants(201).header.Get("Location")
	}
	heard("named before", true, w.do("PATCH", begin(), "abc", parts("0", "?1")...))
	location := begin()
	w.do("PATCH", location, "a", parts("0", "?0")...).wants(204)
	heard("in pieces", false, w.do("PATCH", location, "bc", parts("1", "?1")...))

	before, _, _ := w.vault().Held(t.Context())
	if r := w.do("POST", toAlice, "abd", asGuest, declare); r.status != 400 || !strings.Contains(r.body, "hash is wrong") {
		t.Errorf("another hash: %d %s", r.status, r.body)
	}
	if r := w.do("POST", toAlice, "abc", asGuest, header(digestHeader, "sha=abc")); r.status != 400 || !strings.Contains(r.body, digestHeader) {
		t.Errorf("no hash: %d %s", r.status, r.body)
	}
	if after, _, err := w.vault().Held(t.Context()); err != nil || after != before {
		t.Errorf("%d files are there, %d were", after, before)
	}
}
