package msrp

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Message is a message to send.
type Message struct {
	ID            string // Message-ID; "": a fresh one
	ContentType   string
	Body          io.Reader
	Size          int64  // of Body; -1: unknown
	SuccessReport bool   // ask for REPORTs (ReportHandler)
	FailureReport string // "" and yes: responses are awaited; no: none; partial: errors only
	Header        []Header
}

// window is how many chunks of one message may be unanswered.
const window = 16

// maxPlain is the size up to which a chunk must not be interrupted (RFC 4975 §7.1.1).
const maxPlain = 2048

// Send sends a message in chunks and returns when each has its 200, or, where none is to come, when all
// are written. A *StatusError is the peer's refusal or, with 408, its silence. When ctx ends
// before the message is out, the message is aborted (`#`).
func (s *Session) Send(ctx context.Context, m *Message) error {
	select {
	case <-s.bound:
	case <-s.done:
		return fmt.Errorf("send: %w", s.Err())
	case <-ctx.Done():
		return ctx.Err()
	}
	id := m.ID
	if id == "" {
		id = newTransactionID()
	}
	o := &outgoing{s: s, m: m, id: id, open: make(chan struct{}, window), errs: make(chan error, 1)}
	return o.run(ctx)
}

// outgoing is one message on its way out.
type outgoing struct {
	s    *Session
	m    *Message
	id   string
	sent int64
	open chan struct{} // a token for each chunk without response
	errs chan error    // the first failure
}

func (o *outgoing) run(ctx context.Context) error {
	size := o.s.opt.ChunkSize
	if o.m.Size >= 0 && o.m.Size < int64(size) {
		size = int(o.m.Size)
	}
	// One byte of look-ahead tells whether a chunk is the last one.
	buf, next := make([]byte, size+1), make([]byte, size+1)
	n, err := io.ReadFull(o.m.Body, buf[:size])
	for {
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			o.abort()
			return fmt.Errorf("send: body: %w", err)
		}
		more := 0
		var nextErr error = io.EOF
		if err == nil {
			more, nextErr = io.ReadFull(o.m.Body, next[:max(size, 1)])
		}
		flag := byte(Complete)
		if more > 0 {
			flag = Incomplete
		}
		if werr := o.chunk(ctx, buf[:n], flag); werr != nil {
			if flag == Incomplete || ctx.Err() != nil {
				o.abort()
			}
			return werr
		}
		if flag == Complete {
			return o.wait(ctx)
		}
		buf, next, n, err = next, buf, more, nextErr
	}
}

// chunk writes one SEND and starts to wait for its response beside.
func (o *outgoing) chunk(ctx context.Context, body []byte, flag byte) error {
	c, s := o.s.conn, o.s
	if err := o.acquire(ctx); err != nil {
		return err
	}
	tid := newTransactionID()
	head := o.head(tid, len(body), flag)
	awaits := o.m.FailureReport != "no" && o.m.FailureReport != "partial"
	var t *transaction
	if awaits || o.m.FailureReport == "partial" {
		t = c.expect(tid, s.opt.ResponseTimeout)
	}
	k := &chunk{head: head.appendTo(nil), body: body, end: head.appendEnd(nil, flag), written: make(chan error, 1)}
	select {
	case c.data <- k:
	case <-c.done:
		return fmt.Errorf("send: %w", c.err)
	case <-s.done:
		return fmt.Errorf("send: %w", s.Err())
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := <-k.written; err != nil {
		return fmt.Errorf("send: %w", err)
	}
	o.sent += int64(len(body))
	go func() { // ends with the response, its timeout or the connection
		defer func() { <-o.open }()
		if t == nil {
			return
		}
		err := <-t.result
		var status *StatusError
		if !awaits && errors.As(err, &status) && status.Code == StatusTimeout {
			err = nil // partial: silence is success
		}
		if err != nil {
			select {
			case o.errs <- err:
			default:
			}
		}
	}()
	return nil
}

func (o *outgoing) head(tid string, n int, flag byte) *Head {
	total := o.m.Size
	end := o.sent + int64(n)
	if n > maxPlain {
		end = -1 // §7.1.1: longer chunks must be interruptible
	}
	if total < 0 && flag == Complete {
		total = o.sent + int64(n)
	}
	return &Head{
		TransactionID: tid, Method: SEND, ToPath: o.s.remotePath(), FromPath: Path{o.s.opt.Local}, MessageID: o.id,
		Range: ByteRange{o.sent + 1, end, total}, SuccessReport: o.m.SuccessReport, FailureReport: o.m.FailureReport,
		ContentType: o.m.ContentType, Other: o.m.Header, hasBody: true,
	}
}

// acquire waits for room in the window.
func (o *outgoing) acquire(ctx context.Context) error {
	select {
	case err := <-o.errs:
		return err
	default:
	}
	select {
	case o.open <- struct{}{}:
		return nil
	case err := <-o.errs:
		return err
	case <-o.s.done:
		return fmt.Errorf("send: %w", o.s.Err())
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wait waits until no chunk is unanswered.
func (o *outgoing) wait(ctx context.Context) error {
	for range window {
		if err := o.acquire(ctx); err != nil {
			return err
		}
	}
	select {
	case err := <-o.errs:
		return err
	default:
		return nil
	}
}

// abort tells the peer to drop what it has of the message (RFC 4975 §7.1.1: flag #).
func (o *outgoing) abort() {
	if o.sent == 0 {
		return
	}
	h := o.head(newTransactionID(), 0, Aborted)
	h.Range.Total = o.m.Size
	h.FailureReport = "no"
	b := h.appendEnd(h.appendTo(nil), Aborted)
	select {
	case o.s.conn.control <- b:
	case <-o.s.conn.done:
	}
}
