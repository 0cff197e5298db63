// Package web is the guest's page, embedded: an invitation with one button, then the
// conversations with the people who invited (patent ¶97-98, R32). It owns HTML, style, script and the words in
// six languages, and never a fact: all that the page knows comes from the gateway's HTTP interface, over the
// wire like any other client's.
//
// Loading the page changes nothing (S1, F22): it asks by GET whether a login stands, and only the
// button logs in. It loads nothing from elsewhere and has no inline script or style, so
// it lives under Policy (S6). There is no build step: the files in page/ are served as they are, but for the names
// of languages and versions that stand in them. Start with Page and Assets.
package web

import (
	"encoding/json"
	"html"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Policy is the Content-Security-Policy of the page: its own script and style, no markup made from text, and nothing from or to
// another host (S6).
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; " +
	"manifest-src 'self'; worker-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types latchkey"

// Page answers with the page, whatever the account and the password are: it is the same for everybody who
// reads the same language, and is never stored by the browser, whose address held a password.
func Page() http.Handler {
	files := read()
	pages := map[string]asset{}
	for _, lang := range languages {
		pages[lang] = compressed(translate(files, lang), types[".html"])
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Security-Policy", Policy)
		h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=()")
		h.Add("Vary", "Accept-Language")
		pages[preferred(r.Header.Values("Accept-Language"))].serve(w, r)
	})
}

// translate fills the page's words in, and the version of what it loads.
func translate(files files, lang string) []byte {
	words := files.words(lang)
	page := strings.NewReplacer(
		`<html lang="en" dir="ltr">`, `<html lang="`+lang+`" dir="`+words["dir"]+`">`,
		"../../app/lang/en.js", "../../app/"+files.version+"/lang/"+lang+".js",
		"../../app/", "../../app/"+files.version+"/",
	).Replace(string(files.body["page.html"]))
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(page, ` data-t`)
		out.WriteString(before)
		if !found {
			return []byte(out.String())
		}
		// data-t="key", data-t-label="key" and data-t-placeholder="key": the text, and two attributes.
		kind, rest, _ := strings.Cut(rest, `="`)
		key, rest, _ := strings.Cut(rest, `"`)
		text, ok := words[key]
		if !ok {
			panic("web: no words for " + key) // embedded: a bug of ours
		}
		out.WriteString(` data-t` + kind + `="` + key + `"`)
		text = html.EscapeString(text)
		switch kind {
		case "":
			text = ">" + text
			rest = strings.TrimPrefix(rest, ">")
		case "-label":
			text = ` aria-label="` + text + `"`
		case "-placeholder":
			text = ` placeholder="` + text + `"`
		}
		out.WriteString(text)
		page = rest
	}
}

// assetsPath is where Assets expects its requests.
const assetsPath = "/rcsgw/app/"

// Assets serves what the page loads, under /rcsgw/app/VERSION/, where VERSION stands for the bytes of all of it: browsers keep
// it for good, and script and page are never of two versions. A page of another version gets what there is now.
//
// Without a version there are the service worker, which must keep its address, and the manifest, whose start is the account
// that the request names.
func Assets() http.Handler {
	files := read()
	assets := map[string]asset{}
	var shell []string // what the worker keeps
	for name, body := range files.body {
		kind, ok := types[path.Ext(name)]
		if !ok || name == "page.html" || name == "worker.js" {
			continue
		}
		assets[name] = compressed(body, kind)
		if path.Dir(name) == "." {
			shell = append(shell, strconv.Quote(name))
		}
	}
	slices.Sort(shell)
	worker := compressed([]byte(strings.NewReplacer("VERSION", files.version, "FILES", strings.Join(shell, ", ")).Replace(string(files.body["worker.js"]))), types[".js"])
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, _ := strings.CutPrefix(r.URL.Path, assetsPath)
		version, versioned, ok := strings.Cut(name, "/")
		a, found := assets[versioned]
		w.Header().Set("Cache-Control", "no-cache") // RFC 9111 §5.2.2.4: ask before each use
		switch {
		case name == "worker.js":
			// Its scope is where the pages are (Service Workers, Appendix B: Service-Worker-Allowed), relative to it.
			w.Header().Set("Service-Worker-Allowed", "../invitee/session/")
			worker.serve(w, r)
		case name == "manifest.webmanifest":
			compressed(manifest(files, query(r, "account"), query(r, "lang")), types[".webmanifest"]).serve(w, r)
		case ok && found:
			if version == files.version {
				w.Header().Set("Cache-Control", "public, max-age=31536000, immutable") // RFC 8246 §2
			}
			a.serve(w, r)
		default:
			w.Header().Set("Cache-Control", "no-store")
			http.NotFound(w, r)
		}
	})
}

// query is a parameter of a URL in which + stands for itself.
func query(r *http.Request, name string) string {
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		if value, ok := strings.CutPrefix(pair, name+"="); ok {
			value, _ = url.PathUnescape(value)
			return value
		}
	}
	return ""
}

// manifest lets a browser install the page. It starts where the account's page is, without a password: by then the cookie opens it.
func manifest(files files, account, lang string) []byte {
	if !slices.Contains(languages, lang) {
		lang = languages[0]
	}
	words := files.words(lang)
	icon := func(name, kind, sizes, purpose string) map[string]string {
		return map[string]string{"src": files.version + "/" + name, "type": kind, "sizes": sizes, "purpose": purpose}
	}
	start := "../invitee/session/" + url.PathEscape(account)
	doc, err := json.Marshal(map[string]any{
		"id": start, "start_url": start, "scope": "../invitee/session/", "name": words["chat"], "short_name": words["chat"], "lang": lang, "dir": words["dir"],
		"display": "standalone", "background_color": "#eef1f5", "theme_color": "#0b62c4",
		"icons": []any{
			icon("icon.svg", types[".svg"], "any", "any"), icon("icon-192.png", types[".png"], "192x192", "any"),
			icon("icon-512.png", types[".png"], "512x512", "any"), icon("icon-maskable.png", types[".png"], "512x512", "maskable"),
		},
	})
	if err != nil {
		panic(err) // strings: a bug of ours
	}
	return doc
}
