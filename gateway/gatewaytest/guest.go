package gatewaytest

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// Answer is what the gateway's HTTP server said.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte

	t testing.TB
}

// Into reads the body as JSON.
func (a Answer) Into(v any) {
	a.t.Helper()
	if err := json.Unmarshal(a.Body, v); err != nil {
		a.t.Fatalf("answer %d %q: %v", a.Status, a.Body, err)
	}
}

// Wants fails the test unless the status is as it should be.
func (a Answer) Wants(status int) Answer {
	a.t.Helper()
	if a.Status != status {
		a.t.Fatalf("answer %d %s, want %d", a.Status, a.Body, status)
	}
	return a
}

// Problem is the name of the problem's type (RFC 9457).
func (a Answer) Problem() string {
	a.t.Helper()
	var p struct{ Type string }
	a.Into(&p)
	return strings.TrimPrefix(p.Type, "/problems/")
}

// Do sends a request with Basic credentials; user "" sends none.
func (w *World) Do(method, path, user, password, body string) Answer {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.Within(2*Patience), method, w.URL()+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if user != "" {
		req.SetBasicAuth(user, password)
	}
	return w.send(req)
}

func (w *World) send(req *http.Request) Answer {
	w.t.Helper()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return Answer{res.StatusCode, res.Header, b, w.t}
}

// InviteAs asks for an invitation of GuestMail.
func (w *World) InviteAs(inviter string) Answer {
	w.t.Helper()
	return w.Do("POST", "/rcsgw/invitee/user", inviter, Password, `{"email":"`+GuestMail+`"}`)
}

// Guest is one who has an invitation.
type Guest struct {
	Account  string
	Password string
	Link     string
	Last     int64 // number of the last event that Events has read

	w *World
}

// Invited waits for the nth mail to GuestMail, counted from 1, and takes the link out of it.
func (w *World) Invited(nth int) *Guest {
	w.t.Helper()
	m, err := w.Mail.Wait(w.Within(Patience), GuestMail, nth)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.LinkedBy(m.Links())
}

// LinkedBy is the guest whose invitation link is among links.
func (w *World) LinkedBy(links []string) *Guest {
	w.t.Helper()
	const path = "/rcsgw/invitee/session/"
	for _, l := range links {
		if u, err := url.Parse(l); err == nil && strings.Contains(u.Path, path) {
			_, account, _ := strings.Cut(u.Path, path)
			return &Guest{Account: account, Password: u.Query().Get("passwd"), Link: l, w: w}
		}
	}
	w.t.Fatalf("no invitation among the links %q", links)
	return nil
}

// Guest invites GuestMail as Alice and returns the guest with the link of the first mail.
func (w *World) Guest() *Guest {
	w.t.Helper()
	w.InviteAs(Alice).Wants(http.StatusCreated)
	return w.Invited(1)
}

// Do sends a request with the guest's credentials.
func (g *Guest) Do(method, path, body string) Answer {
	g.w.t.Helper()
	return g.w.Do(method, path, g.Account, g.Password, body)
}

// SessionPath is the path of the invitation link.
func (g *Guest) SessionPath() string { return "/rcsgw/invitee/session/" + g.Account }

// FileGuest is Guest with an invitation for messages and files.
func (w *World) FileGuest() *Guest {
	w.t.Helper()
	w.Do("POST", "/rcsgw/invitee/user", Alice, Password, `{"email":"`+GuestMail+`","interactions":["im","file"]}`).Wants(http.StatusCreated)
	return w.Invited(1)
}

// SentFile is the gateway's answer to a file.
type SentFile struct {
	ID, Name, Type, State string
	Size                  int64
}

// SendFile uploads a file for an inviter and fails the test unless it is accepted.
func (g *Guest) SendFile(to, name, contentType string, body io.Reader) SentFile {
	g.w.t.Helper()
	var f SentFile
	g.Upload(to, name, contentType, body).Wants(http.StatusAccepted).Into(&f)
	return f
}

// Upload uploads a file for an inviter.
func (g *Guest) Upload(to, name, contentType string, body io.Reader) Answer {
	g.w.t.Helper()
	return g.w.send(g.UploadRequest(to, name, contentType, body))
}

// SendDeclared is SendFile of a file whose size and SHA-1 are said before.
func (g *Guest) SendDeclared(to, name, contentType string, size int64, sum [sha1.Size]byte, body io.Reader) SentFile {
	g.w.t.Helper()
	req := g.UploadRequest(to, name, contentType, body)
	Declare(req, size, sum)
	var f SentFile
	g.w.send(req).Wants(http.StatusAccepted).Into(&f)
	return f
}

// UploadRequest is what uploads a file for an inviter.
func (g *Guest) UploadRequest(to, name, contentType string, body io.Reader) *http.Request {
	g.w.t.Helper()
	req, err := http.NewRequestWithContext(g.w.Within(6*Patience), "POST", g.w.URL()+"/rcsgw/invitee/file?to="+url.QueryEscape(to), body)
	if err != nil {
		g.w.t.Fatal(err)
	}
	req.SetBasicAuth(g.Account, g.Password)
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	return req
}

// Declare says what a request will bring (RFC 9530 §3).
func Declare(req *http.Request, size int64, sum [sha1.Size]byte) {
	req.ContentLength = size
	req.Header.Set("Repr-Digest", "sha=:"+base64.StdEncoding.EncodeToString(sum[:])+":")
}

// Download reads a file of the guest's and gives what came to w.
func (g *Guest) Download(id string, w io.Writer) (status int) {
	g.w.t.Helper()
	req, err := http.NewRequestWithContext(g.w.Within(6*Patience), "GET", g.w.URL()+"/rcsgw/invitee/file/"+id, nil)
	if err != nil {
		g.w.t.Fatal(err)
	}
	req.SetBasicAuth(g.Account, g.Password)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		g.w.t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(w, res.Body); err != nil {
		g.w.t.Fatal(err)
	}
	return res.StatusCode
}

// FileEvent waits for an event of a type about a file that satisfies done.
func (g *Guest) FileEvent(eventType string, done func(Event) bool) Event {
	g.w.t.Helper()
	all := g.Events(func(e Event) bool { return e.Type == eventType && e.File.ID != "" && done(e) })
	return all[len(all)-1]
}

// Login logs in.
func (g *Guest) Login() Answer {
	g.w.t.Helper()
	return g.Do("POST", g.SessionPath(), "")
}

// Sent is the gateway's answer to a message.
type Sent struct{ ID, To, State string }

// Send sends a text and fails the test unless it is accepted.
func (g *Guest) Send(to, text string) Sent {
	g.w.t.Helper()
	body, err := json.Marshal(map[string]string{"to": to, "message": text})
	if err != nil {
		g.w.t.Fatal(err)
	}
	var m Sent
	g.Do("POST", "/rcsgw/invitee/message", string(body)).Wants(http.StatusAccepted).Into(&m)
	if m.State != "accepted" || m.To != to || m.ID == "" {
		g.w.t.Fatalf("message = %+v, want it accepted", m)
	}
	return m
}

// Event is one of the guest's stream.
type Event struct {
	ID      int64
	Type    string
	From    string
	URI     string
	Status  string
	State   string
	Reason  string
	Message struct{ ID, Text, Type, State, Reason string }
	File    struct {
		ID, Name, Type, State, Reason string
		Size, Sent                    int64
		Preview                       bool
	}
}

// Events reads on by long poll until an event satisfies done, and returns all that came.
func (g *Guest) Events(done func(Event) bool) []Event {
	g.w.t.Helper()
	var all []Event
	for end := time.Now().Add(Patience); time.Now().Before(end); {
		var page struct {
			Events []Event
			Last   int64
		}
		g.Do("GET", fmt.Sprintf("/rcsgw/invitee/events?after=%d&wait=2", g.Last), "").Wants(http.StatusOK).Into(&page)
		for _, e := range page.Events {
			if e.ID <= g.Last {
				g.w.t.Fatalf("event %d after %d", e.ID, g.Last)
			}
			g.Last = e.ID
			if all = append(all, e); done(e) {
				return all
			}
		}
	}
	g.w.t.Fatalf("the event did not come; these did: %+v", all)
	return nil
}

// Message waits for a message with the text, and returns its id.
func (g *Guest) Message(text string) string {
	g.w.t.Helper()
	all := g.Events(func(e Event) bool { return e.Type == "message" && e.Message.Text == text })
	return all[len(all)-1].Message.ID
}

// Delivery waits until a message of the guest's has come as far as the state.
func (g *Guest) Delivery(id, state string) Event {
	g.w.t.Helper()
	all := g.Events(func(e Event) bool { return e.Type == "delivery" && e.Message.ID == id && e.Message.State == state })
	return all[len(all)-1]
}

// Stream is an open connection of server-sent events.
type Stream struct {
	lines *bufio.Scanner
	t     testing.TB
}

// Stream opens the events as server-sent events, after those that Events has read.
func (g *Guest) Stream() *Stream {
	g.w.t.Helper()
	req, err := http.NewRequestWithContext(g.w.Within(2*Patience), "GET", g.w.URL()+"/rcsgw/invitee/events", nil)
	if err != nil {
		g.w.t.Fatal(err)
	}
	req.SetBasicAuth(g.Account, g.Password)
	req.Header.Set("Accept", "text/event-stream")
	if g.Last > 0 {
		req.Header.Set("Last-Event-ID", fmt.Sprint(g.Last))
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		g.w.t.Fatal(err)
	}
	g.w.t.Cleanup(func() { _ = res.Body.Close() })
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/event-stream" {
		g.w.t.Fatalf("events: %d %s", res.StatusCode, res.Header.Get("Content-Type"))
	}
	return &Stream{bufio.NewScanner(res.Body), g.w.t}
}

// Until reads to the data line that has the text, and returns it.
func (s *Stream) Until(text string) string {
	s.t.Helper()
	for s.lines.Scan() {
		if line := s.lines.Text(); strings.HasPrefix(line, "data:") && strings.Contains(line, text) {
			return line
		}
	}
	s.t.Fatalf("the stream ended before %q: %v", text, s.lines.Err())
	return ""
}
