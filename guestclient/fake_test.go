package guestclient_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// fakeGateway answers as INTERFACE says, for one guest. It keeps events and messages, and fails
// on demand. It shares no code with the client.
type fakeGateway struct {
	*httptest.Server

	mu       sync.Mutex
	messages map[string]string // client id: text
	events   []string          // JSON; number i has id i+1
	more     chan struct{}     // closed and replaced when events grow
	acked    string
	lastIDs  []string // Last-Event-ID of each stream
	failures []func(w http.ResponseWriter)
	cutAfter int // a stream ends after so many events; 0: never
	repeat   int // a stream repeats so many events that were read before
}

const fakeAccount, fakePassword = "sip:b_at_cc.com@guest.example", "s3cret"

func newFakeGateway(t testing.TB) *fakeGateway {
	g := &fakeGateway{messages: map[string]string{}, more: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /rcsgw/invitee/session/{account}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"account":%q,"expires":"2030-01-02T03:04:05Z","inviters":[{"uri":"sip:a@cc.com","uid":"10001","name":"Alice","interactions":["im"],"status":"online"}]}`, r.PathValue("account"))
	})
	mux.HandleFunc("DELETE /rcsgw/invitee/session/{account}", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("GET /rcsgw/invitee/status/{uri}", g.status)
	mux.HandleFunc("POST /rcsgw/invitee/message", g.send)
	mux.HandleFunc("GET /rcsgw/invitee/message", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"messages":[{"id":"m1","from":%q,"text":"hello","time":"2030-01-02T03:04:05Z","state":"delivered"}]}`, r.URL.Query().Get("with"))
	})
	mux.HandleFunc("GET /rcsgw/invitee/events", g.stream)
	g.Server = httptest.NewServer(g.guard(mux))
	t.Cleanup(func() { g.CloseClientConnections(); g.Close() })
	return g
}

// guard checks credentials by hand, as the user-id has a colon, and fails on demand.
func (g *fakeGateway) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, rest, _ := r.BasicAuth()
		if user+":"+rest != fakeAccount+":"+fakePassword {
			fakeProblem(w, http.StatusUnauthorized, "unauthorized", "Wrong or missing credentials")
			return
		}
		g.mu.Lock()
		var fail func(http.ResponseWriter)
		if len(g.failures) > 0 {
			fail, g.failures = g.failures[0], g.failures[1:]
		}
		g.mu.Unlock()
		if fail != nil {
			fail(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func fakeProblem(w http.ResponseWriter, status int, name, title string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"type":"/problems/%s","title":%q,"status":%d}`, name, title, status)
}

func (g *fakeGateway) status(w http.ResponseWriter, r *http.Request) {
	if uri := r.PathValue("uri"); uri != "sip:a@cc.com" {
		fakeProblem(w, http.StatusForbidden, "no-relation", "No invitation relates you to this person")
		return
	}
	fmt.Fprint(w, `{"uri":"sip:a@cc.com","status":"online","checked":"2030-01-02T03:04:05Z"}`)
}

func (g *fakeGateway) send(w http.ResponseWriter, r *http.Request) {
	var m struct{ ID, To, Message string }
	if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
		fakeProblem(w, http.StatusBadRequest, "bad-request", err.Error())
		return
	}
	g.mu.Lock()
	g.messages[m.ID] = m.Message
	g.mu.Unlock()
	w.WriteHeader(http.StatusAccepted)
	fmt.Fprintf(w, `{"id":%q,"to":%q,"state":"accepted","time":"2030-01-02T03:04:05Z"}`, "gw-"+m.ID, m.To)
}

// post adds an event; format gets its number.
func (g *fakeGateway) post(format string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.events = append(g.events, fmt.Sprintf(format, len(g.events)+1))
	close(g.more)
	g.more = make(chan struct{})
}

func (g *fakeGateway) stream(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Accept") == "application/json" {
		g.mu.Lock()
		g.acked = r.URL.Query().Get("after")
		g.mu.Unlock()
		fmt.Fprint(w, `{"events":[],"last":0}`)
		return
	}
	last := r.Header.Get("Last-Event-ID")
	next, sent := 0, 0
	if last != "" {
		fmt.Sscan(last, &next)
	}
	g.mu.Lock()
	g.lastIDs = append(g.lastIDs, last)
	next = max(0, next-g.repeat)
	cut := g.cutAfter
	g.mu.Unlock()
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprint(w, ": hello\n\n")
	for {
		g.mu.Lock()
		events, more := g.events[next:], g.more
		g.mu.Unlock()
		for _, e := range events {
			next++
			sent++
			fmt.Fprintf(w, "id: %d\nevent: message\ndata: %s\n\n", next, e)
			if cut > 0 && sent == cut {
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
