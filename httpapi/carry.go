package httpapi

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"latchkey"
	"latchkey/internal/doze"
)

// writersAtOnce bounds how many streams read events from the store, and write, at a time. Those that wait for their client don't count.
const writersAtOnce = 64

// streams are the event streams that were detached from the HTTP server. While nothing happens none of them has a goroutine or a timer of its
// own: the hall tells of events, package doze of clients who go, and one timer of comments that are due.
type streams struct {
	api  *API
	crew crew

	mu      sync.Mutex // guards the fields below, and those of each stream that say so
	all     map[*stream]struct{}
	first   *stream // the quiet ones, in the order in which their comments are due
	last    *stream
	ticking bool // tick is to come
	over    bool
}

func newStreams(a *API) *streams {
	return &streams{api: a, crew: crew{most: writersAtOnce}, all: map[*stream]struct{}{}}
}

// work is what a stream has to do.
type work uint8

const (
	toLook    work = 1 << iota // there may be events
	toComment                  // a comment is due
	toLeave                    // the client has gone
	toEnd                      // the gateway closes
)

// stream is one of them. What its guard doesn't hold is touched by one goroutine at a time, that of run.
type stream struct {
	of      *streams
	account latchkey.AccountID
	conn    net.Conn
	raw     syscall.RawConn // of the connection below conn; nil: there is none that can doze
	nap     doze.Nap
	deaf    func() // ends the hall's telling
	left    func() // of attendance.enter

	head  []byte // the answer's header; nil when it is written
	after int64  // number of the last event that was written
	woken bool   // there was more than one look

	// Guarded by streams.mu.
	work         work
	busy         bool // run runs, or will
	gone         bool
	due          time.Time
	older, newer *stream // among the quiet ones
}

// begin carries a guest's events to a detached connection from now on, until the client or the gateway goes. left is called at the end.
func (t *streams) begin(conn net.Conn, h http.Header, account latchkey.AccountID, after int64, left func()) {
	s := &stream{of: t, account: account, conn: conn, raw: rawOf(conn), head: headOf(h), after: after, left: left, work: toLook, busy: true}
	var err error
	if s.deaf, err = t.api.ports.Hall.Listen(account, s.hear); err != nil {
		s.deaf = func() {}
		s.work |= toEnd
	}
	t.mu.Lock()
	t.all[s] = struct{}{}
	if t.over {
		s.work |= toEnd
	}
	t.mu.Unlock()
	t.crew.do(s.run)
	if !s.rest() {
		go s.Wake() // ends with the connection, which run closes
	}
}

// rawOf is the TCP connection below one.
func rawOf(conn net.Conn) syscall.RawConn {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	c, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// headOf is what comes before the first event: the header, and a comment, so that the client knows that it is heard.
func headOf(h http.Header) []byte {
	h.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	h.Set("Transfer-Encoding", "chunked")
	h.Set("Connection", "close")
	b := appender("HTTP/1.1 200 OK\r\n")
	_ = h.Write(&b) // an appender takes all
	return chunk(append(b, "\r\n"...), comment)
}

// comment tells proxies and clients that the stream lives (WHATWG HTML §9.2.7: every 15 s or so).
const comment = ":\n\n"

type appender []byte

func (a *appender) Write(b []byte) (int, error) { *a = append(*a, b...); return len(b), nil }

// chunk adds one (RFC 9112 §7.1).
func chunk[T []byte | string](b []byte, data T) []byte {
	b = append(strconv.AppendInt(b, int64(len(data)), 16), "\r\n"...)
	return append(append(b, data...), "\r\n"...)
}

// drain ends all streams, so that their clients reconnect.
func (t *streams) drain() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	for s := range t.all {
		s.stir(toEnd)
	}
}

// hear is told by the hall.
func (s *stream) hear(closing error) {
	if closing != nil {
		s.wake(toEnd)
	} else {
		s.wake(toLook)
	}
}

func (s *stream) wake(w work) {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	s.stir(w)
}

// stir gives a stream work. streams.mu is held.
func (s *stream) stir(w work) {
	if s.gone {
		return
	}
	s.work |= w
	if !s.busy {
		s.busy = true
		s.of.unline(s)
		s.of.crew.do(s.run)
	}
}

// line notes that a stream has nothing to do until its comment is due. streams.mu is held.
func (t *streams) line(s *stream) {
	s.due = time.Now().Add(t.api.opt.KeepAlive)
	s.older = t.last
	if t.last != nil {
		t.last.newer = s
	} else {
		t.first = s
	}
	t.last = s
	if !t.ticking {
		t.ticking = true
		time.AfterFunc(t.api.opt.KeepAlive, t.tick)
	}
}

// unline takes a stream off the quiet ones. streams.mu is held.
func (t *streams) unline(s *stream) {
	if s.older != nil {
		s.older.newer = s.newer
	} else {
		t.first = s.newer
	}
	if s.newer != nil {
		s.newer.older = s.older
	} else {
		t.last = s.older
	}
	s.older, s.newer = nil, nil
}

// tick stirs those whose comment is due. It comes again while there are quiet streams.
func (t *streams) tick() {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for t.first != nil && !t.first.due.After(now) {
		t.first.stir(toComment)
	}
	if t.ticking = t.first != nil; t.ticking {
		time.AfterFunc(t.first.due.Sub(now), t.tick)
	}
}

// take is what there is to do; 0: nothing, and the stream is quiet from now on.
func (s *stream) take() (w work) {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	w, s.work = s.work, 0
	if w == 0 {
		s.busy = false
		s.of.line(s)
	}
	return w
}

// run does what there is to do.
func (s *stream) run(off func()) {
	defer func() {
		if p := recover(); p != nil {
			s.of.api.opt.Log.Error("event stream panicked", "panic", p, "stack", stack())
			s.close(off)
		}
	}()
	for {
		w := s.take()
		if w == 0 {
			return
		}
		if s.do(w, off) {
			s.close(off)
			return
		}
	}
}

// do does some work; true: the stream is over.
func (s *stream) do(w work, off func()) (over bool) {
	if w&toLeave != 0 {
		return true
	}
	fresh := s.head != nil
	err := s.write(s.head, off)
	s.head = nil
	if err == nil && w&toEnd == 0 {
		var wrote bool
		if w&toLook != 0 {
			wrote, over, err = s.tell(off)
		}
		if w&toComment != 0 && !fresh && !wrote && !over && err == nil {
			err = s.write(chunk(nil, comment), off)
		}
	}
	switch {
	case err == nil && !over && w&toEnd == 0:
		return false
	case err == nil || parting(s.of.api.open, err) && !errors.Is(err, errGone):
		_ = s.write([]byte("0\r\n\r\n"), off) // RFC 9112 §7.1: no more comes
	case !parting(s.of.api.open, err):
		s.of.api.opt.Log.Error("event stream broke", latchkey.LogGuest, s.account, latchkey.LogError, err)
	}
	return true
}

// tell writes the events that the client has not, until there are no more. over: the guest's last relation has ended.
func (s *stream) tell(off func()) (wrote, over bool, err error) {
	a := s.of.api
	for more := true; more && !over; s.woken = true { // what follows a full batch may be nothing, and this have been the last
		var events []latchkey.Event
		if events, over, err = a.since(a.open, s.account, s.after, s.woken); err != nil {
			return wrote, false, err
		}
		more = len(events) == eventBatch
		var b []byte
		for i, e := range events {
			block, err := sseBlock(nil, e)
			if err != nil {
				return wrote, false, err
			}
			if b = chunk(b, block); len(b) > 32<<10 || i == len(events)-1 {
				if err := s.write(b, off); err != nil {
					return wrote, false, err
				}
				b, wrote = b[:0], true
			}
			s.after = max(s.after, e.ID)
		}
	}
	return wrote, over, nil
}

// roomFor is how many octets the kernel has room for when so few wait in it, whatever the system's settings.
const roomFor = 4 << 10

// write writes b within Options.WriteTimeout. An error is errGone. Where the client may have to be waited for, the crew isn't held up.
func (s *stream) write(b []byte, off func()) error {
	if len(b) == 0 {
		return nil
	}
	if !s.room(len(b)) {
		off()
	}
	_ = s.conn.SetWriteDeadline(time.Now().Add(s.of.api.opt.WriteTimeout))
	_, err := s.conn.Write(b)
	if err == nil {
		return nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		s.of.api.tally.hit(slowReader)
	}
	return errors.Join(errGone, err)
}

// room reports whether the kernel takes n octets at once.
func (s *stream) room(n int) bool {
	if s.raw == nil {
		return false
	}
	unsent := doze.Unsent(s.raw)
	return unsent >= 0 && unsent+n <= roomFor
}

// close ends the stream and its connection.
func (s *stream) close(off func()) {
	t := s.of
	t.mu.Lock()
	s.gone = true
	delete(t.all, s)
	t.mu.Unlock()
	s.deaf()
	if _, ok := s.conn.(*tls.Conn); ok {
		off() // its last word may have to wait for the client
	}
	_ = s.conn.Close()
	s.nap.End() // after Close: no other nap can begin
	s.left()
}

// rest waits without a goroutine for the client to go; false: that can't be.
func (s *stream) rest() bool { return s.raw != nil && s.nap.Begin(s.raw, s) }

// Wake reads what the client says, who has nothing to say any more, until there is nothing to read or the client has gone.
func (s *stream) Wake() {
	var b [512]byte
	for {
		if _, err := s.conn.Read(b[:]); err != nil {
			_ = s.conn.Close() // who waits in a write need not
			s.wake(toLeave)
			return
		}
		if s.rest() {
			return
		}
	}
}
