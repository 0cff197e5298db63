package web_test

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"latchkey/web"
)

// The page and what it loads are compressed once, as in a gateway.
var (
	page   = sync.OnceValue(web.Page)
	assets = sync.OnceValue(web.Assets)
)

func get(t *testing.T, h http.Handler, method, path string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// F22, F23: whoever asks, for whatever account, gets the same bytes, and no browser keeps them.
func TestPageIsTheSameForEverybody(t *testing.T) {
	want := body(t, get(t, page(), "GET", "/rcsgw/invitee/session/sip:b@cc.com"))
	if !strings.Contains(want, "You are invited to chat") || strings.Contains(want, "b@cc.com") {
		t.Fatalf("the page is %s", want)
	}
	for _, path := range []string{"/rcsgw/invitee/session/sip:b_at_cc.com@guest.example?passwd=secret", "/rcsgw/invitee/session/sip%3Ax%40y", "/rcsgw/invitee/session/nobody"} {
		res := get(t, page(), "GET", path)
		if got := body(t, res); res.StatusCode != 200 || got != want {
			t.Errorf("GET %s = %d with %d bytes, want the page", path, res.StatusCode, len(got))
		}
		head := get(t, page(), "HEAD", path)
		if got := body(t, head); head.StatusCode != 200 || got != "" || head.Header.Get("Content-Length") != res.Header.Get("Content-Length") {
			t.Errorf("HEAD %s = %d %v with %d bytes", path, head.StatusCode, head.Header, len(got))
		}
		for name, want := range map[string]string{"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "Set-Cookie": "", "Content-Security-Policy": web.Policy} {
			if got := res.Header.Get(name); got != want {
				t.Errorf("GET %s: %s is %q, want %q", path, name, got, want)
			}
		}
	}
	if res := get(t, page(), "POST", "/rcsgw/invitee/session/x"); res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST = %d, Allow %q", res.StatusCode, res.Header.Get("Allow"))
	}
}

// X5: the page comes in the reader's language, so that it can be read before a script has run, or without any.
func TestPageComesInTheReadersLanguage(t *testing.T) {
	for accept, want := range map[string]string{
		"": "en ltr", "de-CH, en;q=0.8": "de ltr", "pt-BR, fr;q=0.5, en;q=0.4": "fr ltr", "fr, de": "fr ltr", "en;q=0.1, ar": "ar rtl", "zh-TW": "zh ltr", "ES-419;q=0.9": "es ltr",
		"pt": "en ltr", "de;q=0": "en ltr", "de;q=x, ;;, *": "en ltr", "de;q=2, es": "es ltr",
	} {
		res := get(t, page(), "GET", "/rcsgw/invitee/session/x", "Accept-Language", accept)
		text := body(t, res)
		lang, dir, _ := strings.Cut(want, " ")
		if !strings.Contains(text, `<html lang="`+lang+`" dir="`+dir+`">`) || !strings.Contains(text, "/lang/"+lang+".js") || !strings.Contains(strings.Join(res.Header.Values("Vary"), ","), "Accept-Language") {
			t.Errorf("Accept-Language %q: want %s in %v %s", accept, want, res.Header, text[:200])
		}
	}
}

// loaded are the addresses that the page loads.
func loaded(t *testing.T) (paths []string) {
	t.Helper()
	text := body(t, get(t, page(), "GET", "/rcsgw/invitee/session/x"))
	for _, m := range regexp.MustCompile(`(?:src|href)="\.\./\.\.(/app/[0-9a-f]{16}/[^"]+)"`).FindAllStringSubmatch(text, -1) {
		paths = append(paths, "/rcsgw"+m[1])
	}
	if len(paths) < 10 || strings.Count(text, "../../app/") != len(paths) {
		t.Fatalf("the page loads %q", paths)
	}
	return paths
}

func TestAssetsAreKeptForGoodByTheirVersion(t *testing.T) {
	kinds := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml", ".png": "image/png"}
	for _, at := range loaded(t) {
		_, name, _ := strings.Cut(strings.TrimPrefix(at, "/rcsgw/app/"), "/")
		source, err := os.ReadFile("page/" + name)
		if err != nil {
			t.Fatal(err)
		}
		res := get(t, assets(), "GET", at)
		if got := body(t, res); res.StatusCode != 200 || got != string(source) || res.Header.Get("Content-Type") != kinds[path.Ext(name)] {
			t.Errorf("%s = %d, %s, %d bytes", name, res.StatusCode, res.Header.Get("Content-Type"), len(got))
		}
		if cc := res.Header.Get("Cache-Control"); cc != "public, max-age=31536000, immutable" {
			t.Errorf("%s: Cache-Control %q", name, cc)
		}
		zipped := get(t, assets(), "GET", at, "Accept-Encoding", "br, gzip;q=0.5")
		if zipped.Header.Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(zipped.Body)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(z); err != nil || string(got) != string(source) || zipped.Header.Get("ETag") == res.Header.Get("ETag") {
				t.Errorf("%s by gzip: %v, %d bytes, %s", name, err, len(got), zipped.Header.Get("ETag"))
			}
		} else if path.Ext(name) != ".png" {
			t.Errorf("%s is not compressed", name)
		}
		if plain := get(t, assets(), "GET", at, "Accept-Encoding", "gzip;q=0, *"); plain.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s is compressed for who refuses it", name)
		}
		if part := get(t, assets(), "GET", at, "Accept-Encoding", "gzip", "Range", "bytes=1-9"); part.StatusCode != http.StatusPartialContent || body(t, part) != string(source[1:10]) || part.Header.Get("Content-Length") != "9" {
			t.Errorf("a range of %s = %d %v", name, part.StatusCode, part.Header)
		}
		old := get(t, assets(), "GET", "/rcsgw/app/0123456789abcdef/"+name)
		tag := old.Header.Get("ETag")
		if old.StatusCode != 200 || old.Header.Get("Cache-Control") != "no-cache" || len(tag) < 10 {
			t.Errorf("%s of another version = %d, Cache-Control %q: a browser could go on with old script", name, old.StatusCode, old.Header.Get("Cache-Control"))
		}
		if again := get(t, assets(), "GET", at, "If-None-Match", tag); again.StatusCode != http.StatusNotModified || body(t, again) != "" {
			t.Errorf("%s with its own tag = %d, want 304", name, again.StatusCode)
		}
		if res := get(t, assets(), "GET", at, "If-None-Match", `"other"`); res.StatusCode != 200 {
			t.Errorf("%s with another tag = %d, want 200", name, res.StatusCode)
		}
		if res := get(t, assets(), "HEAD", at); res.StatusCode != 200 || body(t, res) != "" {
			t.Errorf("HEAD %s = %d, or has a body", name, res.StatusCode)
		}
	}
	for _, name := range []string{"", "page.css", "page.html", "x/page.html", "x/worker.js", "x/../web.go", "..%2fweb.go", "x/page.css/", "x/Page.css", "x/nothing.js", "x/lang", "x/lang/", "worker.js/"} {
		if res := get(t, assets(), "GET", "/rcsgw/app/"+name); res.StatusCode != http.StatusNotFound {
			t.Errorf("GET %q = %d, want 404", name, res.StatusCode)
		}
	}
}

// X5: what makes the page installable names the account and never the password; the worker is asked for anew each time.
func TestManifestStartsAtTheAccount(t *testing.T) {
	res := get(t, assets(), "GET", "/rcsgw/app/manifest.webmanifest?account=sip%3A+86%2Fx%40y&lang=ar&passwd=hush")
	var m struct {
		StartURL, Scope, Name, Dir string
		Icons                      []struct{ Src, Sizes string }
	}
	text := strings.ReplaceAll(body(t, res), "start_url", "StartURL")
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	if m.StartURL != "../invitee/session/sip:+86%2Fx@y" || m.Scope != "../invitee/session/" || m.Name != "محادثة" || m.Dir != "rtl" || strings.Contains(text, "hush") {
		t.Errorf("the manifest is %s", text)
	}
	for _, icon := range m.Icons {
		if res := get(t, assets(), "GET", "/rcsgw/app/"+icon.Src); res.StatusCode != 200 {
			t.Errorf("icon %s = %d", icon.Src, res.StatusCode)
		}
	}
	if len(m.Icons) != 4 || res.Header.Get("Content-Type") != "application/manifest+json" {
		t.Errorf("%d icons, %s", len(m.Icons), res.Header.Get("Content-Type"))
	}
	worker := get(t, assets(), "GET", "/rcsgw/app/worker.js")
	text = body(t, worker)
	if worker.Header.Get("Cache-Control") != "no-cache" || worker.Header.Get("Service-Worker-Allowed") != "../invitee/session/" || strings.Contains(text, "[FILES") || !strings.Contains(text, `"page.js"`) || strings.Contains(text, "./VERSION") {
		t.Errorf("the worker: %v %s", worker.Header, text)
	}
}

// dictionary is what a language says.
func dictionary(t *testing.T, lang string) map[string]string {
	t.Helper()
	b, err := os.ReadFile("page/lang/" + lang + ".js")
	if err != nil {
		t.Fatal(err)
	}
	words := map[string]string{}
	if err := json.Unmarshal([]byte(strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(string(b)), "export default "), ";")), &words); err != nil {
		t.Fatalf("%s: %v", lang, err)
	}
	return words
}

// X5: every language says everything, with the same blanks to fill in and the plural forms that it has (CLDR), and the page says nothing
// that is not in a dictionary.
func TestEveryLanguageSaysEverything(t *testing.T) {
	plurals := map[string]string{"en": "one other", "zh": "other", "de": "one other", "fr": "many one other", "es": "many one other", "ar": "few many one other two zero"}
	blanks := func(s string) string {
		all := regexp.MustCompile(`\{\w+\}`).FindAllString(s, -1)
		slices.Sort(all)
		return strings.Join(all, " ")
	}
	english := dictionary(t, "en")
	entries, err := os.ReadDir("page/lang")
	if err != nil || len(entries) != len(plurals) {
		t.Fatal(entries, err)
	}
	same := map[string]bool{"dir": true, "said": true, "online": true, "offline": true, "chat": true, "chats": true, "chat-with": true, "messages": true, "message": true, "conversation": true}
	for lang, forms := range plurals {
		words := dictionary(t, lang)
		var has []string
		for key, text := range words {
			if base, form, plural := strings.Cut(key, "."); plural {
				if _, known := english[base+".other"]; !known {
					t.Errorf("%s: %s is not in English", lang, key)
				}
				has = append(has, form)
				continue
			}
			if want, known := english[key]; !known || blanks(text) != blanks(want) {
				t.Errorf("%s: %s = %q, in English %q", lang, key, text, want)
			} else if lang != "en" && text == want && !same[key] {
				t.Errorf("%s: %s is still English: %q", lang, key, text)
			}
			if strings.TrimSpace(text) == "" {
				t.Errorf("%s: %s says nothing", lang, key)
			}
		}
		slices.Sort(has)
		if got := strings.Join(has, " "); got != forms {
			t.Errorf("%s has the plural forms %s, want %s", lang, got, forms)
		}
		for key := range english {
			if base, _, plural := strings.Cut(key, "."); words[key] == "" && !(plural && words[base+".other"] != "") {
				t.Errorf("%s says nothing for %s", lang, key)
			}
		}
	}

	// What the page asks for, and what nobody asks for.
	asked := map[string]bool{"dir": true}
	prefixes := []string{"state-", "because-"} // the rest comes from the gateway
	scripts, err := fs.Glob(os.DirFS("page"), "*.*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range scripts {
		b, err := os.ReadFile("page/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`data-t(?:-\w+)?="([^"]+)"|'([a-z-]+)'|\bt\('([^']+)'`).FindAllStringSubmatch(string(b), -1) {
			if key := m[1] + m[3]; key != "" && english[key] == "" {
				t.Errorf("%s says %q, which is in no dictionary", name, key)
			}
			for _, key := range m[1:] {
				asked[key] = true
			}
		}
		if strings.HasSuffix(name, ".html") {
			for _, m := range regexp.MustCompile(`>([^<]*[A-Za-z]{2}[^<]*)<`).FindAllStringSubmatch(string(b), -1) {
				t.Errorf("%s says %q in one language only", name, m[1])
			}
			for _, m := range regexp.MustCompile(`\s(?:aria-label|placeholder|title|alt)="[^"]+"`).FindAllString(string(b), -1) {
				t.Errorf("%s says %q in one language only", name, m)
			}
		}
	}
	for key := range english {
		base, _, _ := strings.Cut(key, ".")
		if !asked[base] && !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(key, p) }) {
			t.Errorf("nobody says %q", key)
		}
	}
}

// S6: nothing in the page points to another host, makes markup or code from text, or keeps anything but where it says so.
func TestPageLivesUnderAStrictPolicy(t *testing.T) {
	if bad := regexp.MustCompile(`unsafe-|\*|https?:|data:|blob:`).FindString(web.Policy); bad != "" || !strings.Contains(web.Policy, "default-src 'none'") {
		t.Errorf("the policy allows %q: %s", bad, web.Policy)
	}
	err := fs.WalkDir(os.DirFS("page"), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, ".png") {
			return err
		}
		b, err := os.ReadFile("page/" + path)
		if err != nil {
			return err
		}
		text := string(b)
		if strings.HasSuffix(path, ".html") {
			for what, bad := range map[string]string{
				"inline script": `(?is)<script(?:\s[^>]*)?>\s*[^<\s]`, "script without src": `(?i)<script(?:\s+type="[^"]*")?\s*>`,
				"inline style": `(?i)<style|\sstyle\s*=`, "handler": `(?i)\son[a-z]+\s*=`, "frame or base": `(?i)<(iframe|base|object|embed|meta[^>]+http-equiv)`, "javascript: URL": `(?i)javascript:`,
			} {
				if found := regexp.MustCompile(bad).FindString(text); found != "" {
					t.Errorf("%s: %s: %q", path, what, found)
				}
			}
		}
		for what, bad := range map[string]string{
			"another host": `(?i)(https?:)?//[a-z0-9.-]+\.[a-z]`, "markup from text": `innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|setHTML`,
			"code from text": `\beval\(|new Function|setTimeout\("`, "storage": `localStorage|sessionStorage|indexedDB|document\.cookie`,
		} {
			if path == "keep.js" && what == "storage" {
				continue
			}
			text := strings.ReplaceAll(text, `xmlns="http://www.w3.org/2000/svg"`, "")
			if found := regexp.MustCompile(bad).FindString(text); found != "" {
				t.Errorf("%s: %s: %q", path, what, found)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
