package gateway_test

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

// listener hears a guest's events over one connection.
type listener struct {
	name string
	hear func(each func(gatewaytest.Event) (more bool)) error
}

// basicOf is the guest's Authorization.
func basicOf(b *gatewaytest.Guest) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(b.Account+":"+b.Password))
}

// sse reads server-sent events, cut off and resumed at every 7th.
func sse(w *gatewaytest.World, b *gatewaytest.Guest) listener {
	return listener{"server-sent events", func(each func(gatewaytest.Event) bool) error {
		last := int64(0)
		for {
			req, err := http.NewRequestWithContext(w.Within(2*gatewaytest.Patience), "GET", w.URL()+"/rcsgw/invitee/events", nil)
			if err != nil {
				return err
			}
			req.Header = http.Header{"Authorization": {basicOf(b)}, "Accept": {"text/event-stream"}, "Last-Event-Id": {fmt.Sprint(last)}}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				return err
			}
			heard := 0
			for lines := bufio.NewScanner(res.Body); heard < 7 && lines.Scan(); {
				data, ok := strings.CutPrefix(lines.Text(), "data:")
				if !ok {
					continue
				}
				var e gatewaytest.Event
				if err := json.Unmarshal([]byte(data), &e); err != nil {
					return err
				}
				heard++
				if last = e.ID; !each(e) {
					return res.Body.Close()
				}
			}
			_ = res.Body.Close()
		}
	}}
}

// poll asks again and again.
func poll(w *gatewaytest.World, b *gatewaytest.Guest) listener {
	return listener{"long poll", func(each func(gatewaytest.Event) bool) error {
		last := int64(0)
		for {
			req, err := http.NewRequestWithContext(w.Within(2*gatewaytest.Patience), "GET", fmt.Sprintf("%s/rcsgw/invitee/events?after=%d&wait=2", w.URL(), last), nil)
			if err != nil {
				return err
			}
			req.Header.Set("Authorization", basicOf(b))
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				return err
			}
			var page struct {
				Events []gatewaytest.Event
				Last   int64
			}
			err = json.NewDecoder(res.Body).Decode(&page)
			_ = res.Body.Close()
			if err != nil {
				return err
			}
			last = page.Last
			for _, e := range page.Events {
				if !each(e) {
					return nil
				}
			}
		}
	}}
}

// socket speaks as much of RFC 6455 as a listener needs.
func socket(w *gatewaytest.World, b *gatewaytest.Guest) listener {
	return listener{"WebSocket", func(each func(gatewaytest.Event) bool) error {
		conn, err := net.Dial("tcp", strings.TrimPrefix(w.URL(), "http://"))
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(2 * gatewaytest.Patience))
		fmt.Fprintf(conn, "GET /rcsgw/invitee/events HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n", basicOf(b))
		r := bufio.NewReader(conn)
		res, err := http.ReadResponse(r, nil)
		if err != nil || res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("Sec-WebSocket-Accept") == "" {
			return fmt.Errorf("handshake: %v, %w", res, err)
		}
		for {
			var head [2]byte
			if _, err := io.ReadFull(r, head[:]); err != nil {
				return err
			}
			size := int(head[1])
			if size == 126 {
				var long [2]byte
				if _, err := io.ReadFull(r, long[:]); err != nil {
					return err
				}
				size = int(binary.BigEndian.Uint16(long[:]))
			}
			data := make([]byte, size)
			if _, err := io.ReadFull(r, data); err != nil {
				return err
			}
			if head[0] != 0x81 { // the last frame of a text
				return fmt.Errorf("frame %x", head)
			}
			var e gatewaytest.Event
			if err := json.Unmarshal(data, &e); err != nil {
				return err
			}
			if !each(e) {
				return nil
			}
		}
	}}
}

// F25, R27, R28: one numbered stream feeds all of a guest's devices. Two devices that use all three transports at once hear each event once, in
// the same order and with the same numbers, also where a connection breaks in between.
func TestEveryDeviceHearsEachEventOnceByAnyTransport(t *testing.T) {
	w := gatewaytest.New(t, gatewaytest.Plan{})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	b := w.Guest()
	b.Login().Wants(200)
	const messages = 30
	var all []listener
	for range 2 {
		all = append(all, sse(w, b), poll(w, b), socket(w, b))
	}
	heard := make([][]string, len(all))
	errs := make([]error, len(all))
	var listening sync.WaitGroup
	for i, l := range all {
		listening.Go(func() { // ends with the last message, or with the test's patience
			texts := 0
			errs[i] = l.hear(func(e gatewaytest.Event) bool {
				heard[i] = append(heard[i], fmt.Sprint(e.ID, e.Type, e.Message.ID, e.Message.Text, e.Message.State, e.Status))
				if e.Type == "message" {
					texts++
				}
				return texts < messages
			})
		})
	}
	for i := range messages {
		if _, err := a.Send(w.Within(gatewaytest.Patience), b.Account, fmt.Sprint("message ", i)); err != nil {
			t.Fatal(err)
		}
		if i%5 == 0 {
			b.Send(gatewaytest.Alice, fmt.Sprint("answer ", i))
		}
	}
	listening.Wait()
	for i, l := range all {
		if errs[i] != nil {
			t.Errorf("%s: %v", l.name, errs[i])
		}
		if n := len(heard[i]); n < messages || len(slices.Compact(slices.Sorted(slices.Values(heard[i])))) != n {
			t.Errorf("%s heard %d events, some of them twice: %q", l.name, n, heard[i])
		}
		if !slices.Equal(heard[i], heard[0]) {
			t.Errorf("%s heard\n%q\nthe first device\n%q", l.name, heard[i], heard[0])
		}
	}
}

// from makes a client at an address of this machine.
func from(addr string) *http.Client {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(addr)}}
	return &http.Client{Transport: &http.Transport{DialContext: d.DialContext, MaxIdleConnsPerHost: 64}, Timeout: gatewaytest.Patience}
}

// halfOpen opens a connection from an address and writes the beginning of a request; nil where there is no room.
func halfOpen(t *testing.T, w *gatewaytest.World, addr, text string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(addr)}}
	c, err := d.Dial("tcp", strings.TrimPrefix(w.URL(), "http://"))
	if errors.Is(err, syscall.ECONNRESET) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_, _ = io.WriteString(c, text) // it may be closed already
	return c
}

// standing counts those of the connections that the gateway has not closed.
func standing(conns []net.Conn) (n int) {
	for _, c := range conns {
		if c == nil {
			continue
		}
		_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
		if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			n++
		}
	}
	return n
}

// F67: half-open connections, far more than there is room for, from one address and from many, and bodies that trickle, leave the service
// well; nobody who has something under way is cut off.
func TestHalfOpenConnectionsMakeRoom(t *testing.T) {
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--http-connections=64"}})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	b := w.Guest()
	b.Login().Wants(200)
	stream := b.Stream()
	use := func(n int) {
		t.Helper()
		text := fmt.Sprint("still here ", n)
		b.Send(gatewaytest.Alice, text)
		if got, err := a.Wait(w.Within(gatewaytest.Patience), "message", n); err != nil || got[n-1].Text != text {
			t.Fatalf("the phone has %+v, %v", got, err)
		}
		if _, err := a.Send(w.Within(gatewaytest.Patience), b.Account, "answer to "+text); err != nil {
			t.Fatal(err)
		}
		stream.Until("answer to " + text)
	}
	use(1)
	var one, many, slow []net.Conn
	for range 300 {
		one = append(one, halfOpen(t, w, "127.0.0.2", "GET /rcsgw/invitee/session/x HTTP/1.1\r\nHost: x\r\nX-Slow: "))
	}
	use(2)
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return standing(one) <= 64/16 })
	for i := range 300 {
		many = append(many, halfOpen(t, w, fmt.Sprint("127.0.1.", 1+i%200), "GET /"))
	}
	use(3)
	left := 0
	imstest.Eventually(t, gatewaytest.Patience, func() bool { left = standing(many); return left < 64 })
	if left == 0 {
		t.Error("all were closed; there was room for some")
	}
	for range 100 {
		slow = append(slow, halfOpen(t, w, "127.0.0.3", "POST /rcsgw/invitee/session/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"))
	}
	use(4)
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return standing(slow) <= 64/4 })
	m := metricsOf(t, w)
	if n := m["latchkey_gateway_http_connections"]; n < 2 || n > 64 {
		t.Errorf("%v connections are told, want those that stand", n)
	}
	for name, least := range map[string]float64{`latchkey_httpapi_streams{kind="sse"}`: 1, `latchkey_gateway_http_connections_ousted_total{why="made-room"}`: 300,
		`latchkey_httpapi_requests_total{method="POST",route="/rcsgw/invitee/message",status="202"}`: 4} {
		if m[name] < least {
			t.Errorf("%s = %v, want %v at least", name, m[name], least)
		}
	}
}

// metricsOf are what operators read at admin-listen.
func metricsOf(t *testing.T, w *gatewaytest.World) map[string]float64 {
	t.Helper()
	all := map[string]float64{}
	for line := range strings.Lines(w.Metrics()) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			all[name] = n
		}
	}
	return all
}

// F66, S4: one address that guesses passwords as fast as it can is told to wait, and guests elsewhere and on the same account's own address notice
// nothing.
func TestGuessingLeavesOthersAlone(t *testing.T) {
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--http-rate=20", "--log-level=info"}})
	w.Phone(gatewaytest.Alice, imstest.Manner{})
	b := w.Guest()
	b.Login().Wants(200)
	attacker := from("127.0.0.2")
	defer attacker.CloseIdleConnections()
	var counts [600]atomic.Int32
	var guessing sync.WaitGroup
	over := make(chan struct{})
	for i := range 8 {
		guessing.Go(func() { // ends with over
			for n := 0; ; n++ {
				select {
				case <-over:
					return
				default:
				}
				req, err := http.NewRequest("POST", w.URL()+b.SessionPath(), nil)
				if err != nil {
					t.Error(err)
					return
				}
				req.SetBasicAuth(b.Account, fmt.Sprint("guess", i, n))
				res, err := attacker.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				counts[res.StatusCode].Add(1)
				_ = res.Body.Close()
			}
		})
	}
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return counts[429].Load() > 500 })
	for i := range 20 {
		b.Do("GET", "/rcsgw/invitee/status/"+gatewaytest.Alice, "").Wants(200)
		if i%10 == 0 {
			b.Login().Wants(200)
		}
	}
	close(over)
	guessing.Wait()
	if n := counts[401].Load(); n == 0 || n > 20 {
		t.Errorf("%d guesses were tried, want a few", n)
	}
	if n := counts[401].Load() + counts[429].Load(); n < 500 {
		t.Errorf("%d guesses were answered 401 or 429", n)
	}
	if n := strings.Count(w.Log.String(), "client is held back"); n != 1 {
		t.Errorf("the log has %d lines on it, want 1", n)
	}
}

// F67: a header over the limit is 431, and the connection ends.
func TestLongHeadersAreRefused(t *testing.T) {
	w := gatewaytest.New(t, gatewaytest.Plan{})
	c := halfOpen(t, w, "127.0.0.1", "GET /rcsgw/invitee/user HTTP/1.1\r\nHost: x\r\nX-Long: "+strings.Repeat("x", 32<<10)+"\r\n\r\n")
	_ = c.SetReadDeadline(time.Now().Add(gatewaytest.Patience))
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || res.StatusCode != http.StatusRequestHeaderFieldsTooLarge || !res.Close {
		t.Errorf("answer %+v, %v", res, err)
	}
}

// S17: who sends guests to plain HTTP over a network is told so.
func TestPlainHTTPIsWarnedOf(t *testing.T) {
	for public, warned := range map[string]bool{"": false, "http://127.0.0.1:8080": false, "https://chat.example.com": false, "http://chat.example.com": true} {
		args := []string{}
		if public != "" {
			args = append(args, "--public-url="+public)
		}
		w := gatewaytest.New(t, gatewaytest.Plan{Args: args})
		if got := strings.Contains(w.Log.String(), "not protected on the way"); got != warned {
			t.Errorf("public-url %q: warned is %v, want %v", public, got, warned)
		}
	}
}

// The options of the HTTP side are those that serve.
func TestOriginsOfTheOptionAreLetIn(t *testing.T) {
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--http-origins=https://chat.example.com"}})
	for origin, want := range map[string]string{"https://chat.example.com": "https://chat.example.com", "https://other.example.com": ""} {
		req, err := http.NewRequest("OPTIONS", w.URL()+"/rcsgw/invitee/message", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"Origin": {origin}, "Access-Control-Request-Method": {"POST"}}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if got := res.Header.Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("%s is allowed as %q, want %q", origin, got, want)
		}
	}
}
