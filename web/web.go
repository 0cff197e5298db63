// Package web is the guest's page, embedded: an invitation with one button, then the
// conversations with the people who invited (patent ¶97-98, R32). It owns HTML, style and script and
// never a fact: all that the page knows comes from the gateway's HTTP interface, over the
// wire like any other client's.
//
// Loading the page changes nothing (S2, F22): it asks by GET whether a login stands, and only the
// button logs in. It loads nothing from elsewhere and has no inline script or style, so
// it lives under `default-src 'self'` (S6). Start with Page and Assets.
package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed page
var files embed.FS

// assetsPath is where Assets expects its requests.
const assetsPath = "/rcsgw/app/"

// types are the kinds of file that are served; others are not.
var types = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

// asset is one embedded file.
type asset struct {
	body []byte
	kind string
	tag  string // entity tag, of the bytes
}

func (a asset) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD are known here", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Type", a.kind)
	w.Header().Set("ETag", a.tag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.body))
}

func read(name, kind string) asset {
	body, err := files.ReadFile(path.Join("page", name))
	if err != nil {
		panic(err) // embedded: a bug of ours
	}
	sum := sha256.Sum256(body)
	return asset{body, kind, `"` + hex.EncodeToString(sum[:8]) + `"`}
}

// Page answers with the page, whatever the account and the password are: it is the same for everybody,
// and is never stored by the browser, whose address held a password.
func Page() http.Handler {
	page := read("page.html", "text/html; charset=utf-8")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Referrer-Policy", "no-referrer")
		page.serve(w, r)
	})
}

// Assets serves what the page loads, under /rcsgw/app/. Browsers keep it and ask whether it is still the
// same, so that script and gateway are never of two versions.
func Assets() http.Handler {
	entries, err := fs.ReadDir(files, "page")
	if err != nil {
		panic(err) // embedded: a bug of ours
	}
	assets := map[string]asset{}
	for _, e := range entries {
		if kind, ok := types[path.Ext(e.Name())]; ok {
			assets[e.Name()] = read(e.Name(), kind)
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, _ := strings.CutPrefix(r.URL.Path, assetsPath)
		a, ok := assets[name]
		if !ok {
			w.Header().Set("Cache-Control", "no-store")
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Cache-Control", "no-cache") // RFC 9111 §5.2.2.4: ask before each use
		a.serve(w, r)
	})
}
