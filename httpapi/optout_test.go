package httpapi

import (
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey"
)

const (
	outPath = "/rcsgw/invitee/optout/" + account
	inPath  = "/rcsgw/invitee/optin/" + account
)

// S1, X8: whoever looks at the opt-out link, by GET or HEAD, with whatever it carries, changes nothing.
func TestLookingAtTheOptOutLinkChangesNothing(t *testing.T) {
	w := newWorld(t, Options{})
	for target, want := range map[string]string{
		outPath + "?token=" + optOutToken: "ask token " + optOutToken, outPath + "?passwd=" + password: "ask passwd " + password,
		outPath: "unknown  ", outPath + "?token=": "unknown  ",
	} {
		if r := w.do("GET", target, "", header("Accept", "text/html")).wants(200); r.body != want {
			t.Errorf("GET %s = %q, want %q", target, r.body, want)
		}
		w.do("HEAD", target, "").wants(200)
	}
	w.do("GET", outPath, "", header("Accept", "application/json")).problem(latchkey.KindNotAcceptable)
	if r := w.do("GET", inPath+"?token="+optOutToken, ""); r.status != 405 {
		t.Errorf("GET of the way back: %d, want 405", r.status)
	}
	if got := w.desk.noted(); len(got) != 0 {
		t.Errorf("looking did %q", got)
	}
	if log := w.log.String(); strings.Contains(log, optOutToken) || strings.Contains(log, password) {
		t.Errorf("the log has a secret:\n%s", log)
	}
}

// X8, F18: the wish is taken from a page of ours, from a client, and from a mail program on one click; nobody else's proof counts.
func TestWishToBeLeftAloneIsTaken(t *testing.T) {
	form := header("Content-Type", "application/x-www-form-urlencoded")
	html := header("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	const multipart = "--x\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--x--\r\n"
	for name, c := range map[string]struct {
		target, body string
		changes      []change
		status       int
		page         string
	}{
		"password in JSON":         {outPath, `{"passwd":"` + password + `"}`, nil, 204, ""},
		"token in JSON":            {outPath, `{"token":"` + optOutToken + `"}`, nil, 204, ""},
		"password in XML":          {outPath, `<optout><passwd>` + password + `</passwd></optout>`, []change{asXML}, 204, ""},
		"Basic":                    {outPath, "", []change{asGuest}, 204, ""},
		"one click":                {outPath + "?token=" + optOutToken, "List-Unsubscribe=One-Click", []change{form}, 204, ""},
		"one click with Accept":    {outPath + "?token=" + optOutToken, "List-Unsubscribe=One-Click", []change{form, html}, 204, ""},
		"one click, multipart":     {outPath + "?token=" + optOutToken, multipart, []change{header("Content-Type", "multipart/form-data; boundary=x")}, 204, ""},
		"the page's button":        {outPath, "token=" + optOutToken, []change{form, html}, 200, "out token " + optOutToken},
		"a form by a program":      {outPath, "passwd=" + password, []change{form}, 204, ""},
		"back by the page":         {inPath, "token=" + optOutToken, []change{form, html}, 200, "in token " + optOutToken},
		"back by a client":         {inPath, `{"passwd":"` + password + `"}`, nil, 204, ""},
		"wrong password":           {outPath, `{"passwd":"x"}`, nil, 401, ""},
		"wrong token":              {outPath + "?token=x", "List-Unsubscribe=One-Click", []change{form}, 401, ""},
		"wrong token on the page":  {outPath, "token=x", []change{form, html}, 403, "unknown  "},
		"nothing":                  {outPath, "", nil, 401, ""},
		"another's account":        {"/rcsgw/invitee/optout/sip:c@guest.example", `{"token":"` + optOutToken + `"}`, nil, 401, ""},
		"a form that is too large": {outPath, "token=" + strings.Repeat("x", maxForm), []change{form}, 413, ""},
		"multipart in pieces":      {outPath, multipart[:72], []change{header("Content-Type", "multipart/form-data; boundary=x")}, 400, ""},
		"no boundary":              {outPath, "--x\r\n", []change{header("Content-Type", "multipart/form-data")}, 400, ""},
		"a picture":                {outPath, "x", []change{header("Content-Type", "image/png")}, 415, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Options{})
			r := w.do("POST", c.target, c.body, c.changes...).wants(c.status)
			if c.page != "" && r.body != c.page || c.status == 204 && r.body != "" {
				t.Errorf("answer %q, want %q", r.body, c.page)
			}
			want := []string{}
			if c.status < 300 {
				want = []string{"opt out " + account}
				if strings.HasPrefix(c.target, inPath) {
					want = []string{"opt in " + account}
				}
			}
			if got := w.desk.noted(); !slices.Equal(got, want) && len(got)+len(want) > 0 {
				t.Errorf("the desk was told %q, want %q", got, want)
			}
			if log := w.log.String(); strings.Contains(log, optOutToken) || strings.Contains(log, password) {
				t.Errorf("the log has a secret:\n%s", log)
			}
		})
	}
}

// X8: the way out and the way back refuse alike what is wrong, and say when the gateway does not want to be asked; a person gets a page.
func TestWishesAreRefusedAlike(t *testing.T) {
	form := header("Content-Type", "application/x-www-form-urlencoded")
	html := header("Accept", "text/html,*/*;q=0.8")
	for _, path := range []string{outPath, inPath} {
		w := newWorld(t, Options{})
		w.do("POST", path, `{"passwd":"x"}`).problem(latchkey.KindUnauthorized)
		w.do("POST", path, "token=x", form, html).wants(403)
		w.do("POST", path, `{"passwd":7}`).problem(latchkey.KindBadRequest)
		w.do("POST", path, "token="+strings.Repeat("x", maxForm), form).problem(latchkey.KindTooLarge)
		w.do("POST", path, "x", header("Content-Type", "image/png")).problem(latchkey.KindUnsupportedMedia)
		w.do("POST", path, "<wish><token>"+optOutToken+"</token></wish>", asXML).wants(204)
		w.do("POST", path, "--x\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\n"+optOutToken+"\r\n--x--\r\n", header("Content-Type", "multipart/form-data; boundary=x")).wants(204)
		w.desk.fail(latchkey.Errorf(latchkey.KindExpired, ""))
		w.do("POST", path, `{"passwd":"`+password+`"}`).problem(latchkey.KindExpired)
		w.do("POST", path, "passwd="+password, form, html).wants(410)
		limited := latchkey.Errorf(latchkey.KindTooManyRequests, "")
		limited.RetryAfter = time.Second
		w.desk.fail(limited)
		w.do("POST", path, `{"passwd":"`+password+`"}`).problem(latchkey.KindTooManyRequests)
	}
}

// R13: the language of the invitation is what the request says, else what the inviter's program prefers.
func TestInvitationHasALanguage(t *testing.T) {
	for _, c := range []struct{ body, accept, want string }{
		{`{"email":"x@cc.com","language":"zh-Hans"}`, "de", "in zh-Hans"},
		{`{"email":"x@cc.com"}`, "fr;q=0.4, de-CH ;q=0.9, *;q=1, en;q=x", "in de-CH"},
		{`{"email":"x@cc.com"}`, "fr, de", "in fr"},
		{`{"email":"x@cc.com"}`, "", ""},
		{`{"email":"x@cc.com"}`, "../../x", ""},
	} {
		w := newWorld(t, Options{})
		w.do("POST", userPath, c.body, asAlice, header("Accept-Language", c.accept)).wants(201)
		got := ""
		if noted := w.desk.noted(); len(noted) > 1 {
			got = noted[1]
		}
		if got != c.want {
			t.Errorf("%s with Accept-Language %q: %q, want %q", c.body, c.accept, got, c.want)
		}
	}
	w := newWorld(t, Options{})
	w.do("POST", userPath, `{"email":"x@cc.com","language":"../x"}`, asAlice).problem(latchkey.KindBadRequest)
}
