package msrp

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrAborted ends the body of a message that the peer gave up (RFC 4975 §7.1.1: flag #).
var ErrAborted = errors.New("msrp message aborted by the peer")

// IncomingMessage is a message as its Handler sees it.
type IncomingMessage struct {
	ID          string
	ContentType string
	Size        int64     // in octets, as the sender says; -1: not known
	Body        io.Reader // ends with io.EOF, ErrAborted, or what ended the session
	Header      []Header
}

const (
	// shortMessage is the size up to which a message is kept whole and given to the Handler in order.
	shortMessage = 64 << 10
	// holdLimit bounds what may arrive ahead of its place, in octets; holdPieces, in how many pieces.
	holdLimit  = 256 << 10
	holdPieces = 1024
	// maxArriving bounds how many messages may be under way in one session. Beyond it, one that has not
	// moved for stale makes room.
	maxArriving = 32
	stale       = time.Minute
	// maxQueued bounds how many short messages wait for the Handler. More hold the connection back.
	maxQueued = 16
	// remembered is how many messages' outcomes are kept to know repeats.
	remembered = 128
)

// incoming is a message that is arriving. The connection's reader feeds it, and nobody else touches it until it is complete.
type incoming struct {
	m         IncomingMessage
	report    bool  // Success-Report: yes
	next      int64 // position expected next, from 1
	total     int64 // -1 until the chunk with $ came
	buf       []byte
	streaming bool  // the Handler has it, and reads from pipe
	pipe      *pipe // there from the beginning, so that the session's end reaches it
	held      []segment
	holding   int          // octets in held
	refused   *StatusError // no more of it is wanted
	enough    bool         // the Handler has taken it before its end
	moved     time.Time    // when its last chunk came
	final     *Head        // the chunk that is answered when the Handler is done
	conn      *conn
}

// segment is what arrived ahead of its place. Segments are sorted and don't overlap.
type segment struct {
	at   int64
	data []byte
}

func (g segment) end() int64 { return g.at + int64(len(g.data)) }

// outcome is what became of a message: how further chunks of it are answered.
type outcome struct {
	code    int // 0: the Handler is at it
	comment string
	size    int64
	waiting []repeat // final chunks of repeats meanwhile
}

type repeat struct {
	conn *conn
	head *Head
}

// outcomes are those of the last messages.
type outcomes struct {
	of    map[string]*outcome
	order []string // oldest first
}

func (r *outcomes) put(id string, o *outcome) {
	if !r.has(id) {
		r.order = append(r.order, id)
	}
	r.of[id] = o
	for len(r.order) > remembered {
		delete(r.of, r.order[0])
		r.order = r.order[1:]
	}
}

func (r *outcomes) has(id string) bool {
	_, there := r.of[id]
	return there
}

func (r *outcomes) drop(id string) {
	if r.has(id) {
		delete(r.of, id)
		r.order = slices.DeleteFunc(r.order, func(o string) bool { return o == id })
	}
}

// receive takes one SEND from the reader. An error means that the connection is of no use.
func (s *Session) receive(c *conn, r *Reader, h *Head) error {
	m, known, err := s.arriving(c, h)
	if m != nil {
		return m.chunk(s, r, h)
	}
	n, rerr := discard(r)
	switch {
	case rerr != nil:
		return rerr
	case err != nil:
		c.respond(h, err.Code, err.Comment)
	case h.HasBody && h.ContentType == "" && n > 0 && known == nil:
		c.respond(h, StatusBadRequest, "a body without Content-Type")
	default:
		s.repeat(c, r.Flag(), h, known)
	}
	return nil
}

// repeat answers a chunk of a message that came before, or an empty SEND, which binds or keeps alive (RFC 4975 §7.1.1).
func (s *Session) repeat(c *conn, flag byte, h *Head, known *outcome) {
	s.mu.Lock()
	switch {
	case known == nil:
	case flag == Aborted && known.code != StatusOK && known.code != 0:
		s.recent.drop(h.MessageID)
		known = nil
	case known.code == 0 && flag == Complete:
		if len(known.waiting) < maxArriving {
			known.waiting = append(known.waiting, repeat{c, h})
		}
		s.mu.Unlock()
		return
	}
	code, comment, size := StatusOK, "OK", int64(0)
	if known != nil && known.code != 0 {
		code, comment, size = known.code, known.comment, known.size
	}
	s.mu.Unlock()
	c.respond(h, code, comment)
	if known != nil && code == StatusOK && flag == Complete {
		s.reportSuccess(c, h, h.SuccessReport, size)
	}
}

// arriving finds or makes the message of a chunk. Without one, the chunk is a repeat of what is known, empty, or refused.
func (s *Session) arriving(c *conn, h *Head) (*incoming, *outcome, *StatusError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.in[h.MessageID]; m != nil {
		return m, nil, nil
	}
	known := s.recent.of[h.MessageID]
	if known != nil && known.code >= 300 && h.Range.Start <= 1 && h.HasBody {
		s.recent.drop(h.MessageID) // what was refused may be tried again
		known = nil
	}
	if known != nil || !h.HasBody || h.ContentType == "" {
		return nil, known, nil
	}
	refuse := func(code int, why string) (*incoming, *outcome, *StatusError) {
		s.recent.put(h.MessageID, &outcome{code: code, comment: why})
		return nil, nil, &StatusError{code, why}
	}
	switch {
	case s.err != nil:
		return nil, nil, &StatusError{StatusNoSession, "Session is over"}
	case s.opt.Handler == nil:
		return refuse(StatusForbidden, "No messages are taken")
	case !s.accepts(h.ContentType):
		return refuse(StatusUnsupported, "Unsupported media type")
	case s.opt.MaxSize > 0 && h.Range.Total > s.opt.MaxSize:
		return refuse(StatusStop, "Message too large")
	case len(s.in) >= maxArriving && !s.evict():
		return refuse(StatusStop, "Too many messages at once")
	}
	size := int64(-1)
	if h.Range.Start > 0 {
		size = h.Range.Total
	}
	m := &incoming{
		m:      IncomingMessage{ID: h.MessageID, ContentType: h.ContentType, Size: size, Header: h.Other},
		report: h.SuccessReport, next: 1, total: -1, pipe: newPipe(), conn: c,
	}
	s.in[h.MessageID] = m
	return m, nil, nil
}

// evict makes room by what has not moved for long. s.mu is held.
func (s *Session) evict() bool {
	for id, m := range s.in {
		if time.Since(m.moved) > stale {
			delete(s.in, id)
			s.recent.put(id, &outcome{code: StatusStop, comment: "Message abandoned"})
			m.pipe.closeWrite(ErrAborted)
			return true
		}
	}
	return false
}

// forget takes a message off the list of the arriving ones and notes how more of it is answered.
func (s *Session) forget(m *incoming, o *outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.in, m.m.ID)
	s.recent.put(m.m.ID, o)
}

// chunk reads one chunk's body into the message.
func (m *incoming) chunk(s *Session, r *Reader, h *Head) error {
	at := max(h.Range.Start, 1) // §7.1.1: a chunk without range is the first
	m.moved = time.Now()
	m.report = m.report || h.SuccessReport
	answered := false
	for {
		data, err := r.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if m.refused == nil {
			m.take(s, at, data)
		}
		if at += int64(len(data)); m.refused != nil && !answered {
			answered = true // at once, so that the sender can interrupt the chunk (§7.3.2, 10.5)
			m.conn.respond(h, m.refused.Code, m.refused.Comment)
		}
	}
	flag := r.Flag()
	if m.refused == nil {
		m.settle(s)
		if flag == Complete {
			m.ends(at - 1)
		}
	}
	switch {
	case flag == Aborted:
		m.pipe.closeWrite(ErrAborted)
		s.forget(m, &outcome{code: StatusStop, comment: "Message aborted"})
		if !answered {
			m.conn.respond(h, StatusOK, "OK")
		}
	case m.refused != nil:
		s.opt.Log.Info("msrp message refused", "code", m.refused.Code, "reason", m.refused.Comment)
		m.pipe.closeWrite(m.refused)
		s.forget(m, &outcome{code: m.refused.Code, comment: m.refused.Comment})
		if !answered {
			m.conn.respond(h, m.refused.Code, m.refused.Comment)
		}
	case m.total >= 0 && m.next > m.total:
		m.final = h
		s.forget(m, &outcome{}) // how it is answered is known when the Handler is done
		m.complete(s)
	default:
		m.conn.respond(h, StatusOK, "OK")
	}
	return nil
}

func (m *incoming) refuse(code int, why string) { m.refused = &StatusError{code, why} }

// take puts bytes to their place.
func (m *incoming) take(s *Session, at int64, data []byte) {
	if over := at + int64(len(data)) - 1 - m.total; m.total >= 0 && over > 0 {
		data = data[:max(0, int64(len(data))-over)] // §7.3.1: the chunk with $ tells where the message ends
	}
	switch {
	case s.opt.MaxSize > 0 && at+int64(len(data))-1 > s.opt.MaxSize:
		m.refuse(StatusStop, "Message too large")
	case at > m.next:
		m.hold(at, data)
	default:
		m.place(s, at, data)
	}
}

// place puts bytes that are in order, or repeat what was there. §7.3.1: the last overlapping chunk wins, which
// for bytes handed on already can't be.
func (m *incoming) place(s *Session, at int64, data []byte) {
	if skip := min(m.next-at, int64(len(data))); skip > 0 {
		if !m.streaming {
			copy(m.buf[at-1:], data[:skip])
		}
		data = data[skip:]
	}
	if len(data) == 0 {
		return
	}
	m.next += int64(len(data))
	if !m.streaming && len(m.buf)+len(data) > shortMessage {
		m.stream(s)
	}
	if !m.streaming {
		m.buf = append(m.buf, data...)
		return
	}
	if m.enough || m.pipe.write(data) {
		return
	}
	select {
	case <-s.done:
		m.refuse(StatusNoSession, "Session is over")
	case err := <-m.pipe.result: // the Handler wants no more
		m.pipe.result <- err
		m.enough = err == nil
		if err != nil {
			m.refused = s.status(err)
		}
	}
}

// hold keeps bytes that are ahead of their place. What was held of the same place gives way: the last chunk wins.
func (m *incoming) hold(at int64, data []byte) {
	end := at + int64(len(data))
	var kept []segment
	joined := false
	for _, g := range m.held {
		switch {
		case !joined && g.end() == at && len(data) > 0: // the usual case: one piece of a chunk after the other
			kept = append(kept, segment{g.at, append(g.data, data...)})
			joined = true
		case g.end() <= at || g.at >= end:
			kept = append(kept, g)
		default:
			if g.at < at {
				kept = append(kept, segment{g.at, slices.Clone(g.data[:at-g.at])})
			}
			if g.end() > end {
				kept = append(kept, segment{end, g.data[end-g.at:]})
			}
		}
	}
	if !joined && len(data) > 0 {
		kept = append(kept, segment{at, bytes.Clone(data)})
	}
	slices.SortFunc(kept, func(a, b segment) int { return int(max(-1, min(1, a.at-b.at))) })
	m.held, m.holding = kept, 0
	for _, g := range kept {
		m.holding += len(g.data)
	}
	if m.holding > holdLimit || len(kept) > holdPieces {
		m.refuse(StatusStop, "Too much out of order")
	}
}

// settle places held bytes whose turn has come, at the end of a chunk: what it brought is newer than they are.
func (m *incoming) settle(s *Session) {
	for len(m.held) > 0 && m.held[0].at <= m.next && m.refused == nil {
		g := m.held[0]
		m.held = m.held[1:]
		m.holding -= len(g.data)
		if skip := m.next - g.at; skip < int64(len(g.data)) {
			m.place(s, m.next, g.data[skip:])
		}
	}
}

// ends notes where the message ends, as the chunk with $ tells (§7.3.1: by its bytes, not by the range-end).
func (m *incoming) ends(total int64) {
	m.total = total
	if m.next-1 > total {
		if m.streaming {
			m.refuse(StatusBadRequest, "Message is longer than its last chunk tells")
			return
		}
		m.buf, m.next = m.buf[:total], total+1
	}
	m.held = slices.DeleteFunc(m.held, func(g segment) bool { return g.at > total })
	for i, g := range m.held {
		m.held[i].data = g.data[:min(int64(len(g.data)), total+1-g.at)]
	}
}

// stream hands a long message to the Handler while it is arriving.
func (m *incoming) stream(s *Session) {
	m.streaming = true
	m.pipe.write(m.buf)
	m.buf = nil
	m.m.Body = m.pipe
	go func() { // ends with the Handler, whose reads end with the message or the session
		err := s.opt.Handler.ServeMSRP(s, &m.m)
		m.pipe.closeRead()
		m.pipe.result <- err
	}()
}

// complete is called by the reader when all bytes are there.
func (m *incoming) complete(s *Session) {
	if m.streaming {
		m.pipe.closeWrite(io.EOF)
		go func() { // ends with the Handler
			m.finish(s, <-m.pipe.result)
		}()
		return
	}
	m.m.Size = int64(len(m.buf))
	m.m.Body = bytes.NewReader(m.buf)
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) >= maxQueued && s.err == nil {
		s.room.Wait()
	}
	if s.err != nil {
		return
	}
	s.queue = append(s.queue, m)
	if !s.serving {
		s.serving = true
		go s.serve() // ends when the queue is empty
	}
}

// serve runs short messages one after the other.
func (s *Session) serve() {
	for {
		s.mu.Lock()
		if len(s.queue) == 0 {
			s.queue, s.serving = nil, false
			s.mu.Unlock()
			return
		}
		m := s.queue[0]
		s.queue = s.queue[1:]
		s.room.Signal()
		s.mu.Unlock()
		m.finish(s, s.opt.Handler.ServeMSRP(s, &m.m))
	}
}

// status is how an error of the Handler is answered.
func (s *Session) status(err error) *StatusError {
	if status, ok := errors.AsType[*StatusError](err); ok {
		return status
	}
	if s.Err() == nil {
		s.opt.Log.Error("msrp handler failed", "error", err)
	}
	return &StatusError{StatusForbidden, "Not taken"}
}

// finish answers the last chunk with what the Handler said, and reports success if asked to. Repeats of it that came
// meanwhile get the same answer.
func (m *incoming) finish(s *Session, err error) {
	o := &outcome{code: StatusOK, comment: "OK", size: m.next - 1}
	if err != nil {
		status := s.status(err)
		o.code, o.comment = status.Code, status.Comment
	}
	s.mu.Lock()
	var repeats []repeat
	if was := s.recent.of[m.m.ID]; was != nil {
		repeats = was.waiting
	}
	s.recent.put(m.m.ID, o)
	s.mu.Unlock()
	for _, r := range append([]repeat{{m.conn, m.final}}, repeats...) {
		r.conn.respond(r.head, o.code, o.comment)
		if o.code == StatusOK {
			s.reportSuccess(r.conn, r.head, m.report, o.size)
		}
	}
}

// reportSuccess tells the whole From-Path that the message has come, if it is asked for (RFC 4975 §7.1.3).
func (s *Session) reportSuccess(c *conn, h *Head, wanted bool, size int64) {
	if !wanted {
		return
	}
	c.send(&Head{
		TransactionID: newTransactionID(), Method: REPORT, ToPath: h.FromPath, FromPath: Path{s.opt.Local},
		MessageID: h.MessageID, Range: ByteRange{1, size, size}, ReportStatus: "000 200 OK",
	}, Complete)
}

// report takes a REPORT. Unknown messages and bad reports are ignored (RFC 4975 §7.1.2). A failure counts
// as a response with that code would; but where bytes are missing, rather than unwanted, the session has failed (§7.3.2).
func (s *Session) report(h *Head) {
	// Status: namespace SP status-code [SP comment]; 000 is the namespace of MSRP itself.
	f := strings.SplitN(h.ReportStatus, " ", 3)
	if len(f) < 2 || f[0] != "000" {
		return
	}
	code, err := strconv.Atoi(f[1])
	if err != nil || code < 100 || code > 999 {
		return
	}
	r := Report{MessageID: h.MessageID, Range: h.Range, Code: code}
	if len(f) == 3 {
		r.Comment = f[2]
	}
	s.mu.Lock()
	o, known := s.out[h.MessageID], s.gone.has(h.MessageID)
	s.mu.Unlock()
	if !known {
		return
	}
	failed := code >= 300
	if failed && o != nil {
		o.refuse(&StatusError{code, r.Comment})
	}
	if rh, ok := s.opt.Handler.(ReportHandler); ok {
		rh.ServeReport(s, r)
	}
	if failed && code != StatusForbidden && code != StatusStop && code != StatusUnsupported {
		s.end(&StatusError{code, r.Comment})
	}
}
