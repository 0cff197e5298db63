package imstest

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// endpoint is one MSRP session of a phone.
type endpoint struct {
	phone *Phone
	id    string
	local string // own path
	born  time.Time
	tls   bool

	ln     net.Listener // while a connection is awaited
	learns bool         // the peer's path is what its first request says (Media)

	mu      sync.Mutex
	peer    string   // the other side's path
	prints  []string // and fingerprints
	shown   []byte   // its certificate
	conn    net.Conn
	waiting map[string]chan int // responses by transaction
	parts   map[string][]byte   // messages that are arriving
	taken   map[string]bool     // Message-IDs that were taken
	refused map[string]int      // Message-IDs that were refused, with the code
	up      chan struct{}
	onceUp  sync.Once
	done    chan struct{}
	once    sync.Once
	deliver func(id, contentType string, body []byte)
	file    *fileTransfer // nil: it is a chat
	call    *phoneCall    // of a chat
}

func newEndpoint(p *Phone, deliver func(id, contentType string, body []byte)) *endpoint {
	return &endpoint{
		phone: p, id: token() + token(), born: time.Now(), waiting: map[string]chan int{}, parts: map[string][]byte{},
		taken: map[string]bool{}, refused: map[string]int{}, up: make(chan struct{}), done: make(chan struct{}), deliver: deliver,
	}
}

// remotePath is the other side's path, "" as long as it is not known.
func (e *endpoint) remotePath() string {
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
	ln, err := net.Listen("tcp", net.JoinHostPort(cmp.Or(e.phone.mannered().Host, "127.0.0.1"), "0"))
	if err != nil {
		return err
	}
	e.ln = ln
	e.local = e.scheme() + ln.Addr().String() + "/" + e.id + ";tcp"
	return nil
}

// accept waits for the peer's connection, whose first request must name this session (RFC 4975 §5.4).
func (e *endpoint) accept() {
	e.phone.spawn(func() {
		defer e.ln.Close()
		_ = e.ln.(*net.TCPListener).SetDeadline(time.Now().Add(30 * time.Second))
		c, err := e.ln.Accept()
		if err != nil {
			return
		}
		if c, err = e.secure(c, false); err != nil {
			e.close()
			return
		}
		e.run(c)
	})
}

// connect dials the peer and sends the empty SEND at once.
func (e *endpoint) connect(addr string) error {
	c, err := net.DialTimeout("tcp", addr, 30*time.Second)
	if err != nil {
		return err
	}
	if c, err = e.secure(c, true); err != nil {
		return err
	}
	e.phone.spawn(func() { e.run(c) })
	select {
	case <-e.up:
	case <-e.done:
		c.Close()
		return io.ErrUnexpectedEOF
	case <-e.phone.done:
		c.Close()
		return io.ErrUnexpectedEOF
	}
	return e.send(context.Background(), token(), "", nil) // 30 s at most
}

// run reads the connection until it ends.
func (e *endpoint) run(c net.Conn) {
	e.mu.Lock()
	e.conn = c
	e.mu.Unlock()
	defer e.close()
	select {
	case <-e.done: // closed meanwhile
		c.Close()
		return
	default:
	}
	e.onceUp.Do(func() { close(e.up) })
	r := bufio.NewReaderSize(c, 64<<10)
	first := true
	var room []byte
	for {
		f, err := readFrame(r, room)
		if err != nil {
			if errors.Is(err, errMSRP) {
				e.phone.violation("msrp: %v", err)
			}
			return
		}
		if f.method == "" {
			e.answered(f)
			continue
		}
		if first && f.method != "SEND" {
			e.phone.violation("msrp: the first request is %s (RFC 4975 §5.4)", f.method)
		}
		if first && e.learns {
			e.setRemote(f.get("From-Path"))
		}
		if first {
			e.phone.tell(PhoneEvent{Type: "bound", ID: e.id, Text: f.get("Byte-Range")})
		}
		first = false
		e.take(f)
		if e.file != nil { // a chat keeps what it gets
			room = f.body
		}
	}
}

// answered takes a response.
func (e *endpoint) answered(f *frame) {
	e.mu.Lock()
	w := e.waiting[f.tid]
	delete(e.waiting, f.tid)
	peer := e.peer
	e.mu.Unlock()
	if w == nil {
		e.phone.violation("msrp: response %d to a transaction %s that is not open", f.status, f.tid)
		return
	}
	if to, from := f.get("To-Path"), f.get("From-Path"); to != e.local || peer != "" && from != strings.Fields(peer)[0] {
		e.phone.violation("msrp: response with To-Path %q and From-Path %q (RFC 4975 §7.2)", to, from)
	}
	if f.flag != '$' || f.hasBody {
		e.phone.violation("msrp: response with flag %q, body %v (RFC 4975 §7.2)", f.flag, f.hasBody)
	}
	w <- f.status
}

// take handles one request, and looks whether it keeps the rules.
func (e *endpoint) take(f *frame) {
	e.check(f)
	if f.method == "REPORT" { // RFC 4975 §7.1.2: never answered
		e.phone.violation("msrp: REPORT %q, which was not asked for", f.get("Status"))
		return
	}
	code := 200
	switch from := f.get("From-Path"); {
	case f.get("To-Path") == "" || from == "" || f.get("Message-ID") == "" && f.method == "SEND":
		code = 400
	case f.get("To-Path") != e.local:
		code = 481
	case f.method != "SEND":
		code = 501
	case e.file != nil:
		code = e.file.collect(f)
	default:
		if code = e.collect(f); code == 0 {
			return
		}
	}
	if fr := f.get("Failure-Report"); fr == "no" || fr == "partial" && code == 200 {
		return
	}
	e.write((&frame{tid: f.tid, status: code, fields: []Field{{"To-Path", strings.Fields(f.get("From-Path") + " x")[0]}, {"From-Path", e.local}}, flag: '$'}).bytes())
}

var (
	tidForm   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.+%=-]{3,31}$`)
	rangeForm = regexp.MustCompile(`^(\d+)-(\d+|\*)/(\d+|\*)$`)
)

// check notes what is wrong with a request's head.
func (e *endpoint) check(f *frame) {
	wrong := func(format string, args ...any) { e.phone.violation("msrp: "+format, args...) }
	if !tidForm.MatchString(f.tid) {
		wrong("transaction id %q (RFC 4975 §9)", f.tid)
	}
	if len(f.fields) < 2 || f.fields[0].Name != "To-Path" || f.fields[1].Name != "From-Path" {
		wrong("To-Path and From-Path are not the first fields (RFC 4975 §7.1)")
	}
	if to := f.get("To-Path"); to != e.local {
		wrong("To-Path is %q, not %q", to, e.local)
	}
	if from, peer := f.get("From-Path"), e.remotePath(); peer != "" && from != peer {
		wrong("From-Path is %q, not %q", from, peer)
	}
	if f.method != "SEND" {
		return
	}
	if f.get("Message-ID") == "" {
		wrong("SEND without Message-ID")
	}
	if !rangeForm.MatchString(f.get("Byte-Range")) {
		wrong("SEND with Byte-Range %q (TS 24.247 §9.3.1.1)", f.get("Byte-Range"))
	}
	if v := f.get("Failure-Report"); v != "" && v != "yes" && v != "no" && v != "partial" {
		wrong("Failure-Report %q", v)
	}
	if v := f.get("Success-Report"); v != "" && v != "yes" && v != "no" {
		wrong("Success-Report %q", v)
	}
	switch {
	case f.hasBody && f.get("Content-Type") == "":
		wrong("a body without Content-Type (RFC 4975 §7.1)")
	case f.hasBody && f.fields[len(f.fields)-1].Name != "Content-Type" && !strings.HasPrefix(f.fields[len(f.fields)-1].Name, "Content-"):
		wrong("the fields of the body are not the last ones (RFC 4975 §7.1)")
	case !f.hasBody && f.get("Byte-Range") != "1-0/0":
		wrong("an empty SEND with Byte-Range %q (RFC 4975 §7.1.1)", f.get("Byte-Range"))
	}
}

// byteRange reads a Byte-Range; -1 stands for "*".
func byteRange(v string) (start, end, total int64) {
	m := rangeForm.FindStringSubmatch(v)
	if m == nil {
		return 1, -1, -1
	}
	num := func(s string) int64 {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return -1
		}
		return n
	}
	return num(m[1]), num(m[2]), num(m[3])
}

// collect puts a chunk to its message and returns the status that answers it, or 0 where the connection is lost.
func (e *endpoint) collect(f *frame) int {
	if !f.hasBody {
		return 200
	}
	id, manner := f.get("Message-ID"), e.phone.mannered()
	start, end, total := byteRange(f.get("Byte-Range"))
	if len(f.body) > 2048 && end >= 0 {
		e.phone.violation("msrp: a chunk of %d octets has a range-end (RFC 4975 §7.1.1)", len(f.body))
	}
	if end >= 0 && f.flag == '$' && end-start+1 != int64(len(f.body)) {
		e.phone.violation("msrp: Byte-Range %s for %d octets", f.get("Byte-Range"), len(f.body))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if code := e.refused[id]; code != 0 {
		e.phone.violation("msrp: more of message %s, which was answered %d (RFC 4975 §10)", id, code)
		return code
	}
	refuse := func(code int) int {
		e.refused[id] = code
		delete(e.parts, id)
		return code
	}
	if manner.MSRPCode >= 300 {
		if f.flag != '+' {
			return manner.MSRPCode
		}
		return refuse(manner.MSRPCode)
	}
	if t := mediaType(f.get("Content-Type")); t != acceptTypes[0] && t != acceptTypes[1] {
		e.phone.violation("msrp: content type %q was not offered (RFC 4975 §8.6)", t)
		return refuse(415)
	}
	if limit := int64(manner.MaxSize); limit > 0 && max(start-1+int64(len(f.body)), total) > limit {
		e.phone.violation("msrp: message of %d octets, max-size is %d", max(start-1+int64(len(f.body)), total), limit)
		return refuse(413)
	}
	part := e.parts[id]
	if int64(len(part)) < start-1 {
		e.phone.violation("msrp: chunk at %d, %d octets are there", start, len(part))
		return refuse(400)
	}
	part = append(part[:start-1:start-1], f.body...) // RFC 4975 §7.3.1: of what overlaps, the last wins
	e.parts[id] = part
	if manner.CutAt > 0 && len(part) >= manner.CutAt && e.call != nil && bytes.Contains(part, []byte("text/plain")) && e.phone.once("cut "+id) {
		e.mu.Unlock()
		e.phone.cut(e.call, e, id)
		e.mu.Lock()
		return 0
	}
	if f.flag == '+' {
		return 200
	}
	delete(e.parts, id)
	if f.flag == '#' { // given up
		return 200
	}
	if total >= 0 && total != int64(len(part)) {
		e.phone.violation("msrp: total %d, %d octets came", total, len(part))
	}
	if e.taken[id] {
		return 200
	}
	e.taken[id] = true
	if f.get("Success-Report") == "yes" {
		e.report(f, id, len(part))
	}
	e.mu.Unlock()
	e.deliver(id, f.get("Content-Type"), part)
	e.mu.Lock()
	return 200
}

// report says that a message has come whole (RFC 4975 §7.1.2). e.mu is held.
func (e *endpoint) report(f *frame, id string, size int) {
	r := &frame{tid: token(), method: "REPORT", flag: '$', fields: []Field{
		{"To-Path", f.get("From-Path")}, {"From-Path", e.local}, {"Message-ID", id}, {"Byte-Range", fmt.Sprintf("1-%d/%d", size, size)}, {"Status", "000 200 OK"},
	}}
	if e.conn != nil {
		_, _ = e.conn.Write(r.bytes())
	}
}

func (e *endpoint) write(b []byte) {
	e.mu.Lock()
	c := e.conn
	e.mu.Unlock()
	if c != nil {
		_, _ = c.Write(b) // one Write, so that frames don't mix
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
	const size = 2000 // RFC 4975 §7.1.1: chunks up to 2048 octets need not be interruptible
	for at := 0; ; at += size {
		part := body[at:min(at+size, len(body))]
		last := at+size >= len(body)
		tid := token()
		f := &frame{tid: tid, method: "SEND", flag: '+', fields: []Field{
			{"To-Path", e.remotePath()}, {"From-Path", e.local}, {"Message-ID", id}, {"Byte-Range", fmt.Sprintf("%d-%d/%d", at+1, at+len(part), len(body))},
		}}
		if last {
			f.flag = '$'
		}
		if contentType != "" {
			f.fields = append(f.fields, Field{"Content-Type", contentType})
			f.hasBody, f.body = true, part
		}
		if err := e.transact(ctx, f); err != nil || last {
			return err
		}
	}
}

// transact sends one request and waits for its 200, 30 s at most (RFC 4975 §7.1.1).
func (e *endpoint) transact(ctx context.Context, f *frame) error {
	answer := make(chan int, 1)
	e.mu.Lock()
	e.waiting[f.tid] = answer
	e.mu.Unlock()
	e.write(f.bytes())
	timeout := time.NewTimer(30 * time.Second)
	defer timeout.Stop()
	var code int
	select {
	case code = <-answer:
	case <-timeout.C:
		return errors.New("msrp: no response in 30 s")
	case <-e.done:
		select {
		case code = <-answer: // it came before the end
		default:
			return io.ErrClosedPipe
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	if code != 200 {
		return fmt.Errorf("msrp status %d", code)
	}
	return nil
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
