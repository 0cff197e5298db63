//go:build unix

package msrp

import (
	"bytes"
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// Issue 5: a reader that waits holds no buffer, and a small one where part of a frame has come, however much came before.
func TestReaderThatWaitsHoldsLittle(t *testing.T) {
	for _, c := range []struct{ left, holds int }{{0, 0}, {1000, smallBuffer}} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		peer, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer peer.Close()
		nc, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		_ = nc.SetReadDeadline(time.Now().Add(20 * time.Second))
		sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<20/16)
		go func() { _, _ = peer.Write(sent) }() // ends with what it writes
		r, got, most := newConnReader(nc), 0, 0
		for got < len(sent)-c.left {
			if err := r.fill(); err != nil {
				t.Fatal(err)
			}
			n := min(r.w-r.r, len(sent)-c.left-got)
			if !bytes.Equal(r.buf[r.r:r.r+n], sent[got:got+n]) {
				t.Fatalf("other octets behind %d", got)
			}
			r.r, got, most = r.r+n, got+n, max(most, len(r.buf))
		}
		for r.w-r.r < c.left {
			if err := r.fill(); err != nil {
				t.Fatal(err)
			}
		}
		_ = nc.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if err := r.fill(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("fill = %v", err)
		}
		if len(r.buf) != c.holds || most != largeBuffer {
			t.Errorf("it holds %d octets, and held %d, want %d and %d", len(r.buf), most, c.holds, largeBuffer)
		}
		if got := r.buf[r.r:r.w]; !bytes.Equal(got, sent[len(sent)-c.left:]) {
			t.Errorf("%d octets are left, want the last %d", len(got), c.left)
		}
	}
}
