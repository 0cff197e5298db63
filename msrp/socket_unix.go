//go:build unix

package msrp

import (
	"io"
	"net"
	"syscall"
	"time"

	"latchkey/internal/quiet"
)

// socket waits for a TCP connection to be readable without holding a buffer meanwhile.
type socket struct {
	raw   syscall.RawConn
	tcp   *net.TCPConn
	until time.Time // its read deadline, where await has set it

	// Of the read under way; kept here so that none is allocated for each.
	reader *Reader
	size   int
	n      int
	err    error
	calls  quiet.Calls
	try    func(fd uintptr) bool
}

// socketOf is nil where src is no plain TCP connection.
func socketOf(src io.Reader) *socket {
	tcp, ok := src.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	s := &socket{raw: raw, tcp: tcp}
	s.try = s.attempt
	return s
}

// read reads what is there into the reader's buffer, which has the size then.
func (s *socket) read(r *Reader, size int) (int, error) {
	s.reader, s.size = r, size
	if err := s.raw.Read(s.try); err != nil {
		return 0, err // the deadline, or the connection was closed
	}
	return s.n, s.err
}

func (s *socket) attempt(fd uintptr) bool {
	r := s.reader
	r.fit(s.size)
	n, errno := s.calls.Read(fd, r.buf[r.w:])
	if errno == syscall.EAGAIN {
		r.settle()
		return false // called again when it is readable
	}
	if s.n, s.err = n, nil; errno != 0 {
		s.err = errno
	}
	return true
}

// linger has reads end after a while without anything to read. It is called before each, and sets a deadline now and then.
func (s *socket) linger() {
	if now := time.Now(); s.until.Sub(now) < lingering/2 {
		s.until = now.Add(lingering)
		_ = s.tcp.SetReadDeadline(s.until)
	}
}

// stay ends what linger began. False: it hadn't, so that it is somebody else's deadline that has passed.
func (s *socket) stay() bool {
	if s.until.IsZero() {
		return false
	}
	s.until = time.Time{}
	_ = s.tcp.SetReadDeadline(time.Time{})
	return true
}
