package msrpws_test

import (
	"context"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"latchkey/msrp"
	"latchkey/msrp/msrpws"
	"latchkey/web/webtest"
)

var chromium webtest.Browser

func TestMain(m *testing.M) {
	code := m.Run()
	chromium.Close()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

const patience = time.Minute

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// serve runs a handler on a port of its own and gives its address.
func serve(t *testing.T, opt msrpws.Options) (*msrp.Listener, *msrpws.Handler, string) {
	t.Helper()
	l := msrp.NewListener(nil, msrp.ListenerOptions{})
	opt.Host, opt.Insecure = "127.0.0.1", true
	h := msrpws.NewHandler(l, opt)
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		_ = l.Close()
		s.Close()
	})
	return l, h, "ws" + strings.TrimPrefix(s.URL, "http")
}

// expected is a session of ours that waits for a peer.
func expected(t *testing.T, l *msrp.Listener, h *msrpws.Handler, opt msrp.SessionOptions) *msrp.Session {
	opt.Local = h.NewURI()
	s := msrp.NewSession(opt)
	t.Cleanup(func() { _ = s.Close() })
	l.Expect(s)
	s.SetRemote(path(t, peerURI))
	return s
}

func path(t *testing.T, s string) msrp.Path {
	t.Helper()
	p, err := msrp.ParsePath(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const peerURI = "msrp://192.0.2.1:9/peer0123456789;ws"

// peer is a WebSocket that the test drives: it writes what the test spells out.
type peer struct {
	t  *testing.T
	ws *websocket.Conn
	us string // To-Path of what it sends
}

func dial(t *testing.T, url, us string) *peer {
	t.Helper()
	ws, _, err := websocket.Dial(within(t), url, &websocket.DialOptions{Subprotocols: []string{"msrp"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ws.CloseNow() })
	ws.SetReadLimit(-1)
	return &peer{t, ws, us}
}

// send is a SEND as it stands on the wire.
func (p *peer) send(tid, byteRange, body string, flag string) string {
	s := "MSRP " + tid + " SEND\r\nTo-Path: " + p.us + "\r\nFrom-Path: " + peerURI + "\r\nMessage-ID: m" + tid + "\r\nByte-Range: " + byteRange + "\r\n"
	if body != "" {
		s += "Content-Type: text/plain\r\n\r\n" + body + "\r\n"
	}
	return s + "-------" + tid + flag + "\r\n"
}

func (p *peer) ok(tid string) string {
	return "MSRP " + tid + " 200 OK\r\nTo-Path: " + p.us + "\r\nFrom-Path: " + peerURI + "\r\n-------" + tid + "$\r\n"
}

func (p *peer) write(kind websocket.MessageType, s string) {
	p.t.Helper()
	if err := p.ws.Write(within(p.t), kind, []byte(s)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) text(s string) {
	p.t.Helper()
	p.write(websocket.MessageText, s)
}

func (p *peer) read() (websocket.MessageType, string) {
	p.t.Helper()
	kind, data, err := p.ws.Read(within(p.t))
	if err != nil {
		p.t.Fatal(err)
	}
	return kind, string(data)
}

// expect reads one message, which must be text and be want.
func (p *peer) expect(want string) {
	p.t.Helper()
	if kind, got := p.read(); got != want || kind != websocket.MessageText {
		p.t.Fatalf("%v message\n%q, want text\n%q", kind, got, want)
	}
}

// answer is our response to a SEND of the peer.
func (p *peer) answer(tid, status string) string {
	return "MSRP " + tid + " " + status + "\r\nTo-Path: " + peerURI + "\r\nFrom-Path: " + p.us + "\r\n-------" + tid + "$\r\n"
}

func (p *peer) bind() {
	p.t.Helper()
	p.text(p.send("bind1234", "1-0/0", "", "$"))
	p.expect(p.answer("bind1234", "200 OK"))
}

// chunk is a SEND that the peer has read.
type chunk struct{ tid, head, byteRange, body, flag string }

// asChunk takes a message for exactly one SEND: its end-line is its end, and stands there once.
func asChunk(t *testing.T, message string) chunk {
	t.Helper()
	var c chunk
	line, rest, _ := strings.Cut(message, "\r\n")
	if n, err := fmt.Sscanf(line, "MSRP %s SEND", &c.tid); n != 1 || err != nil {
		t.Fatalf("the message begins %q", line)
	}
	end := "-------" + c.tid
	if strings.Count(message, end) != 1 {
		t.Fatalf("the message has %d end-lines", strings.Count(message, end))
	}
	before, after, _ := strings.Cut(rest, end)
	if len(after) != 3 || after[1:] != "\r\n" {
		t.Fatalf("the message goes on behind its end-line: %q", after)
	}
	c.flag = after[:1]
	c.head, c.body, _ = strings.Cut(before, "\r\n\r\n")
	c.body = strings.TrimSuffix(c.body, "\r\n")
	for line := range strings.SplitSeq(c.head, "\r\n") {
		if v, ok := strings.CutPrefix(line, "Byte-Range: "); ok {
			c.byteRange = v
		}
	}
	return c
}

// keeper keeps messages.
type keeper struct{ got chan string }

func newKeeper() keeper { return keeper{make(chan string, 100)} }

func (k keeper) ServeMSRP(_ *msrp.Session, m *msrp.IncomingMessage) error {
	body, err := io.ReadAll(m.Body)
	if err == nil {
		k.got <- string(body)
	}
	return err
}

func receive[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}
