package msrpws_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"latchkey/imstest"
	"latchkey/msrp"
	"latchkey/msrp/msrpws"
)

// B4.21, RFC 7977 §5.1: a message is one chunk, and what is UTF-8 is text.
func TestEachChunkIsOneMessage(t *testing.T) {
	l, h, url := serve(t, msrpws.Options{})
	k := newKeeper()
	s := expected(t, l, h, msrp.SessionOptions{Handler: k, ChunkSize: 4000})
	p := dial(t, url, s.Local().String())
	p.bind()
	if u := s.Local(); u.Transport != "ws" || u.Secure || u.Port != 80 {
		t.Errorf("our URI is %s", u)
	}
	p.text(p.send("hello123", "1-5/5", "Hello", "$"))
	if got := receive(t, k.got); got != "Hello" {
		t.Errorf("read %q", got)
	}
	p.expect(p.answer("hello123", "200 OK"))

	// Not UTF-8 from the second chunk on.
	body := strings.Repeat("grün", 800) + strings.Repeat("\xff\r\n-------", 1000)
	sent := make(chan error, 1)
	go func() {
		sent <- s.Send(within(t), &msrp.Message{ContentType: "text/plain", Body: strings.NewReader(body), Size: int64(len(body))})
	}()
	var got string
	for flag := "+"; flag == "+"; {
		kind, message := p.read()
		c := asChunk(t, message)
		want := websocket.MessageText
		if strings.Contains(c.body, "\xff") {
			want = websocket.MessageBinary
		}
		if kind != want || len(c.body) > 4000 {
			t.Errorf("a chunk of %d octets came in a %v message, want %v", len(c.body), kind, want)
		}
		if first := fmt.Sprintf("%d-", len(got)+1); !strings.HasPrefix(c.byteRange, first) {
			t.Errorf("Byte-Range: %s, want %s", c.byteRange, first)
		}
		got += c.body
		flag = c.flag
		p.text(p.ok(c.tid))
	}
	if err := receive(t, sent); err != nil || got != body {
		t.Errorf("%v; %d octets came, want %d", err, len(got), len(body))
	}
}

// RFC 7977 §5.1: whatever SessionOptions.ChunkSize says, a chunk fits the connection.
func TestChunksFitTheConnection(t *testing.T) {
	l, h, url := serve(t, msrpws.Options{Limits: msrpws.Limits{MaxChunk: 3000}})
	s := expected(t, l, h, msrp.SessionOptions{ChunkSize: 1 << 20})
	p := dial(t, url, s.Local().String())
	p.bind()
	sent := make(chan error, 1)
	go func() {
		sent <- s.Send(within(t), &msrp.Message{ContentType: "text/plain", Body: strings.NewReader(strings.Repeat("x", 20000)), Size: -1})
	}()
	n := 0
	for flag := "+"; flag == "+"; {
		_, message := p.read()
		c := asChunk(t, message)
		if len(c.body) > 3000 {
			t.Errorf("a chunk has %d octets", len(c.body))
		}
		n, flag = n+len(c.body), c.flag
		p.text(p.ok(c.tid))
	}
	if err := receive(t, sent); err != nil || n != 20000 {
		t.Errorf("%v, and %d octets came", err, n)
	}
}

// RFC 7977 §4, §5.1: binary messages, and messages in several frames of WebSocket, are chunks, too.
func TestMessagesComeInAnyFrames(t *testing.T) {
	l, h, url := serve(t, msrpws.Options{})
	k := newKeeper()
	s := expected(t, l, h, msrp.SessionOptions{Handler: k})
	p := dial(t, url, s.Local().String())
	p.bind()
	p.write(websocket.MessageBinary, p.send("binary12", "1-2/2", "\xff\xfe", "$"))
	if got := receive(t, k.got); got != "\xff\xfe" {
		t.Errorf("read %q", got)
	}
	p.expect(p.answer("binary12", "200 OK"))
	for i, size := range []int{1, 7, 60, 5000} {
		tid := fmt.Sprintf("frames%02d", i)
		body := strings.Repeat("abc\r\n-------"+tid+"!\r\n", 10)
		if size == 5000 {
			body = strings.Repeat(body, 1000)
		}
		message := p.send(tid, "1-*/*", body, "$")
		w, err := p.ws.Writer(within(t), websocket.MessageText)
		for rest := message; err == nil && rest != ""; rest = rest[min(size, len(rest)):] {
			_, err = io.WriteString(w, rest[:min(size, len(rest))])
		}
		if err := errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		if got := receive(t, k.got); got != body {
			t.Errorf("in frames of %d octets, %d octets came, want %d", size, len(got), len(body))
		}
		p.expect(p.answer(tid, "200 OK"))
	}
}

// RFC 7977 §5.1: such messages end the connection and say why, and nothing of a short one is read.
func TestMessagesThatAreNotOneChunkEndTheConnection(t *testing.T) {
	for name, c := range map[string]struct {
		messages func(p *peer) []string
		want     websocket.StatusCode
	}{
		"two chunks": {func(p *peer) []string {
			return []string{p.send("first123", "1-5/5", "Hello", "$") + p.send("second12", "1-5/5", "Hello", "$")}
		}, websocket.StatusProtocolError},
		"a chunk and a line": {func(p *peer) []string { return []string{p.send("first123", "1-5/5", "Hello", "$") + "\r\n"} }, websocket.StatusProtocolError},
		"half a chunk": {func(p *peer) []string {
			whole := p.send("first123", "1-5/5", "Hello", "$")
			return []string{whole[:len(whole)-9], whole[len(whole)-9:]}
		}, websocket.StatusProtocolError},
		"without the last octet": {func(p *peer) []string {
			return []string{strings.TrimSuffix(p.send("first123", "1-5/5", "Hello", "$"), "\n")}
		}, websocket.StatusProtocolError},
		"a wrong flag": {func(p *peer) []string { return []string{p.send("first123", "1-5/5", "Hello", "!")} }, websocket.StatusProtocolError},
		"an end-line of another transaction": {func(p *peer) []string {
			return []string{strings.Replace(p.send("first123", "1-5/5", "Hello", "$"), "MSRP first123", "MSRP other123", 1)}
		}, websocket.StatusProtocolError},
		"other bytes":     {func(*peer) []string { return []string{"GET / HTTP/1.1\r\n\r\n"} }, websocket.StatusProtocolError},
		"no octets":       {func(*peer) []string { return []string{""} }, websocket.StatusProtocolError},
		"an endless id":   {func(*peer) []string { return []string{"MSRP " + strings.Repeat("a", 100)} }, websocket.StatusProtocolError},
		"above ReadLimit": {func(p *peer) []string { return []string{p.send("first123", "1-*/*", strings.Repeat("x", 50_000), "$")} }, websocket.StatusMessageTooBig},
		"trailing, longer": {func(p *peer) []string {
			return []string{p.send("first123", "1-*/*", strings.Repeat("x", 32_700), "$") + strings.Repeat("y", 100)}
		}, websocket.StatusProtocolError},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, h, url := serve(t, msrpws.Options{Limits: msrpws.Limits{ReadLimit: 40_000}})
			k := newKeeper()
			s := expected(t, l, h, msrp.SessionOptions{Handler: k})
			p := dial(t, url, s.Local().String())
			p.bind()
			for _, m := range c.messages(p) {
				_ = p.ws.Write(within(t), websocket.MessageText, []byte(m))
			}
			if _, data, err := p.ws.Read(within(t)); websocket.CloseStatus(err) != c.want {
				t.Errorf("%q, %v; want close code %d", data, err, c.want)
			}
			receive(t, s.Done())
			if name != "trailing, longer" {
				select {
				case got := <-k.got:
					t.Errorf("%d octets were read", len(got))
				default:
				}
			}
		})
	}
}

// B4.21: our sessions with each other, through both of our halves.
func TestSessionsOverWebSocket(t *testing.T) {
	l, h, url := serve(t, msrpws.Options{})
	atServer, atClient := newKeeper(), newKeeper()
	server := expected(t, l, h, msrp.SessionOptions{Handler: atServer})
	client := msrp.NewSession(msrp.SessionOptions{Local: path(t, peerURI)[0], Remote: msrp.Path{server.Local()}, Handler: atClient})
	defer client.Close()
	nc, err := msrpws.Dial(within(t), url, msrpws.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if host, port, err := net.SplitHostPort(nc.RemoteAddr().String()); err != nil || !strings.HasSuffix(url, net.JoinHostPort(host, port)) || nc.LocalAddr().String() == "0.0.0.0:0" {
		t.Errorf("addresses %v and %v, for %s", nc.LocalAddr(), nc.RemoteAddr(), url)
	}
	if err := client.ConnectOn(within(t), nc); err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{"Hi", strings.Repeat("1 MB, with \x00 and -------\r\n", 40_000)} {
		for _, way := range []struct {
			from *msrp.Session
			to   keeper
		}{{client, atServer}, {server, atClient}} {
			sent := make(chan error, 1)
			go func() {
				sent <- way.from.Send(within(t), &msrp.Message{ContentType: "text/plain", Body: strings.NewReader(body), Size: int64(len(body))})
			}()
			if got := receive(t, way.to.got); got != body {
				t.Errorf("%d octets came, want %d", len(got), len(body))
			}
			if err := receive(t, sent); err != nil {
				t.Error(err)
			}
		}
	}
	_ = client.Close()
	receive(t, server.Done())
	if err := server.Err(); !errors.Is(err, io.EOF) {
		t.Errorf("the server's session ends with %v, want a close in order", err)
	}
}

// B4.21, RFC 7977 §5.1: a chunk of any length that comes by TCP is divided for the WebSocket; its sender gets one response.
func TestAnchorJoinsWebSocketAndTCP(t *testing.T) {
	l, h, url := serve(t, msrpws.Options{Limits: msrpws.Limits{MaxChunk: 10_000}})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	plain := msrp.NewListener(ln, msrp.ListenerOptions{})
	go plain.Serve() // ends with Close
	t.Cleanup(func() { _ = plain.Close() })

	const tcpURI = "msrp://192.0.2.2:7/phone;tcp"
	a := msrp.NewAnchor(msrp.AnchorOptions{
		A: msrp.LegOptions{Local: h.NewURI(), Remote: path(t, peerURI)}, B: msrp.LegOptions{Local: plain.NewURI(), Remote: path(t, tcpURI)},
	})
	t.Cleanup(func() { _ = a.Close() })
	l.ExpectLeg(a.A())
	plain.ExpectLeg(a.B())
	p := dial(t, url, a.A().Local().String())
	p.bind()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(patience))
	phone := bufio.NewReader(nc)
	frame := func() string { // without body
		var b strings.Builder
		for {
			line, err := phone.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if b.WriteString(line); strings.HasPrefix(line, "-------") {
				return b.String()
			}
		}
	}
	toB := "To-Path: " + a.B().Local().String() + "\r\nFrom-Path: " + tcpURI + "\r\n"
	_, _ = io.WriteString(nc, "MSRP bind5678 SEND\r\n"+toB+"Message-ID: b\r\nByte-Range: 1-0/0\r\n-------bind5678$\r\n")
	if got := frame(); !strings.HasPrefix(got, "MSRP bind5678 200") {
		t.Fatal(got)
	}

	for _, size := range []int{9_999, 10_000, 10_001, 20_000, 300_000} {
		// The range's end is a lie in one case, so that the chunk may pass whole.
		for _, byteRange := range []string{"1-*/*", "1-2000/*"} {
			body := strings.Repeat("0123456789", size/10+1)[:size]
			go io.WriteString(nc, "MSRP long5678 SEND\r\n"+toB+"Message-ID: long\r\nByte-Range: "+byteRange+"\r\nContent-Type: text/plain\r\n\r\n"+body+"\r\n-------long5678$\r\n")
			var got string
			chunks := 0
			for flag := "+"; flag == "+"; chunks++ {
				_, message := p.read()
				c := asChunk(t, message)
				if len(c.body) > 10_000 || !strings.Contains(c.head, "Message-ID: long\r\n") || !strings.HasPrefix(c.byteRange, fmt.Sprintf("%d-", len(got)+1)) {
					t.Errorf("%d octets behind\n%s", len(c.body), c.head)
				}
				got += c.body
				flag = c.flag
				p.text(p.ok(c.tid))
			}
			if got != body || chunks < (size+9_999)/10_000 {
				t.Errorf("%d octets came in %d chunks, want %d", len(got), chunks, size)
			}
			if got := frame(); !strings.HasPrefix(got, "MSRP long5678 200 ") {
				t.Errorf("the phone is answered\n%s", got)
			}
		}
	}
	// Nothing else came: the next frame is the browser's.
	p.text(p.send("hello123", "1-0/0", "", "$"))
	p.expect(p.answer("hello123", "200 OK"))
	p.text(p.send("hello124", "1-2/2", "Hi", "$"))
	if line, err := phone.ReadString('\n'); err != nil || line != "MSRP hello124 SEND\r\n" {
		t.Errorf("the phone reads %q, %v", line, err)
	}
}

// S5, RFC 7977 §5.3.1: who may not connect learns it from the handshake.
func TestHandshakesThatAreRefused(t *testing.T) {
	asked := 0
	_, _, url := serve(t, msrpws.Options{
		Origins: []string{"https://chat.example"},
		Authenticate: func(w http.ResponseWriter, r *http.Request) bool {
			asked++
			if c, err := r.Cookie("login"); err != nil || c.Value != "right" {
				w.Header().Set("WWW-Authenticate", "Cookie")
				w.WriteHeader(http.StatusUnauthorized)
				return false
			}
			return true
		},
	})
	host := strings.TrimPrefix(url, "ws://")
	for name, c := range map[string]struct {
		protocols, origin, cookie string
		plain                     bool
		want                      int
	}{
		"no handshake":                  {plain: true, want: http.StatusUpgradeRequired},
		"no subprotocol":                {cookie: "right", want: http.StatusBadRequest},
		"another subprotocol":           {protocols: "sip, msrps", cookie: "right", want: http.StatusBadRequest},
		"another origin":                {protocols: "msrp", origin: "https://evil.example", cookie: "right", want: http.StatusForbidden},
		"an origin that is a prefix":    {protocols: "msrp", origin: "https://chat.example.evil.example", cookie: "right", want: http.StatusForbidden},
		"a listed host by http":         {protocols: "msrp", origin: "http://chat.example", cookie: "right", want: http.StatusForbidden},
		"no origin, as sandboxes have":  {protocols: "msrp", origin: "null", cookie: "right", want: http.StatusForbidden},
		"no cookie":                     {protocols: "msrp", want: http.StatusUnauthorized},
		"a wrong cookie":                {protocols: "msrp", cookie: "wrong", want: http.StatusUnauthorized},
		"a program":                     {protocols: "msrp", cookie: "right", want: http.StatusSwitchingProtocols},
		"a page of the same host":       {protocols: "msrp", origin: "http://" + host, cookie: "right", want: http.StatusSwitchingProtocols},
		"a page of a listed origin":     {protocols: "msrp", origin: "https://chat.example", cookie: "right", want: http.StatusSwitchingProtocols},
		"msrp among other subprotocols": {protocols: "sip, msrp", cookie: "right", want: http.StatusSwitchingProtocols},
	} {
		t.Run(name, func(t *testing.T) {
			before := asked
			nc, err := net.Dial("tcp", host)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			_ = nc.SetDeadline(time.Now().Add(patience))
			request := "GET / HTTP/1.1\r\nHost: " + host + "\r\n"
			if !c.plain {
				request += "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
			}
			for name, value := range map[string]string{"Sec-WebSocket-Protocol": c.protocols, "Origin": c.origin, "Cookie": "login=" + c.cookie} {
				if value != "" {
					request += name + ": " + value + "\r\n"
				}
			}
			_, _ = io.WriteString(nc, request+"\r\n")
			res, err := http.ReadResponse(bufio.NewReader(nc), nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if res.StatusCode != c.want {
				t.Errorf("status %d, want %d", res.StatusCode, c.want)
			}
			if got := res.Header.Get("Sec-WebSocket-Protocol"); (got == "msrp") != (c.want == http.StatusSwitchingProtocols) {
				t.Errorf("the subprotocol is %q", got)
			}
			if c.want == http.StatusForbidden && asked != before {
				t.Error("a page of another origin is authenticated")
			}
		})
	}
}

// A listener that takes no more says so in the close frame.
func TestClosedListenerAsksToComeLater(t *testing.T) {
	l, _, url := serve(t, msrpws.Options{})
	_ = l.Close()
	p := dial(t, url, "")
	if _, _, err := p.ws.Read(within(t)); websocket.CloseStatus(err) != websocket.StatusTryAgainLater {
		t.Errorf("the connection ends with %v", err)
	}
}

// RFC 7977 §4: a server of something else is no peer.
func TestDialNeedsTheSubprotocol(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ws, err := websocket.Accept(w, r, nil); err == nil {
			_, _, _ = ws.Read(r.Context())
		}
	}))
	defer s.Close()
	if _, err := msrpws.Dial(within(t), s.URL, msrpws.DialOptions{}); err == nil || !strings.Contains(err.Error(), "subprotocol") {
		t.Errorf("Dial = %v", err)
	}
	if _, err := msrpws.Dial(within(t), "ws://127.0.0.1:1/", msrpws.DialOptions{}); err == nil {
		t.Error("Dial of nobody succeeds")
	}
}

// A peer that is gone without a word is noticed by pings, although nothing is sent to it.
func TestSilentPeerIsNoticed(t *testing.T) {
	t.Parallel()
	l, h, url := serve(t, msrpws.Options{Limits: msrpws.Limits{PingEvery: time.Second}}) // until two of it are over the peer may be slow
	s := expected(t, l, h, msrp.SessionOptions{})
	p := dial(t, url, s.Local().String())
	p.bind() // and from here on it reads nothing, so nobody answers
	receive(t, s.Done())
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), "no answer to a ping") {
		t.Errorf("the session ends with %v", err)
	}
}

// A peer whose answers are stuck behind what a slow Handler doesn't take yet is alive.
func TestPeerThatIsHeldBackIsNotSilent(t *testing.T) {
	t.Parallel()
	l, h, url := serve(t, msrpws.Options{Limits: msrpws.Limits{PingEvery: time.Second}})
	holding, release := make(chan struct{}), make(chan struct{})
	got := make(chan int64, 1)
	s := expected(t, l, h, msrp.SessionOptions{Handler: handler(func(m *msrp.IncomingMessage) error {
		close(holding)
		<-release
		n, err := io.Copy(io.Discard, m.Body)
		got <- n
		return err
	})})
	var pings atomic.Int32
	var held atomic.Bool
	ws, _, err := websocket.Dial(within(t), url, &websocket.DialOptions{
		Subprotocols: []string{"msrp"},
		OnPingReceived: func(context.Context, []byte) bool { // an answer would not get through
			pings.Add(1)
			return !held.Load()
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	p := &peer{t, ws, s.Local().String()}
	p.bind()
	responses := make(chan error, 1)
	go func() { // answers pings, too; ends with the connection
		_, _, err := ws.Read(within(t))
		responses <- err
	}()
	const size = 8 << 20
	long := []byte(p.send("long1234", fmt.Sprintf("1-*/%d", size), strings.Repeat("x", size), "$"))
	// Right behind a ping there are two seconds until the next one would have to be answered.
	before := pings.Load()
	imstest.Eventually(t, patience, func() bool { return pings.Load() > before })
	held.Store(true)
	written := make(chan error, 1)
	go func() { written <- ws.Write(within(t), websocket.MessageText, long) }()
	receive(t, holding)
	// The second one is sent when the time to answer the first is over.
	for start, end := pings.Load(), time.Now().Add(patience); pings.Load() < start+2; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no pings come")
		}
		if s.Err() != nil {
			t.Fatalf("the session ended meanwhile: %v", s.Err())
		}
	}
	held.Store(false)
	close(release)
	if n := receive(t, got); n != size {
		t.Errorf("%d octets came, want %d", n, size)
	}
	if err := errors.Join(receive(t, written), receive(t, responses)); err != nil {
		t.Error(err)
	}
}

type handler func(*msrp.IncomingMessage) error

func (f handler) ServeMSRP(_ *msrp.Session, m *msrp.IncomingMessage) error { return f(m) }
