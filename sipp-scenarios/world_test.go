package scenarios

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"latchkey"
	"latchkey/directory"
	"latchkey/gateway"

	_ "modernc.org/sqlite" // to look into the data file
)

// world is a whole gateway between real parts: two Kamailios, one as core and one as the
// server for messages, Mailpit, and whoever the test sends to it.
type world struct {
	t        *testing.T
	core, im *core
	mail     *mailbox
	args     []string
	data     string
	sip      int
	msrp     int

	gateway *gateway.Gateway
	ended   chan error
}

// newWorld starts all of it. auth is the gateway's sip-auth; defines are the Kamailios'.
func newWorld(t *testing.T, auth string, defines ...string) *world {
	t.Helper()
	return newWorldAt(t, freePort(t), nil, auth, defines...)
}

// newWorldWith is newWorld with further options of the gateway.
func newWorldWith(t *testing.T, auth string, args []string, defines ...string) *world {
	t.Helper()
	return newWorldAt(t, freePort(t), args, auth, defines...)
}

// newWorldAt is newWorldWith where the Kamailios must know the gateway's port. The core sends to it what is for people who aren't registered.
func newWorldAt(t *testing.T, sip int, args []string, auth string, defines ...string) *world {
	t.Helper()
	need(t, "sipp", "apt-get install sip-tester") // before anything is started for nothing
	w := &world{t: t, mail: startMailbox(t), im: startCore(t, defines...), sip: sip, msrp: freePort(t)}
	w.core = startCore(t, append(defines, fmt.Sprintf(`UNREGISTERED="127.0.0.1:%d"`, w.sip))...)
	dir := t.TempDir()
	hash, err := directory.HashPassword("wonderland")
	if err != nil {
		t.Fatal(err)
	}
	users := filepath.Join(dir, "users.yaml")
	text := fmt.Sprintf("users:\n  - uri: %s\n    uid: \"10001\"\n    email: a@cc.com\n    name: Alice\n    password: %q\n    level: 3\n    state: active\n", alice, hash)
	if err := os.WriteFile(users, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	w.data = filepath.Join(dir, "latchkey.db")
	w.args = []string{
		"--data", w.data, "--directory", "file:" + users, "--mail", "smtp://" + w.mail.smtp, "--mail-from", "invitations@cc.com",
		"--http-listen", fmt.Sprintf("127.0.0.1:%d", freePort(t)), "--admin-listen", "127.0.0.1:0",
		"--sip-listen", fmt.Sprintf("udp:127.0.0.1:%d,tcp:127.0.0.1:%d", w.sip, w.sip), "--msrp-listen", fmt.Sprintf("tcp:127.0.0.1:%d", w.msrp),
		"--sip-core", w.core.uri(), "--im-server", w.im.uri(), "--sip-auth", auth,
	}
	w.args = append(w.args, args...)
	w.open()
	t.Cleanup(w.close)
	return w
}

// open starts the gateway as `latchkey serve` does.
func (w *world) open() {
	w.t.Helper()
	config, err := gateway.Load(w.args, func(string) string { return "" })
	if err != nil {
		w.t.Fatalf("Load = %v", err)
	}
	g, err := gateway.New(config, nil)
	if err != nil {
		w.t.Fatalf("New = %v", err)
	}
	w.gateway, w.ended = g, make(chan error, 1)
	ended := w.ended
	go func() { ended <- g.Run(context.Background()) }() // ends with Shutdown
}

// move starts the gateway again with its SIP on another port.
func (w *world) move(port int) {
	w.t.Helper()
	w.close()
	for i, a := range w.args {
		w.args[i] = strings.ReplaceAll(a, fmt.Sprintf("127.0.0.1:%d,tcp:127.0.0.1:%d", w.sip, w.sip), fmt.Sprintf("127.0.0.1:%d,tcp:127.0.0.1:%d", port, port))
	}
	w.sip = port
	w.open()
}

// close shuts the gateway down. The second time it does nothing.
func (w *world) close() {
	w.t.Helper()
	if w.gateway == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := w.gateway.Shutdown(ctx); err != nil {
		w.t.Errorf("Shutdown = %v", err)
	}
	select {
	case err := <-w.ended:
		if err != nil {
			w.t.Errorf("Run = %v", err)
		}
	case <-ctx.Done():
		w.t.Error("Run does not return after Shutdown")
	}
	w.gateway = nil
}

// rows counts what is in each table of the data file; empty ones are left out.
func (w *world) rows() map[string]int {
	w.t.Helper()
	db, err := sql.Open("sqlite", "file:"+w.data+"?mode=ro")
	if err != nil {
		w.t.Fatal(err)
	}
	defer db.Close()
	names, err := db.Query("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'goose%' AND name NOT LIKE 'sqlite%'")
	if err != nil {
		w.t.Fatal(err)
	}
	var tables []string
	for names.Next() {
		var name string
		if err := names.Scan(&name); err != nil {
			w.t.Fatal(err)
		}
		tables = append(tables, name)
	}
	if err := names.Err(); err != nil || len(tables) < 5 {
		w.t.Fatalf("tables %v, %v", tables, err)
	}
	counts := map[string]int{}
	for _, name := range tables {
		var n int
		if err := db.QueryRow("SELECT count(*) FROM " + name).Scan(&n); err != nil {
			w.t.Fatal(err)
		}
		if n > 0 {
			counts[name] = n
		}
	}
	return counts
}

// count reads a number from the data file.
func (w *world) count(query string) (n int) {
	w.t.Helper()
	db, err := sql.Open("sqlite", "file:"+w.data+"?mode=ro")
	if err != nil {
		w.t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRow(query).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// client is somebody with net/http.
type client struct {
	t              *testing.T
	base           string
	user, password string // "": by cookie
	http           *http.Client
	last           int64 // the last event that was read
}

func (w *world) client(user, password string) *client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	c := &client{t: w.t, base: w.gateway.URL(), user: user, password: password, http: &http.Client{Jar: jar, Timeout: 2 * patience}}
	w.t.Cleanup(c.http.CloseIdleConnections)
	return c
}

// inviter is A.
func (w *world) inviter() *client { return w.client(alice, "wonderland") }

func (c *client) request(ctx context.Context, method, path string, body any) *http.Response {
	c.t.Helper()
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			c.t.Fatal(err)
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, r)
	if err != nil {
		c.t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if path == eventsPath {
		req.Header.Set("Accept", "text/event-stream")
	}
	if c.user != "" {
		req.SetBasicAuth(c.user, c.password)
	} else {
		req.Header.Set("Latchkey-Client", "test") // who has a cookie says that no foreign page asks
	}
	res, err := c.http.Do(req)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	return res
}

// do sends JSON, reads JSON into what into points at, and returns the status and the body.
func (c *client) do(method, path string, body, into any) (int, string) {
	c.t.Helper()
	res := c.request(c.t.Context(), method, path, body)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	if into != nil && res.StatusCode < 300 {
		if err := json.Unmarshal(text, into); err != nil {
			c.t.Fatalf("%s %s: %v in %s", method, path, err, text)
		}
	}
	return res.StatusCode, string(text)
}

const (
	userPath    = "/rcsgw/invitee/user"
	messagePath = "/rcsgw/invitee/message"
	eventsPath  = "/rcsgw/invitee/events"
)

func sessionPath(account string) string { return "/rcsgw/invitee/session/" + url.PathEscape(account) }

// problem is an error's body (RFC 9457).
type problem struct{ Type, Detail string }

func problemOf(text string) problem {
	var p problem
	_ = json.Unmarshal([]byte(text), &p)
	return p
}

// invited asks for an invitation of B and follows the mail to the account and its password.
func (w *world) invited(interactions ...string) (account, password string, mailed mail) {
	w.t.Helper()
	var answer struct {
		Account, Notification string
		Registered            bool
	}
	asked := map[string]any{"email": "b@cc.com", "name": "Bob"}
	if len(interactions) > 0 {
		asked["interactions"] = interactions
	}
	status, text := w.inviter().do("POST", userPath, asked, &answer)
	if status != http.StatusCreated || !answer.Registered || answer.Account != string(bob) {
		w.t.Fatalf("invite = %d %s, want 201 with %s registered", status, text, bob)
	}
	mailed = w.mail.wait()
	link, err := url.Parse(linkIn(mailed.Text))
	if err != nil || link.Query().Get("passwd") == "" {
		w.t.Fatalf("no link in the mail: %v\n%s", err, mailed.Text)
	}
	account = strings.TrimPrefix(link.Path, "/rcsgw/invitee/session/")
	password = link.Query().Get("passwd")
	if strings.Contains(text, password) || "http://"+link.Host != w.gateway.URL() {
		w.t.Errorf("invite = %s with the link %s", text, link)
	}
	return account, password, mailed
}

// linkIn is the first link of a text.
func linkIn(text string) string {
	i := strings.Index(text, "http")
	if i < 0 {
		return ""
	}
	link, _, _ := strings.Cut(text[i:], "\n")
	return strings.TrimSpace(link)
}

// login is the guest with the cookie of the login.
func (w *world) login(account, password string) *client {
	w.t.Helper()
	b := w.client("", "")
	var answer struct {
		Account  string
		Inviters []struct {
			URI, UID     string
			Interactions []string
		}
	}
	status, text := b.do("POST", sessionPath(account), map[string]string{"passwd": password}, &answer)
	if status != http.StatusOK || answer.Account != account || len(answer.Inviters) != 1 || answer.Inviters[0].URI != alice || answer.Inviters[0].UID != "10001" {
		w.t.Fatalf("login = %d %s, want 200 with A", status, text)
	}
	return b
}

// send posts a message to A and returns its id.
func (c *client) send(text string) string {
	c.t.Helper()
	var answer struct{ ID, State string }
	status, body := c.do("POST", messagePath, map[string]string{"to": alice, "message": text}, &answer)
	if status != http.StatusAccepted || answer.State != "accepted" || answer.ID == "" {
		c.t.Fatalf("POST message = %d %s, want 202 accepted", status, body)
	}
	return answer.ID
}

// read reads the events that are there, after all that were read before, and acknowledges those.
func (c *client) read(wait int) []latchkey.Event {
	c.t.Helper()
	var answer struct {
		Events []latchkey.Event
		Last   int64
	}
	status, text := c.do("GET", fmt.Sprintf("%s?after=%d&wait=%d", eventsPath, c.last, wait), nil, &answer)
	if status != http.StatusOK {
		c.t.Fatalf("GET events = %d %s", status, text)
	}
	c.last = max(c.last, answer.Last)
	return answer.Events
}

// event reads until the wanted event is there. Those before it are gone.
func (c *client) event(what string, want func(latchkey.Event) bool) latchkey.Event {
	c.t.Helper()
	var seen []latchkey.Event
	for end := time.Now().Add(patience); time.Now().Before(end); {
		for _, e := range c.read(2) {
			if want(e) {
				return e
			}
			seen = append(seen, e)
		}
	}
	c.t.Fatalf("no event: %s; there were %+v", what, seen)
	return latchkey.Event{}
}

func (c *client) message(text string) latchkey.Event {
	c.t.Helper()
	return c.event("message "+text, func(e latchkey.Event) bool {
		return e.Type == latchkey.MessageEvent && e.From == alice && e.Message.Text == text
	})
}

func (c *client) delivery(id, state string) {
	c.t.Helper()
	c.event("delivery of "+id+" "+state, func(e latchkey.Event) bool {
		return e.Type == latchkey.DeliveryEvent && string(e.Message.ID) == id && string(e.Message.State) == state
	})
}

// stream reads events by SSE until the test or the stream ends, which closes the channel.
func (c *client) stream() <-chan latchkey.Event {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	res := c.request(ctx, "GET", eventsPath, nil)
	if got := res.Header.Get("Content-Type"); res.StatusCode != http.StatusOK || !strings.HasPrefix(got, "text/event-stream") {
		c.t.Fatalf("GET events = %s, %s, want SSE", res.Status, got)
	}
	events := make(chan latchkey.Event, 100)
	c.t.Cleanup(cancel)
	go func() { // ends with the stream
		defer close(events)
		defer res.Body.Close()
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			data, ok := strings.CutPrefix(lines.Text(), "data:")
			var e latchkey.Event
			if ok && json.Unmarshal([]byte(data), &e) == nil {
				select {
				case events <- e:
				default:
				}
			}
		}
	}()
	return events
}

// streamed waits for a message on a stream.
func streamed(t *testing.T, events <-chan latchkey.Event, text string) {
	t.Helper()
	for end := time.After(patience); ; {
		select {
		case e, ok := <-events:
			if !ok {
				t.Fatalf("the stream ended without %q", text)
			}
			if e.Type == latchkey.MessageEvent && e.Message.Text == text {
				return
			}
		case <-end:
			t.Fatalf("no event with %q on the stream", text)
		}
	}
}
