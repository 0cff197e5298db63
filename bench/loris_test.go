package bench

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

// BenchmarkLoris is a guest who chats while 5,000 half-open connections from 64 addresses stand for five minutes: headers that trickle in, bodies
// that trickle in, and event streams that nobody reads. Whoever is thrown out comes back. Beside it: the same guest in peace. F67 wants the service
// unaffected, and its memory and files bounded.
func BenchmarkLoris(b *testing.B) {
	const guests = 500
	half, long := int(scale(b, 5000)), 5*time.Minute
	if s := os.Getenv("LATCHKEY_BENCH_LORIS"); s != "" {
		var err error
		if long, err = time.ParseDuration(s); err != nil {
			b.Fatalf("LATCHKEY_BENCH_LORIS=%q", s)
		}
	}
	w := gatewaytest.New(b, gatewaytest.Plan{Command: []string{program(b), "serve"}, Args: []string{"--log-level=info"}}) // limits as they are by default
	crowd(w, guests)
	alice := w.Phone(gatewaytest.Alice, imstest.Manner{NoReceipts: true})
	g := w.Guest()
	arrived := make(chan struct{}, 1)
	alice.OnEvent(func(e imstest.PhoneEvent) {
		if e.Type == "message" {
			arrived <- struct{}{}
		}
	})
	peace, siege := &side{name: "a message in peace"}, &side{name: "a message under siege"}
	chat := func(s *side, d time.Duration) {
		for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(200 * time.Millisecond) { // as fast as a guest may
			s.measure(func() {
				g.Send(gatewaytest.Alice, "a text of the usual length, more or less")
				select {
				case <-arrived:
				case <-time.After(gatewaytest.Patience):
					b.Fatal("no SEND")
				}
			})
		}
	}
	chat(&side{}, time.Second) // opens the channel
	chat(peace, 30*time.Second)
	memory, open := w.Memory(), files(b, w.PID())

	host := strings.TrimPrefix(w.URL(), "http://")
	over := make(chan struct{})
	var attacking sync.WaitGroup
	var standing, returned atomic.Int64
	for i := range half {
		attacking.Go(func() { // ends with over
			for {
				slow(over, host, i, guests, &standing)
				select {
				case <-over:
					return
				case <-time.After(time.Second):
					returned.Add(1)
				}
			}
		})
	}
	var most, descriptors, stood int
	var watching sync.WaitGroup
	watching.Go(func() { // ends with over
		for {
			most, descriptors, stood = max(most, w.Memory()), max(descriptors, files(b, w.PID())), max(stood, int(standing.Load()))
			select {
			case <-over:
				return
			case <-time.After(time.Second):
			}
		}
	})
	chat(siege, long)
	streams := metric(b, w, `latchkey_httpapi_streams{kind="sse"}`)
	close(over)
	attacking.Wait()
	watching.Wait()
	compare(b, siege, peace)
	b.Logf("up to %d half-open connections at once, %d came back, %.0f unread streams at the end; the 99th part in a hundred: %.1f ms, in peace %.1f ms; memory %.0f MB, before %.0f MB; files %d, before %d",
		stood, returned.Load(), streams, ms(siege.at(0.99)), ms(peace.at(0.99)), float64(most)/1e6, float64(memory)/1e6, descriptors, open)
	b.ReportMetric(ms(siege.at(0.99)), "ms-p99")
	b.ReportMetric(float64(most)/1e6, "MB")
}

// slow holds one connection for as long as it is let: by a header, by a body, or as a stream.
func slow(over <-chan struct{}, host string, i, guests int, standing *atomic.Int64) {
	enemy := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 3, byte(1+i%64))}, Timeout: gatewaytest.Patience}
	c, err := enemy.Dial("tcp", host)
	if err != nil {
		return
	}
	standing.Add(1)
	defer standing.Add(-1)
	defer c.Close()
	_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
	gone := make(chan struct{})
	switch i % 3 {
	case 0:
		_, _ = io.WriteString(c, "GET /rcsgw/invitee/events HTTP/1.1\r\nX-Slow: ")
	case 1:
		fmt.Fprintf(c, "POST /rcsgw/invitee/message HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n", basicOf(i%guests))
	default:
		fmt.Fprintf(c, "GET /rcsgw/invitee/events HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nAccept: text/event-stream\r\n\r\n", basicOf(i%guests))
	}
	if i%3 < 2 {
		go func() { // ends with the connection
			defer close(gone)
			_, _ = io.Copy(io.Discard, c)
		}()
	}
	for {
		select {
		case <-over:
			return
		case <-gone:
			return
		case <-time.After(5 * time.Second):
			if _, err := c.Write([]byte("x")); i%3 < 2 && err != nil {
				return
			}
		}
	}
}
