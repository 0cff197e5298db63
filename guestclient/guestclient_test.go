package guestclient_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"latchkey/guestclient"
	"latchkey/guestclient/guestclienttest"
)

func newGateway(t *testing.T) *guestclienttest.Gateway {
	t.Helper()
	g := guestclienttest.NewGateway()
	t.Cleanup(g.Close)
	return g
}

func open(t *testing.T, g *guestclienttest.Gateway) *guestclient.Client {
	t.Helper()
	c, err := guestclient.Open(g.Link(), guestclient.Options{FirstBack: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// R7, R32: the link opens the client in both forms, and as a browser hands it over.
func TestAllFormsOfTheLinkOpenTheClient(t *testing.T) {
	for _, link := range []string{
		"https://chat.cc.com/rcsgw/invitee/session/sip:b_at_cc.com@guest.example?passwd=x%2By",
		"https://chat.cc.com/rcsgw/invitee/session/sip%3Ab_at_cc.com%40guest.example#passwd=x%2By",
		"latchkey:https://chat.cc.com/rcsgw/invitee/session/sip:b_at_cc.com@guest.example#passwd=x%2By", "Latchkey:https://chat.cc.com/rcsgw/invitee/session/sip:b_at_cc.com@guest.example?passwd=x%2By",
		" http://127.0.0.1:8080/base/rcsgw/invitee/session/sip:b_at_cc.com@guest.example?passwd=x%2By\n",
		"latchkey:https://chat.cc.com/rcsgw/invitee/session/sip:b_at_cc.com@guest.example#passwd=x%2By",
		"LATCHKEY://chat.cc.com/rcsgw/invitee/session/sip:b_at_cc.com@guest.example?passwd=x%2By",
		"web+latchkey:https%3A%2F%2Fchat.cc.com%2Frcsgw%2Finvitee%2Fsession%2Fsip%3Ab_at_cc.com%40guest.example%23passwd%3Dx%252By",
	} {
		c, err := guestclient.Open(link, guestclient.Options{})
		if err != nil || c.Account() != guestclienttest.Account {
			t.Errorf("Open(%q) = %v, %v, want account %s", link, c, err, guestclienttest.Account)
		}
	}
	for _, link := range []string{"", "latchkey:", "latchkey:latchkey:https://cc.com/rcsgw/invitee/session/x?passwd=hush", "latchkey:file:///rcsgw/invitee/session/x?passwd=hush", "sip:b@cc.com", "ftp://cc.com/rcsgw/invitee/session/x?passwd=hush", "https://cc.com/?passwd=hush", "https://cc.com/rcsgw/invitee/session/?passwd=hush",
		"https://cc.com/rcsgw/invitee/session/a/b?passwd=hush", "https://cc.com/rcsgw/invitee/session/sip:b@cc.com", "http://[::1/?passwd=hush"} {
		if _, err := guestclient.Open(link, guestclient.Options{}); err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("Open(%q) = %v, want an error without the password", link, err)
		}
	}
}

// R32: what the link lacks can be asked for; a gateway on this machine has no certificate.
func TestLinkIsTakenApart(t *testing.T) {
	l, err := guestclient.ParseLink("latchkey://127.0.0.1:8080/base/rcsgw/invitee/session/sip%3Ab%40cc.com")
	if want := (guestclient.Link{Base: "http://127.0.0.1:8080/base", Account: "sip:b@cc.com"}); err != nil || l != want {
		t.Errorf("ParseLink = %+v, %v, want %+v", l, err, want)
	}
	if _, err := guestclient.Open(l.String(), guestclient.Options{}); !errors.Is(err, guestclient.ErrNoPassword) {
		t.Errorf("Open = %v, want ErrNoPassword", err)
	}
	if l, err = guestclient.ParseLink("latchkey://[::1]/rcsgw/invitee/session/a#passwd=hush"); err != nil || l.Base != "http://[::1]" || strings.Contains(l.String(), "hush") {
		t.Errorf("ParseLink = %+v, %v", l, err)
	}
}

// R20, R22.
func TestLoginTellsWhoInvited(t *testing.T) {
	c := open(t, newGateway(t))
	login, err := c.Login(deadline(t))
	if err != nil || login.Account != guestclienttest.Account || len(login.Inviters) != 2 || login.Inviters[0].Name != "Alice" || login.Expires.Year() != 2030 {
		t.Errorf("Login() = %+v, %v", login, err)
	}
}

func TestProblemsAreTyped(t *testing.T) {
	g := newGateway(t)
	if _, err := open(t, g).Status(deadline(t), "sip:x@cc.com"); !errors.Is(err, guestclient.ErrNoRelation) || errors.Is(err, guestclient.ErrOffline) {
		t.Errorf("Status(stranger) = %v, want ErrNoRelation", err)
	}
	wrong := guestclient.New(g.URL(), guestclienttest.Account, "wrong", guestclient.Options{})
	defer wrong.Close()
	if _, err := wrong.Login(deadline(t)); !errors.Is(err, guestclient.ErrUnauthorized) {
		t.Errorf("Login(wrong password) = %v, want ErrUnauthorized", err)
	}
	g.Fail(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>teapot", http.StatusTeapot) })
	_, err := open(t, g).Login(deadline(t))
	if p, ok := errors.AsType[*guestclient.Problem](err); !ok || p.Status != http.StatusTeapot || strings.Contains(err.Error(), "<") {
		t.Errorf("Login(foreign error page) = %v, want its status and no markup", err)
	}
}

// A repeat carries the same id, so the gateway takes the message once.
func TestSendGoesOnUntilTheGatewayTakesTheMessageOnce(t *testing.T) {
	g := newGateway(t)
	g.Fail(
		guestclienttest.Problem(503, "busy", "Busy; try again"),
		func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, // the connection dies
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
	)
	g.LoseAnswers(1)
	m, err := open(t, g).Send(deadline(t), "sip:a@cc.com", "abcdefg")
	if err != nil || m.State != "accepted" {
		t.Fatalf("Send = %+v, %v", m, err)
	}
	if got := g.Messages(); len(got) != 1 || got[0].Text != "abcdefg" || g.Repeats() != 1 {
		t.Errorf("messages at the gateway: %v and %d repeats, want one and 1", got, g.Repeats())
	}
	g.Fail(guestclienttest.Problem(409, "offline", "The inviter is offline"))
	if _, err := open(t, g).Send(deadline(t), "sip:a@cc.com", "x"); !errors.Is(err, guestclient.ErrOffline) {
		t.Errorf("Send = %v, want ErrOffline at once", err)
	}
}

// R27: what the inviter writes arrives once and in order, whatever happens to connections.
func TestEachEventArrivesOnceInOrder(t *testing.T) {
	g := newGateway(t)
	g.CutAfter, g.Repeat = 3, 1
	c := open(t, g)
	for range 4 {
		g.Post(`{"id":%d,"type":"message","from":"sip:a@cc.com","message":{"id":"m","text":"hi","type":"text/plain"}}`)
	}
	var got []int64
	for e, err := range c.Events(deadline(t), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Type != "message" || e.Message == nil || e.Message.Text != "hi" {
			t.Fatalf("event %+v", e)
		}
		got = append(got, e.ID)
		if len(got) == 4 { // after the first stream was cut
			g.Post(`{"id":%d,"type":"message","message":{"text":"hi"}}`)
		}
		if e.ID == 5 {
			break
		}
	}
	if !slices.Equal(got, []int64{1, 2, 3, 4, 5}) {
		t.Errorf("events %v, want 1 to 5 once each", got)
	}
	if ids := g.Streams(); ids[0] != "" || len(ids) < 2 || ids[1] != "3" {
		t.Errorf("Last-Event-ID of the streams: %q, want none and then 3", ids)
	}
	if err := c.Ack(deadline(t), 5); err != nil || !slices.Contains(g.Requests(), "GET /rcsgw/invitee/events?wait=0&after=5") {
		t.Errorf("Ack = %v, the gateway saw %q", err, g.Requests())
	}
}

func TestEventsWithoutNumberAreToldLive(t *testing.T) {
	g := newGateway(t)
	g.Post(`{"type":"composing","from":"sip:a@cc.com","state":"active","x":%d}`)
	g.Post(`{"type":"composing","from":"sip:a@cc.com","state":"idle","x":%d}`)
	var states []string
	for e, err := range open(t, g).Events(deadline(t), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if states = append(states, e.State); len(states) == 2 {
			break
		}
	}
	if !slices.Equal(states, []string{"active", "idle"}) {
		t.Errorf("composing states %q", states)
	}
}

func TestEventsEndWhenTheInvitationIsGone(t *testing.T) {
	g := newGateway(t)
	g.Fail(
		guestclienttest.Problem(503, "unavailable", "Not available right now"),
		guestclienttest.Problem(410, "expired", "The invitation is no longer valid"),
	)
	var errs []error
	for _, err := range open(t, g).Events(deadline(t), 0) {
		errs = append(errs, err)
	}
	if len(errs) != 1 || !errors.Is(errs[0], guestclient.ErrExpired) {
		t.Errorf("Events = %v, want ErrExpired once", errs)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range open(t, g).Events(ctx, 0) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Events(cancelled) = %v", err)
		}
	}
}

// A stream on which nothing comes, not even a comment, is left for a new one.
func TestSilentStreamIsReplaced(t *testing.T) {
	g := newGateway(t)
	c := guestclient.New(g.URL(), guestclienttest.Account, guestclienttest.Password, guestclient.Options{Transport: guestclient.SSE, Quiet: 30 * time.Millisecond, FirstBack: time.Millisecond})
	t.Cleanup(c.Close)
	ctx, cancel := context.WithCancel(deadline(t))
	defer cancel()
	go func() { // ends with the test's context
		for {
			if len(g.Streams()) >= 3 || ctx.Err() != nil {
				cancel()
				return
			}
			select {
			case <-time.After(5 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}()
	for range c.Events(ctx, 0) {
	}
	if n := len(g.Streams()); n < 3 {
		t.Errorf("streams opened: %d, want at least 3", n)
	}
}

func TestOtherCallsReachTheGateway(t *testing.T) {
	g := newGateway(t)
	c := open(t, g)
	ctx := deadline(t)
	if s, err := c.Status(ctx, "sip:a@cc.com"); err != nil || s.Status != "online" {
		t.Errorf("Status = %+v, %v", s, err)
	}
	if h, err := c.History(ctx, "sip:a@cc.com", "m2", 10); err != nil || len(h) != 1 || h[0].From != "sip:a@cc.com" {
		t.Errorf("History = %+v, %v", h, err)
	}
	if in, err := c.Inviters(ctx); err != nil || len(in) != 2 {
		t.Errorf("Inviters = %+v, %v", in, err)
	}
	if err := c.Logout(ctx); err != nil {
		t.Errorf("Logout = %v", err)
	}
}

// R32, F30: the same events, each once and in order, whichever way they come, and over connections that end.
func TestEventsComeByAllTransports(t *testing.T) {
	const long, short = 10 * time.Second, 300 * time.Millisecond // the latter where silence is to be noticed
	for _, c := range []struct {
		way   guestclient.Transport
		proxy guestclienttest.Proxy
		quiet time.Duration
		path  string // of a request that shows the way
	}{
		{guestclient.SSE, guestclienttest.Open, long, "GET /rcsgw/invitee/events"},
		{guestclient.Poll, guestclienttest.Buffering, long, "GET /rcsgw/invitee/events?after=0&wait=0"},
		{guestclient.WebSocket, guestclienttest.Buffering, long, "GET /rcsgw/invitee/events?after=0"},
		{guestclient.Auto, guestclienttest.Converting, long, "GET /rcsgw/invitee/events?after=0&wait=0"},
		{guestclient.Auto, guestclienttest.Buffering, short, "GET /rcsgw/invitee/events?after=0&wait=25"},
	} {
		t.Run(string(c.way+" "+guestclient.Transport(c.proxy)), func(t *testing.T) {
			g := newGateway(t)
			g.CutAfter = 2
			g.Behind(c.proxy)
			client := guestclient.New(g.URL(), guestclienttest.Account, guestclienttest.Password, guestclient.Options{Transport: c.way, FirstBack: time.Millisecond, Quiet: c.quiet})
			t.Cleanup(client.Close)
			text := strings.Repeat("ä", 200)
			for range 5 {
				g.Post(`{"id":%d,"type":"message","message":{"text":"` + text + `"}}`)
			}
			var got []int64
			for e, err := range client.Events(deadline(t), 0) {
				if err != nil {
					t.Fatal(err)
				}
				if e.Message == nil || e.Message.Text != text {
					t.Fatalf("event %+v", e)
				}
				if got = append(got, e.ID); len(got) == 5 {
					g.Post(`{"id":%d,"type":"message","message":{"text":"` + text + `"}}`)
				}
				if e.ID == 6 {
					break
				}
			}
			if !slices.Equal(got, []int64{1, 2, 3, 4, 5, 6}) {
				t.Errorf("events %v, want 1 to 6 once each", got)
			}
			if !slices.Contains(g.Requests(), c.path) {
				t.Errorf("requests %q lack %s", g.Requests(), c.path)
			}
		})
	}
}

// R32: a client can show that it has lost the gateway, and nothing is lost or doubled by that.
func TestLostGatewayIsToldOnceAndComesBack(t *testing.T) {
	for _, way := range []guestclient.Transport{guestclient.Auto, guestclient.Poll, guestclient.WebSocket} {
		g := newGateway(t)
		var states []bool
		c := guestclient.New(g.URL(), guestclienttest.Account, guestclienttest.Password, guestclient.Options{
			Transport: way, FirstBack: time.Millisecond, Quiet: 10 * time.Second,
			Connection: func(up bool, why error) {
				if up != (why == nil) {
					t.Errorf("%s: up %v, why %v", way, up, why)
				}
				if states = append(states, up); !up {
					g.Down(false)
					g.Post(`{"id":%d,"type":"message","message":{"text":"back"}}`)
				}
			},
		})
		t.Cleanup(c.Close)
		g.Post(`{"id":%d,"type":"message","message":{"text":"before"}}`)
		var got []string
		for e, err := range c.Events(deadline(t), 0) {
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, e.Message.Text); e.Message.Text == "back" {
				break
			}
			g.Down(true)
		}
		if !slices.Equal(got, []string{"before", "back"}) || !slices.Equal(states, []bool{true, false, true}) {
			t.Errorf("%s: events %q, states %v", way, got, states)
		}
	}
}

// X3, R32: a file goes on behind the cut, both ways, and is there once.
func TestFilesGoOnBehindACut(t *testing.T) {
	g := newGateway(t)
	c := open(t, g)
	body := []byte(strings.Repeat("0123456789", 5000))
	g.CutFiles(12_345, 1, 20_000)
	f, err := c.SendFile(deadline(t), guestclienttest.Inviter, "Grüße.txt", "text/plain", bytes.NewReader(body))
	if err != nil || f.State != "accepted" || f.Name != "Grüße.txt" {
		t.Fatalf("SendFile = %+v, %v", f, err)
	}
	if got := g.Files(); len(got) != 1 || !bytes.Equal(got[0].Body, body) || got[0].To != guestclienttest.Inviter {
		t.Fatalf("files at the gateway: %d", len(got))
	}
	sum := sha1.Sum(body)
	if got, want := g.Files()[0].Digest, "sha=:"+base64.StdEncoding.EncodeToString(sum[:])+":"; got != want { // RFC 9530
		t.Errorf("declared %s, want %s", got, want)
	}
	g.AddFile("f1", "x", "text/plain", body)
	g.CutFiles(7, 30_000)
	var out bytes.Buffer
	out.Write(body[:100])
	if n, err := c.Download(deadline(t), "f1", 100, &out); err != nil || n != int64(len(body)-100) || !bytes.Equal(out.Bytes(), body) {
		t.Errorf("Download = %d, %v, %d bytes", n, err, out.Len())
	}
	if n, err := c.Download(deadline(t), "f1", int64(len(body)), &out); n != 0 || err != nil {
		t.Errorf("Download of what is there = %d, %v", n, err)
	}
	if _, err := c.Download(deadline(t), "f1", int64(len(body))+1, io.Discard); err == nil {
		t.Error("Download from behind the end succeeds")
	}
	if _, err := c.Download(deadline(t), "f1", 0, failing{}); !errors.Is(err, errFull) {
		t.Errorf("Download to a full disk = %v", err)
	}
	if all, err := c.Files(deadline(t), guestclienttest.Inviter, "", 10); err != nil || len(all) != 2 {
		t.Errorf("Files = %+v, %v", all, err)
	}
}

var errFull = errors.New("full")

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errFull }

// F51: the hash is that of the content from its beginning, whether it can be read at any place or only one after the other; what can't be read is
// not sent.
func TestFileIsDeclared(t *testing.T) {
	g := newGateway(t)
	c := open(t, g)
	body := []byte(strings.Repeat("0123456789", 5000))
	sum := sha1.Sum(body)
	want := "sha=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
	for i, content := range []io.ReadSeeker{bytes.NewReader(body), struct{ io.ReadSeeker }{bytes.NewReader(body)}} {
		_, _ = content.Seek(77, io.SeekStart)
		if _, err := c.SendFile(deadline(t), guestclienttest.Inviter, "x", "x/y", content); err != nil {
			t.Fatal(err)
		}
		if f := g.Files()[i]; f.Digest != want || !bytes.Equal(f.Body, body) {
			t.Errorf("declared %s, want %s, with %d bytes", f.Digest, want, len(f.Body))
		}
	}
	if _, err := c.SendFile(deadline(t), guestclienttest.Inviter, "x", "x/y", shorter{bytes.NewReader(body)}); !errors.Is(err, io.ErrUnexpectedEOF) || len(g.Files()) != 2 {
		t.Errorf("SendFile of what ends early = %v", err)
	}
}

// shorter says that it is longer than it is.
type shorter struct{ io.ReadSeeker }

func (s shorter) Seek(offset int64, whence int) (int64, error) {
	n, err := s.ReadSeeker.Seek(offset, whence)
	if whence == io.SeekEnd {
		n++
	}
	return n, err
}

// F55: what is given up in the middle leaves nothing at the gateway.
func TestAbandonedFileIsTakenBack(t *testing.T) {
	g := newGateway(t)
	c := open(t, g)
	release := g.HoldFiles()
	defer release()
	ctx, cancel := context.WithCancel(deadline(t))
	ended := make(chan error, 1)
	go func() { // ends with ctx
		_, err := c.SendFileAs(ctx, "one", guestclienttest.Inviter, "a.bin", "application/octet-stream", strings.NewReader(strings.Repeat("x", 1<<20)))
		ended <- err
	}()
	for len(g.Files()) == 0 {
		select {
		case err := <-ended:
			t.Fatal(err)
		case <-time.After(time.Millisecond):
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatalf("SendFileAs = %v", err)
	}
	if err := c.AbandonFile(deadline(t), "one", guestclienttest.Inviter); err != nil {
		t.Fatal(err)
	}
	if f := g.Files(); len(f) != 1 || !f[0].Cancelled || f[0].Whole {
		t.Errorf("files %+v", f)
	}
}

// R33, X3: bytes of a connection that broke come late and move the upload on; the client asks where it stands. One that was cancelled
// elsewhere is not begun anew.
func TestOvertakenUploadGoesOnUnlessItIsGone(t *testing.T) {
	const place = "/rcsgw/invitee/file/f1"
	for _, gone := range []bool{false, true} {
		var calls []string
		offset := 0
		mux := http.NewServeMux()
		mux.HandleFunc("POST /rcsgw/invitee/file", func(w http.ResponseWriter, _ *http.Request) {
			calls = append(calls, fmt.Sprint("POST ", offset))
			w.Header().Set("Location", place)
			w.Header().Set("Upload-Offset", strconv.Itoa(offset))
			w.WriteHeader(http.StatusCreated)
		})
		mux.HandleFunc("PATCH "+place, func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			calls = append(calls, "PATCH "+r.Header.Get("Upload-Offset")+" "+string(b))
			if offset == 0 {
				offset = 3 // what came late
				w.WriteHeader(http.StatusConflict)
				return
			}
			w.WriteHeader(http.StatusAccepted)
			_, _ = io.WriteString(w, `{"id":"f1"}`)
		})
		mux.HandleFunc("HEAD "+place, func(w http.ResponseWriter, _ *http.Request) {
			calls = append(calls, "HEAD")
			if gone {
				w.WriteHeader(http.StatusNotFound)
			}
		})
		s := httptest.NewServer(mux)
		t.Cleanup(s.Close)
		c := guestclient.New(s.URL, guestclienttest.Account, "p", guestclient.Options{FirstBack: time.Millisecond})
		t.Cleanup(c.Close)
		f, err := c.SendFile(deadline(t), guestclienttest.Inviter, "x", "x/y", strings.NewReader("abcdef"))
		want := []string{"POST 0", "PATCH 0 abcdef", "HEAD"}
		if !gone {
			want = append(want, "POST 3", "PATCH 3 def")
		}
		if !slices.Equal(calls, want) || gone != errors.Is(err, &guestclient.Problem{Type: "about:blank"}) || !gone && (err != nil || f.ID != "f1") {
			t.Errorf("gone %v: SendFile = %+v, %v after %q, want %q", gone, f, err, calls, want)
		}
	}
}

// S9: an answer can't send the client's password to another host.
func TestUploadStaysAtItsGateway(t *testing.T) {
	g := newGateway(t)
	c := open(t, g)
	for _, location := range []string{"https://evil.example/x", "//evil.example/x", ""} {
		g.Fail(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", location)
			w.Header().Set("Upload-Offset", "0")
			w.WriteHeader(http.StatusCreated)
		})
		if _, err := c.SendFile(deadline(t), "sip:a@cc.com", "x", "x/y", strings.NewReader("x")); err == nil || !strings.Contains(err.Error(), "names no place") {
			t.Errorf("Location %q: %v", location, err)
		}
	}
}

// R32: a file that was handed over names the chat; what is none says what to do.
func TestFilesThatWereHandedOverAreRead(t *testing.T) {
	l, err := guestclient.ReadFile(strings.NewReader(`{"latchkey":1,"link":"https://chat.cc.com/rcsgw/invitee/session/sip%3Ab_at_cc.com@guest.example","more":[]}` + "\n"))
	if want := (guestclient.Link{Base: "https://chat.cc.com", Account: "sip:b_at_cc.com@guest.example"}); err != nil || l != want {
		t.Errorf("ReadFile = %+v, %v, want %+v", l, err, want)
	}
	for text, want := range map[string]string{
		"": "save it anew", "{}": "save it anew", "https://chat.cc.com/": "save it anew", `{"latchkey":2,"link":""}`: "version 2", `{"latchkey":1,"link":"file:///etc/passwd"}`: "not an http",
		`{"latchkey":1,"link":"` + strings.Repeat("x", 100_000): "save it anew",
	} {
		if _, err := guestclient.ReadFile(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ReadFile(%.40s) = %v, want %q in it", text, err, want)
		}
	}
}
