//go:build amd64 || arm64

package sipua

import (
	"encoding/binary"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"latchkey/internal/quiet"
)

// port reads and writes a UDP socket of the kernel's by quiet system calls.
type port struct {
	raw  syscall.RawConn
	six  bool // its family is IPv6, to which IPv4 addresses are mapped
	read *portRead
	sent sync.Pool // of *portWrite
}

// newPort gives nil where conn is no socket of the kernel's.
func newPort(conn net.PacketConn) *port {
	udp, ok := conn.(*net.UDPConn)
	if !ok {
		return nil
	}
	raw, err := udp.SyscallConn()
	if err != nil {
		return nil
	}
	p := &port{raw: raw, sent: sync.Pool{New: func() any { return newPortWrite() }}, read: newPortRead()}
	known := false
	err = raw.Control(func(fd uintptr) {
		name, err := syscall.Getsockname(int(fd))
		_, p.six = name.(*syscall.SockaddrInet6)
		known = err == nil
	})
	if err != nil || !known {
		return nil
	}
	return p
}

// portRead is what one datagram is read with.
type portRead struct {
	name  syscall.RawSockaddrInet6 // large enough for both families
	part  syscall.Iovec
	head  syscall.Msghdr
	n     int
	errno syscall.Errno
	calls quiet.Calls
	try   func(fd uintptr) bool
}

func newPortRead() *portRead {
	r := &portRead{}
	r.try = func(fd uintptr) bool {
		r.head = syscall.Msghdr{Name: (*byte)(unsafe.Pointer(&r.name)), Namelen: syscall.SizeofSockaddrInet6, Iov: &r.part, Iovlen: 1, Control: r.head.Control, Controllen: stampSize}
		r.n, r.errno = r.calls.Receive(fd, &r.head)
		return r.errno != syscall.EAGAIN
	}
	return r
}

// receive reads a datagram into buf; oob has stampSize octets. Only the socket's reader calls it.
func (p *port) receive(buf, oob []byte) (n int, from netip.AddrPort, came time.Time, err error) {
	r := p.read
	r.part.Base, r.head.Control = &buf[0], &oob[0]
	r.part.SetLen(len(buf))
	err = p.raw.Read(r.try)
	now := time.Now()
	runtime.KeepAlive(buf)
	switch {
	case err != nil:
		return 0, from, now, err
	case r.errno != 0:
		return 0, from, now, r.errno
	}
	return r.n, r.source(), arrived(oob[:r.head.Controllen], now), nil
}

func (r *portRead) source() netip.AddrPort {
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&r.name.Port))[:])
	if r.name.Family == syscall.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4((*syscall.RawSockaddrInet4)(unsafe.Pointer(&r.name)).Addr), port)
	}
	a := netip.AddrFrom16(r.name.Addr).Unmap()
	if r.name.Scope_id != 0 {
		a = a.WithZone(strconv.Itoa(int(r.name.Scope_id)))
	}
	return netip.AddrPortFrom(a, port)
}

// portWrite is what one datagram is written with.
type portWrite struct {
	name  syscall.RawSockaddrInet6
	size  uintptr // of name
	b     []byte
	errno syscall.Errno
	try   func(fd uintptr) bool
}

func newPortWrite() *portWrite {
	w := &portWrite{}
	w.try = func(fd uintptr) bool {
		w.errno = quiet.SendTo(fd, w.b, unsafe.Pointer(&w.name), w.size)
		return w.errno != syscall.EAGAIN
	}
	return w
}

// send writes a datagram. ok is false where that is for another to do: to an address that only its zone tells apart, or of the wrong family.
func (p *port) send(b []byte, to netip.AddrPort) (ok bool, err error) {
	a := to.Addr()
	if a.Zone() != "" || !a.IsValid() || !p.six && !a.Is4() {
		return false, nil
	}
	w := p.sent.Get().(*portWrite)
	defer p.sent.Put(w)
	w.b = b
	if p.six {
		w.name, w.size = syscall.RawSockaddrInet6{Family: syscall.AF_INET6, Addr: a.As16()}, syscall.SizeofSockaddrInet6
		binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&w.name.Port))[:], to.Port())
	} else {
		four := (*syscall.RawSockaddrInet4)(unsafe.Pointer(&w.name))
		*four, w.size = syscall.RawSockaddrInet4{Family: syscall.AF_INET, Addr: a.As4()}, syscall.SizeofSockaddrInet4
		binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&four.Port))[:], to.Port())
	}
	err = p.raw.Write(w.try)
	if w.b = nil; err == nil && w.errno != 0 {
		err = w.errno
	}
	return true, err
}
