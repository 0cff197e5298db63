package sipua

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/emiago/sipgo/sip"
)

// pipes is a listener without a network, so that time can be a test's own.
type pipes struct {
	in   chan net.Conn
	once sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	c, ok := <-p.in
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.in) }); return nil }
func (p *pipes) Addr() net.Addr { return someone }

// enter connects through the door.
func enter(t *testing.T, d *door) (ours *place, theirs net.Conn) {
	t.Helper()
	a, b := net.Pipe()
	d.Listener.(*pipes).in <- b
	c, err := d.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return placeOf(c), a
}

func newDoor() *door { return &door{&pipes{in: make(chan net.Conn, 1)}, new(places)} }

// F67: a message that doesn't come to its end is not waited for, however it trickles; a connection that has proven itself may be quiet for long.
func TestSlowPeersLoseTheirPlace(t *testing.T) {
	p := &peer{addr: "h"}
	whole := p.options("x")
	for _, c := range []struct {
		name  string
		first string        // at once
		more  string        // one byte a second
		want  time.Duration // until the connection is closed
	}{
		{"silent", "", "", messageTime},
		{"half a line", "OPTIONS sip:", "", messageTime},
		{"trickle", "", strings.Repeat("X: y\r\n", 100), messageTime},
		{"half a body", strings.Replace(whole, "Content-Length: 0", "Content-Length: 9", 1), "", messageTime},
		{"quiet after a message", whole, "", idleTime},
		{"trickle after a message", whole, strings.Repeat("X", 100), messageTime + time.Second},
		{"keep-alives only", "\r\n", "", messageTime},
	} {
		synctest.Test(t, func(t *testing.T) {
			e, err := Listen(Options{})
			if err != nil {
				t.Fatal(err)
			}
			e.Handle(func(tx *Transaction) { _ = tx.Respond(200, "") })
			in := &pipes{in: make(chan net.Conn, 1)}
			e.listeners = append(e.listeners, in)
			e.running.Go(func() { _ = e.accept(&door{in, &e.places}, "tcp", nil) }) // ends by Close
			theirs, ours := net.Pipe()
			in.in <- ours
			begun := time.Now()
			said := make(chan struct{})
			go func() { // ends when the pipe is closed
				defer close(said)
				_, _ = io.WriteString(theirs, c.first)
				for i := range len(c.more) {
					time.Sleep(time.Second)
					if _, err := io.WriteString(theirs, c.more[i:i+1]); err != nil {
						return
					}
				}
			}()
			over := make(chan error)
			go func() { // ends when the pipe is closed
				_, err := io.Copy(io.Discard, theirs)
				over <- err
			}()
			synctest.Wait()
			if e.places.mu.Lock(); e.places.open != 1 || (len(e.places.fresh) == 0) != (c.first == whole) {
				t.Errorf("%s: %d open, %d fresh", c.name, e.places.open, len(e.places.fresh))
			}
			e.places.mu.Unlock()
			if err := <-over; err != nil || time.Since(begun) != c.want {
				t.Errorf("%s: closed after %v with %v, want %v", c.name, time.Since(begun), err, c.want)
			}
			synctest.Wait()
			if e.places.open != 0 || len(e.places.fresh) != 0 {
				t.Errorf("%s: %d open, %d fresh are left", c.name, e.places.open, len(e.places.fresh))
			}
			theirs.Close()
			<-said
			if err := e.Close(); err != nil {
				t.Errorf("Close = %v", err)
			}
		})
	}
}

// F67: the same on a WebSocket, whose messages have a length of their own.
func TestSlowWebSocketsLoseTheirPlace(t *testing.T) {
	whole := (&peer{addr: "h"}).options("x")
	for _, c := range []struct {
		name, first, part string // part of a message that has no end
		want              time.Duration
	}{
		{"silent", "", "", messageTime},
		{"half a message", "", "OPTIONS sip:", messageTime},
		{"keep-alives only", "\r\n\r\n", "", messageTime},
		{"quiet after a message", whole, "", idleTime},
		{"half a message after one", whole, "OPTIONS sip:", messageTime},
	} {
		synctest.Test(t, func(t *testing.T) {
			e, err := Listen(Options{})
			if err != nil {
				t.Fatal(err)
			}
			e.Handle(func(tx *Transaction) { _ = tx.Respond(200, "") })
			in := &pipes{in: make(chan net.Conn, 1)}
			e.listeners = append(e.listeners, in)
			e.running.Go(func() { _ = e.acceptWS(&door{in, &e.places}, "ws") }) // ends by Close
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
				theirs, ours := net.Pipe()
				in.in <- ours
				return theirs, nil
			}}}
			ws, _, err := websocket.Dial(t.Context(), "ws://h/", &websocket.DialOptions{HTTPClient: client, Subprotocols: []string{"sip"}})
			if err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			over := make(chan struct{})
			go func() { // ends with the connection
				defer close(over)
				for err := error(nil); err == nil; _, _, err = ws.Read(t.Context()) {
				}
			}()
			if c.first != "" {
				if err := ws.Write(t.Context(), websocket.MessageText, []byte(c.first)); err != nil {
					t.Error(err)
				}
			}
			if c.part != "" {
				w, err := ws.Writer(t.Context(), websocket.MessageText)
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.WriteString(w, strings.Repeat(c.part, 1000)) // more than the writer keeps
			}
			if <-over; time.Since(begun) != c.want {
				t.Errorf("%s: closed after %v, want %v", c.name, time.Since(begun), c.want)
			}
			_ = ws.CloseNow()
			if err := e.Close(); err != nil {
				t.Errorf("Close = %v", err)
			}
			if e.places.open != 0 || len(e.places.fresh) != 0 {
				t.Errorf("%s: %d open, %d fresh are left", c.name, e.places.open, len(e.places.fresh))
			}
		})
	}
}

// F67: whatever a listener speaks, who comes there has a place from the first byte on, and is known once it has spoken SIP.
func TestEachKindOfConnectionHasAPlace(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	for _, network := range []string{"tcp", "tls", "ws", "wss"} {
		e := listenTLS(t, a.shows(a.issue("127.0.0.1")), "", func(tx *Transaction) { _ = tx.Respond(200, "") }, network+":127.0.0.1:0")
		holds := func(open, fresh int) bool {
			e.places.mu.Lock()
			defer e.places.mu.Unlock()
			return e.places.open == open && len(e.places.fresh) == fresh
		}
		await := func(when string, open, fresh int) {
			t.Helper()
			for end := time.Now().Add(patience); !holds(open, fresh); time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("%s: %s there are not %d open and %d fresh", network, when, open, fresh)
				}
			}
		}
		silent, err := net.Dial("tcp", e.at(network))
		if err != nil {
			t.Fatal(err)
		}
		await("with a silent one", 1, 1)
		client := listenTLS(t, a.shows(nil), "", nil, "udp:127.0.0.1:0")
		req, _ := NewRequest(sip.OPTIONS, "sip:"+e.at(network)+";transport="+network, "sip:b@guest.example", "sip:a@cc.com")
		if res, err := client.Do(bounded(t), req); err != nil || res.StatusCode != 200 {
			t.Fatalf("%s: Do = %v, %v", network, res, err)
		}
		await("with one that has spoken beside it", 2, 1)
		silent.Close()
		client.Close()
		await("in the end", 0, 0)
	}
}

// F67: of connections that have said nothing the oldest makes room; one that has spoken stays.
func TestSilentConnectionsMakeRoom(t *testing.T) {
	d := newDoor()
	known, peerOfKnown := enter(t, d)
	known.proven(false)
	var all []net.Conn
	for range maxFresh + 10 {
		_, theirs := enter(t, d)
		all = append(all, theirs)
	}
	for i, c := range all[:13] {
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		_, err := c.Read(make([]byte, 1))
		if closed := errors.Is(err, io.EOF); closed != (i < 10) {
			t.Errorf("connection %d: %v", i, err)
		}
	}
	_ = peerOfKnown.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := peerOfKnown.Read(make([]byte, 1)); errors.Is(err, io.EOF) {
		t.Error("one that has spoken had to go")
	}
	if d.open != maxFresh+1 || len(d.fresh) != maxFresh {
		t.Errorf("%d open, %d fresh", d.open, len(d.fresh))
	}
	d.open = maxConns
	a, b := net.Pipe()
	d.Listener.(*pipes).in <- b
	go d.Accept() // ends with the listener
	_ = a.SetReadDeadline(time.Now().Add(patience))
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("one too many: %v", err)
	}
	d.Listener.Close()
}

// F67: an endpoint with more half-open connections than it keeps serves the next one.
func TestHalfOpenConnectionsDisturbNobody(t *testing.T) {
	t.Parallel()
	e := listen(t, func(tx *Transaction) { _ = tx.Respond(200, "") }, "tcp:127.0.0.1:0")
	for range maxFresh + 200 {
		c, err := net.Dial("tcp", e.at("tcp"))
		if err != nil {
			t.Skipf("this machine doesn't give so many sockets: %v", err)
		}
		defer c.Close()
		_, _ = io.WriteString(c, "OPTIONS sip:b@guest.example SIP/2.0\r\nVia: ")
	}
	c, err := net.Dial("tcp", e.at("tcp"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(c, (&peer{addr: "127.0.0.1:9"}).options("served"))
	if line, err := bufio.NewReader(c).ReadString('\n'); line != "SIP/2.0 200 OK\r\n" {
		t.Errorf("%q, %v", line, err)
	}
}

// RFC 3261 §7.5, §18.3, RFC 5626 §4.4.1: what a stream holds is told apart however it is cut; where nobody can know where the next message
// begins, that is said and the stream is closed, and so is one that never was SIP.
func TestStreamsAreCutRight(t *testing.T) {
	t.Parallel()
	p := &peer{addr: "h"}
	one := p.options("one", "Content-Length: 4", "Content-Type: a/b", "body=\r\n\r\n")
	two := p.options("two", "Content-Length:\r\n 2", "Content-Type: a/b", "body=hi")
	three := p.options("three", "-Content-Length", "+l:0")
	fine := regexp.MustCompile(`SIP/2\.0 200 [^\r]*\r\n(?:[^\r]+\r\n)*\r\n`)
	const lost, known = "SIP/2.0 400 Bad Request - no Content-Length", "one=\r\n\r\n"
	for _, c := range []struct {
		name, text, served string
		answer             string // beside 200
		closed             bool
	}{
		{"three", one + two + "\r\n" + three, known + " three= two=hi", "", false},
		{"pings", "\r\n\r\n" + one + "\r\n\r\n\r\n\r\n" + three, known + " three=", "\r\n\r\n\r\n", false},
		{"one that is refused", one + p.options("bad", "Max-Forwards: many") + three, known + " three=", "SIP/2.0 400 ", false},
		{"no length", one + p.options("x", "-Content-Length") + three, known, lost, true},
		{"no length at first", p.options("x", "-Content-Length"), "", lost, true},
		{"five", one + p.options("x", "Content-Length: five") + three, known, "SIP/2.0 400 Bad Request - invalid Content-Length", true},
		{"negative", one + p.options("x", "Content-Length: -1") + three, known, "SIP/2.0 400 Bad Request - invalid Content-Length", true},
		{"two lengths", one + p.options("x", "+l: 0") + three, known, "SIP/2.0 400 Bad Request - more than one l", true},
		{"two lengths that differ", one + p.options("x", "Content-Length: 1", "+l: 0", "body=x") + three, known, "SIP/2.0 400 Bad Request - more than one l", true},
		{"too long", one + p.options("x", "Content-Length: 70000", "Content-Type: a/b") + three, known, "SIP/2.0 513 ", true},
		{"header too long", one + p.options("x", "Subject: "+strings.Repeat("x", maxMessage))[:maxMessage+1], known, "SIP/2.0 ", true},
		{"response without length", one + strings.Replace(p.options("x", "-Content-Length"), "OPTIONS sip:b@guest.example SIP/2.0", "SIP/2.0 200 OK", 1), known, "", true},
		{"fields without end", strings.Repeat("X: y\r\n", 12000), "", "", true},
		{"HTTP", "GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "", "", true},
		{"HTTP after SIP", one + "GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n" + three, known + " three=", "", false},
	} {
		for _, size := range []int{1, 7, 100000} {
			if size == 1 && len(c.text) > 10000 {
				continue
			}
			var mu sync.Mutex
			var served []string
			e := listen(t, func(tx *Transaction) {
				mu.Lock()
				served = append(served, tx.Request.CallID().Value()+"="+string(tx.Request.Body()))
				mu.Unlock()
				_ = tx.Respond(200, "")
			}, "tcp:127.0.0.1:0")
			conn, err := net.Dial("tcp", e.at("tcp"))
			if err != nil {
				t.Fatal(err)
			}
			go func() { // ends with the connection
				text := c.text
				if c.closed && size < 100000 {
					text = strings.TrimSuffix(text, three) // or the answer could be lost by what is sent after the end
				}
				for text != "" {
					n := min(size, len(text))
					if _, err := io.WriteString(conn, text[:n]); err != nil {
						return
					}
					text = text[n:]
				}
			}()
			_ = conn.SetDeadline(time.Now().Add(patience))
			var all, others string // of the answers
			right := func() bool {
				if c.answer == "" || c.name == "pings" {
					return others == c.answer
				}
				return strings.HasPrefix(others, c.answer)
			}
			buf := make([]byte, 65536)
			for c.closed || strings.Count(all, "SIP/2.0 200 ") < strings.Count(c.served, "=") || !right() {
				n, err := conn.Read(buf)
				all += string(buf[:n])
				others = fine.ReplaceAllString(all, "")
				if err != nil {
					if closed := !errors.Is(err, os.ErrDeadlineExceeded); closed != c.closed {
						t.Errorf("%s by %d: %v, closed: %t, want %t", c.name, size, err, closed, c.closed)
					}
					break
				}
			}
			conn.Close()
			for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) { // handlers run beside the reader
				mu.Lock()
				n := len(served)
				mu.Unlock()
				if n >= strings.Count(c.served, "=") {
					break
				}
			}
			mu.Lock()
			slices.Sort(served)
			if got := strings.Join(served, " "); got != c.served {
				t.Errorf("%s by %d: %q is served, want %q", c.name, size, got, c.served)
			}
			mu.Unlock()
			if !right() {
				t.Errorf("%s by %d: answered by %q, want %q; all is %q", c.name, size, others, c.answer, all)
			}
		}
	}
}
