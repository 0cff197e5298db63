package msrp

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// turns is who may write on a connection. Frames that are owed (responses, reports, aborts) go before everybody else's
// next chunk; senders and anchors have their turns one after the other. While nobody has anything to write there
// is no goroutine for it.
type turns struct {
	owed    atomic.Int32  // frames in control
	waiting atomic.Int32  // those in queue
	slots   chan struct{} // bounds control

	mu      sync.Mutex // guards the fields below
	busy    bool       // somebody has the turn
	control [][]byte
	queue   []waiter // oldest first
	parting bool     // what is owed leaves, then the connection closes
	open    *flow    // the frame of an anchor that has begun and not ended: whoever has the turn next ends it

	piece int // of the one who has the turn: how much is written at a stretch
}

// waiter is a chunk that waits to be written, or one who wants to write by themselves.
type waiter struct {
	chunk   *chunk
	granted chan struct{} // closed when the turn is theirs
}

// maxOwed bounds how many frames are owed; who adds more waits.
const maxOwed = 64

func (t *turns) init() {
	t.slots = make(chan struct{}, maxOwed)
	t.piece = maxPlain
}

// owe queues a frame that goes before the next chunk, and within a chunk of more than 2048 octets.
func (c *conn) owe(frame []byte) {
	select {
	case c.turns.slots <- struct{}{}:
	case <-c.done:
		return
	}
	t := &c.turns
	t.mu.Lock()
	t.control = append(t.control, frame)
	t.owed.Add(1)
	c.wake()
}

// wake starts a writer if nobody has the turn. turns.mu is held, and let go.
func (c *conn) wake() {
	start := !c.turns.busy
	c.turns.busy = true
	c.turns.mu.Unlock()
	if start {
		go c.write() // ends when there is nothing to write
	}
}

// enqueue lets a chunk wait for its turn.
func (c *conn) enqueue(k *chunk) {
	t := &c.turns
	t.mu.Lock()
	t.queue = append(t.queue, waiter{chunk: k})
	t.waiting.Add(1)
	c.wake()
}

// dequeue takes a chunk back. False: it is being written, or was.
func (c *conn) dequeue(k *chunk) bool {
	return c.withdraw(func(w waiter) bool { return w.chunk == k })
}

func (c *conn) withdraw(it func(waiter) bool) bool {
	t := &c.turns
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.IndexFunc(t.queue, it)
	if i < 0 {
		return false
	}
	t.queue = slices.Delete(t.queue, i, i+1)
	t.waiting.Add(-1)
	return true
}

// acquire waits for the turn, which the caller gives back by release.
func (c *conn) acquire() error {
	t := &c.turns
	t.mu.Lock()
	if !t.busy {
		t.busy = true
		t.mu.Unlock()
		return nil
	}
	granted := make(chan struct{})
	t.queue = append(t.queue, waiter{granted: granted})
	t.waiting.Add(1)
	t.mu.Unlock()
	select {
	case <-granted:
		return nil
	case <-c.done:
		if !c.withdraw(func(w waiter) bool { return w.granted == granted }) {
			c.release()
		}
		return c.err
	}
}

// release gives the turn on.
func (c *conn) release() {
	t := &c.turns
	t.mu.Lock()
	if len(t.control) == 0 && len(t.queue) > 0 && t.queue[0].granted != nil {
		c.grant()
		return
	}
	if len(t.control) == 0 && len(t.queue) == 0 && !t.parting {
		t.busy = false
		t.mu.Unlock()
		return
	}
	t.mu.Unlock()
	go c.write() // ends when there is nothing to write
}

// grant gives the turn to the first in the queue. turns.mu is held, and let go.
func (c *conn) grant() {
	t := &c.turns
	granted := t.queue[0].granted
	t.queue = t.queue[1:]
	t.waiting.Add(-1)
	t.mu.Unlock()
	close(granted)
}

// write has the turn and writes what waits, until there is nothing or somebody else has the turn.
func (c *conn) write() {
	w := NewWriter(c.out)
	t := &c.turns
	for {
		t.mu.Lock()
		switch {
		case len(t.control) > 0:
			frames := t.control
			t.control = nil
			t.mu.Unlock()
			t.owed.Add(-int32(len(frames)))
			w.buf = c.interrupt(w.buf)
			for _, f := range frames {
				<-t.slots
				w.buf = append(w.buf, f...)
			}
			if !c.put(w) {
				return
			}
		case len(t.queue) > 0 && t.queue[0].granted != nil:
			c.grant()
			return
		case len(t.queue) > 0:
			k := t.queue[0].chunk
			t.queue = t.queue[1:]
			t.waiting.Add(-1)
			t.mu.Unlock()
			w.buf = c.interrupt(w.buf)
			if !c.chunk(w, k) || len(w.buf) > 0 && !c.put(w) {
				return
			}
		case t.parting:
			t.mu.Unlock()
			c.close(ErrClosed)
			return
		default:
			t.busy = false
			t.mu.Unlock()
			return
		}
	}
}

// interrupt ends the frame that an anchor has left open, since another one is to be written. The caller has the turn.
func (c *conn) interrupt(b []byte) []byte {
	f := c.turns.open
	if f == nil {
		return b
	}
	c.turns.open = nil
	return f.interrupted(b)
}

// part closes the connection once the frames that are owed have left.
func (c *conn) part() {
	t := &c.turns
	t.mu.Lock()
	if t.parting {
		t.mu.Unlock()
		return
	}
	t.parting = true
	_ = c.nc.SetWriteDeadline(time.Now().Add(partingTime))
	c.wake()
}

// extend gives the next write its time.
func (c *conn) extend() {
	t := &c.turns
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.parting {
		_ = c.nc.SetWriteDeadline(time.Now().Add(writeTimeout))
	}
}

// put writes what was gathered.
func (c *conn) put(w *Writer) bool {
	c.extend()
	if err := w.Flush(); err != nil {
		c.close(lost(err))
		return false
	}
	return true
}
