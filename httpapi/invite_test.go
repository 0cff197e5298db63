package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey"
	"latchkey/internal/limit"
)

const userPath = "/rcsgw/invitee/user"

// R1, R12, F08: the answer names the account and never the password; a repeat is 200.
func TestInvitationIsAnsweredWithTheAccount(t *testing.T) {
	w := newWorld(t, Options{})
	const body = `{"email":"b@cc.com","interactions":["im","file"],"name":"Bob","note":"Hi,\nit's me","channel":"email"}`
	first := w.do("POST", userPath, body, asAlice).wants(201)
	var got struct {
		Account      string
		Invitee      struct{ Email, Tel string }
		Interactions []string
		Created      time.Time
		Expires      time.Time
		Registered   bool
		Notification string
	}
	first.into(&got)
	if got.Account != account || got.Invitee.Email != "b@cc.com" || got.Invitee.Tel != "" || len(got.Interactions) != 1 || !got.Registered || got.Notification != "queued" ||
		!got.Created.Equal(then.Truncate(time.Millisecond)) || !got.Expires.After(got.Created) {
		t.Errorf("answer %s", first.body)
	}
	if want := `invite b@cc.com by sip:a@cc.com for [im file] "email" "Bob" "Hi,\nit's me"`; w.desk.noted()[0] != want {
		t.Errorf("asked for %s, want %s", w.desk.noted()[0], want)
	}
	w.do("POST", userPath, body, asAlice).wants(200)
	tel := w.do("POST", userPath, `{"tel":"+86 138 0000-0001"}`, asAlice).wants(201)
	tel.into(&got)
	if got.Invitee.Tel != "+8613800000001" {
		t.Errorf("answer %s", tel.body)
	}
}

// F06, R10: the problem has B's URI.
func TestRegisteredInviteeIsAConflictWithTheirURI(t *testing.T) {
	w := newWorld(t, Options{})
	r := w.do("POST", userPath, `{"email":"r@cc.com"}`, asAlice)
	r.problem(latchkey.KindAlreadyRegistered)
	if !strings.Contains(r.body, `"uri":"sip:r@cc.com"`) {
		t.Errorf("answer %s lacks B's URI", r.body)
	}
}

// F17, S9: what is no one identifier is refused, and nobody is asked.
func TestIdentifierAbuseIsRefused(t *testing.T) {
	w := newWorld(t, Options{})
	for _, body := range []string{
		`{"email":"b@cc.com\r\nBcc: x@y.com"}`, `{"email":"b@cc.com\nBcc: x@y.com"}`, `{"email":"` + strings.Repeat("b", 400) + `@cc.com"}`, `{"email":"sip:evil"}`, `{"email":"sip:evil@cc.com"}`,
		`{"email":"b@cc.com","tel":"+8613800000000"}`, `{}`, ``, `{"email":""}`, `{"tel":"911"}`, `{"tel":"+86138\u0000"}`, `{"email":"b@cc.com,c@cc.com"}`, `{"email":"<b@cc.com>"}`, `{"email":"b\u0000@cc.com"}`,
	} {
		w.do("POST", userPath, body, asAlice).problem(latchkey.KindBadIdentifier)
	}
	for _, body := range []string{
		`{"email":["b@cc.com"]}`, `{"email":5}`, `{"email":{"a":"b@cc.com"}}`, `[]`, `"b@cc.com"`, `null`, `{"email":"b@cc.com"`, `{"email":"b@cc.com"} {}`, "{\"email\":\"\xff@cc.com\"}",
		`{"email":"b@cc.com","interactions":["video"]}`, `{"email":"b@cc.com","interactions":[["im"]]}`, `{"email":"b@cc.com","channel":["sms"]}`, `{"email":"b@cc.com","note":{}}`,
		`{"email":"b@cc.com","interactions":["im"` + strings.Repeat(`,"im"`, 40) + `]}`,
	} {
		w.do("POST", userPath, body, asAlice).problem(latchkey.KindBadRequest)
	}
	if got := w.desk.noted(); len(got) != 0 {
		t.Errorf("the desk was asked: %v", got)
	}
}

// F05, S4: what is wrong isn't told, and who guesses has to wait.
func TestWrongInvitersLookAlikeAndWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		as := func(user, pw string) change { return func(r *http.Request) { r.SetBasicAuth(user, pw) } }
		wrong := w.do("POST", userPath, `{"email":"b@cc.com"}`, as(aliceURI, "wrong"))
		wrong.problem(latchkey.KindUnauthorized)
		unknown := w.do("POST", userPath, `{"email":"b@cc.com"}`, as("sip:nobody@cc.com", "wrong"))
		none := w.do("POST", userPath, `{"email":"b@cc.com"}`)
		for what, r := range map[string]response{"an unknown inviter": unknown, "no credentials": none} {
			if r.status != 401 || r.body != wrong.body || fmt.Sprint(r.header) != fmt.Sprint(wrong.header) {
				t.Errorf("%s: %d %v %s, want what a wrong password gets: %v %s", what, r.status, r.header, r.body, wrong.header, wrong.body)
			}
		}
		if got := wrong.header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Basic ") {
			t.Errorf("WWW-Authenticate: %q", got)
		}
		// However the name is written, it is one; two failures stand.
		for i, user := range []string{"a@cc.com", "SIP:a@CC.com", aliceURI, "a@cc.com", aliceURI, aliceURI, aliceURI, aliceURI} {
			w.do("GET", userPath, "", as(user, fmt.Sprint("guess", i))).wants(401)
		}
		eleventh := w.do("GET", userPath, "", asAlice)
		eleventh.problem(latchkey.KindTooManyRequests)
		if got := eleventh.header.Get("Retry-After"); got != "60" {
			t.Errorf("Retry-After: %q, want 60", got)
		}
		time.Sleep(time.Minute)
		w.do("GET", userPath, "", asAlice).wants(200)
	})
}

// S4: one inviter's name, however it is written, is one.
func TestSpellingsOfANameAreCountedTogether(t *testing.T) {
	w := newWorld(t, Options{Guard: limit.NewGuard(limit.Limits{Pair: 3, Place: 1000, Account: 1000})})
	for i, user := range []string{"a@cc.com", "SIP:a@CC.com", "sip:%61@cc.com:"} {
		w.do("GET", userPath, "", func(r *http.Request) { r.SetBasicAuth(user, fmt.Sprint("guess", i)) }).wants(401)
	}
	w.do("GET", userPath, "", asAlice).problem(latchkey.KindTooManyRequests)
}

// A directory that is down is no wrong password, and does not count as one.
func TestBrokenDirectoryIsNotTheInvitersFault(t *testing.T) {
	w := newWorld(t, Options{})
	w.dir.broken = errors.New("the disk at 10.0.0.1 is gone")
	for range 20 {
		r := w.do("GET", userPath, "", asAlice)
		r.problem(latchkey.KindInternal)
		if strings.Contains(r.body, "10.0.0.1") {
			t.Fatalf("the answer tells internals: %s", r.body)
		}
	}
	w.dir.broken = nil
	w.do("GET", userPath, "", asAlice).wants(200)
}

// F12: the desk's word is the answer, with its own time to wait.
func TestFailuresOfInvitingAreProblems(t *testing.T) {
	w := newWorld(t, Options{})
	for kind, status := range map[latchkey.Kind]int{
		latchkey.KindNotAllowed: 403, latchkey.KindQuota: 429, latchkey.KindRegistrationFailed: 502, latchkey.KindCoreTimeout: 504,
	} {
		w.desk.fail(&latchkey.Error{Kind: kind, RetryAfter: 90 * time.Second, Err: errors.New("hidden")})
		r := w.do("POST", userPath, `{"email":"b@cc.com"}`, asAlice).wants(status)
		r.problem(kind)
		if r.header.Get("Retry-After") != "90" || strings.Contains(r.body, "hidden") {
			t.Errorf("%s: Retry-After %q, body %s", kind, r.header.Get("Retry-After"), r.body)
		}
	}
}

// R30, F57 (HTTP half).
func TestInviterWithdrawsOneOrAll(t *testing.T) {
	w := newWorld(t, Options{})
	for _, path := range []string{"/" + account, "/sip%3Ab_at_cc.com%40guest.example", "/b_at_cc.com@guest.example"} {
		w.do("POST", userPath, `{"email":"b@cc.com"}`, asAlice).wants(201)
		if r := w.do("DELETE", userPath+path, "", asAlice).wants(204); r.body != "" {
			t.Errorf("204 with the body %q", r.body)
		}
	}
	w.do("DELETE", userPath+"/"+account, "", asAlice).problem(latchkey.KindNotFound)
	w.do("DELETE", userPath+"/%3C%3E", "", asAlice).problem(latchkey.KindNotFound)
	// RFC 3261 §25.1: an account may have escapes of its own, and stand in a path as it is or encoded once more.
	for _, path := range []string{"/sip:50%25off@guest.example", "/sip%3A50%2525off%40guest.example", "/sip:50%2525off@guest.example"} {
		w.do("DELETE", userPath+path, "", asAlice).problem(latchkey.KindNotFound)
		if got := w.desk.noted(); got[len(got)-1] != "withdraw sip:50%25off@guest.example by sip:a@cc.com" {
			t.Errorf("%s: %s", path, got[len(got)-1])
		}
	}
	w.do("DELETE", userPath, "").wants(401)
	w.do("DELETE", userPath, "", asAlice).wants(204)
	got := w.desk.noted()
	if last := got[len(got)-1]; last != "withdraw all by sip:a@cc.com" {
		t.Errorf("the last call is %q", last)
	}
}

// R10.
func TestInviterLearnsWhoIsRegistered(t *testing.T) {
	w := newWorld(t, Options{})
	for path, want := range map[string]string{
		"r@cc.com": `{"registered":true,"uri":"sip:r@cc.com"}`, "r%40cc.com": `{"registered":true,"uri":"sip:r@cc.com"}`, "sip:r@cc.com": `{"registered":true,"uri":"sip:r@cc.com"}`,
		"b@cc.com": `{"registered":false}`, "+8613800000009": `{"registered":false}`, "tel:+8613800000009": `{"registered":false}`, "sip%3Ab%40cc.com": `{"registered":false}`,
	} {
		if r := w.do("GET", "/rcsgw/user/"+path, "", asAlice).wants(200); r.body != want {
			t.Errorf("%s: %s, want %s", path, r.body, want)
		}
	}
	w.do("GET", "/rcsgw/user/r@cc.com", "").wants(401)
	w.do("GET", "/rcsgw/user/r@cc.com", "", asGuest).wants(401)
	w.do("GET", "/rcsgw/user/911", "", asAlice).problem(latchkey.KindBadIdentifier)
	w.do("GET", "/rcsgw/user/sip:r@", "", asAlice).problem(latchkey.KindBadRequest)
}
