package httpapi

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"latchkey"
)

const (
	messagePath   = "/rcsgw/invitee/message"
	composingPath = "/rcsgw/invitee/composing"
	readPath      = "/rcsgw/invitee/read"
)

// F29, R26: 202 once; the same id again is 200 with the same words; another text under it is a conflict.
func TestRepeatedMessageIsSentOnce(t *testing.T) {
	w := newWorld(t, Options{})
	body := `{"to":"sip:a@cc.com","message":"abcdefg","id":"7"}`
	first := w.do("POST", messagePath, body, asGuest).wants(202)
	if want := `{"id":"m1","to":"sip:a@cc.com","state":"accepted","time":"2030-01-02T03:04:05.123Z"}`; first.body != want {
		t.Errorf("answer %s, want %s", first.body, want)
	}
	for what, r := range map[string]response{
		"id":                 w.do("POST", messagePath, body, asGuest),
		"Idempotency-Key":    w.do("POST", messagePath, `{"to":"sip:a@cc.com","message":"abcdefg"}`, asGuest, header("Idempotency-Key", `"7"`)),
		"Idempotency-Key, 2": w.do("POST", messagePath, `{"to":"sip:a@cc.com","message":"abcdefg"}`, asGuest, header("Idempotency-Key", "7")),
		"XML":                w.do("POST", messagePath, "<message>\n<to> sip:a@cc.com </to><message>abcdefg</message><id>7</id></message>", asGuest, asXML, header("Accept", "application/json")),
	} {
		if r.status != 200 || r.body != first.body {
			t.Errorf("a repeat by %s: %d %s, want 200 %s", what, r.status, r.body, first.body)
		}
	}
	w.do("POST", messagePath, `{"to":"sip:a@cc.com","message":"other","id":"7"}`, asGuest).problem(latchkey.KindConflict)
	w.do("POST", messagePath, `{"to":"sip:a@cc.com","message":"abcdefg","id":"8"}`, asGuest, header("Idempotency-Key", "7")).wants(202)
	w.do("POST", messagePath, `{"to":"sip:a@cc.com","message":"abcdefg"}`, asGuest).wants(202)
	w.do("POST", messagePath, `{"to":"sip:a@cc.com","message":"abcdefg"}`, asGuest).wants(202)
	if n := len(w.hall.messages); n != 4 {
		t.Errorf("%d messages are kept, want 4", n)
	}
}

// F43: what people write gets to the hall as they wrote it, in JSON and, as far as XML can say it, in XML.
func TestTextReachesTheHallAsItWasWritten(t *testing.T) {
	w := newWorld(t, Options{})
	texts := []string{" leading and trailing \n\n", "<b>&amp;</b>", "a\u0000b", "\U0001F469\u200d\U0001F680 \u0645", strings.Repeat("\"", 100_000), "one\r\ntwo"}
	for _, text := range texts {
		body := `{"to":"sip:a@cc.com","message":` + quoted(text) + `}`
		w.do("POST", messagePath, body, asGuest).wants(202)
		if m := w.hall.messages[len(w.hall.messages)-1]; m.Text.Reveal() != text {
			t.Errorf("JSON: %.40q became %.40q", text, m.Text.Reveal())
		}
		if strings.ContainsRune(text, 0) {
			continue
		}
		w.do("POST", messagePath, `<m><to>sip:a@cc.com</to><message>`+escapedXML(text)+`</message></m>`, asGuest, asXML).wants(202)
		if m := w.hall.messages[len(w.hall.messages)-1]; m.Text.Reveal() != text {
			t.Errorf("XML: %.40q became %.40q", text, m.Text.Reveal())
		}
	}
}

// R31: nobody but inviters is reached, by any of the ways.
func TestStrangersAreNotReached(t *testing.T) {
	w := newWorld(t, Options{})
	for _, uri := range []string{carolURI, "sip:a@cc.org", "tel:+8613800000002", account} {
		for path, body := range map[string]string{
			messagePath:   `{"to":"` + uri + `","message":"hi"}`,
			composingPath: `{"to":"` + uri + `","state":"active"}`,
		} {
			w.do("POST", path, body, asGuest).problem(latchkey.KindNoRelation)
		}
		w.do("GET", messagePath+"?with="+uri, "", asGuest).problem(latchkey.KindNoRelation)
	}
	for _, to := range []string{"", "sip:", "sip:a@cc.com\\r\\nVia: x", "sip:a@cc.com;maddr=10.0.0.1"} {
		w.do("POST", messagePath, `{"to":"`+to+`","message":"hi"}`, asGuest).problem(latchkey.KindBadRequest)
	}
	if n := len(w.hall.messages); n != 0 || len(w.hall.noted()) != 0 {
		t.Errorf("%d messages, calls %v", n, w.hall.noted())
	}
	w.do("POST", messagePath, `{"to":"tel:`+aliceTel+`","message":"hi"}`, asGuest).wants(202)
	w.do("POST", messagePath, `{"to":"+86 13800000001","message":"hi"}`, asGuest).problem(latchkey.KindBadRequest)
	w.do("POST", messagePath, `{"to":"a@cc.com","message":"hi"}`, asGuest).wants(202)
}

func TestHistoryHasBothDirections(t *testing.T) {
	w := newWorld(t, Options{})
	w.do("POST", messagePath, `{"to":"sip:a@cc.com","message":"hello"}`, asGuest).wants(202)
	w.hall.messages = append(w.hall.messages, latchkey.Message{
		ID: "m2", Account: account, Inviter: aliceURI, Direction: latchkey.ToGuest, ContentType: "text/plain", Text: "hi", State: latchkey.MessageDelivered, Time: then,
	}, latchkey.Message{
		ID: "m3", Account: account, Inviter: aliceURI, Direction: latchkey.ToInviter, ContentType: "text/plain", Text: "?", State: latchkey.MessageFailed, Reason: "busy", Time: then,
	})
	r := w.do("GET", messagePath+"?with=sip%3Aa%40cc.com", "", asGuest).wants(200)
	var page struct{ Messages []map[string]string }
	r.into(&page)
	want := []string{
		"map[from:" + account + " id:m1 state:accepted text:hello time:2030-01-02T03:04:05.123Z to:sip:a@cc.com type:text/plain]",
		"map[from:sip:a@cc.com id:m2 state:delivered text:hi time:2030-01-02T03:04:05.123Z to:" + account + " type:text/plain]",
		"map[from:" + account + " id:m3 reason:busy state:failed text:? time:2030-01-02T03:04:05.123Z to:sip:a@cc.com type:text/plain]",
	}
	for i, m := range page.Messages {
		if i >= len(want) || fmt.Sprint(m) != want[i] {
			t.Errorf("message %d is %v", i, m)
		}
	}
	for path, call := range map[string]string{
		"?with=sip:a@cc.com":                              `history with sip:a@cc.com before "" limit 50`,
		"?with=sip:a@cc.com&before=m2&limit=1":            `history with sip:a@cc.com before "m2" limit 1`,
		"?with=tel:" + aliceTel + "&limit=100000":         `history with sip:a@cc.com before "" limit 200`,
		"?limit=7&with=sip:a@cc.com:5070;transport=tcp&x": `history with sip:a@cc.com before "" limit 7`,
	} {
		w.do("GET", messagePath+path, "", asGuest).wants(200)
		if got := w.hall.noted(); got[len(got)-1] != call {
			t.Errorf("%s asks for %s, want %s", path, got[len(got)-1], call)
		}
	}
	for _, path := range []string{"", "?with=", "?with=sip:a@cc.com&limit=0", "?with=sip:a@cc.com&limit=-1", "?with=sip:a@cc.com&limit=x"} {
		w.do("GET", messagePath+path, "", asGuest).problem(latchkey.KindBadRequest)
	}
	if r := w.do("GET", messagePath+"?with=sip:a@cc.com&before=m1", "", asGuest).wants(200); r.body != `{"messages":[]}` {
		t.Errorf("before the first: %s", r.body)
	}
}

func TestTypingAndReadingAreToldOn(t *testing.T) {
	w := newWorld(t, Options{})
	for _, state := range []string{"active", "idle"} {
		if r := w.do("POST", composingPath, `{"to":"sip:a@cc.com","state":"`+state+`"}`, asGuest).wants(204); r.body != "" {
			t.Errorf("204 with the body %q", r.body)
		}
	}
	w.do("POST", composingPath, `{"to":"sip:a@cc.com","state":"typing"}`, asGuest).problem(latchkey.KindBadRequest)
	w.do("POST", readPath, `{"id":"m2"}`, asGuest).wants(204)
	w.do("POST", readPath, `<read><id>m3</id></read>`, asGuest, asXML).wants(204)
	w.do("POST", readPath, `{"id":"nowhere"}`, asGuest).problem(latchkey.KindNotFound)
	w.do("POST", readPath, `{}`, asGuest).problem(latchkey.KindBadRequest)
	want := []string{"composing to sip:a@cc.com true", "composing to sip:a@cc.com false", "read m2 by " + account, "read m3 by " + account}
	if got := w.hall.noted(); !slices.Equal(got, want) {
		t.Errorf("calls %q, want %q", got, want)
	}
}

// R2, R20: each path of a guest wants a guest's credentials, and an inviter's an inviter's.
func TestEveryPathAsksWhoIsThere(t *testing.T) {
	w := newWorld(t, Options{})
	for _, p := range []struct {
		method, path string
		inviters     bool
	}{
		{"POST", userPath, true}, {"GET", userPath, true}, {"DELETE", userPath, true}, {"DELETE", userPath + "/" + account, true}, {"GET", "/rcsgw/user/b@cc.com", true},
		{"POST", messagePath, false}, {"GET", messagePath, false}, {"POST", composingPath, false}, {"POST", readPath, false}, {"GET", eventsPath, false},
		{"GET", "/rcsgw/invitee/status/" + aliceURI, false}, {"POST", filePath, false}, {"GET", filePath, false}, {"GET", filePath + "/x", false}, {"PATCH", filePath + "/x", false}, {"DELETE", filePath + "/x", false}, {"DELETE", sessionPath, false}, {"POST", sessionPath, false},
	} {
		others := asAlice
		if p.inviters {
			others = asGuest
		}
		for what, c := range map[string]change{
			"nobody": func(*http.Request) {}, "the other half": others, "a made-up cookie": page(&http.Cookie{Name: cookieName, Value: "x"}),
			"no user": header("Authorization", "Basic Og=="), "no base64": header("Authorization", "Basic sip:b@cc.com:x"), "another scheme": header("Authorization", "Digest username=\"b\""),
		} {
			if r := w.do(p.method, p.path, "", c); r.status != 401 || r.header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s %s as %s: %d %s, want 401", p.method, p.path, what, r.status, r.body)
			}
		}
	}
	if got := append(w.desk.noted(), w.hall.noted()...); len(got) != 0 {
		t.Errorf("done: %v", got)
	}
}
