package msrpws_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"latchkey/msrp/msrpws"
)

// pair is a connection of ours and a WebSocket at the other end, which is the server.
func pair(t *testing.T, limits msrpws.Limits) (net.Conn, *peer) {
	t.Helper()
	accepted := make(chan *websocket.Conn, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"msrp"}}); err == nil {
			accepted <- ws
		}
	}))
	t.Cleanup(s.Close)
	nc, err := msrpws.Dial(within(t), s.URL, msrpws.DialOptions{Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	ws := receive(t, accepted)
	t.Cleanup(func() { _ = ws.CloseNow() })
	ws.SetReadLimit(-1)
	return nc, &peer{t, ws, peerURI}
}

// Whatever pieces a writer writes, each chunk leaves as one message.
func TestWritesBecomeMessages(t *testing.T) {
	nc, p := pair(t, msrpws.Limits{})
	chunks := []string{
		p.send("first123", "1-0/0", "", "$"),
		p.send("second12", "1-5/5", "Hello", "$"),
		p.send("third123", "1-*/*", "-------third123\r\n-------third123+ \r\n\r\n-------third12$\r\n\r\n-------third123!\r\n", "+"),
		p.ok("fourth12"),
		p.send("fifth123", "1-9000/9000", strings.Repeat("long", 2250), "#"),
	}
	all := strings.Join(chunks, "")
	for _, size := range []int{1, 2, 3, 11, 100, 4096, len(all)} {
		go func() { // ends with what it writes
			for rest := all; rest != ""; rest = rest[min(size, len(rest)):] {
				if n, err := io.WriteString(nc, rest[:min(size, len(rest))]); err != nil || n != min(size, len(rest)) {
					t.Errorf("Write = %d, %v", n, err)
				}
			}
		}()
		for _, want := range chunks {
			p.expect(want)
		}
	}
	if n, err := io.WriteString(nc, "no chunk"); err == nil || n != 0 {
		t.Errorf("Write of what is no chunk = %d, %v", n, err)
	}
}

// What a writer never ends is not gathered for ever.
func TestEndlessChunkIsAnError(t *testing.T) {
	nc, p := pair(t, msrpws.Limits{MaxChunk: 10_000})
	_, _ = io.WriteString(nc, strings.TrimSuffix(p.send("first123", "1-*/*", "x", "$"), "\r\n-------first123$\r\n"))
	written, err := 0, error(nil)
	for n := 0; err == nil && written < 1<<20; written += n {
		n, err = io.WriteString(nc, strings.Repeat("x", 1000))
	}
	if err == nil || written < 10_000 || written > 70_000 {
		t.Errorf("%d octets of a chunk were gathered: %v", written, err)
	}
}

// net.Conn: a read deadline bounds a Read, and one that was passed can be moved.
func TestReadDeadline(t *testing.T) {
	nc, p := pair(t, msrpws.Limits{})
	buf := make([]byte, 1000)
	read := func() error {
		_, err := nc.Read(buf)
		return err
	}
	_ = nc.SetReadDeadline(time.Now().Add(-time.Second))
	if err := read(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read after the deadline = %v", err)
	}
	_ = nc.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
	if err := read(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read over the deadline = %v", err)
	}
	_ = nc.SetReadDeadline(time.Time{})
	waiting := make(chan error, 1)
	go func() { waiting <- read() }()
	_ = nc.SetReadDeadline(time.Now().Add(30 * time.Millisecond)) // while it waits, or just before
	if err := receive(t, waiting); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read that waited = %v", err)
	}
	_ = nc.SetReadDeadline(time.Now().Add(patience))
	p.text(p.ok("first123"))
	if n, err := nc.Read(buf); err != nil || string(buf[:n]) != p.ok("first123") {
		t.Errorf("Read with time = %q, %v", buf[:n], err)
	}
	p.text(p.ok("second12"))
	if n, err := nc.Read(buf[:10]); err != nil || string(buf[:n]) != "MSRP secon" {
		t.Errorf("Read of a part = %q, %v", buf[:n], err)
	}
	_ = nc.SetReadDeadline(time.Now().Add(-time.Second))
	if err := read(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read within a chunk after the deadline = %v", err)
	}
	_ = nc.SetDeadline(time.Time{})
	if n, err := io.ReadFull(nc, buf[:len(p.ok("second12"))-10]); err != nil || string(buf[:n]) != p.ok("second12")[10:] {
		t.Errorf("Read of the rest = %q, %v", buf[:n], err)
	}
}

// net.Conn: a Write over its deadline ends. Since half a message is out the connection does, too.
func TestWriteDeadline(t *testing.T) {
	nc, p := pair(t, msrpws.Limits{MaxChunk: 1 << 20})
	_ = nc.SetWriteDeadline(time.Now().Add(-time.Second))
	if n, err := io.WriteString(nc, p.ok("first123")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Write after the deadline = %d, %v", n, err)
	}
	_ = nc.SetWriteDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(nc, p.ok("second12")); err != nil {
		t.Errorf("Write with time = %v", err)
	}
	p.expect(p.ok("second12"))
	full := make(chan error, 1)
	long := p.send("long1234", "1-*/*", strings.Repeat("x", 1<<20), "+")
	go func() {
		for {
			if _, err := io.WriteString(nc, long); err != nil {
				full <- err
				return
			}
		}
	}()
	_ = nc.SetWriteDeadline(time.Now().Add(200 * time.Millisecond)) // the peer reads nothing
	if err := receive(t, full); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Write over the deadline = %v", err)
	}
}

// RFC 6455 §7.1.1: who closes says so, and who is told reads the end.
func TestCloseHandshake(t *testing.T) {
	nc, p := pair(t, msrpws.Limits{})
	waiting := make(chan error, 1)
	go func() {
		_, err := nc.Read(make([]byte, 1))
		waiting <- err
	}()
	_ = nc.Close()
	if err := receive(t, waiting); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read that waits for Close = %v", err)
	}
	if _, err := io.WriteString(nc, p.ok("first123")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write after Close = %v", err)
	}
	if err := nc.Close(); err != nil {
		t.Errorf("the second Close = %v", err)
	}
	if _, _, err := p.ws.Read(within(t)); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Errorf("the peer reads %v", err)
	}

	for code, want := range map[websocket.StatusCode]error{
		websocket.StatusNormalClosure: io.EOF, websocket.StatusGoingAway: io.EOF, websocket.StatusInternalError: websocket.CloseError{Code: websocket.StatusInternalError},
		0: io.ErrUnexpectedEOF,
	} {
		nc, p := pair(t, msrpws.Limits{})
		p.text(p.ok("first123"))
		go func() {
			if code == 0 {
				_ = p.ws.CloseNow()
				return
			}
			_ = p.ws.Close(code, "")
		}()
		all, err := io.ReadAll(nc)
		if err == nil {
			err = io.EOF
		}
		if string(all) != p.ok("first123") || !errors.Is(err, want) {
			t.Errorf("code %d: read %q, %v; want %v", code, all, err, want)
		}
	}
}

// A peer that neither reads nor answers holds neither Close up nor a Write that is under way.
func TestCloseDoesNotWaitForADeadPeer(t *testing.T) {
	nc, p := pair(t, msrpws.Limits{MaxChunk: 1 << 20})
	writing := make(chan error, 1)
	var written atomic.Int32
	go func() {
		for {
			if _, err := io.WriteString(nc, p.send("long1234", "1-*/*", strings.Repeat("x", 1<<20), "+")); err != nil {
				writing <- err
				return
			}
			written.Add(1)
		}
	}()
	for last, since := written.Load(), time.Now(); time.Since(since) < 300*time.Millisecond; time.Sleep(10 * time.Millisecond) {
		if n := written.Load(); n != last || n == 0 {
			last, since = n, time.Now()
		}
	}
	begin := time.Now()
	_ = nc.Close()
	if err := receive(t, writing); !errors.Is(err, net.ErrClosed) || time.Since(begin) > 1500*time.Millisecond { // the handshake alone would take 2 s
		t.Errorf("after %v Write = %v", time.Since(begin), err)
	}
}
