package httpapi

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"latchkey"
)

func quoted(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

func escapedXML(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}

func TestWrongMethodNamesTheRightOnes(t *testing.T) {
	w := newWorld(t, Options{})
	for path, allow := range map[string]string{
		userPath: "DELETE, GET, HEAD, OPTIONS, POST", userPath + "/" + account: "DELETE, OPTIONS", "/rcsgw/user/b@cc.com": "GET, HEAD, OPTIONS",
		sessionPath: "DELETE, GET, HEAD, OPTIONS, POST", statusPath + aliceURI: "GET, HEAD, OPTIONS", messagePath: "GET, HEAD, OPTIONS, POST",
		composingPath: "OPTIONS, POST", readPath: "OPTIONS, POST", eventsPath: "GET, OPTIONS", filePath: "GET, HEAD, OPTIONS, POST", "/rcsgw/file/x": "GET, HEAD, OPTIONS", "/problems/quota": "GET, HEAD, OPTIONS",
	} {
		r := w.do("PATCH", path, "")
		r.problem(latchkey.KindMethodNotAllowed)
		options := w.do("OPTIONS", path, "").wants(204)
		for _, got := range []string{r.header.Get("Allow"), options.header.Get("Allow")} {
			if got != allow {
				t.Errorf("%s: Allow %q, want %q", path, got, allow)
			}
		}
	}
	w.do("HEAD", eventsPath, "", asGuest).wants(405)
	if r := w.do("HEAD", userPath, "", asAlice).wants(200); r.body != "" || r.header.Get("Content-Length") == "0" {
		t.Errorf("HEAD: %v %q", r.header, r.body)
	}
}

func TestUnknownPathsAreProblems(t *testing.T) {
	w := newWorld(t, Options{})
	for _, path := range []string{"/", "/rcsgw", "/rcsgw/invitee/session/", "/rcsgw/invitee/status/", "/rcsgw/invitee/user/", "/rcsgw/invitee/events/", "/rcsgw/invitee/file/", "/rcsgw/file/", "//rcsgw/invitee/user", "/problems/", "/problems/none"} {
		w.do("GET", path, "", asGuest).problem(latchkey.KindNotFound)
	}
	w.do("GET", statusPath+"%25zz", "", asGuest).problem(latchkey.KindBadRequest)
	for _, k := range latchkey.Kinds() {
		if r := w.do("GET", "/problems/"+k.String(), "").wants(200); !strings.Contains(r.body, k.Row().Title) {
			t.Errorf("%s is explained as %s", k, r.body)
		}
	}
	if r := w.do("GET", "/rcsgw/app/page.js", "").wants(200); !strings.HasPrefix(r.body, "<!doctype html>/rcsgw/app/page.js") {
		t.Errorf("assets: %s", r.body)
	}
}

// F67, S16: bodies over the limit, of types that nobody reads, and in encodings that unpack to anything.
func TestBodiesThatCannotBeTakenAreRefused(t *testing.T) {
	w := newWorld(t, Options{MaxBody: 1000})
	long := `{"to":"sip:a@cc.com","message":"` + strings.Repeat("x", 1000) + `"}`
	r := w.do("POST", messagePath, long, asGuest)
	r.problem(latchkey.KindTooLarge)
	if r.header.Get("Connection") != "close" {
		t.Error("the connection stays open for the rest of the body")
	}
	const body = `{"to":"sip:a@cc.com","message":"x"}`
	for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json; charset=utf-16", "nonsense;;", "application/jsonx"} {
		w.do("POST", messagePath, body, asGuest, header("Content-Type", kind)).problem(latchkey.KindUnsupportedMedia)
	}
	w.do("POST", messagePath, body, asGuest, header("Content-Encoding", "gzip")).problem(latchkey.KindUnsupportedMedia)
	if n := len(w.hall.messages); n != 0 {
		t.Errorf("%d messages were taken", n)
	}
	for _, kind := range []string{"", "application/json", "Application/JSON; charset=UTF-8"} {
		w.do("POST", messagePath, body, asGuest, header("Content-Type", kind), header("Content-Encoding", "identity")).wants(202)
	}
	w.do("POST", messagePath, "\ufeff"+body, asGuest).wants(202)
}

// Nothing happens where nobody could be told of it.
func TestUnacceptableAnswersAreRefusedBeforeAnythingHappens(t *testing.T) {
	w := newWorld(t, Options{})
	pdf := header("Accept", "application/pdf, text/html;q=0.5, application/json;q=0")
	for _, p := range [][3]string{
		{"POST", userPath, `{"email":"b@cc.com"}`}, {"GET", userPath, ""}, {"GET", "/rcsgw/user/b@cc.com", ""},
	} {
		w.do(p[0], p[1], p[2], asAlice, pdf).problem(latchkey.KindNotAcceptable)
	}
	for _, p := range [][3]string{
		{"POST", sessionPath, ""}, {"POST", messagePath, `{"to":"sip:a@cc.com","message":"x"}`}, {"GET", messagePath + "?with=sip:a@cc.com", ""}, {"GET", statusPath + aliceURI, ""}, {"GET", eventsPath, ""},
	} {
		w.do(p[0], p[1], p[2], asGuest, pdf).problem(latchkey.KindNotAcceptable)
	}
	if r := w.do("GET", sessionPath, "", header("Accept", "image/png")); r.status != 406 {
		t.Errorf("a picture of the page: %d", r.status)
	}
	if n := len(w.hall.messages) + len(w.desk.noted()) + len(w.board.questions()); n != 0 {
		t.Errorf("%d things have happened", n)
	}
}

// RFC 9110 §12.5.1.
func TestAcceptPicksTheFormat(t *testing.T) {
	for _, c := range []struct{ accept, contentType, want string }{
		{"", "", "application/json"}, {"*/*", "", "application/json"}, {"application/*", "", "application/json"}, {"application/xml", "", "application/xml"},
		{"text/xml", "", "text/xml"}, {"application/problem+xml", "", "application/xml"}, {"application/json;q=0.5, application/xml", "", "application/xml"},
		{"application/xml;q=0.5, application/json;q=0.6", "", "application/json"}, {"application/xml, application/json", "", "application/xml"},
		{"*/*;q=0.1, application/xml;q=0", "", "application/json"}, {"application/json;q=0, */*", "", "application/xml"}, {"APPLICATION/XML", "", "application/xml"},
		{"", "application/xml", "application/xml"}, {"*/*", "text/xml", "application/xml"}, {"application/json", "application/xml", "application/json"},
		{"image/png", "", ""}, {"application/json;q=0", "", ""}, {"nonsense", "", "application/json"}, {"application/xml;q=x", "", "application/xml"}, {"*/*;q=0", "", ""},
		{strings.Repeat("image/png,", 100) + "application/xml", "", ""},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Accept", c.accept)
		r.Header.Set("Content-Type", c.contentType)
		got, err := answerFormat(r)
		if string(got) != c.want || (err != nil) != (c.want == "") {
			t.Errorf("Accept %q with a body of %q: %q, %v, want %q", c.accept, c.contentType, got, err, c.want)
		}
	}
}

// F23, S2, S6.
func TestEveryAnswerIsGuarded(t *testing.T) {
	w := newWorld(t, Options{})
	for _, path := range []string{sessionPath + "?passwd=x", userPath, "/nowhere", "/problems/quota"} {
		h := w.do("GET", path, "").header
		for name, want := range map[string]string{
			"Referrer-Policy": "no-referrer", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Content-Security-Policy": contentPolicy,
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
		if h.Get("Strict-Transport-Security") != "" {
			t.Errorf("%s: RFC 6797 §7.2 wants no HSTS over plain HTTP", path)
		}
	}
}

type panickyPresence struct{ Presence }

func TestPanicIsA500AndIsLogged(t *testing.T) {
	w := newWorld(t, Options{})
	w.api.ports.Presence = panickyPresence{} // its nil interface panics
	w.do("GET", statusPath+aliceURI, "", asGuest).problem(latchkey.KindInternal)
	if log := w.log.String(); !strings.Contains(log, "http handler panicked") || !strings.Contains(log, "nil pointer") {
		t.Errorf("log: %s", log)
	}
	// net/http's own way to cut a connection stays its own.
	w.api.ports.Page = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	s := w.serve()
	if res, err := http.Get(s.URL + sessionPath); err == nil {
		_ = res.Body.Close()
		t.Errorf("an aborted answer is %d", res.StatusCode)
	}
}

// One place writes all failures, in the client's format.
func TestProblemsAreXMLWhereTheClientReadsXML(t *testing.T) {
	w := newWorld(t, Options{})
	for _, accept := range []string{"application/xml", "application/problem+xml", "text/xml"} {
		r := w.do("GET", statusPath+carolURI, "", asGuest, header("Accept", accept)).wants(403)
		var p Problem
		if err := xml.Unmarshal([]byte(r.body), &p); err != nil || p.Type != "/problems/no-relation" || p.Status != 403 || r.header.Get("Content-Type") != "application/problem+xml" {
			t.Errorf("%s: %v %s %v", accept, r.header, r.body, err)
		}
	}
}

// The client that goes away in the middle of a request is nobody's failure.
func TestClientsThatGoAreNoErrors(t *testing.T) {
	w := newWorld(t, Options{})
	s := w.serve()
	w.board.mute[aliceURI] = true
	req := request(t.Context(), "GET", s.URL+statusPath+aliceURI, "", asGuest)
	req.RequestURI = ""
	ctx, cancel := contextOf(t)
	failed := make(chan error, 1)
	go func() { // ends when the request is cancelled
		res, err := http.DefaultClient.Do(req.WithContext(ctx))
		if err == nil {
			_, err = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
		failed <- err
	}()
	eventually(t, func() bool { return len(w.board.questions()) == 1 })
	cancel()
	if err := <-failed; err == nil {
		t.Error("the request went through")
	}
	eventually(t, func() bool { return strings.Contains(w.log.String(), "path="+statusPath+aliceURI) })
	if log := w.log.String(); strings.Contains(log, "level=ERROR") || strings.Contains(log, "level=WARN") {
		t.Errorf("log: %s", log)
	}
}
