//go:build unix && !(linux && (amd64 || arm64))

package quiet

import (
	"errors"
	"syscall"
)

// Calls is for Linux on machines whose system calls are known; elsewhere the runtime hears of each.
type Calls struct{}

// Read is read(2).
func (*Calls) Read(fd uintptr, b []byte) (n int, errno syscall.Errno) {
	for {
		n, err := syscall.Read(int(fd), b)
		if err == syscall.EINTR {
			continue
		}
		errors.As(err, &errno)
		return max(n, 0), errno
	}
}
