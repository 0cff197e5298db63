package httpapi

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey"
	"latchkey/internal/doze"
)

// bare puts the facade on a real port as the gateway does, without a witness between it and its connections, whose buffers are small.
func (w *world) bare(begin func(*httptest.Server)) *httptest.Server {
	s := httptest.NewUnstartedServer(w.api)
	s.Config.ConnState = func(c net.Conn, state http.ConnState) {
		if t, ok := c.(*tls.Conn); ok {
			c = t.NetConn()
		}
		if state == http.StateNew {
			_ = c.(*net.TCPConn).SetWriteBuffer(4 << 10)
		}
	}
	begin(s)
	w.t.Cleanup(func() {
		w.api.Drain()
		s.Close()
	})
	return s
}

// transports are those under which streams are detached.
var transports = map[string]func(*httptest.Server){"plain": (*httptest.Server).Start, "TLS": (*httptest.Server).StartTLS}

// wire opens a stream by hand, and reads no more than its header.
func wire(t *testing.T, s *httptest.Server) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	if s.TLS != nil {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: gw\r\nAuthorization: %s\r\nAccept: text/event-stream\r\n\r\n", eventsPath, basicHeader().Get("Authorization")); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReaderSize(conn, 16)
	if line, err := r.ReadString('\n'); err != nil || line != "HTTP/1.1 200 OK\r\n" {
		t.Fatalf("answer %q, %v", line, err)
	}
	return conn, r
}

// Issue 7: streams on which nothing happens have no goroutines, with TLS and without; clients who go are noticed at once all the same, not when their
// comment is due.
func TestQuietStreamsHaveNoGoroutines(t *testing.T) {
	if !doze.Can {
		t.Skip("this system can't wait for a connection without a goroutine; Linux can")
	}
	for name, begin := range transports {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Options{MaxStreams: 1000, KeepAlive: time.Hour})
			s := w.bare(begin)
			const n = 100
			before := runtime.NumGoroutine()
			var conns []net.Conn
			for range n {
				conn, _ := wire(t, s)
				conns = append(conns, conn)
			}
			eventually(t, func() bool { return len(w.hall.all()) == 1 }) // Alice's state
			eventually(t, func() bool { return runtime.NumGoroutine() <= before+n/10 })
			if w.openRequests() != n {
				t.Errorf("%d streams are open, want %d", w.openRequests(), n)
			}
			for _, c := range conns[:n/2] {
				_ = c.Close()
			}
			eventually(t, func() bool { return w.openRequests() == n-n/2 })
			w.hall.say("still here")
			if got := readUntil(t, bufio.NewReader(conns[n-1]), "still here"); !strings.Contains(got, "id: 2\n") {
				t.Errorf("who stayed reads %q", got)
			}
		})
	}
}

// readUntil is what comes up to some text.
func readUntil(t *testing.T, r *bufio.Reader, text string) string {
	t.Helper()
	var all strings.Builder
	for !strings.Contains(all.String(), text) {
		line, err := r.ReadString('\n')
		all.WriteString(line)
		if err != nil {
			t.Fatalf("read %q, then %v", all.String(), err)
		}
	}
	return all.String()
}

// F67: any number of clients that don't read hold up nobody else, and are cut off.
func TestSlowStreamsHoldUpNobody(t *testing.T) {
	w := newWorld(t, Options{MaxStreams: 1000, WriteTimeout: 5 * time.Second})
	s := w.bare((*httptest.Server).Start)
	const slow = writersAtOnce + 16
	for range slow {
		wire(t, s)
	}
	fast := openSSE(t, s.Client(), s.URL+eventsPath)
	for i := range 3 {
		text := fmt.Sprint(i) + strings.Repeat("x", 50_000) // more than the kernel keeps for who doesn't read
		w.hall.say(text)
		if e, _ := fast.next(); e.Message.Text != text {
			t.Fatalf("event %d is %.10q", i, e.Message.Text)
		}
	}
	if n := w.openRequests(); n != slow+1 {
		t.Fatalf("%d streams were cut before the one who reads had all, so they may have held it up", slow+1-n)
	}
	eventually(t, func() bool { return w.openRequests() == 1 })
	if got := metrics(t, w)[`latchkey_httpapi_limits_total{limit="slow-reader"}`]; got != fmt.Sprint(slow) {
		t.Errorf("%s slow readers are counted, want %d", got, slow)
	}
	w.hall.say("the end")
	if e, _ := fast.next(); e.Message.Text != "the end" {
		t.Errorf("the one who reads gets %+v", e)
	}
}

// Issue 7: nobody can tell from the header whether a stream was detached from the HTTP server.
func TestDetachedStreamsAreAsOthers(t *testing.T) {
	w := newWorld(t, Options{})
	detached := w.serve()
	kept := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.handler().ServeHTTP(struct {
			http.ResponseWriter
			http.Flusher
		}{rw, rw.(http.Flusher)}, r)
	}))
	t.Cleanup(func() {
		w.api.Drain()
		kept.Close()
	})
	var heads [2]http.Header
	for i, s := range []*httptest.Server{detached, kept} {
		r := request(t.Context(), "GET", s.URL+eventsPath, "", asGuest, header("Accept", "text/event-stream"))
		r.RequestURI = ""
		res, err := s.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode != 200 || res.Proto != "HTTP/1.1" || !slices.Equal(res.TransferEncoding, []string{"chunked"}) {
			t.Errorf("server %d: %s %s %v", i, res.Proto, res.Status, res.TransferEncoding)
		}
		if _, err := http.ParseTime(res.Header.Get("Date")); err != nil {
			t.Errorf("server %d: %v", i, err)
		}
		res.Header.Del("Date")
		heads[i] = res.Header
		if line, err := bufio.NewReader(res.Body).ReadString('\n'); line != ":\n" {
			t.Errorf("server %d begins with %q, %v", i, line, err)
		}
	}
	if a, b := heads[0], heads[1]; fmt.Sprint(a) != fmt.Sprint(b) || len(a) < 3 {
		t.Errorf("detached: %v\nkept:     %v", a, b)
	}
}

// X6: a drain ends each stream with its last chunk, also of a client who is slow, and one that says something out of turn.
func TestDrainEndsDetachedStreamsInOrder(t *testing.T) {
	for name, begin := range transports {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Options{MaxStreams: 100, KeepAlive: time.Hour})
			s := w.bare(begin)
			var readers []*bufio.Reader
			for range 40 {
				conn, r := wire(t, s)
				for range 3 {
					if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\n\r\n"); err != nil {
						t.Fatal(err)
					}
				}
				readers = append(readers, r)
			}
			w.hall.say("before")
			for _, r := range readers {
				readUntil(t, r, "before")
			}
			w.api.Drain()
			for i, r := range readers {
				rest, err := io.ReadAll(r)
				// Whoever wrote out of turn may see a reset instead, after all that was written.
				if !strings.HasSuffix(string(rest), "\r\n0\r\n\r\n") || err != nil && !strings.Contains(err.Error(), "reset") {
					t.Fatalf("stream %d ends with %q, %v", i, rest, err)
				}
			}
			if err := w.api.Close(); err != nil || w.hall.here() != 0 || len(w.hall.listeners) != 0 || len(w.api.streams.all) != 0 {
				t.Errorf("Close = %v; here %d, %d listen", err, w.hall.here(), len(w.hall.listeners))
			}
		})
	}
}

// R24: a word on an inviter is written down once the one before it is. Of many meanwhile, those in the middle are over; the last one counts.
func TestWordsWaitForTheOneBefore(t *testing.T) {
	w := newWorld(t, Options{})
	a := w.api.attendance
	v := &vigil{relation: "r", account: account, inviter: aliceURI}
	w.hall.mu.Lock() // nothing can be written
	words := []latchkey.StatusState{latchkey.StatusOnline, latchkey.StatusOffline}
	for i := range 101 {
		a.hear(v, words[i%2])
	}
	w.hall.mu.Unlock()
	a.tellers.working.Wait()
	got := states(w.hall.all())
	if n := len(got); n > maxWords || n < 2 || got[n-1] != aliceURI+" online" || got[0] != aliceURI+" online" {
		t.Errorf("written: %q", got)
	}
	v.over = true
	a.hear(v, latchkey.StatusOffline)
	a.tellers.working.Wait()
	if n := len(states(w.hall.all())); n != len(got) {
		t.Error("a word is written after the end")
	}
}

// Who panics ends its own stream, and is logged.
func TestPanicEndsOneStream(t *testing.T) {
	w := newWorld(t, Options{MaxStreams: 100})
	s := w.serve()
	one := openSSE(t, s.Client(), s.URL+eventsPath)
	eventually(t, func() bool { return len(w.hall.all()) == 1 })
	w.hall.mu.Lock()
	w.hall.panics = true
	w.hall.mu.Unlock()
	w.hall.say("x")
	for err := error(nil); err == nil; {
		_, err = one.block()
	}
	eventually(t, func() bool { return w.openRequests() == 0 && strings.Contains(w.log.String(), "event stream panicked") })
}

// A stream over HTTP/2 outlasts the time that one write may take: there a deadline ends a stream that waits, too.
func TestIdleStreamsOverHTTP2Last(t *testing.T) {
	w := newWorld(t, Options{WriteTimeout: time.Second, KeepAlive: time.Hour})
	s := httptest.NewUnstartedServer(w.handler())
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(func() {
		w.api.Drain()
		s.Close()
	})
	stream := openSSE(t, s.Client(), s.URL+eventsPath)
	w.hall.say("before")
	stream.next()
	ended := make(chan error, 1)
	go func() { // ends with the message, or the stream
		for {
			lines, err := stream.block()
			if err != nil || strings.Contains(fmt.Sprint(lines), "after") {
				ended <- err
				return
			}
		}
	}()
	select {
	case err := <-ended:
		t.Fatalf("the stream ended: %v", err)
	case <-time.After(2 * time.Second): // Options.WriteTimeout, twice
	}
	w.hall.say("after")
	if err := <-ended; err != nil {
		t.Errorf("the stream ended: %v", err)
	}
}

// F57: a word without an event, while an inviter's leaving is being written down, doesn't end the stream before the leaving is told.
func TestStreamWaitsForTheLastWord(t *testing.T) {
	w := newWorld(t, Options{})
	s := w.serve()
	stream := openSSE(t, s.Client(), s.URL+eventsPath)
	eventually(t, func() bool { return len(w.hall.all()) == 1 }) // Alice's state
	w.desk.mu.Lock()
	w.desk.relations = nil
	w.desk.mu.Unlock()
	w.hall.mu.Lock()
	for _, news := range w.hall.listeners {
		news(nil)
	}
	w.hall.mu.Unlock()
	eventually(t, func() bool {
		w.api.streams.mu.Lock()
		defer w.api.streams.mu.Unlock()
		return w.api.streams.first != nil || len(w.api.streams.all) == 0
	})
	w.hall.post(latchkey.Event{Type: latchkey.InviterEvent, URI: aliceURI, State: "removed"})
	for _, want := range []latchkey.EventType{latchkey.InviterEvent, latchkey.SessionEvent} {
		if e, _ := stream.next(); e.Type != want {
			t.Errorf("event %+v, want %s", e, want)
		}
	}
}
