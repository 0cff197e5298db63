package files

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// S6: a name from a stranger is a name, and nothing else.
func TestNamesAreMadeSafe(t *testing.T) {
	for in, want := range map[string]string{
		"photo.jpg": "photo.jpg", "Grüße 😀.txt": "Grüße 😀.txt", "": "file", ".": "file", "..": "file", "/": "file", " . ": "file",
		"../../etc/passwd": "passwd", `C:\Users\b\x.doc`: "x.doc", "a/b\\c": "c", ".htaccess": "_htaccess", "..x": "_.x",
		"a\r\nSet-Cookie: x": "aSet-Cookie_ x", "a\x00b": "ab", "\u202egpj.exe": "gpj.exe", "x\u200bx": "xx", "\ufeffx": "x", "a\u2028b": "ab",
		"con": "_con", "NUL.txt": "_NUL.txt", "aux .x": "_aux .x", "console": "console", `<b>"x"|?*`: "_b__x____", "x.txt. .": "x.txt", "a\tb": "ab", "a\u00a0b": "a b", "\xff\xfe": "_",
	} {
		if got := CleanName(in); got != want {
			t.Errorf("CleanName(%q) = %q, want %q", in, got, want)
		}
	}
	if got := CleanName(strings.Repeat("ü", 300) + ".jpeg"); len(got) > maxName || !strings.HasSuffix(got, "ü.jpeg") || !utf8.ValidString(got) {
		t.Errorf("a long name becomes %q", got)
	}
	for in, want := range map[string]string{
		"Image/PNG": "image/png", "text/plain; charset=utf-8": "text/plain", "": anyType, "x": anyType, "a/b/c": anyType, "text/html\r\nX: y": anyType, "multipart/form-data; boundary=x": anyType, "message/rfc822": anyType,
	} {
		if got := CleanType(in); got != want {
			t.Errorf("CleanType(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzCleanName(f *testing.F) {
	for _, s := range []string{"a.b", "../x", "\u202ex", "con.txt", "\xff", strings.Repeat("a.", 200), " .x. "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name := CleanName(s)
		bad := func(r rune) bool {
			return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || strings.ContainsRune(`/\<>:"|?*`, r)
		}
		if name == "" || len(name) > maxName || !utf8.ValidString(name) || strings.ContainsFunc(name, bad) || name[0] == '.' || strings.HasSuffix(name, ".") || strings.HasSuffix(name, " ") {
			t.Errorf("CleanName(%q) = %q", s, name)
		}
		if again := CleanName(name); again != name {
			t.Errorf("CleanName(%q) = %q, and of that %q", s, name, again)
		}
	})
}
