package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"latchkey"
	"latchkey/files"
)

// call is one operation as a client makes it.
type call struct {
	method, path, body string
	changes            []change
}

func (c call) by(w *world, more ...change) response {
	w.t.Helper()
	return w.do(c.method, c.path, c.body, append(c.changes, more...)...)
}

// inviterCalls and guestCalls are all operations that need credentials.
func inviterCalls() []call {
	return []call{
		{"POST", userPath, `{"email":"b@cc.com"}`, nil}, {"GET", userPath, "", nil}, {"DELETE", userPath, "", nil},
		{"DELETE", userPath + "/" + account, "", nil}, {"GET", "/rcsgw/user/b@cc.com", "", nil},
	}
}

func guestCalls(fileID string) []call {
	partial := []change{header("Content-Type", partialUpload), header("Upload-Offset", "0"), header("Upload-Complete", "?1")}
	return []call{
		{"GET", sessionPath, "", []change{header("Accept", "application/json")}}, {"POST", sessionPath, "", nil}, {"DELETE", sessionPath, "", nil},
		{"GET", statusPath + aliceURI, "", nil}, {"POST", messagePath, `{"to":"sip:a@cc.com","message":"x"}`, nil}, {"GET", messagePath + "?with=" + aliceURI, "", nil},
		{"POST", composingPath, `{"to":"sip:a@cc.com","state":"idle"}`, nil}, {"POST", readPath, `{"id":"m1"}`, nil}, {"GET", eventsPath + "?wait=0", "", nil},
		{"GET", pushPath, "", nil}, {"POST", pushPath, browser, nil}, {"DELETE", pushPath + "/x", "", nil},
		{"POST", toAlice, "x", nil}, {"GET", filePath + "?with=" + aliceURI, "", nil}, {"GET", filePath + "/" + fileID, "", nil}, {"HEAD", filePath + "/" + fileID, "", nil},
		{"PATCH", filePath + "/" + fileID, "x", partial}, {"DELETE", filePath + "/" + fileID, "", nil},
	}
}

// R28, S4: what goes wrong with credentials is the same problem at every operation, and the documented one.
func TestFailuresOfCredentialsAreAlikeEverywhere(t *testing.T) {
	w := filesWorld(t, files.Options{})
	f := w.arrives("x", "text/plain", "x")
	asked := header(clientHeader, "test")
	crossSite := func(r *http.Request) {
		r.AddCookie(&http.Cookie{Name: cookieName, Value: "x"})
		r.Header.Set("Sec-Fetch-Site", "cross-site")
	}
	for _, c := range guestCalls(string(f.ID)) {
		for err, as := range map[*latchkey.Error]change{
			latchkey.Errorf(latchkey.KindExpired, "over"):         asGuest,
			latchkey.Errorf(latchkey.KindTooManyRequests, "wait"): asGuest,
			latchkey.Errorf(latchkey.KindUnauthorized, ""):        asked,
			latchkey.Errorf(latchkey.KindNotAllowed, ""):          crossSite,
		} {
			if err.Kind == latchkey.KindExpired || err.Kind == latchkey.KindTooManyRequests {
				w.desk.deny(err)
			}
			if r := c.by(w, as); r.status != err.Kind.Row().HTTP {
				t.Errorf("%s %s with %v: %d %s", c.method, c.path, err.Kind, r.status, r.body)
			}
			w.desk.deny(nil)
		}
	}
	trusted := trusting(t)
	for _, c := range inviterCalls() {
		for _, kind := range []latchkey.Kind{latchkey.KindDirectoryFailed, latchkey.KindDirectoryTimeout, latchkey.KindTooManyRequests} {
			w.dir.broken = latchkey.Errorf(kind, "")
			c.by(w, asAlice).problem(kind)
		}
		w.dir.broken = nil
		c.by(w).problem(latchkey.KindUnauthorized)
		c.by(trusted, each(assertedHeader, "sip:nobody@cc.com")).problem(latchkey.KindNotAllowed)
		c.by(trusted, each(assertedHeader, "nonsense")).problem(latchkey.KindBadRequest)
	}
	if n := len(w.desk.noted()); n != 0 {
		t.Errorf("%d things have happened: %v", n, w.desk.noted())
	}
}

// F67, R28: a body that is too large or of a type that nobody reads is the same problem at every operation that takes one.
func TestEveryBodyIsReadAlike(t *testing.T) {
	w := filesWorld(t, files.Options{MaxSize: 4})
	w.api.opt.MaxBody = 100
	for _, c := range []call{
		{"POST", userPath, "", []change{asAlice}}, {"POST", sessionPath, "", nil}, {"POST", messagePath, "", []change{asGuest}},
		{"POST", composingPath, "", []change{asGuest}}, {"POST", readPath, "", []change{asGuest}},
		{"POST", pushPath, "", []change{asGuest}},
	} {
		c.body = `{"x":"` + strings.Repeat("x", 100) + `"}`
		c.by(w).problem(latchkey.KindTooLarge)
		c.body = "x"
		c.by(w, header("Content-Type", "text/plain")).problem(latchkey.KindUnsupportedMedia)
		c.body = "{"
		c.by(w).problem(latchkey.KindBadRequest)
	}
	w.do("POST", toAlice, "12345", asGuest).problem(latchkey.KindTooLarge)
	begun := w.do("POST", toAlice, "1", asGuest, header("Upload-Complete", "?0")).wants(201)
	w.do("PATCH", begun.header.Get("Location"), "2345", asGuest, header("Content-Type", partialUpload), header("Upload-Offset", "1"), header("Upload-Complete", "?1")).problem(latchkey.KindTooLarge)
}

// F24, R28: every operation that reads or answers JSON does so in XML.
func TestEveryOperationSpeaksXML(t *testing.T) {
	w := filesWorld(t, files.Options{})
	w.do("POST", userPath, "<invitation><tel>+8613800000007</tel><interactions>im</interactions><interactions>file</interactions><note>a &amp; b</note></invitation>", asAlice, asXML).wants(201)
	w.do("POST", userPath, "<invitation><tel>+8613800000007</tel></invitation>", asAlice, asXML).wants(200)
	for range 2 {
		r := w.do("POST", messagePath, "<message><to>sip:a@cc.com</to><message>x</message><id>1</id></message>", asGuest, asXML)
		if !strings.HasPrefix(r.header.Get("Content-Type"), "application/xml") || !strings.Contains(r.body, "<state>accepted</state>") {
			t.Errorf("a message in XML is answered %d %s", r.status, r.body)
		}
	}
	w.do("POST", composingPath, "<composing><to>sip:a@cc.com</to><state> active </state></composing>", asGuest, asXML).wants(204)
	w.do("POST", readPath, "<read><id>m1</id></read>", asGuest, asXML).wants(204)
	xml := header("Accept", "application/xml")
	w.do("POST", toAlice, "x", asGuest, xml).wants(202)
	begun := w.do("POST", toAlice, "", asGuest, header("Upload-Complete", "?0")).wants(201)
	patch := []change{asGuest, header("Content-Type", partialUpload), header("Upload-Offset", "0"), header("Upload-Complete", "?1")}
	w.do("PATCH", begun.header.Get("Location"), "x", append(patch, header("Accept", "image/png"))...).problem(latchkey.KindNotAcceptable)
	w.do("PATCH", begun.header.Get("Location"), "x", append(patch, xml)...).wants(202)
	w.do("GET", filePath+"?with="+aliceURI, "", asGuest, header("Accept", "image/png")).problem(latchkey.KindNotAcceptable)
	w.do("GET", filePath+"?with="+aliceURI+"&limit=0", "", asGuest).problem(latchkey.KindBadRequest)
}

// R21: what the network says to a login and a logout is their answer.
func TestNetworkFailuresAreTheLoginsOwn(t *testing.T) {
	w := newWorld(t, Options{})
	for _, kind := range []latchkey.Kind{latchkey.KindRegistrationFailed, latchkey.KindCoreTimeout} {
		w.desk.fail(latchkey.Errorf(kind, ""))
		for _, method := range []string{"GET", "POST", "DELETE"} {
			w.do(method, sessionPath, "", asGuest, header("Accept", "application/json")).problem(kind)
		}
	}
}

// full is a shelf on a full disk.
type full struct{ Files }

func (full) Create(context.Context, latchkey.StoredFile) (Upload, latchkey.StoredFile, bool, error) {
	return nil, latchkey.StoredFile{}, false, latchkey.Errorf(latchkey.KindNoSpace, "")
}

// F52, S6: an inviter's phone needs the key only, and gets what it asks for, ranges and preview too; what is over is 410.
func TestPhonesFetchByKey(t *testing.T) {
	w := filesWorld(t, files.Options{})
	var sent file
	w.do("POST", toAlice+"&name=x.txt", "0123456789", asGuest).wants(202).into(&sent)
	f, err := w.vault().Find(t.Context(), sent.ID)
	if err != nil {
		t.Fatal(err)
	}
	path := publicFilePath + f.Key.Reveal()
	r := w.do("GET", path, "").wants(200)
	if r.body != "0123456789" || r.header.Get("Content-Security-Policy") != filePolicy {
		t.Errorf("%q %v", r.body, r.header)
	}
	if part := w.do("GET", path, "", header("Range", "bytes=8-")).wants(206); part.body != "89" {
		t.Errorf("bytes from 8: %q", part.body)
	}
	w.do("GET", path, "", header("If-None-Match", r.header.Get("ETag"))).wants(304)
	for _, as := range []call{{"GET", path, "", nil}, {"GET", filePath + "/" + string(f.ID), "", []change{asGuest}}} {
		if r := as.by(w, header("Range", "bytes=10-")).problem(latchkey.KindBadRange); r.header.Get("Content-Range") != "bytes */10" || r.header.Get("Content-Disposition") != "" {
			t.Errorf("a range behind the end: %v", r.header)
		}
	}
	w.do("GET", path+"/preview", "").problem(latchkey.KindNotFound)
	stored := w.api.ports.Files
	w.api.ports.Files = pictured{stored, f}
	if r := w.do("GET", path+"/preview", "").wants(200); r.body != "picture" || r.header.Get("Content-Type") != "image/png" {
		t.Errorf("preview: %v %q", r.header, r.body)
	}
	w.api.ports.Files = full{stored}
	w.do("POST", toAlice, "x", asGuest).problem(latchkey.KindNoSpace)
	w.api.ports.Files = stored
	w.do("DELETE", filePath+"/"+string(f.ID), "", asGuest).wants(204)
	for _, p := range []string{path, path + "/preview"} {
		w.do("GET", p, "").problem(latchkey.KindExpired)
	}
	w.do("HEAD", filePath+"/"+string(f.ID), "", asGuest).wants(410)
}

// pictured has a preview of its file.
type pictured struct {
	Files
	f latchkey.StoredFile
}

func (p pictured) FindByKey(context.Context, string) (latchkey.StoredFile, error) { return p.f, nil }
func (p pictured) Preview(context.Context, latchkey.StoredFile) (string, []byte, error) {
	return "image/png", []byte("picture"), nil
}

// The document and the schema are where they say they are, for everybody, and the page that tries them loads nothing from elsewhere.
func TestDocumentIsServed(t *testing.T) {
	w := newWorld(t, Options{})
	for path, want := range map[string]string{
		"/openapi.yaml": "application/yaml openapi: 3.1.0", "/openapi.json": `application/json {"components"`, "/rcsgw/app/latchkey.xsd": "application/xml <?xml", "/rcsgw/app/problem.xsd": "application/xml <?xml",
		"/rcsgw/app/try": "text/html; charset=utf-8 <!doctype html>", "/rcsgw/app/try.js": "text/javascript; charset=utf-8 //", "/rcsgw/app/try.css": "text/css; charset=utf-8 :root",
	} {
		r := w.do("GET", path, "").wants(200)
		if got := r.header.Get("Content-Type") + " " + r.body; !strings.HasPrefix(got, want) || r.header.Get("Content-Security-Policy") != contentPolicy {
			t.Errorf("%s is %.60s", path, got)
		}
		if strings.Contains(path, "try") && strings.Contains(r.body, "//") && strings.Contains(r.body, "http") && strings.Contains(r.body, "://") {
			t.Errorf("%s names another origin", path)
		}
		w.do("POST", path, "x").wants(405)
	}
}

// F66, S4: an address that makes too many requests is told to slow down, whatever it asks for, and others are not; an account is, wherever its requests come from.
// A flood is one line in the log.
func TestRateIsByAddressAndByPerson(t *testing.T) {
	w := newWorld(t, Options{Rate: 1, Trusted: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}})
	as := func(client string) change { return header("X-Forwarded-For", client) }
	for range 10 {
		w.do("GET", sessionPath, "", as("198.51.100.1")).wants(200)
	}
	for _, path := range []string{sessionPath, eventsPath, "/nowhere", "/openapi.yaml"} {
		if r := w.do("GET", path, "", as("198.51.100.1")).problem(latchkey.KindTooManyRequests); r.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	for i := range 10 {
		w.do("GET", statusPath+aliceURI, "", asGuest, as(fmt.Sprint("198.51.100.", 10+i))).wants(200)
		w.do("GET", userPath, "", asAlice, as(fmt.Sprint("198.51.100.", 50+i))).wants(200)
	}
	w.do("GET", statusPath+aliceURI, "", asGuest, as("198.51.100.30")).problem(latchkey.KindTooManyRequests)
	w.do("GET", userPath, "", asAlice, as("198.51.100.31")).problem(latchkey.KindTooManyRequests)
	w.do("GET", sessionPath, "", as("198.51.100.32")).wants(200)
	if n := strings.Count(w.log.String(), "client is held back"); n != 1 {
		t.Errorf("%d lines in the log, want 1", n)
	}
	if log := w.log.String(); strings.Contains(log, "level=INFO msg=\"http request\"") {
		t.Errorf("each refusal is logged: %s", log)
	}
}

// S5: no page of another origin may read answers, but for those that the operator lists; they use Basic, and no cookie works for them.
func TestOtherOriginsAreLetInByNameOnly(t *testing.T) {
	const chat = "https://chat.example.com"
	from := func(origin string) change {
		return func(r *http.Request) {
			r.Header.Set("Origin", origin)
			r.Header.Set("Sec-Fetch-Site", "cross-site")
		}
	}
	ask := header("Access-Control-Request-Method", "POST")
	closed, w := newWorld(t, Options{}), newWorld(t, Options{Origins: []string{chat}})
	for _, r := range []response{closed.do("OPTIONS", messagePath, "", from(chat), ask), closed.do("GET", statusPath+aliceURI, "", asGuest, from(chat)), w.do("OPTIONS", messagePath, "", from("https://evil.example"), ask), w.do("OPTIONS", messagePath, "", from(chat+".evil.example"), ask)} {
		if got := r.header.Get("Access-Control-Allow-Origin"); got != "" {
			t.Errorf("allowed: %q", got)
		}
	}
	r := w.do("OPTIONS", messagePath, "", from(chat), ask).wants(204)
	if h := r.header; h.Get("Access-Control-Allow-Origin") != chat || !strings.Contains(h.Get("Access-Control-Allow-Headers"), "Authorization") || h.Get("Vary") != "Origin" || h.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("preflight: %v", h)
	}
	r = w.do("POST", messagePath, `{"to":"sip:a@cc.com","message":"x"}`, asGuest, from(chat)).wants(202)
	if r.header.Get("Access-Control-Allow-Origin") != chat {
		t.Errorf("answer: %v", r.header)
	}
	c := w.do("POST", sessionPath, `{"passwd":"`+password+`"}`, from(chat)).wants(200).cookie()
	w.do("POST", sessionPath, `{"passwd":"`+password+`"}`, from("https://evil.example")).problem(latchkey.KindNotAllowed)
	w.do("GET", statusPath+aliceURI, "", from(chat), func(r *http.Request) { r.AddCookie(c) }).problem(latchkey.KindNotAllowed)
}

// INTERFACE: addresses stand in a path plain or encoded, with their scheme or without, and user-ids are as odd.
func TestAddressesAreTakenAsPeopleWriteThem(t *testing.T) {
	w := newWorld(t, Options{})
	rel := relation("tel:"+aliceTel, "Ann")
	w.desk.relations = append(w.desk.relations, rel)
	for path, uri := range map[string]string{
		"sip:a@cc.com": aliceURI, "sip%3Aa%40cc.com": aliceURI, "sip%3aa@cc.com": aliceURI, "a@cc.com": aliceURI, "SIP:a@CC.com": aliceURI, "sip:a@cc.com;user=phone": aliceURI,
		"tel:" + aliceTel: "tel:" + aliceTel, "tel%3A%2B8613800000001": "tel:" + aliceTel, aliceTel: "tel:" + aliceTel,
	} {
		var s struct{ URI string }
		w.do("GET", statusPath+path, "", asGuest).wants(200).into(&s)
		if s.URI != uri {
			t.Errorf("%s is %s, want %s", path, s.URI, uri)
		}
	}
	for _, user := range []string{account, strings.TrimPrefix(account, "sip:"), "SIP:b_at_cc.com@GUEST.example"} {
		for _, path := range []string{sessionPath, "/rcsgw/invitee/session/sip%3Ab_at_cc.com%40guest.example", "/rcsgw/invitee/session/b_at_cc.com@guest.example"} {
			w.do("POST", path, "", func(r *http.Request) { r.SetBasicAuth(user, password) }).wants(200)
		}
	}
	w.do("POST", "/rcsgw/invitee/session/sip:other@guest.example", "", asGuest).problem(latchkey.KindUnauthorized)
}

// R27: a poll after the last number, or after one that isn't there yet, waits for what follows and is told the number to ask after next.
func TestPollBeyondTheLastWaits(t *testing.T) {
	w := newWorld(t, Options{MaxWait: 50 * time.Millisecond})
	w.hall.say("one")
	for after, wait := range map[int]string{1: "3600", 100: "", 7: "0"} {
		begun := time.Now()
		var page struct {
			Events []latchkey.Event
			Last   int64
		}
		w.do("GET", fmt.Sprintf("%s?after=%d&wait=%s", eventsPath, after, wait), "", asGuest).wants(200).into(&page)
		for _, e := range page.Events {
			if e.ID <= int64(after) {
				t.Errorf("after %d came %d", after, e.ID)
			}
		}
		if page.Last < int64(after) || time.Since(begun) > patience {
			t.Errorf("after %d the last is %d", after, page.Last)
		}
	}
	for _, bad := range []string{"after=x", "after=-1", "after=1.5", "wait=-1", "wait=x", "wait=NaN", "after=99999999999999999999"} {
		w.do("GET", eventsPath+"?"+bad, "", asGuest).problem(latchkey.KindBadRequest)
	}
}
