//go:build amd64 || arm64

package quiet

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// streams are both ends of a connection, one of them quiet.
func streams(t *testing.T) (ours, theirs net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if theirs, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	ours = Conn(c)
	if _, ok := ours.(*stream); !ok {
		t.Fatalf("%T", ours)
	}
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return ours, theirs
}

// More than the kernel takes at once is written whole while the peer reads, and read whole; the end is one.
func TestAStreamMovesAll(t *testing.T) {
	t.Parallel()
	ours, theirs := streams(t)
	all := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	wrote := make(chan error, 1)
	go func() {
		n, err := ours.Write(all)
		if err == nil && n != len(all) {
			err = io.ErrShortWrite
		}
		wrote <- err
	}()
	got := make([]byte, len(all))
	if _, err := io.ReadFull(theirs, got); err != nil || !bytes.Equal(got, all) {
		t.Fatal(err)
	}
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = theirs.Write(all)
		_ = theirs.Close()
	}()
	if got, err := io.ReadAll(ours); err != nil || !bytes.Equal(got, all) {
		t.Fatalf("%d octets, %v", len(got), err)
	}
	if n, err := ours.Read(nil); n != 0 || err != nil {
		t.Errorf("nothing read: %d, %v", n, err)
	}
}

// Deadlines and an end of ours are what net.Conn says they are, for who waits already, too.
func TestAStreamDoesNotWaitForever(t *testing.T) {
	t.Parallel()
	ours, _ := streams(t)
	_ = ours.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v", err)
	}
	_ = ours.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
	var err error
	for whole := make([]byte, 4<<20); err == nil; _, err = ours.Write(whole) { // until the peer's buffers are full
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("write: %v", err)
	}
	_ = ours.SetDeadline(time.Time{})
	ended := make(chan error, 1)
	go func() {
		_, err := ours.Read(make([]byte, 1))
		ended <- err
	}()
	_ = ours.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("read of what is closed: %v", err)
	}
	if _, err := ours.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write to what is closed: %v", err)
	}
}

// What the peer broke off is an error to both.
func TestAStreamThatIsReset(t *testing.T) {
	t.Parallel()
	ours, theirs := streams(t)
	_ = theirs.(*net.TCPConn).SetLinger(0)
	_ = theirs.Close()
	if _, err := ours.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("read: %v", err)
	}
	if _, err := ours.Write([]byte("x")); err == nil {
		t.Error("written")
	}
}

// What was done before a write has been done when the other end has read it, for the race detector, too.
func TestAStreamOrdersWhatIsDone(t *testing.T) {
	t.Parallel()
	ours, theirs := streams(t)
	for name, way := range map[string][2]net.Conn{"written quietly": {ours, theirs}, "read quietly": {theirs, ours}} {
		done := 0
		go func() {
			done = 1
			_, _ = way[0].Write([]byte("x"))
		}()
		if _, err := way[1].Read(make([]byte, 1)); err != nil || done != 1 {
			t.Errorf("%s: %d, %v", name, done, err)
		}
	}
}
