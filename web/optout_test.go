package web_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"latchkey/web"
	"latchkey/web/webtest"
)

// leaver is the gateway as the opt-out page sees it.
type leaver struct {
	mu    sync.Mutex
	asked []string
}

func (l *leaver) requests() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.asked, ", ")
}

func (l *leaver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	page := web.OptOut()
	w.Header().Set("Content-Security-Policy", "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
	if strings.HasPrefix(r.URL.Path, "/base/rcsgw/app/") {
		http.StripPrefix("/base", assets()).ServeHTTP(w, r)
		return
	}
	if r.Method == http.MethodGet {
		page(w, r, 200, "ask", "token", r.URL.Query().Get("token"))
		return
	}
	l.mu.Lock()
	l.asked = append(l.asked, r.URL.Path[strings.Index(r.URL.Path, "/invitee/")+9:]+" "+r.PostFormValue("token"))
	l.mu.Unlock()
	page(w, r, 200, map[bool]string{true: "out", false: "in"}[strings.Contains(r.URL.Path, "/optout/")], "token", r.PostFormValue("token"))
}

// X8, S1, X5: the page changes nothing until its button is pressed, works without script and below a path, and the same page takes it back. It
// can be read on a phone and a desk, by day and by night.
func TestOptOutPageAsksFirstAndCanBeTakenBack(t *testing.T) {
	t.Parallel()
	for i, opt := range []webtest.Options{{Size: webtest.Phone}, {Size: webtest.Phone, Dark: true}, {Size: webtest.Desktop}, {Size: webtest.Desktop, Dark: true}} {
		l := &leaver{}
		s := httptest.NewServer(l)
		defer s.Close()
		tab := chromium.Open(t, opt)
		look := func(name string) {
			t.Helper()
			tab.Shot(fmt.Sprintf("optout-%s-%d", name, i))
			if flaws := tab.Flaws(); flaws != "" {
				t.Errorf("%s:\n%s", name, flaws)
			}
		}
		tab.Go(s.URL + "/base/rcsgw/invitee/optout/sip:b_at_cc.com@guest.example?token=secret%26%3Cx")
		tab.Await("h1", "Stop these invitations?")
		look("ask")
		if got := l.requests(); got != "" {
			t.Errorf("looking at the page asks for %s", got)
		}
		tab.Click("button")
		tab.Await("h1", "You will get no more invitations")
		look("out")
		tab.Click("button")
		tab.Await("h1", "You can be invited again")
		if got, want := l.requests(), "optout/sip:b_at_cc.com@guest.example secret&<x, optin/sip:b_at_cc.com@guest.example secret&<x"; got != want {
			t.Errorf("asked %s, want %s", got, want)
		}
	}
}

// X8: the page is in the reader's language, and its parts are all there; the proof can't become code.
func TestOptOutPageSpeaksTheReadersLanguage(t *testing.T) {
	page := web.OptOut()
	for accept, words := range map[string][]string{
		"":                       {`lang="en" dir="ltr"`, "Stop these invitations?"},
		"xx, de-CH;q=0.9":        {`lang="de" dir="ltr"`, "Diese Einladungen beenden?"},
		"fr-FR":                  {`lang="fr"`, "Arrêter"},
		"es":                     {`lang="es"`, "¿Detener"},
		"zh-Hans-CN,en":          {`lang="zh"`, "停止接收这些邀请"},
		"ar-EG":                  {`lang="ar" dir="rtl"`, "هل تريد إيقاف"},
		`en"><script>,../../etc`: {`lang="en"`},
	} {
		rec := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "/rcsgw/invitee/optout/sip:b@x", nil)
		r.Header.Set("Accept-Language", accept)
		page(rec, r, 200, "ask", "token", `"><script>alert(1)</script>`)
		for _, w := range append(words, `name="token"`, `action="../optout/sip:b@x"`) {
			if !strings.Contains(rec.Body.String(), w) {
				t.Errorf("%q: the page doesn't have %q:\n%s", accept, w, rec.Body)
			}
		}
		if strings.Contains(rec.Body.String(), "<script>") {
			t.Errorf("%q: the proof is code", accept)
		}
		for name, want := range map[string]string{"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "Vary": "Accept-Language"} {
			if got := rec.Header().Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
	}
	for _, step := range []string{"in", "unknown"} {
		rec := httptest.NewRecorder()
		page(rec, httptest.NewRequest("GET", "/rcsgw/invitee/optout/x", nil), 401, step, "", "")
		if rec.Code != 401 || strings.Contains(rec.Body.String(), "<button") || !strings.Contains(rec.Body.String(), "<h1>") {
			t.Errorf("%s: %d\n%s", step, rec.Code, rec.Body)
		}
	}
	rec := httptest.NewRecorder()
	page(rec, httptest.NewRequest("HEAD", "/rcsgw/invitee/optout/x", nil), 200, "ask", "token", "x")
	if rec.Body.Len() != 0 {
		t.Error("HEAD has a body")
	}
}
