package guestclienttest

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Proxy is what stands between the client and the gateway's event streams.
type Proxy string

// Proxies that do harm.
const (
	Open       Proxy = ""
	Buffering  Proxy = "buffering"  // keeps back what comes on a stream
	Converting Proxy = "converting" // makes a page of a stream
)

// Behind puts a proxy between the client and the event streams that begin from now on.
func (g *Gateway) Behind(p Proxy) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.proxy = p
}

// Down makes the gateway drop all connections and refuse new ones until it is up again.
func (g *Gateway) Down(is bool) {
	g.mu.Lock()
	g.down = is
	close(g.more) // WebSockets look
	g.more = make(chan struct{})
	g.mu.Unlock()
	if is {
		g.server.CloseClientConnections()
	}
}

func (g *Gateway) isDown() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.down
}

// after gives the events behind a number, and a channel that is closed when there are more.
func (g *Gateway) after(n int) ([]string, <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.events[min(n, len(g.events)):], g.more
}

// follow is GET of events, in the way that the client asks for.
func (g *Gateway) follow(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	proxy := g.proxy
	g.mu.Unlock()
	after := 0
	fmt.Sscan(r.URL.Query().Get("after"), &after)
	switch {
	case strings.EqualFold(r.Header.Get("Upgrade"), "websocket"):
		g.socket(w, r, after)
	case r.Header.Get("Accept") == "application/json":
		g.poll(w, r, after)
	case proxy == Converting:
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<p>Loading")
	case proxy == Buffering:
		w.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	default:
		g.stream(w, r)
	}
}

func (g *Gateway) poll(w http.ResponseWriter, r *http.Request, after int) {
	seconds := 0
	fmt.Sscan(r.URL.Query().Get("wait"), &seconds)
	events, more := g.after(after)
	if len(events) == 0 && seconds > 0 {
		select {
		case <-more:
		case <-time.After(time.Duration(seconds) * time.Second):
		case <-r.Context().Done():
			return
		}
		events, _ = g.after(after)
	}
	fmt.Fprintf(w, `{"events":[%s],"last":%d}`, strings.Join(events, ","), after+len(events))
}

// socket writes the events over a WebSocket (RFC 6455): the first in two fragments with a ping between them.
func (g *Gateway) socket(w http.ResponseWriter, r *http.Request, after int) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n\r\n", base64.StdEncoding.EncodeToString(sum[:]))
	frame := func(first byte, payload string) {
		head := []byte{first, byte(len(payload))}
		if len(payload) > 125 {
			head = binary.BigEndian.AppendUint16([]byte{first, 126}, uint16(len(payload)))
		}
		_, _ = conn.Write(append(head, payload...))
	}
	ctx, cancel := context.WithCancel(context.Background())
	pongs := make(chan string, 1)
	go func() { // ends with the connection
		defer cancel()
		for {
			op, payload, err := clientFrame(rw.Reader)
			if err != nil || op == 8 {
				return
			}
			pongs <- payload
		}
	}()
	sent := 0
	for next := after; !g.isDown(); {
		events, more := g.after(next)
		for _, e := range events {
			if sent == g.CutAfter && g.CutAfter > 0 {
				frame(0x88, "\x03\xf4again") // 1012: restart
				return
			}
			if sent++; sent > 1 {
				frame(0x81, e)
			} else {
				frame(0x01, e[:5])
				frame(0x89, "alive?")
				select {
				case p := <-pongs:
					if p != "alive?" {
						return
					}
				case <-ctx.Done():
					return
				}
				frame(0x80, e[5:])
			}
			next++
		}
		select {
		case <-more:
		case <-ctx.Done():
			return
		}
	}
}

// clientFrame reads a short frame, which a client must mask.
func clientFrame(r *bufio.Reader) (op byte, payload string, err error) {
	head := make([]byte, 6)
	if _, err := io.ReadFull(r, head); err != nil {
		return 0, "", err
	}
	if head[1]&0x80 == 0 {
		return 0, "", io.ErrUnexpectedEOF
	}
	body := make([]byte, head[1]&0x7f)
	if _, err := io.ReadFull(r, body); err != nil {
		return 0, "", err
	}
	for i := range body {
		body[i] ^= head[2+i%4]
	}
	return head[0] & 0x0f, string(body), nil
}
