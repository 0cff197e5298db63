package httpapi

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey"
)

type loginBody struct {
	Account  string
	Expires  time.Time
	Inviters []struct {
		URI, UID, Name, Status string
		Interactions           []string
	}
}

// F20, R22: whichever way the password comes, the guest is told who invited, and gets the cookie.
func TestLoginTellsWhoInvitedAndSetsACookie(t *testing.T) {
	w := newWorld(t, Options{})
	encoded := "/rcsgw/invitee/session/sip%3Ab_at_cc.com%40guest.example"
	for what, r := range map[string]response{
		"Basic":                w.do("POST", sessionPath, "", asGuest),
		"Basic without scheme": w.do("POST", encoded, "", func(r *http.Request) { r.SetBasicAuth("b_at_cc.com@guest.example", password) }),
		"a body":               w.do("POST", encoded, `{"passwd":"`+password+`"}`),
		"an XML body":          w.do("POST", sessionPath, "<login>\n <passwd>\n"+password+"\n</passwd></login>", header("Content-Type", "text/xml; charset=UTF-8"), header("Accept", "application/json")),
		"the link":             w.do("GET", sessionPath+"?passwd="+password, "", header("Accept", "application/json")),
	} {
		var l loginBody
		r.wants(200).into(&l)
		if l.Account != account || !l.Expires.Equal(then.Add(168*time.Hour).Truncate(time.Millisecond)) || len(l.Inviters) != 1 {
			t.Fatalf("%s: %s", what, r.body)
		}
		if i := l.Inviters[0]; i.URI != aliceURI || i.UID != "uid of Alice" || i.Name != "Alice" || i.Status != "online" || len(i.Interactions) != 1 || i.Interactions[0] != "im" {
			t.Errorf("%s: inviter %+v", what, i)
		}
		c := r.cookie()
		if c == nil || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Secure || c.Path != "/rcsgw/" || c.Expires.Before(then) || c.Value == password {
			t.Errorf("%s: cookie %v", what, c)
		}
		w.do("GET", "/rcsgw/invitee/status/"+aliceURI, "", page(c)).wants(200)
	}
	if xml := w.do("GET", sessionPath+"?passwd="+password, "", header("Accept", "application/xml")).wants(200); !strings.HasPrefix(xml.body, `<?xml`) {
		t.Errorf("XML answer %s", xml.body)
	}
}

// R32, F22, S2: a stand-alone client gets a file that names the chat, and no password, whoever asks and whatever for; nothing is changed by it.
func TestLinkIsHandedOverWithoutItsPassword(t *testing.T) {
	w := newWorld(t, Options{PublicURL: "https://chat.example.com/base/"})
	for _, path := range []string{sessionPath + "?passwd=" + password, sessionPath, "/rcsgw/invitee/session/sip%3Ab_at_cc.com%40guest.example?passwd=wrong"} {
		r := w.do("GET", path, "", header("Accept", "application/vnd.latchkey"), header("Authorization", "Basic "+password)).wants(200)
		if r.body != `{"latchkey":1,"link":"https://chat.example.com/base/rcsgw/invitee/session/`+account+`"}`+"\n" || r.cookie() != nil || r.header.Get("Content-Type") != "application/vnd.latchkey" ||
			r.header.Get("Content-Disposition") != `attachment; filename="chat.latchkey"` {
			t.Errorf("%s: %v %s", path, r.header, r.body)
		}
	}
	if r := w.do("GET", "/rcsgw/invitee/session/x%22%2F..%2F%0A?passwd="+password, "", header("Accept", "application/vnd.latchkey")).wants(200); !strings.Contains(r.body, "/session/x%22%2F..%2F%0A\"}") {
		t.Errorf("a strange account: %s", r.body)
	}
	if calls := w.desk.noted(); len(calls) != 0 {
		t.Errorf("asking for it has caused %v", calls)
	}
	newWorld(t, Options{}).do("GET", sessionPath, "", header("Accept", "application/vnd.latchkey")).problem(latchkey.KindNotAcceptable)
}

// F22, S1: scanners fetch links. Only a POST logs in.
func TestFetchingTheLinkChangesNothing(t *testing.T) {
	w := newWorld(t, Options{})
	for _, accept := range []string{"", "*/*", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/*", "text/html"} {
		for _, method := range []string{"GET", "HEAD"} {
			r := w.do(method, sessionPath+"?passwd="+password, "", header("Accept", accept), header("Referer", "https://x.example/?passwd="+password), header("Cookie", "latchkey="+password), header("Authorization", "Basic "+password)).wants(200)
			if r.header.Get("Set-Cookie") != "" || !strings.HasPrefix(r.header.Get("Content-Type"), "text/html") || strings.Contains(r.body, password) {
				t.Errorf("%s with Accept %q: %v %s", method, accept, r.header, r.body)
			}
			for name, want := range map[string]string{"Referrer-Policy": "no-referrer", "Cache-Control": "no-store"} { // F23
				if got := r.header.Get(name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
		}
	}
	w.do("HEAD", sessionPath+"?passwd="+password, "", header("Accept", "application/json")).wants(200)
	if got := w.desk.noted(); len(got) != 0 || len(w.board.questions()) != 0 {
		t.Errorf("fetching has done %v %v", got, w.board.questions())
	}
	// The page is the same for an account that isn't there.
	w.do("GET", "/rcsgw/invitee/session/sip:nobody@guest.example?passwd=x", "").wants(200)
	w.do("POST", sessionPath, `{"passwd":"`+password+`"}`).wants(200)
	if got := w.desk.noted(); len(got) != 1 || got[0] != "login "+account {
		t.Errorf("the POST has done %v", got)
	}
}

// F21: what is wrong about a login isn't told.
func TestWrongLoginsLookAlike(t *testing.T) {
	w := newWorld(t, Options{})
	wrong := w.do("POST", sessionPath, `{"passwd":"wrong"}`)
	wrong.problem(latchkey.KindUnauthorized)
	for what, r := range map[string]response{
		"unknown account":   w.do("POST", "/rcsgw/invitee/session/sip:nobody@guest.example", `{"passwd":"wrong"}`),
		"no account":        w.do("POST", "/rcsgw/invitee/session/x", `{"passwd":"wrong"}`),
		"nothing":           w.do("POST", sessionPath, ``),
		"no password":       w.do("POST", sessionPath, `{}`),
		"wrong by Basic":    w.do("POST", sessionPath, ``, func(r *http.Request) { r.SetBasicAuth(account, "wrong") }),
		"somebody else's":   w.do("POST", "/rcsgw/invitee/session/sip:nobody@guest.example", ``, asGuest),
		"not Basic":         w.do("POST", sessionPath, ``, header("Authorization", "Bearer "+password)),
		"wrong in the link": w.do("GET", sessionPath+"?passwd=wrong", "", header("Accept", "application/json")),
	} {
		if r.status != 401 || r.body != wrong.body || r.header.Get("Set-Cookie") != "" {
			t.Errorf("%s: %d %s, want %s", what, r.status, r.body, wrong.body)
		}
	}
	w.do("POST", sessionPath, `{"passwd":["`+password+`"]}`).problem(latchkey.KindBadRequest)
}

// A browser that shows 401 with Basic opens its own dialog over the page.
func TestBrowsersGetAChallengeWithoutADialog(t *testing.T) {
	w := newWorld(t, Options{})
	if got := w.do("POST", sessionPath, "").header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Basic realm=") {
		t.Errorf("a program is challenged by %q", got)
	}
	for _, c := range []change{header("Sec-Fetch-Site", "same-origin"), header(clientHeader, "page")} {
		if got := w.do("POST", sessionPath, "", c).header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Latchkey ") {
			t.Errorf("a page is challenged by %q", got)
		}
	}
}

// S3: over HTTPS, or where the public URL says so, the cookie is Secure; its path is the public one.
func TestCookieFitsThePublicURL(t *testing.T) {
	w := newWorld(t, Options{PublicURL: "https://chat.example.com/base/"})
	if c := w.login(); !c.Secure || c.Path != "/base/rcsgw/" {
		t.Errorf("behind https://chat.example.com/base/: %v", c)
	}
	w = newWorld(t, Options{PublicURL: "http://chat.example.com"})
	r := w.do("POST", sessionPath, "", asGuest, func(r *http.Request) { r.TLS = &tls.ConnectionState{} }).wants(200)
	if c := r.cookie(); !c.Secure || r.header.Get("Strict-Transport-Security") == "" {
		t.Errorf("over TLS: %v %v", c, r.header)
	}
}

// The page asks after a reload whether its login stands; that begins none.
func TestCookieGivesTheLoginAgain(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.login()
	for _, method := range []string{"GET", "POST"} {
		var l loginBody
		r := w.do(method, sessionPath, "", page(c), header("Accept", "application/json")).wants(200)
		r.into(&l)
		if l.Account != account || len(l.Inviters) != 1 || l.Expires.IsZero() || r.header.Get("Set-Cookie") != "" {
			t.Errorf("%s: %s %v", method, r.body, r.header)
		}
	}
	if got := w.desk.noted(); len(got) != 1 {
		t.Errorf("calls %v, want one login", got)
	}
	w.do("GET", "/rcsgw/invitee/session/sip:other@guest.example", "", page(c), header("Accept", "application/json")).wants(401)
	w.do("GET", sessionPath, "", page(&http.Cookie{Name: cookieName, Value: "made-up"}), header("Accept", "application/json")).wants(401)
}

// S5: other sites can do nothing with the cookie that a browser may send along, nor log visitors in.
func TestRequestsOfOtherSitesAreRefused(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.login()
	const send, body = "/rcsgw/invitee/message", `{"to":"sip:a@cc.com","message":"hi"}`
	for what, changes := range map[string][]change{
		"cross-site":         {page(c), header("Sec-Fetch-Site", "cross-site")},
		"a sibling host":     {page(c), header("Sec-Fetch-Site", "same-site")},
		"another origin":     {page(c), header("Sec-Fetch-Site", ""), header("Origin", "http://evil.example")},
		"an opaque origin":   {page(c), header("Sec-Fetch-Site", ""), header("Origin", "null")},
		"no header of ours":  {page(c), header(clientHeader, "")},
		"another port":       {page(c), header("Sec-Fetch-Site", ""), header("Origin", "http://example.com:81")},
		"an odd fetch value": {page(c), header("Sec-Fetch-Site", "x")},
	} {
		w.do("POST", send, body, changes...).problem(latchkey.KindNotAllowed)
		w.do("DELETE", sessionPath, "", changes...).problem(latchkey.KindNotAllowed)
		if what != "no header of ours" { // a GET needs none: an EventSource can't have it
			w.do("GET", "/rcsgw/invitee/events?wait=0", "", changes...).problem(latchkey.KindNotAllowed)
		}
	}
	if len(w.hall.messages) != 0 || len(w.desk.noted()) != 1 {
		t.Errorf("done: %v %v", w.hall.messages, w.desk.noted())
	}
	// An attacker's own password in a visitor's browser.
	w.do("POST", sessionPath, `{"passwd":"`+password+`"}`, header("Sec-Fetch-Site", "cross-site")).problem(latchkey.KindNotAllowed)
	w.do("GET", sessionPath+"?passwd="+password, "", header("Accept", "application/json"), header("Origin", "https://evil.example")).problem(latchkey.KindNotAllowed)
	// Who names credentials of their own needs no cookie and no page.
	w.do("POST", send, body, asGuest, header("Origin", "https://app.example"), header("Sec-Fetch-Site", "cross-site")).wants(202)
	w.do("POST", send, body, page(c)).wants(202)
	w.do("POST", send, body, page(c), header("Sec-Fetch-Site", ""), header("Origin", "HTTP://EXAMPLE.COM")).wants(202)
}

// R22: all inviters are asked at once, and one who can't be told holds up nobody for long.
func TestLoginAsksAllInvitersAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		defer w.api.Close()
		for i := range 40 {
			uri := "sip:x" + string(rune('a'+i%26)) + string(rune('a'+i/26)) + "@cc.com"
			w.desk.relations = append(w.desk.relations, relation(uri, "X"))
			w.board.mute[uri] = true
		}
		w.desk.relations = append(w.desk.relations, relation("sip:z@cc.com", "Z"))
		w.board.states["sip:z@cc.com"] = latchkey.StatusNotRCS
		start := time.Now()
		var l loginBody
		w.do("POST", sessionPath, "", asGuest).wants(200).into(&l)
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("the login took %v, want Options.StatusWait", took)
		}
		if n := len(l.Inviters); n != 42 || l.Inviters[0].Status != "online" || l.Inviters[1].Status != "unknown" || l.Inviters[41].Status != "offline" {
			t.Errorf("%d inviters: %+v", n, l.Inviters)
		}
	})
}

// F56, R29: 204 once, and 204 again though the credentials are dead; they open nothing else.
func TestSecondLogoutGetsTheSameAnswer(t *testing.T) {
	for what, as := range map[string]func(w *world) change{
		"Basic":  func(*world) change { return asGuest },
		"cookie": func(w *world) change { return page(w.login()) },
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t, Options{})
			me := as(w)
			r := w.do("DELETE", sessionPath, "", me).wants(204)
			if c := r.cookie(); c == nil || c.MaxAge >= 0 || c.Value != "" {
				t.Errorf("the cookie stays: %v", c)
			}
			w.do("DELETE", sessionPath, "", me).wants(204)
			w.do("DELETE", "/rcsgw/invitee/session/sip%3Ab_at_cc.com%40guest.example", "", me).wants(204)
			w.do("DELETE", "/rcsgw/invitee/session/sip:other@guest.example", "", me).wants(401)
			w.do("DELETE", sessionPath, "", func(r *http.Request) { r.SetBasicAuth(account, "wrong") }).wants(401)
			w.do("DELETE", sessionPath, "").wants(401)
			w.do("GET", "/rcsgw/invitee/status/"+aliceURI, "", me).wants(401)
			w.do("POST", sessionPath, "", me).wants(401)
			// Invited anew meanwhile: the old goodbye does not end that.
			w.desk.add(relation(carolURI, "Carol"))
			if what == "cookie" {
				w.do("DELETE", sessionPath, "", me).wants(401)
			}
			if n := len(w.desk.relations); n != 1 && what == "cookie" {
				t.Errorf("%d relations, want Carol's", n)
			}
		})
	}
}

// F56: a goodbye is remembered for a short while, and without a secret.
func TestGoodbyesAreForgottenAndHoldNoSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGoodbyes()
		g.add(account, "basic x "+password)
		for sum := range g.said {
			if strings.Contains(string(sum[:]), password[:8]) || sum == newGoodbyes().sum(account, "basic x "+password) {
				t.Error("the memory can be read or guessed")
			}
		}
		time.Sleep(goodbyeHolds - time.Second)
		if !g.has(account, "basic x "+password) || g.has(account, "basic x other") || g.has("sip:other@guest.example", "basic x "+password) {
			t.Error("a goodbye is known by account and credentials, for a while")
		}
		time.Sleep(time.Second)
		if g.has(account, "basic x "+password) {
			t.Error("a goodbye is remembered for too long")
		}
		for i := range maxGoodbyes + 100 {
			g.add(account, string(rune(i)))
		}
		if n := len(g.said); n > maxGoodbyes {
			t.Errorf("%d goodbyes are held, want at most %d", n, maxGoodbyes)
		}
	})
}

// A logout that failed can be repeated, by credentials that are dead or alive.
func TestLogoutThatFailedIsTriedAgain(t *testing.T) {
	w := newWorld(t, Options{})
	w.desk.fail(latchkey.Errorf(latchkey.KindCoreTimeout, ""))
	w.do("DELETE", sessionPath, "", asGuest).problem(latchkey.KindCoreTimeout)
	w.desk.mu.Lock()
	w.desk.relations = nil // ending
	w.desk.mu.Unlock()
	w.do("DELETE", sessionPath, "", asGuest).problem(latchkey.KindCoreTimeout)
	w.desk.fail(nil)
	w.do("DELETE", sessionPath, "", asGuest).wants(204)
	if got := w.desk.noted(); len(got) != 3 {
		t.Errorf("calls %v, want three logouts", got)
	}
}

// F23, S2, X8: no password and no message is in the log, at any level, whatever goes wrong.
func TestPasswordsAreInNoLog(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.login()
	escaped := strings.ReplaceAll(password, "-", "%2D")
	w.do("GET", sessionPath+"?passwd="+password, "")
	w.do("GET", sessionPath+"?passwd="+password, "", header("Accept", "application/json"))
	w.do("GET", sessionPath+"%3Fpasswd="+password, "")
	w.do("GET", sessionPath+"%3Fpasswd="+escaped, "", header("Accept", "image/png"))
	w.do("PUT", sessionPath+"?passwd="+password, "")
	w.do("POST", sessionPath, `{"passwd":"`+password+`"`)
	w.do("POST", sessionPath, `<login><passwd>`+password+`</passwd>`, asXML)
	w.do("POST", sessionPath, `passwd=`+password, header("Content-Type", "application/x-www-form-urlencoded"))
	w.do("POST", sessionPath, "", func(r *http.Request) { r.SetBasicAuth("nobody:"+account, password) })
	w.do("GET", "/nowhere/passwd="+password, "", page(c))
	w.do("GET", "/rcsgw/invitee/user", "", asAlice)
	w.do("POST", "/rcsgw/invitee/message", `{"to":"sip:a@cc.com","message":"between you and me"}`, asGuest)
	w.do("GET", "/rcsgw/invitee/message?with=sip:a@cc.com", "", asGuest)
	w.do("DELETE", sessionPath, "", asGuest)
	log := w.log.String()
	if strings.Count(log, "level=DEBUG") < 5 || !strings.Contains(log, "path="+sessionPath) {
		t.Fatalf("the log has no debug lines; the test would see nothing:\n%s", log)
	}
	for what, secret := range map[string]string{"the guest's password": password, "its escape": escaped, "the inviter's": alicePwd, "the token": c.Value, "the message": "between you"} {
		if strings.Contains(log, secret) {
			t.Errorf("the log has %s:\n%s", what, log)
		}
	}
}
