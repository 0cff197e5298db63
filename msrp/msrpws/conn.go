package msrpws

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
)

const (
	// subprotocol is the name that both sides must agree on (RFC 7977 §4).
	subprotocol = "msrp"
	// closeTime bounds the wait for the peer's close frame.
	closeTime = 2 * time.Second
	// stuckTime is how long a message that is being written may take when the connection ends.
	stuckTime = 200 * time.Millisecond
	// maxHead bounds what a chunk has beside its body, in octets: 16 KiB that somebody sent, and our paths.
	maxHead = 48 << 10
	// pieceSize is how much of a message is in memory at a time, in octets.
	pieceSize = 32 << 10
)

// Limits are what a connection keeps to. Zero values mean the defaults.
type Limits struct {
	MaxChunk  int           // octets in the body of a chunk that we send, 2048 at least; longer ones are divided; default 64 KiB
	ReadLimit int64         // octets in a message that we take, which is never in memory as a whole; default 16 MiB
	PingEvery time.Duration // between pings, and how long the answer may take; default 30 s; negative: no pings
}

func (l Limits) orDefaults() Limits {
	if l.MaxChunk <= 0 {
		l.MaxChunk = 64 << 10
	}
	l.MaxChunk = max(l.MaxChunk, 2048)
	if l.ReadLimit <= 0 {
		l.ReadLimit = 16 << 20
	}
	if l.PingEvery == 0 {
		l.PingEvery = 30 * time.Second
	}
	return l
}

// conn is a WebSocket as a net.Conn of MSRP. Its reader's goroutine ends with the connection, which Close, the peer or a silence of the peer
// ends. A passed read deadline can be moved, as always; when a write deadline passes within a message the connection ends,
// since nothing could follow half of one.
type conn struct {
	ws            *websocket.Conn
	local, remote net.Addr
	limits        Limits

	cut    context.Context // of all that the library does: it knows no other interruption
	cutNow context.CancelFunc

	once sync.Once
	done chan struct{} // closed by end
	err  error         // what Read returns from then on; set before done is closed

	in      chan []byte   // pieces of chunks, for Read
	taken   chan struct{} // Read is through with a piece; buffered
	waiting atomic.Int64  // since when the reader waits for the peer, in Unix nanoseconds; 0: it does not

	readBy deadline
	readMu sync.Mutex
	rest   []byte // of a piece; guarded by readMu

	writeMu sync.Mutex // guards the fields below
	out     scanner
	part    []byte // of a chunk that is not whole yet

	writing   atomic.Bool  // a Write is under way
	writeBy   atomic.Int64 // in Unix nanoseconds; 0: no deadline
	writeLate *time.Timer
	pinger    *time.Timer
}

var pieces = sync.Pool{New: func() any { return new([pieceSize]byte) }}

// newConn makes a connection of a WebSocket whose handshake is done.
func newConn(ws *websocket.Conn, local, remote net.Addr, limits Limits) *conn {
	c := &conn{ws: ws, local: local, remote: remote, limits: limits, done: make(chan struct{}), in: make(chan []byte), taken: make(chan struct{}, 1)}
	c.cut, c.cutNow = context.WithCancel(context.Background())
	c.readBy.passed = make(chan struct{})
	ws.SetReadLimit(limits.ReadLimit)
	c.writeLate = stopped(c.late)
	c.pinger = stopped(c.ping)
	go c.read() // ends with the connection
	if limits.PingEvery > 0 {
		c.pinger.Reset(limits.PingEvery)
	}
	return c
}

func stopped(f func()) *time.Timer {
	t := time.AfterFunc(math.MaxInt64, f)
	t.Stop()
	return t
}

// MaxChunk makes the connection an msrp.WholeChunks.
func (c *conn) MaxChunk() int { return c.limits.MaxChunk }

// read takes messages until the connection ends. After an end by our side it only waits for the peer's close frame, so that the
// library sees it.
func (c *conn) read() {
	for {
		c.waits(true)
		_, r, err := c.ws.Reader(c.cut)
		if err != nil {
			c.end(websocket.StatusNormalClosure, "", ending(err))
			return
		}
		if err := c.message(r); errors.Is(err, errFraming) {
			c.end(websocket.StatusProtocolError, err.Error(), fmt.Errorf("msrp websocket: %w", err))
		} else if err != nil {
			c.end(websocket.StatusNormalClosure, "", ending(err))
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			return
		}
	}
}

// ending is what Read returns after an error of the library: io.EOF where the peer closed in order.
func ending(err error) error {
	switch websocket.CloseStatus(err) {
	case websocket.StatusNormalClosure, websocket.StatusGoingAway, websocket.StatusNoStatusRcvd:
		return io.EOF
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("msrp websocket: %w", err)
}

// errFraming is for messages that are not one chunk each (RFC 7977 §5.1).
var errFraming = errors.New("a message must be one MSRP chunk")

// message hands a message's octets to Read, up to 32 KiB of them once it is known that they are a chunk; of longer ones that is
// known at their end.
func (c *conn) message(r io.Reader) error {
	buf := pieces.Get().(*[pieceSize]byte)
	var s scanner
	for ended, whole := false, false; !ended; {
		n := 0
		for n < len(buf) && !ended {
			c.waits(true)
			m, err := r.Read(buf[n:])
			n += m
			if ended = err == io.EOF; err != nil && !ended {
				return err
			}
		}
		if n > 0 {
			used, done, err := s.feed(buf[:n])
			if err != nil || whole || used < n {
				return errFraming
			}
			whole = done
		}
		if ended && !whole {
			return errFraming
		}
		c.waits(false)
		if n > 0 && !c.deliver(buf[:n]) {
			return nil // Read may have the buffer still
		}
	}
	pieces.Put(buf)
	return nil
}

func (c *conn) waits(is bool) {
	if is {
		c.waiting.Store(time.Now().UnixNano())
	} else {
		c.waiting.Store(0)
	}
}

// deliver waits until Read has taken a piece. False: the connection is over.
func (c *conn) deliver(piece []byte) bool {
	select {
	case c.in <- piece:
	case <-c.done:
		return false
	}
	select {
	case <-c.taken:
		return true
	case <-c.done:
		return false
	}
}

// Read gives octets of chunks in their order.
func (c *conn) Read(p []byte) (int, error) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	if err := c.await(); err != nil {
		return 0, err
	}
	n := copy(p, c.rest)
	if c.rest = c.rest[n:]; len(c.rest) == 0 {
		c.taken <- struct{}{}
	}
	return n, nil
}

// AwaitRead waits until Read has something, or fails. Package msrp holds no buffer meanwhile.
func (c *conn) AwaitRead() error {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	return c.await()
}

// await fills rest. c.readMu is held.
func (c *conn) await() error {
	if c.over() && errors.Is(c.err, net.ErrClosed) {
		return c.err
	}
	late := c.readBy.wait()
	select {
	case <-late:
		return os.ErrDeadlineExceeded
	default:
	}
	if len(c.rest) > 0 {
		return nil
	}
	select {
	case c.rest = <-c.in:
		return nil
	case <-c.done:
		return c.err
	case <-late:
		return os.ErrDeadlineExceeded
	}
}

// Write sends each chunk when it is whole, as one message: text where it is UTF-8, else binary. A chunk may come in several
// calls, and a call may have several chunks.
func (c *conn) Write(p []byte) (int, error) {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	c.writing.Store(true) // before it looks whether the time is up, which late does the other way round
	defer c.writing.Store(false)
	written := 0
	for len(p) > 0 {
		if by := c.writeBy.Load(); by != 0 && time.Now().UnixNano() >= by {
			return written, os.ErrDeadlineExceeded
		}
		if c.over() {
			return written, c.ended()
		}
		n, done, err := c.out.feed(p)
		if err != nil {
			return written, fmt.Errorf("msrp websocket: %w", err)
		}
		chunk := p[:n]
		if len(c.part) > 0 || !done {
			c.part = append(c.part, chunk...)
			chunk = c.part
		}
		if len(chunk) > c.limits.MaxChunk+maxHead {
			return written, errors.New("msrp websocket: the chunk is too long for a message")
		}
		if done {
			if err := c.send(chunk); err != nil {
				return written, err
			}
			c.part = nil
		}
		written += n
		p = p[n:]
	}
	return written, nil
}

// send writes one message. c.writeMu is held.
func (c *conn) send(chunk []byte) error {
	kind := websocket.MessageBinary
	if utf8.Valid(chunk) {
		kind = websocket.MessageText
	}
	if err := c.ws.Write(c.cut, kind, chunk); err != nil {
		c.end(websocket.StatusNormalClosure, "", fmt.Errorf("msrp websocket: %w", err))
		return c.ended()
	}
	return nil
}

// ended is what Write returns when the connection is over.
func (c *conn) ended() error {
	<-c.done
	if c.err == io.EOF {
		return fmt.Errorf("msrp websocket: closed by the peer: %w", net.ErrClosed)
	}
	return c.err
}

func (c *conn) over() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// Close ends the connection. It returns at once: the close handshake goes on for 2 s at most (RFC 6455 §7.1.1).
func (c *conn) Close() error {
	c.end(websocket.StatusNormalClosure, "", net.ErrClosed)
	return nil
}

// end ends the connection once, with what the peer is told, and what Read returns. Where a message is stuck half written the
// peer can be told nothing.
func (c *conn) end(code websocket.StatusCode, reason string, err error) {
	first := false
	c.once.Do(func() {
		first = true
		c.err = err
		close(c.done)
	})
	if !first {
		return
	}
	c.pinger.Stop()
	c.writeLate.Stop()
	go func() { // ends after closeTime, or 5 s where the peer sends on and on
		stuck := time.AfterFunc(stuckTime, func() {
			if c.writing.Load() {
				c.cutNow()
			}
		})
		slow := time.AfterFunc(closeTime, c.cutNow)
		_ = c.ws.Close(code, reason) // whom it does not reach knows
		stuck.Stop()
		slow.Stop()
		c.cutNow()
	}()
}

// late is called when the write deadline may have passed.
func (c *conn) late() {
	if by := c.writeBy.Load(); c.writing.Load() && by != 0 && time.Now().UnixNano() >= by {
		c.end(websocket.StatusNormalClosure, "", os.ErrDeadlineExceeded)
		c.cutNow()
	} // else the next Write sees it
}

// ping asks whether the peer is there. Where it is silent although we were waiting for it all the time, it is not (RFC 6455 §5.5.2). While we
// don't read, since a session is held back, its answer may be stuck behind what it sends.
func (c *conn) ping() {
	if c.over() {
		return
	}
	if !c.writing.Load() { // else the peer takes what we write, or a deadline ends that
		sent := time.Now().UnixNano()
		ctx, cancel := context.WithTimeout(c.cut, c.limits.PingEvery)
		silent := c.ws.Ping(ctx) != nil && ctx.Err() != nil
		cancel()
		if since := c.waiting.Load(); silent && !c.writing.Load() && since != 0 && since <= sent {
			c.end(websocket.StatusGoingAway, "no answer to a ping", fmt.Errorf("msrp websocket: no answer to a ping: %w", os.ErrDeadlineExceeded))
			return
		}
	}
	if !c.over() {
		c.pinger.Reset(c.limits.PingEvery)
	}
}

// LocalAddr is that of the TCP connection below, where it is known.
func (c *conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr is that of the TCP connection below, which may be a proxy's.
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets both deadlines.
func (c *conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// SetReadDeadline bounds Read, also one that waits.
func (c *conn) SetReadDeadline(t time.Time) error {
	if c.over() {
		return net.ErrClosed
	}
	c.readBy.set(t)
	return nil
}

// SetWriteDeadline bounds Write, also one that waits, which then ends the connection.
func (c *conn) SetWriteDeadline(t time.Time) error {
	if c.over() {
		return net.ErrClosed
	}
	if t.IsZero() {
		c.writeBy.Store(0)
		c.writeLate.Stop()
		return nil
	}
	c.writeBy.Store(t.UnixNano())
	c.writeLate.Reset(max(0, time.Until(t)))
	return nil
}

// deadline is a moment that may be moved while somebody waits for it.
type deadline struct {
	mu     sync.Mutex
	timer  *time.Timer
	passed chan struct{} // closed when it has come
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.passed // it is just coming
	}
	d.timer = nil
	select {
	case <-d.passed:
		d.passed = make(chan struct{})
	default:
	}
	if t.IsZero() {
		return
	}
	passed := d.passed
	if wait := time.Until(t); wait > 0 {
		d.timer = time.AfterFunc(wait, func() { close(passed) })
		return
	}
	close(passed)
}

func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.passed
}
