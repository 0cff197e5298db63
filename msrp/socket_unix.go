//go:build unix

package msrp

import (
	"io"
	"net"
	"syscall"
)

// socket waits for a TCP connection to be readable without holding a buffer meanwhile.
type socket struct {
	raw syscall.RawConn

	// Of the read under way; kept here so that none is allocated for each.
	buf  *[]byte
	size int
	n    int
	err  error
	try  func(fd uintptr) bool
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
	s := &socket{raw: raw}
	s.try = s.attempt
	return s
}

// read reads what is there into buf, which it takes from the pool if there is none, and has none while it waits.
func (s *socket) read(buf *[]byte, size int) (int, error) {
	s.buf, s.size = buf, size
	if err := s.raw.Read(s.try); err != nil {
		return 0, err // the deadline, or the connection was closed
	}
	return s.n, s.err
}

func (s *socket) attempt(fd uintptr) bool {
	if *s.buf == nil {
		*s.buf = takeBuffer(s.size)
	}
	for {
		s.n, s.err = syscall.Read(int(fd), *s.buf)
		switch s.err {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			giveBuffer(*s.buf)
			*s.buf = nil
			return false // called again when it is readable
		}
		s.n = max(s.n, 0)
		return true
	}
}
