//go:build unix

package imstest

import (
	"errors"
	"net"
	"syscall"
	"testing"
)

// Who connects to a port that is kept closed is refused, and a server may have it back.
func TestClosedPortRefusesAndCanBeHadBack(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	addr := Closed(t, ln.Addr().String()) // though a connection of the server's still stands, and then ends
	_, _ = s.Close(), c.Close()
	if c, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("Dial = %v, %v", c, err)
	}
	again, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = again.Close()
	if c, err := net.Dial("tcp", Closed(t, "")); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("Dial = %v, %v", c, err)
	}
}
