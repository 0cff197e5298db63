package sipua

import (
	"net"
	"syscall"
	"time"
	"unsafe"
)

// stamp asks the kernel to say when a datagram came: a busy process reads late, and what waits in the socket waits all the same.
func stamp(c *net.UDPConn) {
	if raw, err := c.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_TIMESTAMP, 1) })
	}
}

// stampSize is room for what the kernel says of a datagram.
const stampSize = 64

// stamped is the time that the kernel says; the zero Time if it says none.
func stamped(oob []byte) time.Time {
	all, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return time.Time{}
	}
	for _, m := range all {
		var at syscall.Timeval
		if m.Header.Level == syscall.SOL_SOCKET && m.Header.Type == syscall.SO_TIMESTAMP && len(m.Data) >= int(unsafe.Sizeof(at)) {
			copy(unsafe.Slice((*byte)(unsafe.Pointer(&at)), unsafe.Sizeof(at)), m.Data)
			return time.Unix(at.Unix())
		}
	}
	return time.Time{}
}
