package msrp

import (
	"bytes"
	"io"
)

// What stands whole in a reader's buffer for the leg of an anchor goes on without being parsed twice, many frames at a
// time. Everything else takes the way by Reader.Next and AnchorLeg.forward.

// rawHead is a frame's head as it stands in the reader's buffer.
type rawHead struct {
	tid, what         []byte // what: the method, or the status with its comment
	to, from          []byte
	rest              []byte // lines behind From-Path, each with its CRLF
	messageID         []byte
	byteRange         []byte
	contentType       []byte
	failureReport     []byte
	start, end, total int64 // of byteRange, where it was read

	size  int  // octets with the empty line, or with the end-line where there is no body
	body  bool // a body follows
	flag  byte // where there is no body
	short bool // it is not whole
}

// scan finds the parts of a head in its usual form. False: it is not whole yet, or not in that form, which is
// then for Reader.Next to read. What it takes, Next reads alike.
func scan(data []byte) (h rawHead, ok bool) {
	line, n := nextLine(data)
	rest, ok := bytes.CutPrefix(line, []byte("MSRP "))
	if !ok {
		h.short = n == notWhole
		return h, false
	}
	if h.tid, h.what, ok = bytes.Cut(rest, []byte(" ")); !ok || !isIdent(string(h.tid)) || !isPlain(h.what) {
		return h, false
	}
	line, n = advance(data, n)
	if h.to, ok = bytes.CutPrefix(line, []byte("To-Path: ")); !ok {
		h.short = n == notWhole
		return h, false
	}
	line, n = advance(data, n)
	if h.from, ok = bytes.CutPrefix(line, []byte("From-Path: ")); !ok {
		h.short = n == notWhole
		return h, false
	}
	begin := n
	for {
		at := n
		line, n = advance(data, n)
		switch {
		case n < 0 || n > maxHead:
			h.short = n == notWhole
			return h, false
		case len(line) == 0:
			h.body = true
		case len(line) == len("-------")+len(h.tid)+1 && bytes.HasPrefix(line, []byte("-------")) &&
			bytes.Equal(line[7:len(line)-1], h.tid) && isFlag(line[len(line)-1]):
			h.flag = line[len(line)-1]
		case !h.note(line):
			return h, false
		default:
			continue
		}
		h.rest, h.size = data[begin:at], n
		return h, true
	}
}

// note looks at a header line and keeps the values that a decision depends on. False: Reader.Next is to look at it.
func (h *rawHead) note(line []byte) bool {
	colon := bytes.IndexByte(line, ':')
	if colon < 1 || !isPlain(line) {
		return false
	}
	name, value := line[:colon], line[colon+1:]
	for _, c := range name {
		if !inName[c] {
			return false
		}
	}
	var field *[]byte
	for _, f := range []struct {
		name  string
		value *[]byte
	}{{"To-Path", nil}, {"From-Path", nil}, {"Message-ID", &h.messageID}, {"Byte-Range", &h.byteRange},
		{"Content-Type", &h.contentType}, {"Failure-Report", &h.failureReport}} {
		if len(name) == len(f.name) && bytes.EqualFold(name, []byte(f.name)) {
			if f.value == nil || *f.value != nil || string(name) != f.name {
				return false // out of its place, twice, or written otherwise
			}
			field = f.value
		}
	}
	if field == nil {
		return true
	}
	if len(value) < 2 || value[0] != ' ' || value[1] <= ' ' || value[len(value)-1] <= ' ' {
		return false
	}
	*field = value[1:]
	return true
}

// isPlain checks for isText of ASCII alone.
func isPlain(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c >= 0x7f {
			return false
		}
	}
	return true
}

// inName has the octets that isName allows.
var inName = func() (t [256]bool) {
	for c := range t {
		t[c] = c < 0x7f && isName(string(rune(c)))
	}
	return t
}()

// What nextLine tells in place of where the next line begins.
const (
	notWhole = -1
	noLine   = -2 // an LF without its CR
)

// nextLine is the first line without its CRLF, and where the next one begins.
func nextLine(data []byte) ([]byte, int) {
	i := bytes.IndexByte(data, '\n')
	switch {
	case i < 0:
		return nil, notWhole
	case i == 0 || data[i-1] != '\r':
		return nil, noLine
	}
	return data[:i-1], i + 1
}

func advance(data []byte, n int) ([]byte, int) {
	if n < 0 {
		return nil, n
	}
	line, size := nextLine(data[n:])
	if size < 0 {
		return nil, size
	}
	return line, n + size
}

// relay passes on the frames for legs of anchors that stand in the reader's buffer, which it fills when it is empty. It
// returns when something else is there, or nothing that is whole. An error means that this connection is of no use.
func (c *conn) relay(r *Reader) error {
	defer c.batch.end(nil)
	more := func() error {
		_ = c.batch.end(nil) // what fails there is the other side's
		return r.fill()
	}
	waited := false // for the rest of the frame at the reader's place
	for {
		if r.r == r.w && r.idle != nil {
			return nil
		}
		if r.r == r.w {
			if err := more(); err == io.ErrUnexpectedEOF {
				return io.EOF // it is between frames
			} else if err != nil {
				return err
			}
		}
		data := r.buf[r.r:r.w]
		h, ok := scan(data)
		var leg *AnchorLeg
		if ok {
			if leg = c.legOfRaw(&h); leg == nil || !leg.passes(&h) {
				return nil
			}
			r.expect(h.tid)
		}
		f := c.small
		switch {
		case !ok:
			if !h.short {
				return nil
			}
		case h.body && h.end < 0:
			f = new(flow)
		case h.body:
			n := r.bodyEnd(data[h.size:])
			if limit := leg.other.opt.MaxSize; n > maxPlain || limit > 0 && h.start-1+int64(n) > limit {
				return nil
			}
			h.short = n < 0
		}
		if h.short {
			if waited || len(data) > maxHead {
				return nil // Reader.Next reads on
			}
			if err := more(); err != nil {
				return err
			}
			waited = true
			continue
		}
		waited = false
		leg.flowOf(f, &h)
		r.enter(&h)
		if err := f.pass(c.batch, r); err != nil {
			return err
		}
	}
}

// legOfRaw finds the leg that a frame is for, unless it is the response to a request of our own.
func (c *conn) legOfRaw(h *rawHead) *AnchorLeg {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pending) > 0 && c.pending[string(h.tid)] != nil { // the empty SEND that binds was ours
		return nil
	}
	leg, ok := c.targets.one.(*AnchorLeg)
	if !ok && c.targets.more != nil {
		leg, ok = c.targets.more[sessionID(h.to)].(*AnchorLeg)
	}
	if !ok || string(h.to) != leg.local {
		return nil
	}
	return leg
}

// flowOf makes the flow of a frame that goes on as it is.
func (l *AnchorLeg) flowOf(f *flow, h *rawHead) {
	*f = flow{
		leg: l, small: !h.body || h.end >= 0, body: h.body, request: h.what[0] > '9', silent: string(h.failureReport) == "no",
		start: h.start, tid: h.tid, head: f.head[:0],
	}
	if l.anchor.observe != nil {
		f.method, f.id, f.contentType = string(h.what), string(h.messageID), string(h.contentType)
	}
	to := l.other.remote.Load()
	path := to.text
	if !f.request {
		path = to.first // the response to a SEND goes one hop (RFC 4975 §7.2)
	}
	f.head = append(append(append(append(f.head, "MSRP "...), h.tid...), ' '), h.what...)
	f.head = append(append(append(f.head, "\r\nTo-Path: "...), path...), "\r\nFrom-Path: "...)
	f.head = append(append(append(f.head, l.other.local...), "\r\n"...), h.rest...)
	if h.body {
		f.head = append(f.head, "\r\n"...)
	}
	if !f.small {
		f.tid = bytes.Clone(h.tid) // the buffer changes while it is passed on
	}
}

// passes decides whether a frame of the leg's peer goes on as it is.
func (l *AnchorLeg) passes(h *rawHead) bool {
	if len(l.other.remote.Load().path) == 0 || !l.knows(h.from) {
		return false
	}
	switch what := h.what; {
	case string(what) == "200" || bytes.HasPrefix(what, []byte("200 ")):
		return !h.body && l.divided.Load() == 0
	case string(what) == REPORT:
		return !h.body
	case string(what) != SEND || !h.body || len(h.messageID) == 0 || len(h.contentType) == 0 || l.refused.Load() > 0:
		return false
	}
	var ok bool
	if h.start, h.end, h.total, ok = readRange(h.byteRange); !ok || h.end-h.start >= maxPlain {
		return false // more than 2048 octets must have "*" there
	}
	if limit := l.other.opt.MaxSize; limit > 0 && (h.end < 0 || max(h.total, h.start-1) > limit) {
		return false // octets are counted, or it is refused
	}
	if string(h.contentType) == l.accepted {
		return true
	}
	if !acceptsType(l.other.opt.AcceptTypes, string(h.contentType)) {
		return false
	}
	l.accepted = string(h.contentType)
	return true
}

// knows reports whether a From-Path can be read; mostly it is the one before.
func (l *AnchorLeg) knows(from []byte) bool {
	if len(from) > 0 && string(from) == l.from {
		return true
	}
	if remote := l.remote.Load(); string(from) != remote.text && string(from) != remote.first {
		if _, err := ParsePath(string(from)); err != nil {
			return false
		}
	}
	if len(from) <= 1024 {
		l.from = string(from)
	}
	return true
}

// sessionID is that of a URI as we write it.
func sessionID(uri []byte) string {
	_, rest, _ := bytes.Cut(uri, []byte("://"))
	_, rest, _ = bytes.Cut(rest, []byte("/"))
	id, _, _ := bytes.Cut(rest, []byte(";"))
	return string(id)
}

// readRange reads a Byte-Range; -1 stands for "*".
func readRange(b []byte) (start, end, total int64, ok bool) {
	number := func(stop byte) int64 {
		n, digits := int64(0), 0
		for len(b) > 0 && b[0] >= '0' && b[0] <= '9' && digits < 18 {
			n, b, digits = n*10+int64(b[0]-'0'), b[1:], digits+1
		}
		if digits == 0 && len(b) > 0 && b[0] == '*' {
			n, b, digits = -1, b[1:], 1
		}
		if ok = digits > 0 && (stop == 0 && len(b) == 0 || stop != 0 && len(b) > 0 && b[0] == stop); ok && stop != 0 {
			b = b[1:]
		}
		return n
	}
	if start = number('-'); !ok || start < 1 {
		return 0, 0, 0, false
	}
	if end = number('/'); !ok {
		return 0, 0, 0, false
	}
	total = number(0)
	return start, end, total, ok
}

// expect tells the reader whose end-line comes next.
func (r *Reader) expect(tid []byte) {
	r.pattern = append(append(r.pattern[:0], "\r\n-------"...), tid...)
}

// enter puts the reader behind a head that stands at its place.
func (r *Reader) enter(h *rawHead) {
	r.expect(h.tid)
	r.r += h.size
	r.inBody, r.atStart, r.flag = h.body, h.body, h.flag
}

// bodyEnd is the length of the body that data begins with, -1 where its end-line is not there.
func (r *Reader) bodyEnd(data []byte) int {
	if r.endAt(data, r.pattern[2:]) {
		return 0
	}
	for at := 0; ; at += 2 {
		i := bytes.Index(data[at:], r.pattern)
		if i < 0 {
			return -1
		}
		if at += i; r.endAt(data[at:], r.pattern) {
			return at
		}
	}
}

// gather reads on until a body that has just begun stands whole in the buffer, and tells its length; -1: it has more octets
// than limit, which is less than a buffer holds.
func (r *Reader) gather(limit int) (int, error) {
	for {
		n := r.bodyEnd(r.buf[r.r:r.w])
		if n > limit || n < 0 && r.w-r.r >= limit+len(r.pattern)+3 {
			return -1, nil
		}
		if n >= 0 {
			return n, nil
		}
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
}

// forward passes on a frame whose head Reader.Next has read, or answers it where it is not for the other side.
func (l *AnchorLeg) forward(r *Reader, h *Head) error {
	c := l.connection()
	answer := func(code int, comment string) error {
		_, err := discard(r)
		c.respond(h, code, comment)
		return err
	}
	out := *h
	to := l.other.remote.Load()
	if h.Method == SEND && h.HasBody {
		to = l.other.destination()
	}
	out.ToPath, out.FromPath = to.path, Path{l.other.opt.Local}
	switch {
	case h.Method == "":
		tid, goes := h.TransactionID, false
		if !c.knows(tid) && isIdent(tid) && h.Status >= 100 && len(to.path) > 0 {
			tid, goes = l.joined(tid, h.Status)
		}
		if !goes {
			c.answered(h) // to the empty SEND that bound the leg, or to a part
			_, err := discard(r)
			return err
		}
		out.TransactionID, out.ToPath = tid, to.path[:1]
	case h.Method == SEND && h.ContentType == "": // it binds or keeps alive
		n, err := discard(r)
		if n > 0 {
			c.respond(h, StatusBadRequest, "a body without Content-Type")
		} else {
			c.respond(h, StatusOK, "OK")
		}
		return err
	case h.Method == SEND && !h.HasBody:
		return answer(StatusOK, "OK")
	case len(to.path) == 0:
		return answer(StatusNoSession, "The other side is not there yet")
	}
	f := &flow{leg: l, request: h.Method != "", method: h.Method, id: h.MessageID, contentType: h.ContentType, silent: h.FailureReport == "no", small: true}
	if h.Method == SEND {
		if status := l.refusal(h); status != nil {
			return answer(status.Code, status.Comment)
		}
		if h.Range.Start == 0 {
			out.Range = ByteRange{1, -1, -1}
		}
		f.start, f.limit, f.h, f.body, f.small = out.Range.Start, l.other.opt.MaxSize, h, true, false
		if out.Range.End >= 0 {
			n, err := r.gather(maxPlain)
			switch {
			case err != nil:
				return err
			case n < 0:
				out.Range.End = -1 // it may be interrupted
			case f.limit > 0 && f.start-1+int64(n) > f.limit:
				status := l.refuse(h.MessageID, StatusStop, "Message too large")
				return answer(status.Code, status.Comment)
			default:
				f.small = true
			}
		}
	} else if h.HasBody { // neither a response nor a REPORT has one (RFC 4975 §7.1.2, 7.2)
		if _, err := discard(r); err != nil {
			return err
		}
		out.HasBody, out.ContentType = false, ""
	}
	f.tid = []byte(out.TransactionID)
	f.head = out.appendTo(nil)
	defer c.batch.end(nil)
	return f.pass(c.batch, r)
}
