package sipua

import (
	"bytes"
	"errors"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"time"
)

// Limits of connections that others open; slow ones and many must not hold a place (F67).
const (
	messageTime = 20 * time.Second // from the first byte of a message to its last; also from the connection to its first message
	idleTime    = 30 * time.Minute // between messages
	answerTime  = 5 * time.Second  // for a refusal to go out
	maxFresh    = 1024             // connections without a message so far; the oldest makes room
	maxConns    = 8192             // connections; what comes then is closed
)

// packets is a UDP socket whose datagrams are screened.
type packets struct {
	net.PacketConn
	endpoint *Endpoint
	letter   letter // the reader's
}

// ReadFrom gives the next datagram that sipgo may see.
func (p *packets) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := p.PacketConn.ReadFrom(b)
		if err != nil {
			return n, from, err
		}
		if len(bytes.Trim(b[:n], "\r\n\x00")) == 0 {
			return n, from, nil // keep-alive
		}
		on, answer, port := p.endpoint.guarded(&p.letter, b[:n], from, true)
		if answer != nil {
			_, _ = p.PacketConn.WriteTo(answer, toPort(from, port))
		}
		if on != nil && len(on) <= len(b) {
			return copy(b, on), from, nil
		}
	}
}

// toPort is an address with another port, if port isn't 0.
func toPort(a net.Addr, port int) net.Addr {
	if udp, ok := a.(*net.UDPAddr); ok && port > 0 {
		return &net.UDPAddr{IP: udp.IP, Port: port, Zone: udp.Zone}
	}
	return a
}

// guarded is screen, but a bug in it costs one message, not the process, whose reader calls it.
func (e *Endpoint) guarded(l *letter, data []byte, from net.Addr, datagram bool) (on, answer []byte, port int) {
	defer func() {
		if p := recover(); p != nil {
			e.log.Error("sip screen panicked", "source", from.String(), "panic", p, "stack", string(debug.Stack()))
			on, answer = nil, nil
		}
	}()
	return e.screen(l, data, from, datagram)
}

// screen looks at a message before sipgo does. on is what sipgo gets, in data or in storage that is valid until the next call; nil:
// nothing. answer is what the sender gets by return, at its port if that isn't 0.
func (e *Endpoint) screen(l *letter, data []byte, from net.Addr, datagram bool) (on, answer []byte, port int) {
	if e.closed.Load() || !l.cut(data) {
		return nil, nil, 0
	}
	code, why := l.check(datagram)
	request := l.status == 0
	if code == 0 && request {
		if no := e.load.admit(l, time.Now()); no != nil {
			answer, port = l.refusal(503, "Service Unavailable", e.agent, from, no)
			return nil, answer, port
		}
	}
	switch {
	case code == 0 && !l.odd:
		return data, nil, 0
	case code == 0:
		l.again = l.write(l.again[:0])
		return l.again, nil, 0
	case !request || bytes.Equal(l.method, []byte("ACK")):
		return nil, nil, 0
	}
	e.log.Info("sip request refused", "method", string(l.method), "source", from.String(), "code", code, "reason", why)
	answer, port = l.refusal(code, why, e.agent, from, nil)
	return nil, answer, port
}

// door is a listener for streams that bounds what strangers can hold.
type door struct {
	net.Listener
	endpoint *Endpoint

	mu    sync.Mutex
	fresh []*stream // without a message so far, oldest first
	open  int
}

// Accept gives the next connection, whose messages are screened.
func (d *door) Accept() (net.Conn, error) {
	for {
		c, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		s := &stream{Conn: c, endpoint: d.endpoint, door: d, begun: time.Now()}
		d.mu.Lock()
		full := d.open >= maxConns
		var oldest *stream
		if !full {
			d.open++
			if d.fresh = append(d.fresh, s); len(d.fresh) > maxFresh {
				oldest = d.fresh[0]
			}
		}
		d.mu.Unlock()
		if full {
			_ = c.Close()
			continue
		}
		if oldest != nil {
			_ = oldest.Close()
		}
		return s, nil
	}
}

// proven takes a connection out of the fresh ones; gone also out of those that are open.
func (d *door) proven(s *stream, gone bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if gone {
		d.open--
	}
	for i, f := range d.fresh {
		if f == s {
			d.fresh = append(d.fresh[:i], d.fresh[i+1:]...)
			return
		}
	}
}

// stream is a connection that gives one whole message a Read, or the next piece of one that is larger than what Read may fill.
type stream struct {
	net.Conn
	endpoint *Endpoint
	door     *door
	once     sync.Once

	// The reader's.
	in     []byte    // what came and isn't a whole message yet
	out    []byte    // what Read has not handed over yet
	begun  time.Time // when the message that comes began
	known  bool      // it had a message
	broken bool      // what follows can't be told from the message before
}

var errSlow = errors.New("message took too long")

// Read screens what comes and gives what may go on.
func (s *stream) Read(b []byte) (int, error) {
	for {
		if len(s.out) > 0 {
			n := copy(b, s.out)
			s.out = s.out[n:]
			return n, nil
		}
		if s.broken {
			return 0, net.ErrClosed
		}
		if s.next() {
			continue
		}
		limit := s.begun.Add(messageTime)
		if len(s.in) == 0 && s.known {
			limit = time.Now().Add(idleTime)
		}
		_ = s.Conn.SetReadDeadline(limit)
		n, err := s.Conn.Read(b)
		if n > 0 {
			if len(s.in) == 0 && s.known {
				s.begun = time.Now()
			}
			s.in = append(s.in, b[:n]...)
			continue
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = errSlow
		}
		if err != nil {
			return 0, err
		}
	}
}

// next takes a message off what came and screens it. It reports false if more must come first.
func (s *stream) next() bool {
	for len(s.in) > 1 && s.in[0] == '\r' && s.in[1] == '\n' { // §7.5
		if len(s.in) > 3 && s.in[2] == '\r' && s.in[3] == '\n' {
			s.answer([]byte("\r\n")) // RFC 5626 §4.4.1: a ping
			s.in = s.in[2:]
		} else if len(s.in) == 3 {
			return false // a second one may be under way
		}
		s.in = s.in[2:]
	}
	if len(s.in) == 0 {
		return false
	}
	size, ok := frame(s.in)
	switch {
	case !ok:
		s.broken = true
		size = len(s.in)
	case size == 0 || size > len(s.in) && size <= maxMessage:
		if s.broken = len(s.in) > maxMessage; !s.broken {
			return false
		}
		size = len(s.in)
	case size > maxMessage:
		s.broken = true
		size = len(s.in)
	}
	data := s.in[:size]
	if s.broken {
		s.refuse(data)
		return true
	}
	l := s.endpoint.letters.Get().(*letter) // a quiet connection holds none
	on, answer, _ := s.endpoint.guarded(l, data, s.RemoteAddr(), false)
	if answer != nil {
		s.answer(answer)
	}
	s.out = append(s.out[:0], on...)
	s.endpoint.letters.Put(l)
	if s.in = s.in[size:]; len(s.in) == 0 {
		s.in = nil // a quiet connection holds nothing
	}
	s.begun = time.Now()
	if on != nil && !s.known {
		s.known = true
		s.door.proven(s, false)
	}
	return true
}

// refuse says why the connection is going to be closed, if that can be said (RFC 4475 §3.1.2.3, §3.3.9).
func (s *stream) refuse(data []byte) {
	var l letter
	if !l.cut(data) || l.status != 0 || bytes.Equal(l.method, []byte("ACK")) {
		return
	}
	code, why := l.check(false)
	switch {
	case l.get(kindContentLength) == nil:
		code, why = badRequest("no Content-Length") // §18.3
	case code == 0:
		code, why = 513, "Message Too Large" // §21.5.8
	}
	s.endpoint.log.Info("sip connection closed", "source", s.RemoteAddr().String(), "code", code, "reason", why)
	text, _ := l.refusal(code, why, s.endpoint.agent, s.RemoteAddr(), nil)
	s.answer(text)
}

// answer writes past sipgo, which writes whole messages, too.
func (s *stream) answer(text []byte) {
	_ = s.Conn.SetWriteDeadline(time.Now().Add(answerTime))
	_, _ = s.Conn.Write(text)
	_ = s.Conn.SetWriteDeadline(time.Time{})
}

// Close gives the place back.
func (s *stream) Close() error {
	s.once.Do(func() { s.door.proven(s, true) })
	return s.Conn.Close()
}

// frame is the size of the message that b begins with, as its Content-Length says; 0: its header has not come yet. It reports false where
// the length is missing, illegal or said twice, so that nobody can know where the next message begins (§18.3).
func frame(b []byte) (size int, ok bool) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return 0, true
	}
	length, said := 0, 0
	_, rest, _ := bytes.Cut(b[:end+2], []byte("\r\n"))
	for len(rest) > 0 {
		var line []byte
		line, rest, _ = nextLine(rest)
		name, value, has := bytes.Cut(line, []byte(":"))
		if !has || blank(line[0]) || kindOf(bytes.TrimRight(name, " \t")) != kindContentLength {
			continue
		}
		for len(rest) > 0 && blank(rest[0]) { // folded
			line, rest, _ = nextLine(rest)
			value = append(append(bytes.Clone(value), ' '), line...)
		}
		n, ok := number(trim(value), 1<<30)
		if !ok {
			return 0, false
		}
		length, said = int(n), said+1
	}
	return end + 4 + length, said == 1
}
