package sipua

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey/imstest"
	"latchkey/internal/leaktest"
)

const patience = time.Minute

// derived are timers B and F as they came of T1.
var derived struct{ b, f time.Duration }

func TestMain(m *testing.M) {
	// Repeats come soon, but a slow machine is no silent peer: timers B and F are longer than what comes of T1.
	SetTimers(100*time.Millisecond, 400*time.Millisecond, 500*time.Millisecond)
	derived.b, derived.f = sip.Timer_B, sip.Timer_F
	sip.Timer_B, sip.Timer_F = 16*time.Second, 16*time.Second
	flag.Parse()
	_ = flag.Set("test.parallel", "16") // most of the time the tests wait for timers
	leaktest.Main(m, patience)
}

// listen makes an endpoint on free ports that refuses nothing, however slow the machine is.
func listen(t *testing.T, handle func(*Transaction), addrs ...string) *Endpoint {
	t.Helper()
	return listenWith(t, Options{Listen: addrs, ServeAll: true}, handle)
}

// listenLawfully is one under the law of overload.
func listenLawfully(t *testing.T, handle func(*Transaction), addrs ...string) *Endpoint {
	t.Helper()
	return listenWith(t, Options{Listen: addrs}, handle)
}

func listenWith(t *testing.T, opt Options, handle func(*Transaction)) *Endpoint {
	t.Helper()
	if opt.UserAgent = "Latchkey"; len(opt.Listen) == 0 {
		opt.Listen = []string{"udp:127.0.0.1:0", "tcp:127.0.0.1:0"}
	}
	e, err := Listen(opt)
	if err != nil {
		t.Fatal(err)
	}
	e.resolver.patience = 10 * time.Second // a slow machine is no silent name server; what asks one that is gone ends before the goroutines are counted
	if handle != nil {
		e.Handle(handle)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return e
}

func (e *Endpoint) at(network string) string {
	for _, a := range e.Addrs() {
		if a.Network == network {
			return a.HostPort
		}
	}
	return ""
}

// peer is the other side: text on a UDP and a TCP port with one number, without any code of the product.
type peer struct {
	*imstest.Wire // nil: it only writes
	t             *testing.T
	addr          string
	in            chan arrival
	seen          map[string]bool // by fresh
}

type arrival struct {
	network, from, text string
	reply               func(string)
}

func newPeer(t *testing.T, tcp bool) *peer {
	t.Helper()
	on, err := &imstest.Wire{}, error(nil)
	if tcp {
		on, err = imstest.ListenWire(nil)
	}
	for tries := 0; on.UDP == nil && err == nil; tries++ { // a port where nobody listens for TCP must be free for UDP
		_, addr := holdPort(t)
		if on.UDP, err = net.ListenPacket("udp", addr); err != nil && tries < 20 {
			on.UDP, err = nil, nil
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	p := reads(t, on)
	p.addr = on.UDP.LocalAddr().String()
	t.Cleanup(p.Close)
	return p
}

// holdPort holds a TCP port of 127.0.0.1 where nobody listens, and where nobody else can, until the test ends.
func holdPort(t *testing.T) (held *os.File, addr string) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	held = os.NewFile(uintptr(fd), "port")
	t.Cleanup(func() { held.Close() })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	at, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return held, fmt.Sprintf("127.0.0.1:%d", at.(*syscall.SockaddrInet4).Port)
}

func reads(t *testing.T, on *imstest.Wire) *peer {
	p := &peer{Wire: on, t: t, in: make(chan arrival, 256), seen: map[string]bool{}}
	on.Take = func(w imstest.Writing) { p.in <- arrival{w.Network, w.From, w.Text, w.Answer} }
	on.Read()
	return p
}

// next waits for a message.
func (p *peer) next() arrival {
	p.t.Helper()
	select {
	case a := <-p.in:
		return a
	case <-time.After(patience):
		p.t.Fatal("nothing arrives")
	}
	return arrival{}
}

// fresh waits for a message that has not come before: over UDP, what is late is repeated.
func (p *peer) fresh() arrival {
	p.t.Helper()
	for {
		if a := p.next(); !p.seen[a.text] {
			p.seen[a.text] = true
			return a
		}
	}
}

// final waits for a response that is new, and no 100 of a transaction whose handler is slow.
func (p *peer) final() arrival {
	p.t.Helper()
	for {
		if a := p.fresh(); !strings.HasPrefix(a.text, "SIP/2.0 100 ") {
			return a
		}
	}
}

// send writes to an endpoint, and returns where the answer will be.
func (p *peer) send(network string, e *Endpoint, text string) {
	p.t.Helper()
	if network == "tcp" {
		conn, err := net.Dial("tcp", e.at("tcp"))
		if err != nil {
			p.t.Fatal(err)
		}
		p.Add(conn)
		_, _ = conn.Write([]byte(text))
		return
	}
	to, err := net.ResolveUDPAddr("udp", e.at("udp"))
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.UDP.WriteTo([]byte(text), to); err != nil {
		p.t.Fatal(err)
	}
}

// get is the value of the first field called name.
func get(text, name string) string {
	_, rest, found := strings.Cut(text, "\r\n"+name+": ")
	if !found {
		return ""
	}
	v, _, _ := strings.Cut(rest, "\r\n")
	return v
}

func firstLine(text string) string {
	l, _, _ := strings.Cut(text, "\r\n")
	return l
}

// answer is a response to a request.
func answer(req, status string, fields ...string) string {
	b := "SIP/2.0 " + status + "\r\n"
	for _, l := range strings.Split(req, "\r\n") {
		switch name, _, _ := strings.Cut(l, ":"); name {
		case "Via", "From", "To", "Call-ID", "CSeq":
			if name == "To" && !strings.Contains(l, "tag=") {
				l += ";tag=p1"
			}
			b += l + "\r\n"
		}
	}
	for _, f := range fields {
		b += f + "\r\n"
	}
	return b + "Content-Length: 0\r\n\r\n"
}

// options is a request that an endpoint takes, with fields changed: "Name: value" replaces or adds, "-Name" removes.
func (p *peer) options(branch string, changes ...string) string {
	lines := []string{
		"OPTIONS sip:b@guest.example SIP/2.0", "Via: SIP/2.0/UDP " + p.addr + ";branch=z9hG4bK" + branch + ";rport", "Max-Forwards: 70", "From: <sip:a@cc.com>;tag=a1",
		"To: <sip:b@guest.example>", "Call-ID: " + branch, "CSeq: 1 OPTIONS", "Content-Length: 0",
	}
	body := ""
	for _, c := range changes {
		if b, found := strings.CutPrefix(c, "body="); found {
			body = b
			continue
		}
		if l, found := strings.CutPrefix(c, "first="); found {
			lines[0] = l
			continue
		}
		if l, found := strings.CutPrefix(c, "+"); found {
			lines = append(lines, l)
			continue
		}
		name, _, replace := strings.Cut(strings.TrimPrefix(c, "-"), ":")
		at := -1
		for i, l := range lines {
			if strings.HasPrefix(l, name+":") {
				at = i
			}
		}
		switch {
		case at < 0:
			lines = append(lines, c)
		case replace:
			lines[at] = c
		default:
			lines = append(lines[:at], lines[at+1:]...)
		}
	}
	return strings.Join(lines, "\r\n") + "\r\n\r\n" + body
}

func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// request is an OPTIONS of ours to the peer.
func request(t *testing.T, p *peer, transport string) *sip.Request {
	t.Helper()
	req, err := NewRequest(sip.OPTIONS, "sip:a@cc.com", "sip:b@guest.example", "sip:a@cc.com")
	if err != nil {
		t.Fatal(err)
	}
	AddRoute(req, "sip:"+p.addr+";lr"+transport)
	return req
}
