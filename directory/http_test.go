package directory

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"latchkey"
)

// far is a directory far away: what it answers is a function, and no network is between.
type far func(*http.Request) (status int, header http.Header, body string, err error)

func (f far) RoundTrip(r *http.Request) (*http.Response, error) {
	status, header, body, err := f(r)
	if err != nil {
		return nil, err
	}
	if header == nil {
		header = http.Header{"Content-Type": {"application/json"}}
	}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

const aliceJSON = `{"uri":"sip:a@cc.com","name":"Alice"}`

var mailOfAlice = latchkey.Identifier{Kind: latchkey.Mail, Value: "a@cc.com"}

// from makes an HTTP directory on a far one, for use in a bubble.
func from(t *testing.T, f far, opt HTTPOptions) *HTTP {
	t.Helper()
	opt.URL = "http://directory.example/api/"
	d := overHTTP(t, opt)
	d.client.Transport = f
	return d
}

// What was asked lately isn't asked again: a user for 30 s, nobody for 5 s, and either for as long as Cache-Control says.
func TestAnswersAreKeptForAWhile(t *testing.T) {
	for _, c := range []struct {
		status  int
		header  http.Header
		holds   time.Duration
		comment string
	}{
		{200, nil, 30 * time.Second, "default"},
		{404, http.Header{}, 5 * time.Second, "nobody"},
		{200, http.Header{"Cache-Control": {"private, max-age=90"}}, 90 * time.Second, "max-age"},
		{404, http.Header{"Cache-Control": {"max-age=20"}}, 20 * time.Second, "max-age of nobody"},
		{200, http.Header{"Cache-Control": {"max-age=90"}, "Age": {"60"}}, 30 * time.Second, "max-age with Age"},
		{200, http.Header{"Cache-Control": {"max-age=999999"}}, 10 * time.Minute, "more than we keep"},
		{200, http.Header{"Cache-Control": {"max-age=90", "no-store"}}, 0, "no-store"},
		{200, http.Header{"Cache-Control": {"max-age=soon"}}, 0, "not a number"},
	} {
		synctest.Test(t, func(t *testing.T) {
			asked := 0
			d := from(t, func(r *http.Request) (int, http.Header, string, error) {
				if asked++; r.URL.Path != "/api/users/a@cc.com" {
					t.Errorf("asked for %s", r.URL.Path)
				}
				return c.status, c.header, aliceJSON, nil
			}, HTTPOptions{})
			look := func(want int) {
				t.Helper()
				s, err := d.Find(t.Context(), mailOfAlice)
				if c.status == 200 && (err != nil || s.Name != "Alice") || c.status == 404 && !latchkey.Is(err, latchkey.KindNotFound) || asked != want {
					t.Fatalf("%s: Find = %+v, %v after %d requests, want %d", c.comment, s, err, asked, want)
				}
			}
			look(1)
			if c.holds > 0 {
				time.Sleep(c.holds - time.Millisecond)
				look(1)
				time.Sleep(time.Millisecond)
			}
			look(2)
			before := asked
			if err := d.Reload(); err != nil {
				t.Fatal(err)
			}
			look(before + 1)
		})
	}
}

// A right password is remembered for a minute, a wrong one never, and neither under another's name.
func TestRightPasswordIsAskedForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		d := from(t, func(r *http.Request) (int, http.Header, string, error) {
			asked++
			b, _ := io.ReadAll(r.Body)
			if string(b) != `{"password":"right","user":"sip:a@cc.com"}` {
				return 401, nil, "", nil
			}
			return 200, nil, aliceJSON, nil
		}, HTTPOptions{})
		try := func(user, password string, want int) {
			t.Helper()
			_, err := d.Authenticate(t.Context(), user, password)
			if right := user == "a@cc.com" && password == "right"; right && err != nil || !right && !latchkey.Is(err, latchkey.KindUnauthorized) || asked != want {
				t.Fatalf("Authenticate(%s, %s) = %v after %d requests, want %d", user, password, err, asked, want)
			}
		}
		try("a@cc.com", "right", 1)
		try("a@cc.com", "right", 1)
		try("a@cc.com", "wrong", 2)
		try("a@cc.com", "wrong", 3)
		try("x@cc.com", "right", 4)
		time.Sleep(time.Minute)
		try("a@cc.com", "right", 5)
	})
}

// Many who ask the same at once cost one request, and one of them who leaves takes nobody along.
func TestEqualQuestionsShareOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		d := from(t, func(r *http.Request) (int, http.Header, string, error) {
			asked.Add(1)
			time.Sleep(time.Second)
			return 200, nil, aliceJSON, r.Context().Err()
		}, HTTPOptions{})
		hasty, leave := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := d.Find(hasty, mailOfAlice); !errors.Is(err, context.Canceled) {
				t.Errorf("Find of one who left = %v", err)
			}
		})
		synctest.Wait()
		for range 50 {
			all.Go(func() {
				if s, err := d.Find(t.Context(), mailOfAlice); err != nil || s.Name != "Alice" {
					t.Errorf("Find = %+v, %v", s, err)
				}
			})
		}
		synctest.Wait()
		leave()
		all.Wait()
		if n := asked.Load(); n != 1 {
			t.Errorf("%d requests, want 1", n)
		}
	})
}

// A directory that fails five times is left alone; then one request tries, whose failure doubles the rest and whose success
// ends it. Nobody is taken for not registered meanwhile.
func TestFailingDirectoryIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, broken := 0, true
		d := from(t, func(*http.Request) (int, http.Header, string, error) {
			if asked++; broken {
				return 0, nil, "", errors.New("connection refused")
			}
			return 200, nil, aliceJSON, nil
		}, HTTPOptions{})
		find := func(want int) error {
			t.Helper()
			_, err := d.Find(t.Context(), mailOfAlice)
			if asked != want {
				t.Fatalf("%d requests, want %d (%v)", asked, want, err)
			}
			if broken && !latchkey.Is(err, latchkey.KindDirectoryFailed) {
				t.Fatalf("Find = %v, want the directory's failure", err)
			}
			return err
		}
		for i := range 5 {
			_ = find(i + 1)
		}
		if err := find(5); latchkey.RetryAfter(err) != time.Second {
			t.Errorf("RetryAfter = %v, want 1 s", latchkey.RetryAfter(err))
		}
		time.Sleep(time.Second)
		_ = find(6)
		time.Sleep(time.Second)
		_ = find(6) // the rest is 2 s now
		time.Sleep(time.Second)
		_ = find(7)
		time.Sleep(4 * time.Second)
		broken = false
		if err := find(8); err != nil {
			t.Errorf("Find after the rest = %v", err)
		}
		_ = d.Reload()
		broken = true
		_ = find(9) // closed again: it takes five anew
		_ = find(10)
	})
}

// While the one request tries, nobody else does.
func TestOneRequestTriesAfterTheRest(t *testing.T) {
	c, now := &circuit{}, time.Now()
	for range tripAfter {
		if _, ok := c.enter(now); !ok {
			t.Fatal("refused before it opened")
		}
		c.leave(errors.New("x"), 0, now)
	}
	now = now.Add(firstRest)
	if _, ok := c.enter(now); !ok {
		t.Fatal("nobody may try after the rest")
	}
	if wait, ok := c.enter(now); ok || wait <= 0 {
		t.Errorf("a second one may try, too, or is told %v", wait)
	}
	for range 10 { // the rest stays within its bound
		rest, what := c.leave(errors.New("x"), 0, now)
		if what != opened || rest > maxRest {
			t.Fatalf("leave = %v, %v", rest, what)
		}
		now = now.Add(rest)
		if _, ok := c.enter(now); !ok {
			t.Fatal("nobody may try after the rest")
		}
	}
	// The directory's own wish counts where it is longer.
	if rest, _ := c.leave(errors.New("503"), time.Minute, now); rest != time.Minute {
		t.Errorf("rest %v, want the minute that was asked for", rest)
	}
	if _, ok := c.enter(now.Add(59 * time.Second)); ok {
		t.Error("asked again before the minute was over")
	}
}

// Only 404 is "not registered", and only 401 is a wrong password. All else is a failure, with 502 and 504.
func TestFailureIsNeverAnAnswer(t *testing.T) {
	const person = "hidden@mail.example"
	hang := func(r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // net/http notices who leaves once the body is read
		<-r.Context().Done()
	}
	for _, c := range []struct {
		name string
		h    http.HandlerFunc
		want latchkey.Kind
		text string
	}{
		{"500", status(500, ""), latchkey.KindDirectoryFailed, "answers 500"},
		{"403", status(403, ""), latchkey.KindDirectoryFailed, "refuses the credentials"},
		{"302", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, latchkey.KindDirectoryFailed, "redirects are not followed"},
		{"a page", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.WriteHeader(404)
		}, latchkey.KindDirectoryFailed, "not the directory's base"},
		{"no JSON", status(200, "hello"), latchkey.KindDirectoryFailed, "not a JSON object"},
		{"half", status(200, `{"uri":"sip:a@cc.com"`), latchkey.KindDirectoryFailed, "not JSON"},
		{"nothing", status(200, ""), latchkey.KindDirectoryFailed, "not a JSON object"},
		{"more", status(200, aliceJSON+`{}`), latchkey.KindDirectoryFailed, "more than one"},
		{"no uri", status(200, `{"name":"x"}`), latchkey.KindDirectoryFailed, "uri: is missing"},
		{"evil uri", status(200, `{"uri":"sip:a@cc.com;maddr=x"}`), latchkey.KindDirectoryFailed, "uri:"},
		{"evil name", status(200, `{"uri":"sip:a@cc.com","name":"x\r\ny"}`), latchkey.KindDirectoryFailed, "control character"},
		{"level", status(200, `{"uri":"sip:a@cc.com","level":"9"}`), 0, ""},
		{"negative level", status(200, `{"uri":"sip:a@cc.com","level":-1}`), latchkey.KindDirectoryFailed, "level:"},
		{"state", status(200, `{"uri":"sip:a@cc.com","state":"gone"}`), latchkey.KindDirectoryFailed, "state:"},
		{"too long", status(200, `{"uri":"sip:a@cc.com","x":"`+strings.Repeat("x", maxBody)+`"}`), latchkey.KindDirectoryFailed, "more than"},
		{"slow", func(_ http.ResponseWriter, r *http.Request) { hang(r) }, latchkey.KindDirectoryTimeout, ""},
		{"slow body", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, `{"uri":`)
			_ = http.NewResponseController(w).Flush()
			hang(r)
		}, latchkey.KindDirectoryTimeout, ""},
		{"cut", func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }, latchkey.KindDirectoryFailed, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(c.h)
			defer server.CloseClientConnections()
			timeout := time.Minute
			if c.want == latchkey.KindDirectoryTimeout {
				timeout = 500 * time.Millisecond
			}
			d := overHTTP(t, HTTPOptions{URL: server.URL, Timeout: timeout})
			for what, ask := range map[string]func() error{
				"Find": func() error {
					_, err := d.Find(t.Context(), latchkey.Identifier{Kind: latchkey.Mail, Value: person})
					return err
				},
				"Authenticate": func() error { _, err := d.Authenticate(t.Context(), person, "right"); return err },
			} {
				err := ask()
				if c.want == 0 && err == nil {
					continue
				}
				if !latchkey.Is(err, c.want) || !strings.Contains(err.Error(), c.text) || strings.Contains(err.Error(), person) {
					t.Errorf("%s = %v, want %s and %q, without the person", what, err, c.want, c.text)
				}
				if http := latchkey.KindOf(err).Row().HTTP; http != 502 && http != 504 {
					t.Errorf("%s becomes %d, want 502 or 504", what, http)
				}
			}
		})
	}
}

func status(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

// Accounts that can't be used are no accounts.
func TestOddAccountsAreRefused(t *testing.T) {
	for body, ok := range map[string]bool{
		`{"account":"sip:g1@guest.example","password":"x"}`: true, `{"account":"sip:g1@guest.example"}`: true,
		`{"account":"g1"}`: false, `{"account":"tel:+8613800000000"}`: false, `{"account":"sip:guest.example"}`: false, `{"account":"sip:g1@guest.example:5060"}`: false,
		`{"password":"x"}`: false, `{"account":"sip:g1@guest.example","password":"x\ny"}`: false, `[]`: false,
		`{"account":"sip:g1@guest.example","password":"` + strings.Repeat("x", maxPassword+1) + `"}`: false,
	} {
		if account, password, err := parseAccount([]byte(body)); (err == nil) != ok || err != nil && password != "" || ok && account != "sip:g1@guest.example" {
			t.Errorf("parseAccount(%.80s) = %s, %v", body, account, err)
		}
	}
}

// The directory sees who asks: Basic or Bearer, over TLS whose certificate is looked at, and nowhere else.
func TestCredentialsGoToTheDirectoryAlone(t *testing.T) {
	var seen atomic.Value
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r.Header.Get("Authorization"))
		status(200, aliceJSON)(w, r)
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	for want, opt := range map[string]HTTPOptions{"Basic bWU6aHVzaA==": {User: "me", Password: "hush"}, "Bearer token": {Token: "token"}, "": {}} {
		opt.URL, opt.Roots = server.URL, roots
		if _, err := overHTTP(t, opt).Find(t.Context(), mailOfAlice); err != nil || seen.Load() != want {
			t.Errorf("Find = %v, the directory saw %q, want %q", err, seen.Load(), want)
		}
		if shown := fmt.Sprintf("%v %+v %#v", opt, opt, opt); strings.Contains(shown, "hush") || strings.Contains(shown, `"token`) {
			t.Errorf("printing the options shows a secret: %s", shown)
		}
	}
	seen.Store("none")
	if _, err := overHTTP(t, HTTPOptions{URL: server.URL, User: "me", Password: "hush"}).Find(t.Context(), mailOfAlice); !latchkey.Is(err, latchkey.KindDirectoryFailed) || seen.Load() != "none" {
		t.Errorf("with a certificate of nobody we know: %v, the directory saw %v", err, seen.Load())
	}
}

func TestBadURLsAreRefused(t *testing.T) {
	for u, ok := range map[string]bool{"http://127.0.0.1:1": true, "https://cc.com/a/b/": true, "": false, "cc.com": false, "ftp://cc.com": false, "http://": false, "http://cc.com?x": false, "http://u:p@cc.com": false} {
		if err := (HTTPOptions{URL: u}).Validate(); (err == nil) != ok {
			t.Errorf("Validate(%s) = %v", u, err)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory[int, int]()
		for i := range maxKept + 500 {
			m.put(i, i, time.Minute)
		}
		if v, ok := m.get(maxKept + 499); !ok || v != maxKept+499 || len(m.all) != maxKept {
			t.Errorf("%d are kept, the last: %v", len(m.all), ok)
		}
		time.Sleep(time.Minute)
		if _, ok := m.get(maxKept + 499); ok {
			t.Error("kept for longer than it holds")
		}
	})
}

func FuzzParseUser(f *testing.F) {
	for _, s := range []string{aliceJSON, `{"uri":"sip:a@cc.com","uid":"1","tel":"+86 138 0000 0001","email":"A@cc.com","name":"Ä","level":3,"state":"lost","more":[1,{"x":null}]}`,
		`{"uri":"tel:+8613800000005","level":1e2}`, `{"uri":null}`, `[]`, `{"URI":"sip:a@cc.com"}`, `{"uri":"sip:a@cc.com"} x`, `{"account":"sip:g1@guest.example","password":"x"}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := parseUser([]byte(text)); err == nil {
			again, err := latchkey.ParseAddress(s.URI.String())
			if err != nil || again != s.URI || s.URI.User() == "" || s.Level < 0 || strings.ContainsAny(s.Name+s.UID, "\r\n") {
				t.Fatalf("parseUser(%s) = %+v", text, s)
			}
		}
		if account, _, err := parseAccount([]byte(text)); err == nil && account.Address().Identity() != string(account) {
			t.Fatalf("parseAccount(%s) = %s", text, account)
		}
	})
}
