//go:build amd64 || arm64

package sipua

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"unsafe"
)

// stream is a TCP connection that is read and written by quiet system calls.
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
	calls quietCalls
}

// quietly makes a stream of a TCP connection; what is none is given back as it is.
func quietly(c net.Conn) net.Conn {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return c
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return c
	}
	s := &stream{TCPConn: tcp, raw: raw}
	s.pull = func(fd uintptr) bool { return s.in.move(syscall.SYS_READ, fd) }
	s.put = func(fd uintptr) bool {
		for f := &s.out; len(f.b) > 0; f.b = f.b[f.n:] {
			if !f.move(syscall.SYS_WRITE, fd) {
				return false
			}
			if f.errno != 0 {
				break
			}
		}
		return true
	}
	return s
}

// move makes one system call. False: it would have to wait.
func (f *flow) move(number, fd uintptr) bool {
	var n uintptr
	n, f.errno = f.calls.make(number, fd, unsafe.Pointer(unsafe.SliceData(f.b)), len(f.b))
	if f.n = int(n); f.errno != 0 {
		f.n = 0
	}
	return f.errno != syscall.EAGAIN
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
	f.b, f.errno = b, 0
	err := s.raw.Write(s.put)
	n := len(b) - len(f.b)
	if f.b = nil; err == nil && f.errno != 0 {
		err = os.NewSyscallError("write", f.errno)
	}
	return n, err
}
