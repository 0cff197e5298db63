package web_test

import (
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"latchkey/web"
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
	source, err := os.ReadFile("page/page.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/rcsgw/invitee/session/sip:b_at_cc.com@guest.example?passwd=secret", "/rcsgw/invitee/session/sip%3Ax%40y", "/rcsgw/invitee/session/nobody"} {
		res := get(t, web.Page(), "GET", path)
		if got := body(t, res); res.StatusCode != 200 || got != string(source) {
			t.Errorf("GET %s = %d with %d bytes, want the page", path, res.StatusCode, len(got))
		}
		head := get(t, web.Page(), "HEAD", path)
		if got := body(t, head); head.StatusCode != 200 || got != "" || head.Header.Get("Content-Length") != res.Header.Get("Content-Length") {
			t.Errorf("HEAD %s = %d %v with %d bytes", path, head.StatusCode, head.Header, len(got))
		}
		for name, want := range map[string]string{"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "Set-Cookie": ""} {
			if got := res.Header.Get(name); got != want {
				t.Errorf("GET %s: %s is %q, want %q", path, name, got, want)
			}
		}
	}
	if res := get(t, web.Page(), "POST", "/rcsgw/invitee/session/x"); res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST = %d, Allow %q", res.StatusCode, res.Header.Get("Allow"))
	}
}

func TestAssetsAreServedByName(t *testing.T) {
	for name, kind := range map[string]string{
		"page.css": "text/css; charset=utf-8", "link.js": "text/javascript; charset=utf-8", "page.js": "text/javascript; charset=utf-8",
		"api.js": "text/javascript; charset=utf-8", "talk.js": "text/javascript; charset=utf-8", "view.js": "text/javascript; charset=utf-8", "icon.svg": "image/svg+xml",
	} {
		source, err := os.ReadFile("page/" + name)
		if err != nil {
			t.Fatal(err)
		}
		res := get(t, web.Assets(), "GET", "/rcsgw/app/"+name)
		if got := body(t, res); res.StatusCode != 200 || got != string(source) || res.Header.Get("Content-Type") != kind {
			t.Errorf("%s = %d, %s, %d bytes", name, res.StatusCode, res.Header.Get("Content-Type"), len(got))
		}
		tag := res.Header.Get("ETag")
		if res.Header.Get("Cache-Control") != "no-cache" || len(tag) < 10 {
			t.Errorf("%s: Cache-Control %q, ETag %q: a browser could go on with old script", name, res.Header.Get("Cache-Control"), tag)
		}
		again := get(t, web.Assets(), "GET", "/rcsgw/app/"+name, "If-None-Match", tag)
		if got := body(t, again); again.StatusCode != http.StatusNotModified || got != "" {
			t.Errorf("%s with its own tag = %d with %d bytes, want 304", name, again.StatusCode, len(got))
		}
		if res := get(t, web.Assets(), "GET", "/rcsgw/app/"+name, "If-None-Match", `"other"`); res.StatusCode != 200 {
			t.Errorf("%s with another tag = %d, want 200", name, res.StatusCode)
		}
		if res := get(t, web.Assets(), "HEAD", "/rcsgw/app/"+name); res.StatusCode != 200 || body(t, res) != "" {
			t.Errorf("HEAD %s = %d, or has a body", name, res.StatusCode)
		}
	}
	for _, name := range []string{"", "page.html", "page/page.css", "../web.go", "..%2fweb.go", "page.css/", "Page.css", "nothing.js"} {
		if res := get(t, web.Assets(), "GET", "/rcsgw/app/"+name); res.StatusCode != http.StatusNotFound {
			t.Errorf("GET %q = %d, want 404", name, res.StatusCode)
		}
	}
}

// S6: the page works under default-src 'self', and nothing in it points to another host.
func TestPageLivesUnderAStrictPolicy(t *testing.T) {
	total := 0
	err := fs.WalkDir(os.DirFS("page"), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile("page/" + path)
		if err != nil {
			return err
		}
		total += len(b)
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
			"another host": `(?i)(https?:)?//[a-z0-9.-]+\.[a-z]`, "markup from text": `innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser`,
			"code from text": `\beval\(|new Function|setTimeout\("`, "storage": `localStorage|sessionStorage|indexedDB|document\.cookie`,
		} {
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
	if total > 60_000 {
		t.Errorf("the page has %d bytes, want at most 60000", total)
	}
}
