package sipua

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
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

// enter connects through the door: ours is what sipgo reads, theirs the peer's end.
func enter(t *testing.T, d *door) (ours net.Conn, theirs net.Conn) {
	t.Helper()
	a, b := net.Pipe()
	d.Listener.(*pipes).in <- b
	c, err := d.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return c, a
}

func newDoor() *door { return &door{Listener: &pipes{in: make(chan net.Conn, 1)}, endpoint: bare()} }

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
			d := newDoor()
			ours, theirs := enter(t, d)
			begun := time.Now()
			over := make(chan bool)
			go func() { // ends when the pipe is closed
				defer close(over)
				_, _ = io.WriteString(theirs, c.first)
				for i := range len(c.more) {
					time.Sleep(time.Second)
					if _, err := io.WriteString(theirs, c.more[i:i+1]); err != nil {
						return
					}
				}
			}()
			buf := make([]byte, 65535)
			var err error
			for err == nil {
				_, err = ours.Read(buf)
			}
			if took := time.Since(begun); !errors.Is(err, errSlow) || took != c.want {
				t.Errorf("%s: closed after %v with %v, want %v", c.name, took, err, c.want)
			}
			ours.Close()
			theirs.Close()
			<-over
			if d.open != 0 || len(d.fresh) != 0 {
				t.Errorf("%s: %d open, %d fresh are left", c.name, d.open, len(d.fresh))
			}
		})
	}
}

// F67: of connections that have said nothing the oldest makes room; one that has spoken stays.
func TestSilentConnectionsMakeRoom(t *testing.T) {
	d := newDoor()
	known, peerOfKnown := enter(t, d)
	go io.WriteString(peerOfKnown, (&peer{addr: "h"}).options("x")) // ends when it is read
	if n, err := known.Read(make([]byte, 65535)); n == 0 || err != nil {
		t.Fatal(err)
	}
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

// RFC 3261 §7.5, §18.3, RFC 5626 §4.4.1: what a stream holds is told apart however it is cut.
func TestStreamsAreCutRight(t *testing.T) {
	p := &peer{addr: "h"}
	one := p.options("one", "Content-Length: 4", "Content-Type: a/b", "body=\r\n\r\n")
	two := p.options("two", "Content-Length:\r\n 2", "Content-Type: a/b", "body=hi")
	three := p.options("three", "-Content-Length", "+l:0")
	bad := p.options("bad", "Max-Forwards: many")
	unfolded := strings.Replace(two, ":\r\n 2", ": 2", 1)
	for _, c := range []struct{ name, text, on, answers string }{
		{"three", one + two + "\r\n" + three, one + unfolded + three, ""},
		{"pings", "\r\n\r\n" + one + "\r\n\r\n\r\n\r\n" + three, one + three, "\r\n\r\n\r\n"},
		{"one that is refused", one + bad + three, one + three, "SIP/2.0 400 "},
		{"no length", one + p.options("x", "-Content-Length") + three, one, "SIP/2.0 400 Bad Request - no Content-Length"},
		{"five", one + p.options("x", "Content-Length: five") + three, one, "SIP/2.0 400 "},
		{"two lengths", one + p.options("x", "+l: 0") + three, one, "SIP/2.0 400 "},
		{"too long", one + p.options("x", "Content-Length: 70000", "Content-Type: a/b") + three, one, "SIP/2.0 513 "},
		{"header too long", one + p.options("x", "Subject: "+strings.Repeat("x", maxMessage)) + three, one, ""},
		{"response without length", one + strings.Replace(p.options("x", "-Content-Length"), "OPTIONS sip:b@guest.example SIP/2.0", "SIP/2.0 200 OK", 1), one, ""},
	} {
		for _, size := range []int{1, 7, 100000} {
			d := newDoor()
			ours, theirs := enter(t, d)
			go func() { // ends with the pipe
				for text := c.text; text != ""; {
					n := min(size, len(text))
					if _, err := io.WriteString(theirs, text[:n]); err != nil {
						break
					}
					text = text[n:]
				}
				if tail, _ := strings.CutPrefix(c.name, "one"); tail != c.name || c.name == "three" || c.name == "pings" {
					theirs.Close()
				}
			}()
			var answers strings.Builder
			heard := make(chan bool)
			go func() { _, _ = io.Copy(&answers, theirs); close(heard) }() // ends with the pipe
			var on strings.Builder
			buf := make([]byte, 100)
			for {
				n, err := ours.Read(buf)
				on.Write(buf[:n])
				if err != nil {
					break
				}
			}
			ours.Close()
			theirs.Close()
			<-heard
			if on.String() != c.on {
				t.Errorf("%s by %d: %q goes on, want %q", c.name, size, on.String(), c.on)
			}
			if a := answers.String(); c.name == "pings" && strings.Trim(a, "\r\n") != "" || c.name != "pings" && !strings.HasPrefix(a, c.answers) || c.answers == "" && a != "" && c.name != "header too long" {
				t.Errorf("%s by %d: answers %q", c.name, size, a)
			}
		}
	}
}
