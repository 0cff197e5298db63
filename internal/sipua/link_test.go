package sipua

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"
)

// B2.09, RFC 3261 §18.3, §7.5: messages are cut out by Content-Length, however the bytes arrive, with line ends between them.
func TestMessagesAreCutOutOfTheStream(t *testing.T) {
	t.Parallel()
	p := newPeer(t, true)
	bodies := make(chan string, 8)
	e := listen(t, func(tx *Transaction) { bodies <- string(tx.Request.Body()); _ = tx.Respond(200, "") })
	message := func(branch, length, body string) string {
		return p.options(branch, "Via: SIP/2.0/TCP "+p.addr+";branch=z9hG4bK"+branch, "-Content-Length", "Content-Type: text/plain", "+"+length, "body="+body)
	}
	conn, err := net.Dial("tcp", e.at("tcp"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	all := "\r\n" + message("1", "Content-Length: 6", "a\r\n\r\nb") + message("2", "l : 4", "two!") + "\r\n\r\n" + message("3", "CONTENT-LENGTH:\r\n 0005", "three")
	for i := range len(all) {
		_, _ = conn.Write([]byte{all[i]}) // each in a segment of its own, or not
	}
	got := map[string]bool{}
	for range 3 {
		select {
		case b := <-bodies:
			got[b] = true
		case <-time.After(patience):
			t.Fatalf("%v", got)
		}
	}
	if !got["a\r\n\r\nb"] || !got["two!"] || !got["three"] {
		t.Errorf("%v", got)
	}
	// One segment with all of them.
	all = message("4", "Content-Length: 4", "four") + message("5", "Content-Length: 4", "five") + message("6", "Content-Length: 3", "s")[:20]
	_, _ = conn.Write([]byte(all))
	for range 2 {
		if b := <-bodies; b != "four" && b != "five" {
			t.Errorf("%q", b)
		}
	}
}

// B2.09, RFC 5626 §3.5.1, §4.4.1: a double line end is answered by a single one. We send them on connections that we opened; a peer that has
// answered and stops is gone, one that never did is not.
func TestKeepAlives(t *testing.T) {
	t.Parallel()
	e := listen(t, nil)
	conn, err := net.Dial("tcp", e.at("tcp"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, _ = conn.Write([]byte("\r\n\r\n"))
	pong := make([]byte, 2)
	if _, err := io.ReadFull(conn, pong); err != nil || string(pong) != "\r\n" {
		t.Errorf("%q, %v", pong, err)
	}

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := Listen(Options{Listen: []string{"udp:127.0.0.1:0"}, KeepAlive: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	req, _ := NewRequest(sip.OPTIONS, "sip:"+ln.Addr().String()+";transport=tcp", "sip:b@guest.example", "sip:a@cc.com")
	if _, err := client.Start(bounded(t), req); err != nil {
		t.Fatal(err)
	}
	theirs, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	_ = theirs.SetDeadline(time.Now().Add(patience))
	r := bufio.NewReader(theirs)
	for line, begun := "", false; !begun || line != "\r\n"; begun = begun || line != "\r\n" { // a ping may have come before the request
		if line, err = r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	for n, ping := 0, make([]byte, 4); n < 6; n++ {
		if _, err := io.ReadFull(r, ping); err != nil || string(ping) != "\r\n\r\n" {
			t.Fatalf("ping %d: %q, %v", n, ping, err)
		}
	}
}

// RFC 5626 §3.5.1: a keep-alive is one, and is answered once, however its octets come; a line end before a message is none, and two that come far
// from each other aren't either.
func TestKeepAliveMayComeInPieces(t *testing.T) {
	const pong, served = "\r\n", "SIP/2.0 200 OK"
	hello := (&peer{addr: "h"}).options("x")
	for _, c := range []struct {
		pieces []string
		pause  time.Duration // after each
		want   []string
	}{
		{[]string{"\r\n\r\n"}, 0, []string{pong}},
		{[]string{"\r\n", "\r\n"}, time.Second, []string{pong}},
		{[]string{"\r", "\n\r", "\n"}, time.Second, []string{pong}},
		{[]string{"\r\n", "\r", "\n"}, time.Second, []string{pong}},
		{[]string{"\r\n\r\n\r\n", "\r\n"}, time.Second, []string{pong, pong}},
		{[]string{hello + "\r\n", "\r\n", "\r\n\r\n"}, time.Second, []string{served, pong, pong}},
		{[]string{"\r\n", hello}, 0, []string{served}},
		{[]string{hello, "\r\n", "\r\n", "\r\n", hello[:5], hello[5:]}, 15 * time.Second, []string{served, served}},
	} {
		synctest.Test(t, func(t *testing.T) {
			e, err := Listen(Options{})
			if err != nil {
				t.Fatal(err)
			}
			e.Handle(func(tx *Transaction) { _ = tx.Respond(200, "") })
			theirs, ours := net.Pipe()
			s := &link{network: "tcp", conn: ours, shut: func() { _ = ours.Close() }}
			s.put = s.toConn
			if err := e.newStream(s); err != nil {
				t.Fatal(err)
			}
			e.running.Go(s.serve) // ends with the connection
			var got []string
			read := make(chan struct{})
			go func() { // ends with the connection
				defer close(read)
				for b := make([]byte, 4096); ; {
					n, err := theirs.Read(b)
					if err != nil {
						return
					}
					got = append(got, string(b[:min(n, len(served))]))
				}
			}()
			for i, p := range c.pieces {
				if _, err := theirs.Write([]byte(p)); err != nil {
					t.Fatalf("%q: %v", c.pieces[i], err)
				}
				time.Sleep(c.pause)
			}
			synctest.Wait()
			theirs.Close()
			<-read
			if !slices.Equal(got, c.want) {
				t.Errorf("%q: answered by %q, want %q", c.pieces, got, c.want)
			}
			if err := e.Close(); err != nil {
				t.Errorf("Close = %v", err)
			}
		})
	}
}

// RFC 5626 §4.4.1: the other one, which has a time to answer in: on a clock of its own.
func TestPeerThatStopsToAnswerKeepAlivesIsGone(t *testing.T) {
	for pongs, want := range map[int]int{0: 6, 2: 3} {
		synctest.Test(t, func(t *testing.T) {
			client, err := Listen(Options{})
			if err != nil {
				t.Fatal(err)
			}
			theirs, ours := net.Pipe()
			s := &link{network: "tcp", conn: ours, domain: "core.example", shut: func() { _ = ours.Close() }}
			s.put, s.read = s.toConn, s.serve
			if err := client.newStream(s); err != nil {
				t.Fatal(err)
			}
			client.running.Go(s.read) // ends with the connection
			got := 0
			for ping := make([]byte, 4); got < 6; got++ {
				if _, err := io.ReadFull(theirs, ping); err != nil {
					break
				}
				if string(ping) != "\r\n\r\n" {
					t.Errorf("%q", ping)
				}
				if got < pongs {
					_, _ = theirs.Write([]byte("\r\n"))
				}
			}
			if got != want {
				t.Errorf("%d pongs, %d pings, want %d", pongs, got, want)
			}
			theirs.Close()
			if err := client.Close(); err != nil {
				t.Errorf("Close = %v", err)
			}
		})
	}
}

// IPv6, RFC 3261 §18, RFC 5118 §4: listeners, Via, Contact and answers of [::1] over each transport.
func TestIPv6(t *testing.T) {
	t.Parallel()
	if c, err := net.ListenPacket("udp", "[::1]:0"); err != nil {
		t.Skip("no IPv6 on this machine's loopback: sysctl net.ipv6.conf.lo.disable_ipv6=0")
	} else {
		c.Close()
	}
	a := newAuthority(t)
	var via string
	got := make(chan *sip.Request, 1)
	server := listenTLS(t, a.shows(a.issue("::1")), "", func(tx *Transaction) { got <- tx.Request; _ = tx.Respond(200, "") },
		"udp:[::1]:0", "tcp:[::1]:0", "tls:[::1]:0", "ws:[::1]:0")
	// IPv4 first: the right listener must be found.
	client := listenTLS(t, a.shows(a.issue("::1")), "", nil, "udp:127.0.0.1:0", "tcp:127.0.0.1:0", "udp:[::1]:0", "tcp:[::1]:0", "tls:[::]:0")
	for i, network := range []string{"udp", "tcp", "tls", "ws"} {
		req, _ := NewRequest(sip.OPTIONS, "sip:"+server.at(network)+";transport="+network, "sip:b@guest.example", "sip:a@cc.com")
		res, err := client.Do(bounded(t), req)
		if err != nil || res.StatusCode != 200 {
			t.Errorf("%s: Do = %v, %v", network, res, err)
			continue
		}
		in := <-got
		via = in.Via().Value()
		want := fmt.Sprintf("SIP/2.0/%s [::1]:", strings.ToUpper(network))
		if network == "ws" {
			want = "SIP/2.0/WS 127.0.0.1:" // there is no listener for it
		}
		if !strings.HasPrefix(via, want) || !strings.Contains(via, ";received=::1") || !strings.HasPrefix(in.Source(), "[::1]:") {
			t.Errorf("%s: Via %q from %s", network, via, in.Source())
		}
		if i < 3 {
			if c := client.Contact("b", req.Recipient); !strings.HasPrefix(c.String(), "sip:b@[::1]:") {
				t.Errorf("%s: Contact %s", network, c.String())
			}
		}
	}
	// A large one moves to TCP there, too (RFC 3261 §18.1.1).
	req, _ := NewRequest(sip.OPTIONS, "sip:"+server.at("udp"), "sip:b@guest.example", "sip:a@cc.com")
	req.AppendHeader(sip.NewHeader("Subject", strings.Repeat("x", 2000)))
	if _, err := client.Do(bounded(t), req); err != nil {
		t.Errorf("Do = %v", err)
	}
	if in := <-got; in.Transport() != "UDP" { // the server's TCP has another port: it falls back
		t.Errorf("Transport = %s", in.Transport())
	}
}

// Nothing outlives Close, whatever was going on: no socket, no connection, no reader (once it swept up late sockets by timers).
func TestNothingOutlivesClose(t *testing.T) {
	for range 20 {
		e, err := Listen(Options{Listen: []string{"udp:127.0.0.1:0", "tcp:127.0.0.1:0", "ws:127.0.0.1:0"}})
		if err != nil {
			t.Fatal(err)
		}
		p := newPeer(t, true)
		for i := range 20 {
			go func() { // ends with the endpoint
				_, _ = e.Do(t.Context(), request(t, p, []string{"", ";transport=tcp"}[i%2]))
			}()
			p.send("udp", e, p.options(fmt.Sprint(i)))
		}
		conn, err := net.Dial("tcp", e.at("tcp"))
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
		e.mu.Lock()
		if len(e.streams) != 0 || len(e.known) != 0 {
			t.Errorf("%d connections under %d names are left", len(e.streams), len(e.known))
		}
		e.mu.Unlock()
		for _, a := range e.Addrs() {
			if a.Network == "udp" {
				again, err := net.ListenPacket("udp", a.HostPort)
				if err != nil {
					t.Fatalf("the port isn't free: %v", err)
				}
				again.Close()
			}
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the connection is open: %v", err)
		}
		conn.Close()
	}
}

// A transaction is locked while it writes; a write that fails must not wait for the transaction's end.
func TestFailedWriteReturns(t *testing.T) {
	t.Parallel()
	e := listen(t, nil, "udp:127.0.0.1:0")
	ours, theirs := net.Pipe()
	defer theirs.Close()
	s := &link{network: "tcp", conn: ours, shut: func() { _ = ours.Close() }, put: func([]byte) error { return io.ErrClosedPipe }}
	if err := e.newStream(s); err != nil {
		t.Fatal(err)
	}
	m, err := newParser().ParseSIP([]byte((&peer{addr: "h"}).options("x")))
	if err != nil {
		t.Fatal(err)
	}
	tx, _, err := e.table.server(m.(*sip.Request), s)
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan error)
	go func() { over <- tx.respond(sip.NewResponseFromRequest(m.(*sip.Request), 200, "OK", nil)) }() // ends when it is answered
	select {
	case err := <-over:
		if err == nil {
			t.Error("it says that it has been sent")
		}
	case <-time.After(patience):
		t.Fatal("it waits for itself")
	}
	if _, err := theirs.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is open")
	}
	s.end()
}

// Whatever a stream brings, framing takes what is whole and stays within its bounds, and cutting the bytes anywhere changes nothing.
func FuzzBorder(f *testing.F) {
	for _, seed := range []string{
		"", "\r\n", "\r\n\r\n", "\r\n\r", "\r\n\r\n\r\nOPTIONS sip:a SIP/2.0\r\nl: 2\r\n\r\nab", "A\r\nContent-Length: 3\r\n\r\nabcNEXT", "A\r\nContent-Length:\r\n 3\r\n\r\nabc",
		"A\r\nl: 1\r\nl: 2\r\n\r\n", "A\r\n\r\n", "A\r\nl: 99999999999\r\n\r\n", "A\r\nl:0\r\n\r\n\r\n\r\nB\r\nl:0\r\n\r\n",
	} {
		f.Add([]byte(seed), 3)
	}
	p := &peer{addr: "h"}
	f.Add([]byte(p.options("a")+p.options("b", "Content-Length:\r\n 2", "body=hi")), 400)
	f.Add([]byte(p.options("a", "+l: 0")), 9)
	f.Add([]byte("\r\n\r\n"+p.options("a", "Content-Length: 99999999999")), 3)
	cut := func(b []byte) (messages []string, rest []byte, pings int, err error) {
		for {
			p, start, end, err := border(b)
			pings += p
			if start < 0 || start > len(b) || end != 0 && (end <= start || end > len(b) || end-start > maxMessage) || p < 0 || 4*p > start {
				panic(fmt.Sprintf("border(%q) = %d, %d, %d, %v", b, p, start, end, err))
			}
			if err != nil || end == 0 {
				return messages, b[start:], pings, err
			}
			messages = append(messages, string(b[start:end]))
			b = b[end:]
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, at int) {
		whole, rest, _, err := cut(b)
		if at < 0 || at > len(b) {
			return
		}
		first, left, _, err1 := cut(b[:at])
		if err1 != nil {
			if err == nil {
				t.Errorf("%q: fails only when cut at %d: %v", b, at, err1)
			}
			return
		}
		second, left, _, err2 := cut(append(bytes.Clone(left), b[at:]...))
		if got := append(first, second...); fmt.Sprint(got) != fmt.Sprint(whole) || (err == nil) != (err2 == nil) || err == nil && !bytes.Equal(bytes.TrimLeft(left, "\r\n"), bytes.TrimLeft(rest, "\r\n")) {
			t.Errorf("%q cut at %d: %q %q %v, whole: %q %q %v", b, at, got, left, err2, whole, rest, err)
		}
	})
}
