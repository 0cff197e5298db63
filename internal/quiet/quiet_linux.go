//go:build amd64 || arm64

package quiet

import (
	"syscall"
	"unsafe"
)

// Calls makes the calls of one direction of a socket. It is not safe for use by several goroutines. The zero value is ready.
type Calls struct {
	row int // made without a pause
}

// wakeEvery is after how many calls in a row the monitor is woken after all: who is that busy must be watched.
const wakeEvery = 16

// make makes a system call of three arguments on a descriptor that doesn't block, again where a signal has interrupted it.
func (c *Calls) make(number, fd uintptr, p unsafe.Pointer, n int) (moved int, errno syscall.Errno) {
	for {
		var res uintptr
		if c.row++; c.row%wakeEvery == 0 {
			res, _, errno = syscall.Syscall(number, fd, uintptr(p), uintptr(n))
		} else {
			res, _, errno = syscall.RawSyscall(number, fd, uintptr(p), uintptr(n))
		}
		switch errno {
		case 0:
			return int(res), 0
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			c.row = 0
		}
		return 0, errno
	}
}

// Read is read(2): 0 octets are the end, and EAGAIN says that nothing is there.
func (c *Calls) Read(fd uintptr, b []byte) (int, syscall.Errno) {
	defer took()
	return c.make(syscall.SYS_READ, fd, unsafe.Pointer(unsafe.SliceData(b)), len(b))
}

// Write is write(2), which may take less than b. EAGAIN says that there is no room.
func (c *Calls) Write(fd uintptr, b []byte) (int, syscall.Errno) {
	gives()
	return c.make(syscall.SYS_WRITE, fd, unsafe.Pointer(unsafe.SliceData(b)), len(b))
}

// Receive is recvmsg(2) of a datagram.
func (c *Calls) Receive(fd uintptr, m *syscall.Msghdr) (int, syscall.Errno) {
	defer took()
	return c.make(syscall.SYS_RECVMSG, fd, unsafe.Pointer(m), 0)
}

// SendTo is sendto(2) of a datagram to the address in name.
func SendTo(fd uintptr, b []byte, name unsafe.Pointer, size uintptr) (errno syscall.Errno) {
	gives()
	for errno = syscall.EINTR; errno == syscall.EINTR; {
		_, _, errno = syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0, uintptr(name), size)
	}
	return errno
}
