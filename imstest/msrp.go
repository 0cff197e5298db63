package imstest

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
	"time"
)

// frame is one MSRP request or response, its body whole.
type frame struct {
	tid, method string
	status      int
	fields      []Field
	body        []byte
	hasBody     bool
	flag        byte
}

func (f *frame) get(name string) string {
	for _, h := range f.fields {
		if h.Name == name {
			return h.Value
		}
	}
	return ""
}

func (f *frame) bytes() []byte {
	var b bytes.Buffer
	what := f.method
	if what == "" {
		what = fmt.Sprintf("%d OK", f.status)
	}
	fmt.Fprintf(&b, "MSRP %s %s\r\n", f.tid, what)
	for _, h := range f.fields {
		fmt.Fprintf(&b, "%s: %s\r\n", h.Name, h.Value)
	}
	if f.hasBody {
		b.WriteString("\r\n")
		b.Write(f.body)
		b.WriteString("\r\n")
	}
	fmt.Fprintf(&b, "-------%s%c\r\n", f.tid, f.flag)
	return b.Bytes()
}

// readFrame reads line by line, which is slow and plain.
func readFrame(r *bufio.Reader) (*frame, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	p := strings.SplitN(strings.TrimRight(line, "\r\n"), " ", 3)
	if len(p) < 3 && (len(p) < 2 || p[0] != "MSRP") || p[0] != "MSRP" {
		return nil, fmt.Errorf("not msrp: %.60q", line)
	}
	f := &frame{tid: p[1]}
	if code, err := strconv.Atoi(p[2]); err == nil && len(p[2]) == 3 {
		f.status = code
	} else if code, err := strconv.Atoi(strings.SplitN(p[2], " ", 2)[0]); err == nil {
		f.status = code
	} else {
		f.method = p[2]
	}
	end := "-------" + f.tid
	isEnd := func(l []byte) bool {
		s := string(l)
		return strings.HasPrefix(s, end) && len(s) == len(end)+3 && strings.ContainsRune("$+#", rune(s[len(end)])) && strings.HasSuffix(s, "\r\n")
	}
	for {
		l, err := r.ReadBytes('\n')
		if err != nil {
			return nil, err
		}
		if isEnd(l) {
			f.flag = l[len(end)]
			return f, nil
		}
		s := strings.TrimRight(string(l), "\r\n")
		if s == "" {
			break
		}
		name, value, _ := strings.Cut(s, ":")
		f.fields = append(f.fields, Field{name, strings.TrimSpace(value)})
	}
	f.hasBody = true
	for {
		l, err := r.ReadBytes('\n')
		if err != nil {
			return nil, err
		}
		if isEnd(l) && (len(f.body) == 0 || bytes.HasSuffix(f.body, []byte("\r\n"))) {
			f.flag = l[len(end)]
			f.body = bytes.TrimSuffix(f.body, []byte("\r\n"))
			return f, nil
		}
		f.body = append(f.body, l...)
		if len(f.body) > 64<<20 {
			return nil, errors.New("msrp: body too large for the test peer")
		}
	}
}

// endpoint is one MSRP session of a phone.
type endpoint struct {
	phone *Phone
	id    string
	local string // own path

	ln net.Listener // while a connection is awaited

	mu      sync.Mutex
	peer    string // peer's path; "" until SDP told it
	conn    net.Conn
	waiting map[string]chan int // responses by transaction
	parts   map[string][]byte   // messages that are arriving
	taken   map[string]bool     // Message-IDs that were taken
	up      chan struct{}
	onceUp  sync.Once
	done    chan struct{}
	once    sync.Once
	deliver func(id, contentType string, body []byte)
}

func newEndpoint(p *Phone, deliver func(id, contentType string, body []byte)) *endpoint {
	return &endpoint{
		phone: p, id: token() + token(), waiting: map[string]chan int{}, parts: map[string][]byte{}, taken: map[string]bool{},
		up: make(chan struct{}), done: make(chan struct{}), deliver: deliver,
	}
}

func (e *endpoint) remote() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.peer
}

func (e *endpoint) setRemote(path string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.peer = path
}

// listen opens a port of its own for this session.
func (e *endpoint) listen() error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	e.ln = ln
	e.local = "msrp://" + ln.Addr().String() + "/" + e.id + ";tcp"
	return nil
}

// accept waits for the peer's connection, whose first request must name this session (RFC 4975 §5.4).
func (e *endpoint) accept() {
	e.phone.running.Go(func() {
		defer e.ln.Close()
		_ = e.ln.(*net.TCPListener).SetDeadline(time.Now().Add(30 * time.Second))
		c, err := e.ln.Accept()
		if err != nil {
			return
		}
		e.run(c)
	})
}

// connect dials the peer and sends the empty SEND at once.
func (e *endpoint) connect(addr string) error {
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return err
	}
	e.phone.running.Go(func() { e.run(c) })
	select {
	case <-e.up:
	case <-e.done:
		return io.ErrUnexpectedEOF
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return e.send(ctx, token(), "", nil)
}

func (e *endpoint) run(c net.Conn) {
	e.mu.Lock()
	e.conn = c
	e.mu.Unlock()
	e.onceUp.Do(func() { close(e.up) })
	defer e.close()
	r := bufio.NewReaderSize(c, 64<<10)
	first := true
	for {
		f, err := readFrame(r)
		if err != nil {
			return
		}
		if f.method == "" {
			e.mu.Lock()
			w := e.waiting[f.tid]
			delete(e.waiting, f.tid)
			e.mu.Unlock()
			if w != nil {
				w <- f.status
			}
			continue
		}
		if first && f.method != "SEND" {
			e.phone.violation("msrp: the first request is %s", f.method)
		}
		first = false
		e.take(f)
	}
}

// take handles one request, and looks whether it keeps the rules.
func (e *endpoint) take(f *frame) {
	to, from := f.get("To-Path"), f.get("From-Path")
	if len(f.fields) < 2 || f.fields[0].Name != "To-Path" || f.fields[1].Name != "From-Path" {
		e.phone.violation("msrp: To-Path and From-Path are not the first fields (RFC 4975 §7.1)")
	}
	code := 200
	switch {
	case to != e.local:
		e.phone.violation("msrp: To-Path is %q, not %q", to, e.local)
		code = 481
	case e.remote() != "" && from != e.remote():
		e.phone.violation("msrp: From-Path is %q, not %q", from, e.remote())
	}
	if f.method == "REPORT" {
		return
	}
	if f.method != "SEND" {
		code = 501
	}
	if f.get("Message-ID") == "" {
		e.phone.violation("msrp: SEND without Message-ID")
	}
	if f.get("Byte-Range") == "" {
		e.phone.violation("msrp: SEND without Byte-Range (TS 24.247 §9.3.1.1)")
	}
	if code == 200 && f.method == "SEND" {
		e.collect(f)
	}
	if fr := f.get("Failure-Report"); fr == "no" || fr == "partial" && code == 200 {
		return
	}
	res := &frame{tid: f.tid, status: code, fields: []Field{{"To-Path", strings.Fields(from + " x")[0]}, {"From-Path", to}}, flag: '$'}
	e.write(res.bytes())
}

func (e *endpoint) collect(f *frame) {
	id := f.get("Message-ID")
	start, end, total := int64(1), int64(-1), int64(-1)
	if br := f.get("Byte-Range"); br != "" {
		s, rest, _ := strings.Cut(br, "-")
		en, tot, _ := strings.Cut(rest, "/")
		start, _ = strconv.ParseInt(s, 10, 64)
		if en != "*" {
			end, _ = strconv.ParseInt(en, 10, 64)
		}
		if tot != "*" {
			total, _ = strconv.ParseInt(tot, 10, 64)
		}
	}
	if len(f.body) > 2048 && end >= 0 {
		e.phone.violation("msrp: a chunk of %d octets has a range-end (RFC 4975 §7.1.1)", len(f.body))
	}
	if end >= 0 && f.flag != '#' && end-start+1 != int64(len(f.body)) {
		e.phone.violation("msrp: Byte-Range %s for %d octets", f.get("Byte-Range"), len(f.body))
	}
	if !f.hasBody {
		return
	}
	e.mu.Lock()
	part := e.parts[id]
	if int64(len(part)) != start-1 {
		e.mu.Unlock()
		e.phone.violation("msrp: chunk at %d, %d octets are there", start, len(part))
		return
	}
	part = append(part, f.body...)
	e.parts[id] = part
	repeat := false
	if f.flag != '+' {
		delete(e.parts, id)
		repeat = e.taken[id]
		if f.flag == '$' {
			e.taken[id] = true
		}
	}
	e.mu.Unlock()
	if f.flag == '$' {
		if total >= 0 && total != int64(len(part)) {
			e.phone.violation("msrp: total %d, %d octets came", total, len(part))
		}
		if !repeat {
			e.deliver(id, f.get("Content-Type"), part)
		}
	}
}

func (e *endpoint) write(b []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.conn != nil {
		_, _ = e.conn.Write(b)
	}
}

// send sends a message in chunks of 2000 octets and waits for the 200 of each.
func (e *endpoint) send(ctx context.Context, id, contentType string, body []byte) error {
	select {
	case <-e.up:
	case <-e.done:
		return io.ErrClosedPipe
	case <-ctx.Done():
		return ctx.Err()
	}
	const size = 2000
	for at := 0; ; at += size {
		part := body[at:min(at+size, len(body))]
		last := at+size >= len(body)
		tid := token()
		f := &frame{tid: tid, method: "SEND", flag: '+', fields: []Field{
			{"To-Path", e.remote()}, {"From-Path", e.local}, {"Message-ID", id}, {"Byte-Range", fmt.Sprintf("%d-%d/%d", at+1, at+len(part), len(body))},
		}}
		if last {
			f.flag = '$'
		}
		if contentType != "" {
			f.fields = append(f.fields, Field{"Content-Type", contentType})
			f.hasBody, f.body = true, part
		}
		answer := make(chan int, 1)
		e.mu.Lock()
		e.waiting[tid] = answer
		e.mu.Unlock()
		e.write(f.bytes())
		select {
		case code := <-answer:
			if code != 200 {
				return fmt.Errorf("msrp status %d", code)
			}
		case <-e.done:
			return io.ErrClosedPipe
		case <-ctx.Done():
			return ctx.Err()
		}
		if last {
			return nil
		}
	}
}

func (e *endpoint) close() {
	e.once.Do(func() {
		close(e.done)
		if e.ln != nil {
			e.ln.Close()
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.conn != nil {
			e.conn.Close()
		}
	})
}
