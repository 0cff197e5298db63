//go:build amd64 || arm64

package sipua

import (
	"syscall"
	"unsafe"
)

// quietCalls makes system calls that the runtime needn't know of, since none of them can wait. Each that it does know of wakes its monitor, which
// had gone to sleep while there was nothing to do: at some hundred calls a second that costs as much as what the calls are made for.
type quietCalls struct {
	row int // made without a pause
}

// wakeEvery is after how many calls in a row the monitor is woken after all: who is that busy must be watched.
const wakeEvery = 16

// make makes one on a descriptor that doesn't block.
func (q *quietCalls) make(number, fd uintptr, p unsafe.Pointer, n int) (moved uintptr, errno syscall.Errno) {
	for {
		if q.row++; q.row%wakeEvery == 0 {
			moved, _, errno = syscall.Syscall(number, fd, uintptr(p), uintptr(n))
		} else {
			moved, _, errno = syscall.RawSyscall(number, fd, uintptr(p), uintptr(n))
		}
		switch errno {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			q.row = 0
		}
		return moved, errno
	}
}
