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
	for len(oob) >= syscall.SizeofCmsghdr {
		h := (*syscall.Cmsghdr)(unsafe.Pointer(&oob[0]))
		if h.Len < syscall.SizeofCmsghdr || uint64(h.Len) > uint64(len(oob)) {
			break
		}
		var at syscall.Timeval
		if h.Level == syscall.SOL_SOCKET && h.Type == syscall.SO_TIMESTAMP && int(h.Len) >= syscall.CmsgLen(int(unsafe.Sizeof(at))) {
			copy(unsafe.Slice((*byte)(unsafe.Pointer(&at)), unsafe.Sizeof(at)), oob[syscall.CmsgLen(0):])
			return time.Unix(at.Unix())
		}
		oob = oob[min(syscall.CmsgSpace(int(h.Len)-syscall.SizeofCmsghdr), len(oob)):]
	}
	return time.Time{}
}
