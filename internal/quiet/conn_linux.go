//go:build amd64 || arm64

package quiet

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

// stream is a TCP connection that is read and written by Calls.
type stream struct {
	*net.TCPConn
	raw       syscall.RawConn
	in, out   flow
	pull, put func(fd uintptr) bool
}

// flow is one direction of a stream.
type flow struct {
	mu    sync.Mutex // guards the fields below
	b     []byte     // to read into, or left to write
	n     int        // octets moved by the last call
	errno syscall.Errno
	calls Calls
}

// Conn gives a TCP connection of the kernel's that is read and written without the runtime's monitor; another one is given back as it is.
func Conn(c net.Conn) net.Conn {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return c
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return c
	}
	s := &stream{TCPConn: tcp, raw: raw}
	s.pull = func(fd uintptr) bool {
		f := &s.in
		f.n, f.errno = f.calls.Read(fd, f.b)
		return f.errno != syscall.EAGAIN
	}
	s.put = func(fd uintptr) bool {
		f := &s.out
		for f.errno = 0; f.errno == 0 && len(f.b) > 0; f.b = f.b[f.n:] {
			f.n, f.errno = f.calls.Write(fd, f.b)
		}
		return f.errno != syscall.EAGAIN
	}
	return s
}

// Read is as net.Conn has it.
func (s *stream) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	f := &s.in
	f.mu.Lock()
	defer f.mu.Unlock()
	f.b = b
	err := s.raw.Read(s.pull)
	f.b = nil
	switch {
	case err != nil:
		return 0, err
	case f.errno != 0:
		return 0, os.NewSyscallError("read", f.errno)
	case f.n == 0:
		return 0, io.EOF
	}
	return f.n, nil
}

// Write is as net.Conn has it.
func (s *stream) Write(b []byte) (int, error) {
	f := &s.out
	f.mu.Lock()
	defer f.mu.Unlock()
	f.b = b
	err := s.raw.Write(s.put)
	n := len(b) - len(f.b)
	if f.b = nil; err == nil && f.errno != 0 {
		err = os.NewSyscallError("write", f.errno)
	}
	return n, err
}
