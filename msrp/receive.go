package msrp

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
)

// IncomingMessage is a message as its Handler sees it.
type IncomingMessage struct {
	ID          string
	ContentType string
	Size        int64 // -1: not known
	Body        io.Reader
	Header      []Header
}

const (
	// shortMessage is the size up to which a message is kept whole and given to the Handler in order.
	shortMessage = 64 << 10
	// holdLimit bounds what may arrive ahead of its place.
	holdLimit = 256 << 10
	// maxArriving bounds how many messages may be under way in one session.
	maxArriving = 32
	// remembered is how many Message-IDs are kept to know repeats.
	remembered = 128
)

// incoming is a message that is arriving. The connection's reader feeds it.
type incoming struct {
	m       IncomingMessage
	head    *Head // of the first chunk seen
	next    int64 // position expected next, from 1
	total   int64 // -1: not known yet
	buf     []byte
	pipe    *pipe // set once the message is long
	held    map[int64][]byte
	holding int
	final   *Head // the chunk that is answered when the Handler is done
	conn    *conn
	failed  bool
}

// receive takes one SEND from the reader. An error means that the connection is of no use.
func (s *Session) receive(r *Reader, h *Head) error {
	m, code, comment := s.arriving(h)
	if m == nil {
		if _, err := io.Copy(io.Discard, r.Body()); err != nil {
			return err
		}
		s.connection().respond(h, code, comment)
		return nil
	}
	return m.chunk(s, r, h)
}

func (s *Session) connection() *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn
}

// arriving finds or makes the message of a chunk. A nil message: the chunk is to be answered as told.
func (s *Session) arriving(h *Head) (*incoming, int, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !h.hasBody {
		return nil, StatusOK, "OK" // §7.1.1: empty, it binds or keeps alive
	}
	if m := s.in[h.MessageID]; m != nil {
		return m, 0, ""
	}
	for _, id := range s.seen {
		if id == h.MessageID {
			return nil, StatusOK, "OK" // §5.4: a repeat of what was taken
		}
	}
	switch {
	case !s.accepts(h.ContentType):
		return nil, StatusUnsupported, "Unsupported media type"
	case s.opt.MaxSize > 0 && h.Range.Total > s.opt.MaxSize:
		return nil, StatusStop, "Message too large"
	case len(s.in) >= maxArriving:
		return nil, StatusStop, "Too many messages at once"
	}
	total := int64(-1)
	if h.Range.Start > 0 {
		total = h.Range.Total
	}
	m := &incoming{
		m:    IncomingMessage{ID: h.MessageID, ContentType: h.ContentType, Size: total, Header: h.Other},
		head: h, next: 1, total: total, held: map[int64][]byte{}, conn: s.conn,
	}
	s.in[h.MessageID] = m
	return m, 0, ""
}

// forget takes a message off the list of the arriving ones.
func (s *Session) forget(m *incoming, taken bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.in, m.m.ID)
	if taken {
		s.seen = append(s.seen, m.m.ID)
		if len(s.seen) > remembered {
			s.seen = s.seen[1:]
		}
	}
}

// chunk reads one chunk's body into the message.
func (m *incoming) chunk(s *Session, r *Reader, h *Head) error {
	at := h.Range.Start
	if at == 0 {
		at = 1 // §7.1.1: a chunk without range is the first
	}
	ahead := at > m.next
	body := r.Body()
	var held []byte
	piece := make([]byte, 4<<10)
	for {
		n, err := body.Read(piece)
		data := piece[:n]
		switch {
		case m.failed || n == 0:
		case ahead:
			if m.holding+n > holdLimit {
				m.fail(s, StatusStop, "too much out of order")
				break
			}
			held = append(held, data...)
			m.holding += n
		default:
			m.place(s, at, data)
			at += int64(n)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	switch flag := r.Flag(); {
	case flag == Aborted:
		m.fail(s, 0, "")
		s.forget(m, false)
		m.conn.respond(h, StatusOK, "OK")
		return nil
	case flag == Complete:
		// §7.3.1: the bytes that came count, not the range-end.
		end := at - 1
		if ahead {
			end = at - 1 + int64(len(held))
		}
		m.total = end
	}
	if ahead && !m.failed {
		m.held[at] = held
	}
	m.settle(s)
	if m.failed {
		s.forget(m, false)
		m.conn.respond(h, StatusStop, "Stop")
		return nil
	}
	if m.total >= 0 && m.next > m.total {
		m.final = h
		s.forget(m, false) // taken or not is known when the Handler is done
		return m.complete(s)
	}
	m.conn.respond(h, StatusOK, "OK")
	return nil
}

// place puts bytes that are in order, or repeat what was there (§7.3.1: the last overlapping
// chunk wins, which for bytes handed on already can't be).
func (m *incoming) place(s *Session, at int64, data []byte) {
	if skip := m.next - at; skip > 0 {
		if m.pipe == nil {
			copy(m.buf[at-1:], data[:min(skip, int64(len(data)))])
		}
		if skip >= int64(len(data)) {
			return
		}
		data = data[skip:]
	}
	m.next += int64(len(data))
	if s.opt.MaxSize > 0 && m.next-1 > s.opt.MaxSize {
		m.fail(s, StatusStop, "Message too large")
		return
	}
	if m.pipe == nil && len(m.buf)+len(data) > shortMessage {
		m.stream(s)
	}
	if m.pipe == nil {
		m.buf = append(m.buf, data...)
		return
	}
	if !m.pipe.write(data) {
		m.failed = true // the Handler has returned early: it wants no more
	}
}

// settle places held chunks whose turn has come.
func (m *incoming) settle(s *Session) {
	for progress := true; progress && !m.failed; {
		progress = false
		for at, data := range m.held {
			if at <= m.next {
				delete(m.held, at)
				m.holding -= len(data)
				m.place(s, at, data)
				progress = true
			}
		}
	}
}

// stream hands a long message to the Handler while it is arriving.
func (m *incoming) stream(s *Session) {
	m.pipe = newPipe(m.buf)
	m.buf = nil
	m.m.Body = m.pipe
	go func() { // ends with the Handler, whose reads end with the message or the session
		err := s.opt.Handler.ServeMSRP(s, &m.m)
		m.pipe.closeRead()
		m.pipe.result <- err
	}()
}

// complete is called by the reader when all bytes are there.
func (m *incoming) complete(s *Session) error {
	if m.pipe == nil {
		m.m.Size = int64(len(m.buf))
		m.m.Body = bytes.NewReader(m.buf)
		select {
		case s.work <- m: // a full queue holds the connection back
		case <-s.done:
		}
		return nil
	}
	m.pipe.closeWrite(io.EOF)
	go func() { // ends with the Handler
		m.finish(s, <-m.pipe.result)
	}()
	return nil
}

// handle runs short messages one after the other.
func (s *Session) handle() {
	for {
		select {
		case m := <-s.work:
			m.finish(s, s.opt.Handler.ServeMSRP(s, &m.m))
		case <-s.done:
			return
		}
	}
}

// finish answers the last chunk with what the Handler said, and reports success if asked to.
func (m *incoming) finish(s *Session, err error) {
	var status *StatusError
	switch {
	case errors.As(err, &status):
		m.conn.respond(m.final, status.Code, status.Comment)
		return
	case err != nil:
		s.opt.Log.Error("msrp handler failed", "error", err)
		m.conn.respond(m.final, StatusForbidden, "Not taken")
		return
	}
	s.forget(m, true)
	m.conn.respond(m.final, StatusOK, "OK")
	if m.final.SuccessReport || m.head.SuccessReport {
		// §7.1.3: to the whole From-Path, covering what was received.
		n := m.next - 1
		m.conn.sendControl(&Head{
			TransactionID: newTransactionID(), Method: REPORT, ToPath: m.final.FromPath, FromPath: Path{s.opt.Local},
			MessageID: m.m.ID, Range: ByteRange{1, n, n}, ReportStatus: "000 200 OK",
		})
	}
}

func (m *incoming) fail(s *Session, code int, why string) {
	if !m.failed && code != 0 {
		s.opt.Log.Info("msrp message stopped", "code", code, "reason", why)
	}
	m.failed = true
	m.abort(&StatusError{StatusStop, why})
}

func (m *incoming) abort(err error) {
	if m.pipe != nil {
		m.pipe.closeWrite(err)
	}
}

// report hands a REPORT to the Handler. Unknown messages and bad reports are ignored (§7.1.2).
func (s *Session) report(h *Head) {
	rh, ok := s.opt.Handler.(ReportHandler)
	if !ok {
		return
	}
	// Status: namespace SP status-code [SP comment]; 000 is the namespace of MSRP itself.
	f := strings.SplitN(h.ReportStatus, " ", 3)
	if len(f) < 2 || f[0] != "000" {
		return
	}
	code, err := strconv.Atoi(f[1])
	if err != nil {
		return
	}
	r := Report{MessageID: h.MessageID, Range: h.Range, Code: code}
	if len(f) == 3 {
		r.Comment = f[2]
	}
	rh.ServeReport(s, r)
}

// pipe carries a long message from the connection's reader to the Handler with a bounded window.
type pipe struct {
	mu     sync.Mutex
	cond   *sync.Cond
	buf    []byte
	err    error // after buf: io.EOF or why there is no more
	closed bool  // the reader of the pipe is gone
	result chan error
}

func newPipe(begin []byte) *pipe {
	p := &pipe{buf: begin, result: make(chan error, 1)}
	p.cond = sync.NewCond(&p.mu)
	return p
}

func (p *pipe) write(data []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.buf) >= 2*shortMessage && !p.closed && p.err == nil {
		p.cond.Wait()
	}
	if p.closed || p.err != nil {
		return false
	}
	p.buf = append(p.buf, data...)
	p.cond.Broadcast()
	return true
}

// Read gives bytes in order.
func (p *pipe) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.buf) == 0 && p.err == nil {
		p.cond.Wait()
	}
	if len(p.buf) == 0 {
		return 0, p.err
	}
	n := copy(b, p.buf)
	p.buf = p.buf[n:]
	p.cond.Broadcast()
	return n, nil
}

func (p *pipe) closeWrite(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
	}
	p.cond.Broadcast()
}

func (p *pipe) closeRead() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.cond.Broadcast()
}
