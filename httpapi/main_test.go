package httpapi

import (
	"context"
	"encoding/json"
	"flag"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"latchkey"
	"latchkey/conversation"
	dir "latchkey/directory"
	"latchkey/guest"
	"latchkey/imstest"
	"latchkey/presence"
	"latchkey/push"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestMain holds what the tests saw against the document at the end; see contract_test.go.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if code == 0 && !kept() {
			code = 1
		}
		os.Exit(code)
	}))
}

// The rooms satisfy the ports as they are.
var (
	_ Desk      = (*guest.Desk)(nil)
	_ Hall      = (*conversation.Hall)(nil)
	_ Presence  = (*presence.Board)(nil)
	_ Directory = (*dir.File)(nil)
	_ Directory = (*dir.HTTP)(nil)
	_ Push      = (*push.Crier)(nil)
)

// patience is how long a test waits for what must come.
const patience = time.Minute

// world is a facade over fakes, with one guest whom Alice has invited.
type world struct {
	t     *testing.T
	api   *API
	desk  *desk
	hall  *hall
	board *board
	dir   *directory
	log   *imstest.Log
}

func newWorld(t *testing.T, opt Options) *world {
	t.Helper()
	w := &world{t: t, hall: newHall(), board: newBoard(), dir: &directory{}, log: &imstest.Log{}}
	w.desk = &desk{
		hall: w.hall, relations: []latchkey.Relation{relation(aliceURI, "Alice")}, tokens: map[string]bool{}, invited: map[latchkey.Identifier]guest.Invited{},
		b: map[latchkey.Identifier]latchkey.Subscriber{{Kind: latchkey.Mail, Value: "r@cc.com"}: {URI: latchkey.MustAddress("sip:r@cc.com")}},
	}
	w.hall.desk = w.desk
	if opt.Log == nil {
		opt.Log = slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if err := opt.Validate(); err != nil {
		t.Fatal(err)
	}
	page := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		// A page that would show whatever it is told.
		rw.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(rw, "<!doctype html>"+r.URL.String()+" "+r.RequestURI+" "+r.Header.Get("Cookie")+r.Header.Get("Authorization"))
	})
	w.api = New(Ports{Desk: w.desk, Hall: w.hall, Presence: w.board, Directory: w.dir, Push: newPushes(t), Page: page, Assets: page, OptOut: func(rw http.ResponseWriter, _ *http.Request, status int, step OptOutStep, name, proof string) {
		rw.Header().Set("Content-Type", "text/html; charset=utf-8")
		rw.WriteHeader(status)
		_, _ = io.WriteString(rw, step+" "+name+" "+proof)
	}}, opt)
	t.Cleanup(func() { _ = w.api.Close() })
	return w
}

// response is an answer that was read.
type response struct {
	t      *testing.T
	status int
	header http.Header
	body   string
}

func (r response) wants(status int) response {
	r.t.Helper()
	if r.status != status {
		r.t.Fatalf("answer %d %s, want %d", r.status, r.body, status)
	}
	return r
}

// problem fails the test unless the answer is a problem of the kind.
func (r response) problem(k latchkey.Kind) response {
	r.t.Helper()
	var p struct {
		Type, Title, Detail string
		Status              int
	}
	if err := json.Unmarshal([]byte(r.body), &p); err != nil {
		r.t.Fatalf("answer %d %q: %v", r.status, r.body, err)
	}
	if row := k.Row(); r.status != row.HTTP || p.Status != row.HTTP || p.Type != "/problems/"+row.Name || p.Title != row.Title || r.header.Get("Content-Type") != "application/problem+json" {
		r.t.Errorf("answer %d %s, want the problem %s", r.status, r.body, k)
	}
	return r
}

func (r response) into(v any) {
	r.t.Helper()
	if err := json.Unmarshal([]byte(r.body), v); err != nil {
		r.t.Fatalf("answer %d %q: %v", r.status, r.body, err)
	}
}

func (r response) cookie() *http.Cookie {
	for _, c := range (&http.Response{Header: r.header}).Cookies() {
		return c
	}
	return nil
}

// change alters a request before it is sent.
type change func(*http.Request)

func header(name, value string) change { return func(r *http.Request) { r.Header.Set(name, value) } }

func asAlice(r *http.Request) { r.SetBasicAuth(aliceURI, alicePwd) }
func asGuest(r *http.Request) { r.SetBasicAuth(account, password) }
func asXML(r *http.Request) {
	r.Header.Set("Content-Type", "application/xml")
	r.Header.Set("Accept", "application/xml")
}

// page makes a request one of our own page in a browser with the cookie.
func page(c *http.Cookie) change {
	return func(r *http.Request) {
		r.AddCookie(c)
		r.Header.Set(clientHeader, "page")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		r.Header.Set("Origin", "http://"+r.Host)
	}
}

// request makes a request; a body is JSON unless a change says otherwise.
func request(ctx context.Context, method, target, body string, changes ...change) *http.Request {
	r := httptest.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
	r.RemoteAddr = "192.0.2.1:1234"
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, c := range changes {
		c(r)
	}
	return r
}

// do answers a request without a network.
func (w *world) do(method, target, body string, changes ...change) response {
	w.t.Helper()
	rec := httptest.NewRecorder()
	w.handler().ServeHTTP(lastWord{rec}, request(w.t.Context(), method, target, body, changes...))
	return response{w.t, rec.Code, rec.Header(), rec.Body.String()}
}

// lastWord leaves interim answers out, which a ResponseRecorder takes for the last.
type lastWord struct{ *httptest.ResponseRecorder }

func (w lastWord) WriteHeader(code int) {
	if code >= 200 {
		w.ResponseRecorder.WriteHeader(code)
	}
}

// login logs in by the link's password and gives the cookie.
func (w *world) login() *http.Cookie {
	w.t.Helper()
	c := w.do("POST", sessionPath, `{"passwd":"`+password+`"}`).wants(200).cookie()
	if c == nil {
		w.t.Fatal("the login sets no cookie")
	}
	return c
}

const sessionPath = "/rcsgw/invitee/session/" + account

// serve puts the facade on a real port.
func (w *world) serve() *httptest.Server {
	s := httptest.NewServer(w.handler())
	w.t.Cleanup(func() {
		w.api.Drain()
		s.Close()
	})
	return s
}

// pipe puts the facade on a network without sockets, for tests on made time.
func (w *world) pipe() (client *http.Client, dial func() net.Conn) {
	l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	s := &http.Server{Handler: w.handler()}
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.Serve(l) }) // ends with Close
	dial = func() net.Conn {
		mine, theirs := net.Pipe()
		l.conns <- theirs
		return mine
	}
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return dial(), nil }}
	w.t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = s.Close()
		serving.Wait()
	})
	return &http.Client{Transport: transport}, dial
}

type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}
}

// golden holds text against a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\n%s\nwant:\n%s", name, got, want)
	}
}

// eventually waits until f is true.
func eventually(t *testing.T, f func() bool) {
	t.Helper()
	imstest.Eventually(t, patience, f)
}
