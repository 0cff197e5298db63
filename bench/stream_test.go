package bench

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkStreams is the memory of open event streams, each of a guest of its own, in the gateway's process: how much its resident size
// grows. 10,000 streams of server-sent events without TLS, and 3,000 of each other kind.
func BenchmarkStreams(b *testing.B) {
	for _, k := range []struct {
		name   string
		count  int64
		secure bool
		open   func(b *testing.B, host string, i int) (io.Closer, error)
	}{
		{"SSE", 10_000, false, func(_ *testing.B, host string, i int) (io.Closer, error) { return sse(host, i, false) }},
		{"SSE-TLS", 3000, true, func(_ *testing.B, host string, i int) (io.Closer, error) { return sse(host, i, true) }},
		{"SSE-HTTP2", 3000, true, overHTTP2},
		{"WebSocket", 3000, false, webSocket},
		{"Poll", 3000, false, poll},
	} {
		b.Run(k.name, func(b *testing.B) {
			args := []string{"--http-connections=20000"}
			if k.secure {
				cert, key := certificate(b)
				args = append(args, "--http-tls-cert="+cert, "--http-tls-key="+key)
			}
			w := served(b, args...)
			n := int(scale(b, k.count))
			crowd(w, n)
			u, err := url.Parse(w.URL())
			if err != nil {
				b.Fatal(err)
			}
			settle(w)
			before, heap, stacks, routines := w.Memory(), metric(b, w, "go_memstats_heap_inuse_bytes"), metric(b, w, "go_memstats_stack_inuse_bytes"), metric(b, w, "go_goroutines")
			begun := time.Now()
			var opening sync.WaitGroup
			conns := make([]io.Closer, n)
			var next atomic.Int64
			for range 64 {
				opening.Go(func() { // ends with the last stream
					for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
						if conns[i], err = k.open(b, u.Host, i); err != nil {
							b.Errorf("stream %d: %v", i, err)
							return
						}
					}
				})
			}
			opening.Wait()
			took := time.Since(begun)
			b.Cleanup(func() {
				for _, c := range conns {
					if c != nil {
						_ = c.Close()
					}
				}
			})
			time.Sleep(settled) // the collector runs every two minutes at least: what opening them needed is gone by then
			each := func(now, before float64) float64 { return (now - before) / float64(n) }
			grown := each(float64(w.Memory()), float64(before)) / 1000
			b.Logf("%d streams, opened in %.1f s: %.1f kB of resident memory each; %.1f kB of heap in use and %.1f kB of stacks, %.1f goroutines", n, took.Seconds(), grown,
				each(metric(b, w, "go_memstats_heap_inuse_bytes"), heap)/1000, each(metric(b, w, "go_memstats_stack_inuse_bytes"), stacks)/1000, each(metric(b, w, "go_goroutines"), routines))
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(grown, "kB/stream")
		})
	}
}

// request opens a connection and asks for events; more are header lines. The answer must have the status.
func request(host string, i int, secure bool, status, query string, more ...string) (net.Conn, *bufio.Reader, error) {
	c, err := dialer(i).Dial("tcp", host)
	if err != nil {
		return nil, nil, err
	}
	if secure {
		c = tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	}
	fmt.Fprintf(c, "GET /rcsgw/invitee/events%s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\n%s\r\n", query, basicOf(i), strings.Join(more, ""))
	if status == "" {
		return c, nil, nil
	}
	r := bufio.NewReaderSize(c, 16)
	line, err := r.ReadString('\n')
	if err == nil && !strings.Contains(line, status) {
		err = fmt.Errorf("answer %q", line)
	}
	return c, r, err
}

func sse(host string, i int, secure bool) (io.Closer, error) {
	c, _, err := request(host, i, secure, "200", "", "Accept: text/event-stream\r\n")
	return c, err
}

func webSocket(_ *testing.B, host string, i int) (io.Closer, error) {
	c, r, err := request(host, i, false, "101", "", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n")
	if err == nil {
		go answerPings(c, r) // ends with the connection
	}
	return c, err
}

// answerPings reads what a WebSocket's server says, in frames of less than 126 octets, and answers its pings (RFC 6455 §5.5.3).
func answerPings(c net.Conn, r *bufio.Reader) {
	for { // the rest of the header
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if line == "\r\n" {
			break
		}
	}
	for {
		var head [2]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		n := int64(head[1] & 0x7f)
		if n == 126 {
			var long [2]byte
			if _, err := io.ReadFull(r, long[:]); err != nil {
				return
			}
			n = int64(long[0])<<8 | int64(long[1])
		}
		payload := make([]byte, n)
		if _, err := io.ReadFull(r, payload); err != nil {
			return
		}
		if head[0]&0xf == 9 {
			_, _ = c.Write(append([]byte{0x8a, 0x80 | byte(n), 0, 0, 0, 0}, payload...)) // masked with zeros
		}
	}
}

// poll waits by one long poll after the other.
func poll(_ *testing.B, host string, i int) (io.Closer, error) {
	c, _, err := request(host, i, false, "", "?after=0&wait=0")
	if err != nil {
		return nil, err
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return c, err
	}
	_, _ = io.Copy(io.Discard, res.Body)
	go func() { // ends with the connection
		for r := bufio.NewReaderSize(c, 16); ; {
			fmt.Fprintf(c, "GET /rcsgw/invitee/events?after=99&wait=60 HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\n\r\n", basicOf(i))
			res, err := http.ReadResponse(r, nil)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, res.Body)
		}
	}()
	return c, nil
}

type idle struct{ t *http.Transport }

func (c idle) Close() error { c.t.CloseIdleConnections(); return nil }

// overHTTP2 has a connection of its own, as each browser has.
func overHTTP2(b *testing.B, host string, i int) (io.Closer, error) {
	t := &http.Transport{DialContext: dialer(i).DialContext, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	req, err := http.NewRequestWithContext(b.Context(), "GET", "https://"+host+"/rcsgw/invitee/events", nil)
	if err != nil {
		return nil, err
	}
	req.Header = http.Header{"Authorization": {basicOf(i)}, "Accept": {"text/event-stream"}}
	res, err := t.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if res.ProtoMajor != 2 || res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("answer %s %s", res.Proto, res.Status)
	}
	go func() { _, _ = io.Copy(io.Discard, res.Body) }() // ends with the benchmark
	return idle{t}, nil
}

// certificate is one for 127.0.0.1, in files.
func certificate(b *testing.B) (cert, key string) {
	b.Helper()
	pair, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour)}
	raw, err := x509.CreateCertificate(rand.Reader, c, c, pair.Public(), pair)
	if err != nil {
		b.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(pair)
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	for name, block := range map[string]*pem.Block{"cert": {Type: "CERTIFICATE", Bytes: raw}, "key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	return filepath.Join(dir, "cert"), filepath.Join(dir, "key")
}

// files is how many descriptors a process has open.
func files(b *testing.B, pid int) int {
	b.Helper()
	all, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/fd")
	if err != nil {
		b.Fatal(err)
	}
	return len(all)
}
