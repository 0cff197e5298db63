package msrp

import "bytes"

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
	start, end, total int64 // of byteRange, where it was read

	size int  // octets with the empty line, or with the end-line where there is no body
	body bool // a body follows
	flag byte // where there is no body
}

// scan finds the parts of a head in its usual form. False: it is not whole yet, or not in that form, which is
// then for Reader.Next to read.
func scan(data []byte) (h rawHead, ok bool) {
	line, n := nextLine(data)
	rest, ok := bytes.CutPrefix(line, []byte("MSRP "))
	if !ok {
		return h, false
	}
	if h.tid, h.what, ok = bytes.Cut(rest, []byte(" ")); !ok || len(h.tid) < 4 || len(h.tid) > 32 {
		return h, false
	}
	line, n = advance(data, n)
	if h.to, ok = bytes.CutPrefix(line, []byte("To-Path: ")); !ok {
		return h, false
	}
	line, n = advance(data, n)
	if h.from, ok = bytes.CutPrefix(line, []byte("From-Path: ")); !ok {
		return h, false
	}
	begin := n
	for {
		at := n
		line, n = advance(data, n)
		switch {
		case n < 0:
			return h, false
		case len(line) == 0:
			h.body = true
		case bytes.HasPrefix(line, []byte("-------")) && bytes.Equal(line[7:len(line)-1], h.tid) && isFlag(line[len(line)-1]):
			h.flag = line[len(line)-1]
		default:
			h.note(line)
			if n > maxHead {
				return h, false
			}
			continue
		}
		h.rest, h.size = data[begin:at], n
		return h, true
	}
}

// note keeps the values that a decision depends on.
func (h *rawHead) note(line []byte) {
	for _, f := range []struct {
		name  string
		value *[]byte
	}{{"Message-ID: ", &h.messageID}, {"Byte-Range: ", &h.byteRange}, {"Content-Type: ", &h.contentType}} {
		if line[0] == f.name[0] && bytes.HasPrefix(line, []byte(f.name)) {
			*f.value = line[len(f.name):]
			return
		}
	}
}

// nextLine is the first line without its CRLF, and where the next one begins; -1: it is not whole.
func nextLine(data []byte) ([]byte, int) {
	i := bytes.IndexByte(data, '\n')
	if i < 1 || data[i-1] != '\r' {
		return nil, -1
	}
	return data[:i-1], i + 1
}

func advance(data []byte, n int) ([]byte, int) {
	if n < 0 {
		return nil, -1
	}
	line, size := nextLine(data[n:])
	if size < 0 {
		return nil, -1
	}
	return line, n + size
}

// relay passes on the frames for legs of anchors that stand in the reader's buffer. It returns when something else is there,
// or nothing that is whole. An error means that this connection is of no use.
func (c *conn) relay(r *Reader) error {
	defer c.batch.end(nil)
	for {
		h, ok := scan(r.buf[r.r:r.w])
		if !ok {
			return nil
		}
		c.mu.Lock()
		leg := c.legs[string(h.to)]
		c.mu.Unlock()
		if leg == nil || !leg.passes(&h) {
			return nil
		}
		f := &c.small
		if h.body && h.end < 0 {
			f = new(flow)
		} else if h.body && !h.whole(r.buf[r.r:r.w]) {
			return nil // Reader.Next reads on
		}
		leg.flowOf(f, &h)
		r.enter(&h)
		if err := f.pass(&c.batch, r); err != nil {
			return err
		}
	}
}

// flowOf makes the flow of a frame that goes on as it is.
func (l *AnchorLeg) flowOf(f *flow, h *rawHead) {
	*f = flow{leg: l, small: !h.body || h.end >= 0, body: h.body, request: h.what[0] > '9', start: h.start, tid: h.tid, head: f.head[:0]}
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

// whole reports whether the frame of a head with a body stands whole in data.
func (h *rawHead) whole(data []byte) bool {
	var space [48]byte
	end := append(append(space[:0], "\r\n-------"...), h.tid...)
	for at := h.size - 2; ; {
		i := bytes.Index(data[at:], end)
		if i < 0 {
			return false
		}
		at += i + len(end)
		if len(data) < at+3 {
			return false
		}
		if isFlag(data[at]) && data[at+1] == '\r' && data[at+2] == '\n' {
			return true
		}
	}
}

// passes decides whether a frame of the leg's peer goes on as it is.
func (l *AnchorLeg) passes(h *rawHead) bool {
	switch what := h.what; {
	case len(what) == 0:
		return false
	case what[0] >= '0' && what[0] <= '9':
		return !h.body && l.divided.Load() == 0
	case string(what) == REPORT:
		return !h.body
	case string(what) != SEND || !h.body || l.refused.Load() > 0:
		return false
	}
	var ok bool
	if h.start, h.end, h.total, ok = readRange(h.byteRange); !ok || h.end-h.start >= maxPlain {
		return false // more than 2048 octets must have "*" there
	}
	to := &l.other.opt
	if to.MaxSize > 0 && (h.total < 0 || max(h.total, h.start-1) > to.MaxSize) {
		return false
	}
	if len(h.contentType) > 0 && string(h.contentType) == l.accepted {
		return true
	}
	if len(h.contentType) == 0 || !acceptsType(to.AcceptTypes, string(h.contentType)) {
		return false
	}
	l.accepted = string(h.contentType)
	return true
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

// enter puts the reader behind a head that stands at its place.
func (r *Reader) enter(h *rawHead) {
	r.pattern = append(append(r.pattern[:0], "\r\n-------"...), h.tid...)
	r.r += h.size
	r.inBody, r.atStart, r.flag = h.body, h.body, h.flag
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
	out.ToPath, out.FromPath = to.path, Path{l.other.opt.Local}
	f := &flow{leg: l, request: h.Method != "", body: h.HasBody, method: h.Method, id: h.MessageID, contentType: h.ContentType, small: !h.HasBody}
	switch {
	case h.Method == "":
		tid, goes := l.joined(h.TransactionID, h.Status)
		if c.knows(h.TransactionID) || !goes {
			c.answered(h) // to the empty SEND that bound the leg, or to a part
			_, err := discard(r)
			return err
		}
		out.TransactionID = tid
		out.ToPath = out.ToPath[:min(1, len(out.ToPath))]
	case h.Method == SEND && !h.HasBody: // it binds or keeps alive
		return answer(StatusOK, "OK")
	case h.Method == SEND && h.ContentType == "":
		return answer(StatusBadRequest, "a body without Content-Type")
	case h.Method == SEND:
		if status := l.refusal(h); status != nil {
			return answer(status.Code, status.Comment)
		}
		if h.Range.Start == 0 {
			out.Range = ByteRange{1, -1, -1}
		}
		if out.Range.End >= 0 {
			out.Range.End = -1 // it may be interrupted, whatever its size
		}
		f.start, f.limit, f.h = out.Range.Start, l.other.opt.MaxSize, h
	}
	if len(out.ToPath) == 0 {
		return answer(StatusNoSession, "The other side is not there yet")
	}
	f.tid = []byte(out.TransactionID)
	f.head = out.appendTo(nil)
	defer c.batch.end(nil)
	return f.pass(&c.batch, r)
}
