package msrp

import (
	"io"
	"net"
	"testing"
)

// waits is a connection that looks at the reader's buffer while there is nothing to read.
type waits struct {
	net.Conn
	reader   *Reader
	idle     int
	buffered bool
}

func (w *waits) AwaitRead() error {
	w.idle++
	w.buffered = w.buffered || w.reader.buf != nil
	return nil
}

// A connection with buffers of its own is waited for without one of ours (package msrpws).
func TestPatientConnectionIsAwaitedWithoutBuffer(t *testing.T) {
	ours, theirs := net.Pipe()
	w := &waits{Conn: ours}
	w.reader = newConnReader(w)
	const frame = "MSRP abcd1234 200 OK\r\nTo-Path: msrp://a.example:1/a;tcp\r\nFrom-Path: msrp://b.example:1/b;tcp\r\n-------abcd1234$\r\n"
	go func() { // ends with what it writes
		for range 3 {
			_, _ = io.WriteString(theirs, frame)
		}
		_ = theirs.Close()
	}()
	for range 3 {
		if h, err := w.reader.Next(); err != nil || h.Status != StatusOK {
			t.Fatalf("%+v, %v", h, err)
		}
	}
	if _, err := w.reader.Next(); err != io.EOF {
		t.Errorf("the end is %v", err)
	}
	if w.idle < 4 || w.buffered {
		t.Errorf("it was awaited %d times, with a buffer: %v", w.idle, w.buffered)
	}
}
