//go:build unix && !(linux && (amd64 || arm64))

package quiet

import (
	"errors"
	"syscall"
)

// Calls is for Linux on machines whose system calls are known; elsewhere the runtime hears of each.
type Calls struct{}

// Read is read(2).
func (*Calls) Read(fd uintptr, b []byte) (int, syscall.Errno) { return again(syscall.Read, fd, b) }

// Write is write(2).
func (*Calls) Write(fd uintptr, b []byte) (int, syscall.Errno) { return again(syscall.Write, fd, b) }

func again(call func(int, []byte) (int, error), fd uintptr, b []byte) (n int, errno syscall.Errno) {
	for {
		n, err := call(int(fd), b)
		if err == syscall.EINTR {
			continue
		}
		errors.As(err, &errno)
		return max(n, 0), errno
	}
}
