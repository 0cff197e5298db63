//go:build unix

package imstest

import (
	"errors"
	"net/netip"
	"syscall"
	"testing"
	"time"
)

// Closed keeps the port of an address of 127.0.0.1 to itself until the test ends, or any port for "", and gives the address: whoever connects there is refused,
// since nobody else on this machine gets the port by chance. It waits for who has the port to go; a server that asks for just this port gets it again.
func Closed(t testing.TB, addr string) string {
	t.Helper()
	at := netip.MustParseAddrPort("127.0.0.1:0")
	if addr != "" {
		at = netip.MustParseAddrPort(addr)
	}
	syscall.ForkLock.RLock()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil { // connections of who listened before still end
		t.Fatal(err)
	}
	Eventually(t, time.Minute, func() bool {
		if err = syscall.Bind(fd, &syscall.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}); err != nil && !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
		return err == nil
	})
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return netip.AddrPortFrom(at.Addr(), uint16(name.(*syscall.SockaddrInet4).Port)).String()
}
