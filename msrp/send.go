package msrp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
)

// Message is a message to send.
type Message struct {
	ID            string    // Message-ID; "": a fresh one. A message that is sent again has the same one (RFC 4975 §5.4)
	ContentType   string    // "" for an empty SEND without body, which keeps a session alive
	Body          io.Reader // nil: no octets
	Size          int64     // of Body in octets; -1: unknown
	SuccessReport bool      // ask for REPORTs (ReportHandler)
	FailureReport string    // "" and yes: responses are awaited; no: none; partial: errors only (RFC 4975 §7.1.1)
	Header        []Header
	// Progress is told, as responses come, how many octets from the beginning the peer is known to have; nil: nobody asks. It must not
	// block. What was told is where a file can be resumed (RFC 5547 §8.1).
	Progress func(octets int64)
}

const (
	// window is how many chunks of one message may be unanswered.
	window = 16
	// maxPlain is the size, in octets, up to which a chunk is not interrupted (RFC 4975 §7.1.1).
	maxPlain = 2048
)

// Send sends a message in chunks and returns when each has its 200, or, where none is to come, when all are written.
// It waits for the session to be bound, and may be called by several goroutines: their chunks take turns.
//
// A *StatusError is the peer's refusal or, with 408, its silence. The message is then stopped: what is being
// written of it ends at once, and the peer is told to forget it (flag #). The same is done when ctx ends, when Body fails, or
// has fewer octets than Size. A 481 or 506 ends the session (RFC 4975 §10.8, 10.10).
func (s *Session) Send(ctx context.Context, m *Message) error {
	if err := s.Err(); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	select {
	case <-s.bound:
	case <-s.done:
		return fmt.Errorf("send: %w", s.Err())
	case <-ctx.Done():
		return ctx.Err()
	}
	o := &outgoing{s: s, c: s.conn, m: m, id: m.ID, size: m.Size, stop: make(chan struct{}), changed: make(chan struct{}, 1)}
	if o.id == "" {
		o.id = newTransactionID()
	}
	if m.FailureReport != "" && !slices.Contains([]string{"yes", "no", "partial"}, m.FailureReport) {
		return fmt.Errorf("send: Failure-Report %q", m.FailureReport)
	}
	if m.ContentType == "" && m.Size != 0 {
		return errors.New("send: a message without content type")
	}
	if err := o.head(s.newID(), 0).writable(); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	if !s.leaves(o) {
		return fmt.Errorf("send: %w", s.Err())
	}
	defer s.left(o)
	defer context.AfterFunc(ctx, func() { o.fail(ctx.Err()) })()
	return o.run()
}

// leaves puts a message on the list of those on their way, where a REPORT finds it.
func (s *Session) leaves(o *outgoing) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.out[o.id] = o
		s.gone.put(o.id, nil)
	}
	return s.err == nil
}

func (s *Session) left(o *outgoing) {
	o.mu.Lock()
	o.over = true
	o.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out[o.id] == o {
		delete(s.out, o.id)
	}
}

// chunk is one SEND on its way to the connection's writer.
type chunk struct {
	head    *Head
	body    []byte
	flag    byte            // unless it is interrupted
	stop    <-chan struct{} // the message is given up
	written chan written    // buffered
}

// written is how much of a chunk went out, and with which flag.
type written struct {
	n    int
	flag byte
	err  error
}

// outgoing is one message on its way out.
type outgoing struct {
	s    *Session
	c    *conn
	m    *Message
	id   string
	size int64 // -1 until it is known
	sent int64 // octets in ended chunks

	stop    chan struct{} // closed by fail
	changed chan struct{} // open or err did

	mu      sync.Mutex // guards the fields below
	open    int        // chunks without response
	starts  []int64    // where they begin, if Progress is asked for
	last    int64      // where the last one that had its response begins
	refused error      // the first response that was none of success
	err     error      // why the message is given up
	over    bool       // Send has returned
}

// refuse notes a response that was none of success, and gives the message up.
func (o *outgoing) refuse(err error) {
	o.mu.Lock()
	if o.refused == nil {
		o.refused = err
	}
	o.mu.Unlock()
	o.fail(err)
}

// fail gives the message up.
func (o *outgoing) fail(err error) {
	o.mu.Lock()
	if o.err == nil {
		o.err = err
		close(o.stop)
	}
	o.mu.Unlock()
	o.poke()
}

func (o *outgoing) poke() {
	select {
	case o.changed <- struct{}{}:
	default:
	}
}

func (o *outgoing) run() error {
	size := min(o.s.opt.ChunkSize, o.c.most)
	body := o.m.Body
	if body == nil {
		body = eof{}
	}
	if o.m.Size >= 0 {
		size = int(min(int64(size), o.m.Size))
		body = io.LimitReader(body, o.m.Size)
	}
	// One octet more than a chunk tells whether a chunk is the last one. buf[r:w] waits.
	buf := make([]byte, size+1)
	r, w, read := 0, 0, int64(0)
	ended := false
	for {
		if rest := w - r; !ended && (rest <= size/2 || rest < 2) {
			r, w = 0, copy(buf, buf[r:w])
			n, err := io.ReadFull(body, buf[w:])
			w, read = w+n, read+int64(n)
			ended = err == io.EOF || err == io.ErrUnexpectedEOF
			if ended && o.m.Size >= 0 && read < o.m.Size {
				err = io.ErrUnexpectedEOF
			} else if ended {
				err = nil
			}
			if err != nil {
				o.abort()
				return fmt.Errorf("send: body: %w", err)
			}
			if ended {
				o.size = read
			}
		}
		part, flag := buf[r:w], byte(Complete)
		if !ended {
			part, flag = buf[r:w-1], Incomplete
		}
		n, flag, err := o.chunk(part, flag)
		if err != nil {
			if flag != Aborted {
				o.abort()
			}
			return err
		}
		if r += n; flag == Complete {
			return o.answers()
		}
	}
}

// eof is a body without octets.
type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// chunk hands one SEND to the writer. It returns how much went out and with which flag.
func (o *outgoing) chunk(body []byte, flag byte) (int, byte, error) {
	if err := o.room(); err != nil {
		return 0, 0, err
	}
	tid := o.s.newID()
	h := o.head(tid, len(body))
	for h.ends(body[:min(len(body), maxPiece)]) { // RFC 4975 §7.1: a body must not have its end-line; the writer looks at the rest
		tid = o.s.newID()
		h.TransactionID = tid
	}
	awaits := o.m.FailureReport != "no"
	if awaits {
		silent := o.m.FailureReport == "partial"
		if !silent {
			o.mu.Lock()
			o.open++
			if o.m.Progress != nil {
				o.starts = append(o.starts, h.Range.Start)
			}
			o.mu.Unlock()
		}
		at := h.Range
		if !o.c.expect(tid, func(err error) { o.answered(at, silent, err) }) {
			return 0, 0, fmt.Errorf("send: %w", o.c.err)
		}
	}
	k := &chunk{head: h, body: body, flag: flag, stop: o.stop, written: make(chan written, 1)}
	o.c.enqueue(k)
	var res written
	select {
	case res = <-k.written:
	case <-o.stop:
		if o.c.dequeue(k) {
			o.c.drop(tid)
			return 0, 0, o.failure()
		}
		res = <-k.written // the writer answers what it took
	case <-o.c.done:
		if o.c.dequeue(k) {
			return 0, 0, fmt.Errorf("send: %w", o.c.err)
		}
		res = <-k.written
	}
	if res.err != nil {
		return res.n, Aborted, fmt.Errorf("send: %w", res.err)
	}
	o.sent += int64(res.n)
	if awaits {
		o.c.arm(tid, o.s.opt.ResponseTimeout)
	}
	if res.flag == Aborted {
		return res.n, Aborted, o.failure()
	}
	return res.n, res.flag, nil
}

func (o *outgoing) failure() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// answered takes the response to a chunk, its timeout or the connection's end. silent: no response is success.
func (o *outgoing) answered(at ByteRange, silent bool, err error) {
	status, _ := errors.AsType[*StatusError](err)
	o.mu.Lock()
	if !silent {
		o.open--
		if err != nil && o.refused == nil {
			o.refused = err // at once: who sees that nothing is open any more must see why
		}
	}
	over, had := o.over, int64(0)
	if o.m.Progress != nil && !silent {
		// Up to the oldest chunk without response; where all have theirs, up to the beginning of the last one: the connection's
		// writer may have cut it short.
		o.last = max(o.last, at.Start)
		o.starts = slices.DeleteFunc(o.starts, func(start int64) bool { return start == at.Start })
		if had = o.last - 1; len(o.starts) > 0 {
			had = slices.Min(o.starts) - 1
		}
	}
	o.mu.Unlock()
	if err == nil && had > 0 {
		o.m.Progress(had)
	}
	switch {
	case err == nil || silent && (status == nil || status.Code == StatusTimeout):
		o.poke()
	case status != nil && (status.Code == StatusNoSession || status.Code == StatusAlreadyBound):
		o.refuse(err)
		o.s.end(err) // RFC 4975 §10.8, 10.10
	case silent && over:
		if h, ok := o.s.opt.Handler.(ReportHandler); ok {
			h.ServeReport(o.s, Report{o.id, at, status.Code, status.Comment})
		}
	default:
		o.refuse(err)
	}
}

// head is that of a chunk of n octets at the place reached.
func (o *outgoing) head(tid string, n int) *Head {
	h := &Head{
		TransactionID: tid, Method: SEND, ToPath: o.s.toPath(), FromPath: Path{o.s.opt.Local}, MessageID: o.id,
		Range: ByteRange{o.sent + 1, o.sent + int64(n), o.size}, SuccessReport: o.m.SuccessReport, FailureReport: o.m.FailureReport,
		ContentType: o.m.ContentType, Other: o.m.Header, HasBody: o.m.ContentType != "",
	}
	if n > maxPlain {
		h.Range.End = -1 // §7.1.1: longer chunks can be interrupted
	}
	return h
}

// room waits until the window has room for one more chunk.
func (o *outgoing) room() error {
	for {
		o.mu.Lock()
		open, err := o.open, o.err
		o.mu.Unlock()
		if err != nil || open < window {
			return err
		}
		<-o.changed // by a response, its timeout, or the end of ctx, session or connection
	}
}

// answers waits until no chunk is unanswered. A connection that closes ends all its transactions first, so what each
// of them came to counts before the session's end: a peer may close right behind its last 200.
func (o *outgoing) answers() error {
	for {
		o.mu.Lock()
		open, refused, err := o.open, o.refused, o.err
		o.mu.Unlock()
		switch {
		case refused != nil:
			return refused
		case open == 0:
			return nil
		case err != nil:
			return err
		}
		<-o.changed
	}
}

// abort tells the peer to drop what it has of the message (RFC 4975 §7.1.1: flag #).
func (o *outgoing) abort() {
	if o.sent > 0 {
		o.c.send(o.head(o.s.newID(), 0), Aborted)
	}
}
