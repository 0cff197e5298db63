//go:build !linux || !(amd64 || arm64)

package sipua

import (
	"net"
	"net/netip"
	"time"
)

// port is for Linux on machines whose system calls are known; elsewhere package net does it all.
type port struct{}

func newPort(net.PacketConn) *port { return nil }

func (*port) receive([]byte, []byte) (int, netip.AddrPort, time.Time, error) {
	panic("no port here")
}

func (*port) send([]byte, netip.AddrPort) (bool, error) { return false, nil }
