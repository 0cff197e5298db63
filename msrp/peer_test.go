package msrp_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"latchkey/msrp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = time.Minute

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// The two ends of most tests, as they stand on the wire.
const (
	ourURI  = "msrp://127.0.0.1:7394/ourSide0123456789;tcp"
	peerURI = "msrp://127.0.0.1:7395/peer;tcp"
)

func uri(t *testing.T, s string) msrp.URI {
	t.Helper()
	u, err := msrp.ParseURI(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// raw is a peer that is driven by the test. It writes what the test spells out and reads lines; it shares nothing with the package.
type raw struct {
	t    *testing.T
	nc   net.Conn
	r    *bufio.Reader
	us   string // To-Path of what it sends
	from string
}

func newRaw(t *testing.T, nc net.Conn) *raw {
	t.Cleanup(func() { _ = nc.Close() })
	return &raw{t, nc, bufio.NewReaderSize(nc, 16), ourURI, peerURI}
}

// frame is what it reads.
type frame struct {
	tid, what string // what: SEND, REPORT, 200 OK
	fields    []string
	body      []byte
	hasBody   bool
	flag      byte
}

func (f frame) get(name string) string {
	for _, l := range f.fields {
		if v, ok := strings.CutPrefix(l, name+": "); ok {
			return v
		}
	}
	return ""
}

// span is Byte-Range's start and total, -1 for "*".
func (f frame) span() (start, end, total int) {
	var e, all string
	_, _ = fmt.Sscanf(strings.NewReplacer("-", " ", "/", " ").Replace(f.get("Byte-Range")), "%d %s %s", &start, &e, &all)
	number := func(s string) int {
		n, err := strconv.Atoi(s)
		if err != nil {
			return -1
		}
		return n
	}
	return start, number(e), number(all)
}

func (p *raw) tryRead() (f frame, err error) {
	_ = p.nc.SetReadDeadline(time.Now().Add(patience))
	line := func() (string, error) {
		l, err := p.r.ReadString('\n')
		return strings.TrimSuffix(l, "\r\n"), err
	}
	l, err := line()
	if err != nil {
		return f, err
	}
	part := strings.SplitN(l, " ", 3)
	if len(part) != 3 || part[0] != "MSRP" {
		return f, fmt.Errorf("start-line %q", l)
	}
	f.tid, f.what = part[1], part[2]
	end := "-------" + f.tid
	for {
		if l, err = line(); err != nil {
			return f, err
		}
		if strings.HasPrefix(l, end) {
			f.flag = l[len(end)]
			return f, nil
		}
		if l == "" {
			break
		}
		f.fields = append(f.fields, l)
	}
	f.hasBody = true
	stop := []byte("\r\n" + end)
	for {
		c, err := p.r.ReadByte()
		if err != nil {
			return f, err
		}
		f.body = append(f.body, c)
		n := len(f.body) - len(stop) - 3
		if c == '\n' && n >= 0 && bytes.HasPrefix(f.body[n:], stop) && strings.Contains("$\r+\r#\r", string(f.body[n+len(stop):len(f.body)-1])) {
			f.flag, f.body = f.body[n+len(stop)], f.body[:n]
			return f, nil
		}
	}
}

func (p *raw) read() frame {
	p.t.Helper()
	f, err := p.tryRead()
	if err != nil {
		p.t.Fatalf("read = %v", err)
	}
	return f
}

// expect reads a response.
func (p *raw) expect(tid, what string) frame {
	p.t.Helper()
	f := p.read()
	if f.tid != tid || !strings.HasPrefix(f.what, what) || f.flag != '$' || f.hasBody {
		p.t.Errorf("got %+v, want %s %s", f, tid, what)
	}
	return f
}

// write writes text; each \n becomes CRLF.
func (p *raw) write(text string) {
	_, _ = io.WriteString(p.nc, strings.ReplaceAll(text, "\n", "\r\n"))
}

// send writes a SEND. fields are further lines, each with its \n.
func (p *raw) send(tid, id, span, fields, body string, flag byte) {
	p.write(p.sendText(tid, id, span, fields) + "Content-Type: text/plain\n\n")
	_, _ = io.WriteString(p.nc, body)
	p.write(fmt.Sprintf("\n-------%s%c\n", tid, flag))
}

func (p *raw) sendText(tid, id, span, fields string) string {
	return fmt.Sprintf("MSRP %s SEND\nTo-Path: %s\nFrom-Path: %s\nMessage-ID: %s\n%s%s", tid, p.us, p.from, id, span, fields)
}

// bind writes the empty SEND of an active peer.
func (p *raw) bind(tid string) {
	p.write(p.sendText(tid, "bind", "Byte-Range: 1-0/0\n", "") + "-------" + tid + "$\n")
}

// ok answers a request.
func (p *raw) ok(f frame) { p.answer(f, "200 OK") }

func (p *raw) answer(f frame, what string) {
	p.write(fmt.Sprintf("MSRP %s %s\nTo-Path: %s\nFrom-Path: %s\n-------%s$\n", f.tid, what, f.get("From-Path"), f.get("To-Path"), f.tid))
}

// report writes a REPORT.
func (p *raw) report(tid, id, span, status string) {
	p.write(fmt.Sprintf("MSRP %s REPORT\nTo-Path: %s\nFrom-Path: %s\nMessage-ID: %s\nByte-Range: %s\nStatus: %s\n-------%s$\n", tid, p.us, p.from, id, span, status, tid))
}

// closed waits for the end of the connection.
func (p *raw) closed() {
	p.t.Helper()
	if f, err := p.tryRead(); err == nil {
		p.t.Errorf("got %+v, want the connection closed", f)
	} else if errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "timeout") {
		p.t.Error("the connection stays open")
	}
}

// inbox keeps what a session receives.
type inbox struct {
	answer func(*msrp.IncomingMessage) error // nil: read all, say yes

	mu       sync.Mutex
	messages []string
	reports  []msrp.Report
	got      chan string
}

func newInbox() *inbox { return &inbox{got: make(chan string, 1000)} }

func (b *inbox) ServeMSRP(_ *msrp.Session, m *msrp.IncomingMessage) error {
	if b.answer != nil {
		return b.answer(m)
	}
	body, err := io.ReadAll(m.Body)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.messages = append(b.messages, string(body))
	b.got <- string(body)
	return nil
}

func (b *inbox) ServeReport(_ *msrp.Session, r msrp.Report) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reports = append(b.reports, r)
	b.got <- fmt.Sprintf("report %s %s %d", r.MessageID, r.Range, r.Code)
}

func (b *inbox) next(t *testing.T) string {
	t.Helper()
	select {
	case s := <-b.got:
		return s
	case <-t.Context().Done():
	case <-time.After(patience):
	}
	t.Error("nothing came")
	return ""
}

func (b *inbox) all() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.messages...)
}

// active gives a session that has connected to a raw peer by net.Pipe.
func active(t *testing.T, opt msrp.SessionOptions) (*msrp.Session, *raw) {
	t.Helper()
	ours, theirs := net.Pipe()
	p := newRaw(t, theirs)
	opt.Local, opt.Remote = uri(t, ourURI), msrp.Path{uri(t, peerURI)}
	s := msrp.NewSession(opt)
	t.Cleanup(func() { _ = s.Close() })
	bound := make(chan error, 1)
	go func() { bound <- s.ConnectOn(t.Context(), ours) }()
	p.ok(p.read())
	if err := <-bound; err != nil {
		t.Fatalf("ConnectOn = %v", err)
	}
	return s, p
}

// listen gives a listener on loopback that is served.
func listen(t *testing.T, opt msrp.ListenerOptions) *msrp.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, ln, opt)
}

func serve(t *testing.T, ln net.Listener, opt msrp.ListenerOptions) *msrp.Listener {
	l := msrp.NewListener(ln, opt)
	served := make(chan error, 1)
	go func() { served <- l.Serve() }() // ends with Close
	t.Cleanup(func() {
		_ = l.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve = %v, want nil after Close", err)
		}
	})
	return l
}

// passive gives a session that a listener expects.
func passive(t *testing.T, l *msrp.Listener, opt msrp.SessionOptions) *msrp.Session {
	opt.Local, opt.Remote = l.NewURI(), msrp.Path{uri(t, peerURI)}
	s := msrp.NewSession(opt)
	l.Expect(s)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// dial connects a raw peer to a listener, for the session.
func dial(t *testing.T, l *msrp.Listener, s *msrp.Session) *raw {
	t.Helper()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	p := newRaw(t, nc)
	p.us = s.Local().String()
	return p
}

// pipes is a listener of net.Pipe connections, for fake time.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 2855} }

func (l *pipes) dial(t *testing.T, s *msrp.Session) *raw {
	ours, theirs := net.Pipe()
	l.conns <- ours
	p := newRaw(t, theirs)
	if s != nil {
		p.us = s.Local().String()
	}
	return p
}
