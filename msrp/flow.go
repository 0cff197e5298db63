package msrp

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"slices"
)

// flow is a frame on its way from one leg of an anchor to the other.
type flow struct {
	leg     *AnchorLeg // of the peer that it comes from
	tid     []byte     // on the other side; another one after each interruption
	head    []byte     // on the other side
	request bool       // else: a response
	body    bool
	silent  bool  // no response is wanted
	small   bool  // it stands whole in the reader's buffer and is not interrupted
	start   int64 // of its range
	sent    int64 // octets of the body that went on, under all transactions
	run     int   // octets of them under this one
	limit   int64 // a=max-size of the other side; 0: none
	h       *Head // as it came, where limit is set

	method, id, contentType string // for who observes

	// Of who has the turn on the other side's connection.
	next  []byte // the transaction of the next chunk
	whole *whole // that it is, once it was divided
}

// pass sends the frame on. An error means that the connection that it comes from is of no use; the end of the other
// side is the other side's.
func (f *flow) pass(b *batch, r *Reader) error {
	failed := b.begin(f.leg.other)
	if failed == nil {
		failed = b.copy(f.head)
	}
	if failed == nil && !f.small {
		r.pause = func() error {
			_ = b.end(f) // what fails is seen at the next part
			return nil
		}
		defer func() { r.pause = nil }()
	}
	for {
		data, err := r.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			if failed == nil {
				f.abandon(b)
			}
			return err
		}
		if failed != nil {
			continue // nobody takes the rest
		}
		if failed = f.part(b, data); failed != nil {
			r.pause = nil
			f.stop(b, failed)
		}
	}
	if failed != nil {
		return nil
	}
	if f.resume(b) != nil || f.end(b, r.Flag()) != nil {
		return nil
	}
	if f.request {
		f.leg.frames.Add(1)
		f.leg.octets.Add(f.sent)
		if observe := f.leg.anchor.observe; observe != nil {
			observe(Passed{f.leg.first, f.method, f.id, f.contentType, f.sent, r.Flag()})
		}
	}
	return nil
}

// stop gives the turn on, for no more of the frame goes on. A refusal is told at once, so that the sender can end
// its chunk (RFC 4975 §7.3.2); what waits for a response to leave must not have somebody's turn meanwhile.
func (f *flow) stop(b *batch, why error) {
	_ = b.end(nil)
	if refused, ok := errors.AsType[*StatusError](why); ok {
		f.leg.connection().respond(f.h, refused.Code, refused.Comment)
	}
}

// part passes on some of the body.
func (f *flow) part(b *batch, data []byte) error {
	if err := f.resume(b); err != nil {
		return err
	}
	if f.limit > 0 && f.start-1+f.sent+int64(len(data)) > f.limit {
		if err := f.end(b, Aborted); err != nil {
			return err
		}
		return f.leg.refuse(f.id, StatusStop, "Message too large")
	}
	for f.run+len(data) > b.c.most { // the other side wants shorter chunks
		n := b.c.most - f.run
		if err := f.add(b, data[:n]); err != nil {
			return err
		}
		data = data[n:]
		if err := b.copy(f.interrupted(nil)); err != nil {
			return err
		}
		if err := f.renew(b); err != nil {
			return err
		}
	}
	return f.add(b, data)
}

func (f *flow) add(b *batch, data []byte) error {
	f.sent += int64(len(data))
	f.run += len(data)
	return b.add(data)
}

// end passes on the end-line.
func (f *flow) end(b *batch, flag byte) error {
	line := b.line[:0]
	if f.body {
		line = append(line, "\r\n"...)
	}
	return b.copy(appendEndLine(line, f.tid, flag))
}

// abandon tells the other side to forget what it has, since no more comes (RFC 4975 §7.1.1: flag #).
func (f *flow) abandon(b *batch) {
	if f.body && f.resume(b) == nil {
		_ = f.end(b, Aborted)
	}
	_ = b.end(nil)
}

// interrupted ends what has begun of the frame, for somebody else to write (RFC 4975 §7.1.1).
func (f *flow) interrupted(b []byte) []byte {
	tid := f.tid
	f.next = []byte(newTransactionID())
	if !f.silent {
		f.whole = f.leg.other.divide(f.whole, string(tid), string(f.next)) // before the response to what has gone can come
	}
	return appendEndLine(append(b, "\r\n"...), tid, Incomplete)
}

// resume has the turn again after a pause, and begins another chunk if the one before was ended meanwhile.
func (f *flow) resume(b *batch) error {
	if b.c != nil {
		return nil
	}
	if err := b.take(f.leg.other); err != nil {
		return err
	}
	if b.c.turns.open == f {
		b.c.turns.open = nil
		return nil
	}
	if err := b.copy(b.c.interrupt(nil)); err != nil {
		return err
	}
	return f.renew(b)
}

// renew begins another chunk behind one that was ended.
func (f *flow) renew(b *batch) error {
	h, err := parseHead(f.head)
	if err != nil {
		return err
	}
	f.tid, f.run = f.next, 0
	h.TransactionID = string(f.tid)
	h.Range = ByteRange{f.start + f.sent, -1, h.Range.Total}
	return b.copy(h.appendTo(nil))
}

// parseHead reads a head that stands whole in b.
func parseHead(b []byte) (*Head, error) {
	r := NewReader(bytes.NewReader(b))
	defer r.release()
	h, err := r.Next()
	if h == nil {
		return nil, err
	}
	return h, nil
}

// batch gathers frames for one connection and writes them at once. It has that connection's turn while c is set. It belongs to
// the reader of the connection that the frames come from, in whose buffer the parts are.
type batch struct {
	c       *conn
	parts   net.Buffers
	scratch []byte // heads and what is small; parts lie in it, too, so it doesn't grow
	tail    bool   // the last part is the end of scratch
	size    int
	line    [64]byte // to put an end-line together
}

const (
	scratchSize = smallBuffer
	// copied is the size in octets below which a part is copied into scratch rather than written as a part of its own.
	copied = 1 << 10
	// maxBatch bounds how many parts are written at once.
	maxBatch = 256
)

// begin takes the turn on a leg's connection for a frame that begins.
func (b *batch) begin(to *AnchorLeg) error {
	if b.c != nil && b.c == to.connection() {
		return nil
	}
	if err := b.take(to); err != nil {
		return err
	}
	return b.copy(b.c.interrupt(nil))
}

// take gives another connection's turn on and waits for this one's.
func (b *batch) take(to *AnchorLeg) error {
	_ = b.end(nil) // what fails there is not ours
	c, err := to.peer()
	if err != nil {
		return err
	}
	if err := c.acquire(); err != nil {
		return err
	}
	b.c = c
	return nil
}

// end writes what was gathered and gives the turn on. What has begun of open can be ended by whoever is next.
func (b *batch) end(open *flow) error {
	if b.c == nil {
		return nil
	}
	err := b.flush()
	b.c.turns.open = open
	b.c.release()
	b.c = nil
	if open == nil {
		giveBuffer(b.scratch[:cap(b.scratch)])
		b.scratch, b.parts = nil, nil // idle connections keep no memory
	}
	return err
}

func (b *batch) add(p []byte) error {
	if len(p) < copied {
		return b.copy(p)
	}
	b.parts, b.tail = append(b.parts, p), false
	b.size += len(p)
	if len(b.parts) >= maxBatch {
		return b.flush()
	}
	return nil
}

func (b *batch) copy(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if len(b.scratch)+len(p) > scratchSize || len(b.parts) >= maxBatch {
		if err := b.flush(); err != nil {
			return err
		}
	}
	if cap(b.scratch) < scratchSize {
		b.scratch = takeBuffer(smallBuffer)[:0]
	}
	if len(p) > scratchSize { // a head that is longer than most
		b.parts, b.tail = append(b.parts, bytes.Clone(p)), false
		b.size += len(p)
		return nil
	}
	at := len(b.scratch)
	b.scratch = append(b.scratch, p...)
	if b.tail {
		last := len(b.parts) - 1
		b.parts[last] = b.scratch[at-len(b.parts[last]) : len(b.scratch)]
	} else {
		b.parts, b.tail = append(b.parts, b.scratch[at:]), true
	}
	b.size += len(p)
	return nil
}

func (b *batch) flush() error {
	if b.size == 0 {
		return nil
	}
	err := b.write()
	clear(b.parts)
	b.parts, b.scratch, b.tail, b.size = b.parts[:0], b.scratch[:0], false, 0
	if err != nil {
		b.c.close(lost(err))
	}
	return err
}

// write writes the parts. Each piece has its time, however slow the peer is.
func (b *batch) write() error {
	c := b.c
	if len(b.parts) == 1 && b.size <= scratchSize {
		c.extend()
		_, err := c.out.Write(b.parts[0])
		return err
	}
	if _, plain := c.nc.(*net.TCPConn); plain {
		for parts := b.parts; ; { // WriteTo takes its receiver to pieces
			c.extend()
			n, err := parts.WriteTo(c.nc)
			if n == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				return err
			}
		}
	}
	whole := b.parts[0]
	if len(b.parts) > 1 {
		whole = bytes.Join(b.parts, nil) // full records of TLS, not one for each part
	}
	for piece := range slices.Chunk(whole, maxPiece) {
		c.extend()
		if _, err := c.nc.Write(piece); err != nil {
			return err
		}
	}
	return nil
}
