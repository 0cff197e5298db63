// Package guestclienttest has a gateway for tests of guests' programs: it answers as the
// HTTP interface says, for one guest, and fails on demand. It shares no code with the client.
package guestclienttest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
)

// The one guest of a Gateway and who invited.
const (
	Account  = "sip:b_at_cc.com@guest.example"
	Password = "s3cret"
	Inviter  = "sip:a@cc.com"
)

// Gateway is the fake. Close it after use.
type Gateway struct {
	// CutAfter ends an event stream after so many events; 0: never. Repeat makes a stream begin
	// with so many events that were read before. Set both before the first request.
	CutAfter, Repeat int

	server *httptest.Server

	mu        sync.Mutex // guards the fields below
	messages  []Message
	repeats   int
	events    []string      // JSON; number i has id i+1
	more      chan struct{} // closed and replaced when events grow
	lastIDs   []string
	requests  []string
	failures  []http.HandlerFunc
	deaf      int // answers to messages that get lost
	loggedOut bool
	down      bool
	proxy     Proxy
	files     []File
	cuts      []int64
	hold      <-chan struct{}
}

// Message is what the guest sent; ID is the client's.
type Message struct{ ID, To, Text string }

// NewGateway starts a gateway on a port of 127.0.0.1.
func NewGateway() *Gateway {
	g := &Gateway{more: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /rcsgw/invitee/session/{account}", g.login)
	mux.HandleFunc("DELETE /rcsgw/invitee/session/{account}", g.logout)
	mux.HandleFunc("GET /rcsgw/invitee/status/{uri}", g.status)
	mux.HandleFunc("POST /rcsgw/invitee/message", g.send)
	mux.HandleFunc("GET /rcsgw/invitee/message", g.history)
	mux.HandleFunc("POST /rcsgw/invitee/composing", g.note)
	mux.HandleFunc("POST /rcsgw/invitee/read", g.note)
	mux.HandleFunc("GET /rcsgw/invitee/events", g.follow)
	mux.HandleFunc("POST /rcsgw/invitee/file", g.begin)
	mux.HandleFunc("GET /rcsgw/invitee/file", g.listFiles)
	mux.HandleFunc("GET /rcsgw/invitee/file/{id}", g.fetch)
	mux.HandleFunc("PATCH /rcsgw/invitee/file/{id}", g.goOn)
	mux.HandleFunc("DELETE /rcsgw/invitee/file/{id}", g.dropFile)
	g.server = httptest.NewServer(g.guard(mux))
	return g
}

// Close ends all streams and stops the server.
func (g *Gateway) Close() {
	g.server.CloseClientConnections()
	g.server.Close()
}

// URL is the base of the gateway, and Link the guest's invitation link.
func (g *Gateway) URL() string { return g.server.URL }

// Link is the guest's invitation link.
func (g *Gateway) Link() string {
	return g.server.URL + "/rcsgw/invitee/session/" + Account + "?passwd=" + Password
}

// Post adds an event, JSON in which %d stands for its number.
func (g *Gateway) Post(format string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.events = append(g.events, fmt.Sprintf(format, len(g.events)+1))
	close(g.more)
	g.more = make(chan struct{})
}

// Fail makes the next requests fail, one by each function.
func (g *Gateway) Fail(with ...http.HandlerFunc) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failures = append(g.failures, with...)
}

// LoseAnswers makes the gateway take the next n messages and then drop the connection.
func (g *Gateway) LoseAnswers(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.deaf = n
}

// Messages are what the guest sent, each id once.
func (g *Gateway) Messages() []Message {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.messages)
}

// Repeats counts messages that came again under their id.
func (g *Gateway) Repeats() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.repeats
}

// Requests are the authenticated requests so far: "METHOD path?query body".
func (g *Gateway) Requests() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.requests)
}

// Streams are the Last-Event-IDs of the event streams so far.
func (g *Gateway) Streams() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.lastIDs)
}

// Problem answers with an RFC 9457 document.
func Problem(status int, name, title string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"type":"/problems/%s","title":%q,"status":%d}`, name, title, status)
	}
}

// guard checks credentials by hand, as the user-id has a colon, and fails on demand.
func (g *Gateway) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, rest, _ := r.BasicAuth()
		g.mu.Lock()
		gone, down := g.loggedOut, g.down
		var fail http.HandlerFunc
		if len(g.failures) > 0 {
			fail, g.failures = g.failures[0], g.failures[1:]
		}
		if !down {
			g.requests = append(g.requests, r.Method+" "+r.URL.RequestURI())
		}
		g.mu.Unlock()
		switch {
		case down:
			panic(http.ErrAbortHandler)
		case gone || user+":"+rest != Account+":"+Password:
			Problem(http.StatusUnauthorized, "unauthorized", "Wrong or missing credentials")(w, r)
		case fail != nil:
			fail(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func (g *Gateway) login(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, `{"account":%q,"expires":"2030-01-02T03:04:05Z","inviters":[{"uri":%q,"uid":"10001","name":"Alice","interactions":["im"],"status":"online"},`+
		`{"uri":"sip:d@cc.com","uid":"10002","name":"Dora","interactions":["im"],"status":"offline"}]}`, r.PathValue("account"), Inviter)
}

func (g *Gateway) logout(w http.ResponseWriter, _ *http.Request) {
	g.mu.Lock()
	g.loggedOut = true
	g.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

func (g *Gateway) status(w http.ResponseWriter, r *http.Request) {
	if r.PathValue("uri") != Inviter {
		Problem(http.StatusForbidden, "no-relation", "No invitation relates you to this person")(w, r)
		return
	}
	fmt.Fprintf(w, `{"uri":%q,"status":"online","checked":"2030-01-02T03:04:05Z"}`, Inviter)
}

func (g *Gateway) send(w http.ResponseWriter, r *http.Request) {
	var m struct{ ID, To, Message string }
	if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
		Problem(http.StatusBadRequest, "bad-request", err.Error())(w, r)
		return
	}
	g.mu.Lock()
	if slices.ContainsFunc(g.messages, func(old Message) bool { return old.ID == m.ID }) {
		g.repeats++
	} else {
		g.messages = append(g.messages, Message{m.ID, m.To, m.Message})
	}
	lost := g.deaf > 0
	if lost {
		g.deaf--
	}
	g.mu.Unlock()
	if lost {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(http.StatusAccepted)
	fmt.Fprintf(w, `{"id":%q,"to":%q,"state":"accepted","time":"2030-01-02T03:04:05Z"}`, "gw-"+m.ID, m.To)
}

func (g *Gateway) history(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, `{"messages":[{"id":"m1","from":%q,"text":"hello","time":"2030-01-02T03:04:05Z","state":"delivered"}]}`, r.URL.Query().Get("with"))
}

// note keeps the body among the requests.
func (g *Gateway) note(w http.ResponseWriter, r *http.Request) {
	var body map[string]string
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		Problem(http.StatusBadRequest, "bad-request", err.Error())(w, r)
		return
	}
	g.mu.Lock()
	g.requests = append(g.requests, fmt.Sprintf("%s %v", r.URL.Path, body))
	g.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

func (g *Gateway) stream(w http.ResponseWriter, r *http.Request) {
	last := r.Header.Get("Last-Event-ID")
	next, sent := 0, 0
	if last != "" {
		fmt.Sscan(last, &next)
	}
	next = max(0, next-g.Repeat)
	g.mu.Lock()
	g.lastIDs = append(g.lastIDs, last)
	g.mu.Unlock()
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprint(w, ": hello\n\n")
	for {
		events, more := g.after(next)
		for _, e := range events {
			next++
			sent++
			fmt.Fprintf(w, "id: %d\nevent: message\ndata: %s\n\n", next, e)
			if sent == g.CutAfter {
				return
			}
		}
		w.(http.Flusher).Flush()
		select {
		case <-more:
		case <-r.Context().Done():
			return
		}
	}
}
