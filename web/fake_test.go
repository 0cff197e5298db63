package web_test

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	account  = "sip:b_at_cc.com@guest.example"
	password = "PASS-Word+1/2" // written in links as it is and by percent
	alice    = "sip:alice@cc.com"
	robin    = "sip:robin@cc.com"
)

// policy is what httpapi sends with everything.
const policy = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// gateway is the HTTP interface as INTERFACE.md has it, for one guest, with memory, in front of
// the real page. It does on demand what a network does on its own.
type gateway struct {
	*httptest.Server
	t testing.TB

	mu       sync.Mutex // guards the fields below
	requests []string   // "METHOD path?query" of all but the page and its assets
	inviters []inviter
	talks    map[string][]message
	events   []event
	more     chan struct{} // closed and replaced when events grow
	streams  []string      // Last-Event-IDs
	acked    int
	composed []string
	read     []string
	repeats  int
	refuse   http.HandlerFunc // answers logins, if set
	refusing http.HandlerFunc // answers messages, if set
	loses    int              // so many answers to messages get lost, by a dropped connection or a proxy that gives up
	down     bool             // drops connections
	away     bool             // drops also those for the page and what it loads
	gone     bool             // the login is over
	cookie   string
	files    map[string][]*file // by inviter
	cuts     int                // so many uploads break in the middle
	slow     chan struct{}      // uploads wait in the middle until it is closed, if set
	resumed  []int              // where uploads went on
	stopped  int                // opt-outs
	key      string             // for Web Push; "": nobody is called
	pushes   []map[string]string
	over     chan struct{} // closed when the test is over
}

type file struct {
	ID      string    `json:"id"`
	From    string    `json:"from,omitempty"`
	To      string    `json:"to,omitempty"`
	Name    string    `json:"name"`
	Size    int       `json:"size"`
	Type    string    `json:"type"`
	Preview bool      `json:"preview,omitempty"`
	State   string    `json:"state,omitempty"`
	Reason  string    `json:"reason,omitempty"`
	Time    time.Time `json:"time,omitzero"`

	key    string // the client's id
	digest string // Repr-Digest of the announcement
	body   []byte
}

type inviter struct {
	URI          string   `json:"uri"`
	UID          string   `json:"uid"`
	Name         string   `json:"name"`
	Interactions []string `json:"interactions"`
	Status       string   `json:"status"`
}

type message struct {
	ID     string    `json:"id"`
	From   string    `json:"from,omitempty"`
	To     string    `json:"to,omitempty"`
	Text   string    `json:"text,omitempty"`
	Type   string    `json:"type,omitempty"`
	State  string    `json:"state,omitempty"`
	Reason string    `json:"reason,omitempty"`
	Time   time.Time `json:"time,omitzero"`

	key string // the client's id
}

type event struct {
	ID      int       `json:"id"`
	Type    string    `json:"type"`
	Time    time.Time `json:"time"`
	From    string    `json:"from,omitempty"`
	URI     string    `json:"uri,omitempty"`
	Status  string    `json:"status,omitempty"`
	State   string    `json:"state,omitempty"`
	Reason  string    `json:"reason,omitempty"`
	Name    string    `json:"name,omitempty"`
	Message *message  `json:"message,omitempty"`
	File    *file     `json:"file,omitempty"`
}

func newGateway(t testing.TB) *gateway {
	g := &gateway{t: t, more: make(chan struct{}), over: make(chan struct{}), talks: map[string][]message{}, files: map[string][]*file{}, inviters: []inviter{
		{alice, "10001", "Alice", []string{"im", "file"}, "online"}, {robin, "10002", "Robin Hofmann-Überlang", []string{"im"}, "offline"},
	}}
	g.Server = httptest.NewServer(g)
	t.Cleanup(func() {
		close(g.over)
		g.CloseClientConnections()
		g.Close()
	})
	return g
}

func (g *gateway) link(sep string) string {
	return g.URL + "/rcsgw/invitee/session/" + url.PathEscape(account) + sep + "passwd=" + url.QueryEscape(password)
}

// alone leaves one inviter.
func (g *gateway) alone() *gateway {
	g.inviters = g.inviters[:1]
	return g
}

// do changes the gateway under its lock.
func (g *gateway) do(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f()
}

// post adds an event; it needs no lock.
func (g *gateway) post(e event) {
	g.do(func() { g.add(e) })
}

func (g *gateway) add(e event) {
	e.ID, e.Time = len(g.events)+1, time.Now().UTC()
	g.events = append(g.events, e)
	close(g.more)
	g.more = make(chan struct{})
}

// say lets an inviter write.
func (g *gateway) say(from, id, text string) {
	g.do(func() {
		g.talks[from] = append(g.talks[from], message{ID: id, From: from, Text: text, State: "accepted", Time: time.Now().UTC()})
		g.add(event{Type: "message", From: from, Message: &message{ID: id, Text: text, Type: "text/plain"}})
	})
}

// move takes the last message to an inviter to a state.
func (g *gateway) move(to, state, reason string) {
	g.do(func() {
		talk := g.talks[to]
		m := &talk[len(talk)-1]
		m.State, m.Reason = state, reason
		g.add(event{Type: "delivery", Message: &message{ID: m.ID, State: state, Reason: reason}})
	})
}

// gives lets an inviter send a file.
func (g *gateway) gives(from string, f file) {
	f.From, f.Size, f.State, f.Time = from, len(f.body), "accepted", time.Now().UTC()
	g.do(func() {
		g.files[from] = append(g.files[from], &f)
		told := f
		told.State, told.From, told.Time = "", "", time.Time{}
		g.add(event{Type: "file", From: from, File: &told})
	})
}

// has is what the gateway has of the files to an inviter: name, size and state.
func (g *gateway) has(to string) (all []string) {
	g.do(func() {
		for _, f := range g.files[to] {
			if f.To != "" {
				all = append(all, fmt.Sprintf("%s %d %s", f.Name, len(f.body), f.State))
			}
		}
	})
	return all
}

// sent are the texts that the gateway has for an inviter.
func (g *gateway) sent(to string) (texts []string) {
	g.do(func() {
		for _, m := range g.talks[to] {
			if m.To != "" {
				texts = append(texts, m.Text)
			}
		}
	})
	return texts
}

func problem(status int, name, title, detail string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"type": "/problems/" + name, "title": title, "detail": detail, "status": status})
	}
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", policy)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Referrer-Policy", "no-referrer")
	session := strings.HasPrefix(r.URL.Path, "/rcsgw/invitee/session/")
	g.mu.Lock()
	away := g.away
	g.mu.Unlock()
	switch {
	case away:
		panic(http.ErrAbortHandler)
	case strings.HasPrefix(r.URL.Path, "/rcsgw/app/"):
		assets().ServeHTTP(w, r)
		return
	case session && r.Method == http.MethodGet && r.Header.Get("Accept") == "application/vnd.latchkey":
		if r.URL.RawQuery != "" || r.Header.Get("Cookie") != "" {
			g.t.Errorf("the file is asked for with %s and %q", r.URL, r.Header.Get("Cookie"))
		}
		w.Header().Set("Content-Type", "application/vnd.latchkey")
		fmt.Fprintf(w, `{"latchkey":1,"link":"%s/rcsgw/invitee/session/%s"}`, g.URL, account)
		return
	case session && r.Method == http.MethodGet && strings.Contains(r.Header.Get("Accept"), "text/html"):
		page().ServeHTTP(w, r)
		return
	}
	g.mu.Lock()
	g.requests = append(g.requests, r.Method+" "+r.URL.RequestURI())
	down, refuse := g.down, g.refuse
	cookie, err := r.Cookie("latchkey")
	known := err == nil && cookie.Value == g.cookie && g.cookie != "" && !g.gone
	g.mu.Unlock()
	switch {
	case down:
		panic(http.ErrAbortHandler)
	case r.Header.Get("Sec-Fetch-Site") != "same-origin":
		problem(403, "not-allowed", "Not allowed", "from another site")(w, r)
	case r.Method != http.MethodGet && r.Header.Get("Latchkey-Client") == "":
		problem(403, "not-allowed", "Not allowed", "no Latchkey-Client")(w, r)
	case session && r.Method == http.MethodPost && refuse != nil:
		refuse(w, r)
	case session && r.Method == http.MethodPost:
		g.login(w, r)
	case strings.HasPrefix(r.URL.Path, "/rcsgw/invitee/optout/") && r.Method == http.MethodPost:
		g.optout(w, r)
	case !known:
		problem(401, "unauthorized", "Wrong or missing credentials", "")(w, r)
	case session && r.Method == http.MethodGet:
		g.inside(w)
	case session && r.Method == http.MethodDelete:
		g.do(func() { g.gone = true })
		w.WriteHeader(http.StatusNoContent)
	default:
		g.serve(w, r)
	}
}

func (g *gateway) login(w http.ResponseWriter, r *http.Request) {
	var body struct{ Passwd string }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.Passwd != password || r.URL.Path != "/rcsgw/invitee/session/"+account {
		problem(401, "unauthorized", "Wrong or missing credentials", "")(w, r)
		return
	}
	g.do(func() { g.cookie = fmt.Sprint("login-", time.Now().UnixNano()) })
	http.SetCookie(w, &http.Cookie{Name: "latchkey", Value: g.cookie, Path: "/rcsgw/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
	g.inside(w)
}

func (g *gateway) optout(w http.ResponseWriter, r *http.Request) {
	var body struct{ Passwd string }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.Passwd != password || r.URL.Path != "/rcsgw/invitee/optout/"+account {
		problem(401, "unauthorized", "Wrong or missing credentials", "")(w, r)
		return
	}
	g.do(func() { g.stopped++ })
	w.WriteHeader(http.StatusNoContent)
}

func (g *gateway) inside(w http.ResponseWriter) {
	g.mu.Lock()
	defer g.mu.Unlock()
	answer(w, 200, map[string]any{"account": account, "expires": "2030-01-02T03:04:05Z", "inviters": g.inviters})
}

func (g *gateway) serve(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	what, id, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/rcsgw/invitee/"), "/")
	if what == "file" {
		g.file(w, r, id)
		return
	}
	var body map[string]string
	if r.Method == http.MethodPost {
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			g.t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
	}
	switch r.Method + " " + strings.TrimPrefix(r.URL.Path, "/rcsgw/invitee/") {
	case "GET message":
		g.history(w, q.Get("with"), q.Get("before"))
	case "POST message":
		g.send(w, r, body)
	case "POST composing":
		g.do(func() { g.composed = append(g.composed, body["state"]) })
		w.WriteHeader(http.StatusNoContent)
	case "POST read":
		g.do(func() { g.read = append(g.read, body["id"]) })
		w.WriteHeader(http.StatusNoContent)
	case "GET push", "POST push":
		g.push(w, r, body)
	case "GET events":
		g.stream(w, r)
	default:
		g.t.Errorf("the page asks %s %s", r.Method, r.URL)
		http.NotFound(w, r)
	}
}

func (g *gateway) history(w http.ResponseWriter, with, before string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := g.talks[with]
	if i := slices.IndexFunc(all, func(m message) bool { return m.ID == before }); i >= 0 {
		all = all[:i]
	}
	answer(w, 200, map[string]any{"messages": append([]message{}, all[max(0, len(all)-50):]...)})
}

func (g *gateway) send(w http.ResponseWriter, r *http.Request, body map[string]string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.refusing != nil {
		g.refusing(w, r)
		return
	}
	talk, status := g.talks[body["to"]], 200
	i := slices.IndexFunc(talk, func(m message) bool { return m.key == body["id"] })
	if i < 0 {
		i, status = len(talk), 202
		talk = append(talk, message{ID: fmt.Sprintf("out-%d", len(talk)), To: body["to"], Text: body["message"], State: "accepted", Time: time.Now().UTC(), key: body["id"]})
		g.talks[body["to"]] = talk
	} else {
		g.repeats++
	}
	if g.loses > 0 {
		// A browser repeats by itself what a dropped connection was to carry; what a proxy says it leaves to the page.
		if g.loses--; g.loses%2 == 0 {
			panic(http.ErrAbortHandler)
		}
		problem(504, "core-timeout", "The proxy gave up", "")(w, r)
		return
	}
	answer(w, status, map[string]any{"id": talk[i].ID, "to": body["to"], "state": talk[i].State, "time": talk[i].Time})
}

func (g *gateway) push(w http.ResponseWriter, r *http.Request, body map[string]string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.key == "":
		problem(404, "not-found", "Not found", "")(w, r)
	case r.Method == http.MethodGet:
		answer(w, 200, map[string]string{"key": g.key})
	default:
		g.pushes = append(g.pushes, body)
		answer(w, 201, map[string]string{"id": fmt.Sprint(len(g.pushes))})
	}
}

func (g *gateway) stream(w http.ResponseWriter, r *http.Request) {
	after, err := strconv.Atoi(r.URL.Query().Get("after"))
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		after, err = strconv.Atoi(id)
	}
	g.mu.Lock()
	if err == nil {
		g.acked = max(g.acked, after)
	}
	g.mu.Unlock()
	if !strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
		g.mu.Lock()
		defer g.mu.Unlock()
		answer(w, 200, map[string]any{"events": append([]event{}, g.events[after:]...), "last": len(g.events)})
		return
	}
	g.do(func() { g.streams = append(g.streams, r.Header.Get("Last-Event-ID")) })
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprint(w, "retry: 100\n: hello\n\n")
	for {
		g.mu.Lock()
		events, more := g.events[after:], g.more
		g.mu.Unlock()
		for _, e := range events {
			b, _ := json.Marshal(e)
			fmt.Fprintf(w, "id: %d\ndata: %s\n\n", e.ID, b)
		}
		after += len(events)
		w.(http.Flusher).Flush()
		select {
		case <-more:
		case <-r.Context().Done():
			return
		}
	}
}

// is waits until a condition about the gateway holds.
func (g *gateway) is(what string, condition func() bool) {
	g.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		var ok bool
		g.do(func() { ok = condition() })
		if ok {
			return
		}
		if time.Now().After(end) {
			g.t.Fatalf("the gateway never saw: %s; requests %q", what, g.requests)
		}
	}
}

// file answers as INTERFACE.md and the draft on resumable uploads have it.
func (g *gateway) file(w http.ResponseWriter, r *http.Request, id string) {
	q := r.URL.Query()
	find := func(match func(*file) bool) (found *file) {
		g.do(func() {
			for _, all := range g.files {
				if i := slices.IndexFunc(all, match); i >= 0 {
					found = all[i]
				}
			}
		})
		return found
	}
	f := find(func(f *file) bool { return f.ID == id })
	switch {
	case id == "" && r.Method == http.MethodGet:
		g.mu.Lock()
		defer g.mu.Unlock()
		all := g.files[q.Get("with")]
		if i := slices.IndexFunc(all, func(f *file) bool { return f.ID == q.Get("before") }); i >= 0 {
			all = all[:i]
		}
		answer(w, 200, map[string]any{"files": append([]*file{}, all[max(0, len(all)-50):]...)})
	case id == "" && r.Method == http.MethodPost:
		g.announce(w, r, find(func(f *file) bool { return f.key == q.Get("id") }))
	case f == nil:
		problem(404, "not-found", "No such file", "")(w, r)
	case r.Method == http.MethodPatch:
		g.receive(w, r, f)
	case r.Method == http.MethodDelete:
		g.do(func() { f.State, f.body = "failed", nil })
		w.WriteHeader(http.StatusNoContent)
	case q.Get("preview") != "":
		w.Header().Set("Content-Type", "image/png")
		_, _ = w.Write(f.body)
	default:
		w.Header().Set("Content-Type", f.Type)
		w.Header().Set("Content-Disposition", "attachment")
		w.Header().Set("Content-Security-Policy", "sandbox; default-src 'none'")
		_, _ = w.Write(f.body)
	}
}

func (g *gateway) announce(w http.ResponseWriter, r *http.Request, f *file) {
	_, params, err := mime.ParseMediaType(r.Header.Get("Content-Disposition"))
	size, bad := strconv.Atoi(r.Header.Get("Upload-Length"))
	if err != nil || bad != nil || r.Header.Get("Upload-Complete") != "?0" || r.ContentLength > 0 {
		g.t.Errorf("the page announces %v", r.Header)
	}
	var complete bool
	g.do(func() {
		if complete = f != nil && f.State != "receiving"; complete {
			answer(w, 200, f)
		}
		if complete || g.refusing != nil {
			return
		}
		if f == nil {
			to := r.URL.Query().Get("to")
			f = &file{ID: fmt.Sprint("file-", len(g.files[to])), To: to, Name: params["filename"], Size: size, Type: r.Header.Get("Content-Type"), State: "receiving", Time: time.Now().UTC(), key: r.URL.Query().Get("id"), digest: r.Header.Get("Repr-Digest")}
			g.files[to] = append(g.files[to], f)
		}
	})
	switch {
	case complete:
	case f == nil:
		g.refusing(w, r)
	default:
		g.do(func() { w.Header().Set("Upload-Offset", strconv.Itoa(len(f.body))) })
		w.Header().Set("Location", "/rcsgw/invitee/file/"+f.ID)
		w.WriteHeader(http.StatusCreated)
	}
}

func (g *gateway) receive(w http.ResponseWriter, r *http.Request, f *file) {
	at, err := strconv.Atoi(r.Header.Get("Upload-Offset"))
	var stands int
	g.do(func() { stands = len(f.body) })
	if err == nil && at != stands { // a browser repeats by itself what a dropped connection was to carry
		problem(409, "mismatching-upload-offset", "The upload stands at another offset", "")(w, r)
		return
	}
	if err != nil || r.Header.Get("Upload-Complete") != "?1" || r.Header.Get("Content-Type") != "application/partial-upload" {
		g.t.Errorf("the page goes on with %v, at %d", r.Header, stands)
	}
	var cut bool
	var slow chan struct{}
	g.do(func() {
		g.resumed = append(g.resumed, at)
		slow = g.slow
		if cut = g.cuts > 0; cut {
			g.cuts--
		}
	})
	half := make([]byte, (f.Size-at)/2)
	if slow != nil || cut {
		if _, err := io.ReadFull(r.Body, half); err != nil {
			panic(http.ErrAbortHandler)
		}
		g.do(func() { f.body = append(f.body, half...) })
	}
	if slow != nil {
		select {
		case <-slow:
		case <-g.over:
			return
		case <-r.Context().Done():
			return
		}
	}
	if cut {
		panic(http.ErrAbortHandler)
	}
	rest, err := io.ReadAll(r.Body)
	g.do(func() {
		f.body = append(f.body, rest...)
		if err == nil && f.State == "receiving" {
			f.State = "accepted"
		}
	})
	g.do(func() { answer(w, 202, f) })
}
