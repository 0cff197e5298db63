package msrp

import (
	"bytes"
	"errors"
	"io"
)

// ErrEndLine is returned by Writer.Write for a body that has its own end-line.
var ErrEndLine = errors.New("msrp body has the end-line of its transaction")

// Writer writes requests and responses to a stream: Begin, Write for each part of a body, End. Heads and small
// bodies are gathered; Flush, or 16 KiB, sends them. It is not safe for use by several goroutines.
type Writer struct {
	dst     io.Writer
	buf     []byte
	head    *Head
	pattern []byte
	tail    []byte // the body's last bytes, where an end-line could begin
	err     error
}

// gathered is how much a Writer keeps before it writes, in octets.
const gathered = 16 << 10

// NewWriter makes a writer.
func NewWriter(dst io.Writer) *Writer { return &Writer{dst: dst} }

// Begin starts a frame. A field with a control character, or an id that is none, is an error, and nothing is written.
func (w *Writer) Begin(h *Head) error {
	if w.err != nil {
		return w.err
	}
	if err := h.writable(); err != nil {
		return err
	}
	w.head, w.tail = h, w.tail[:0]
	w.pattern = append(append(w.pattern[:0], "-------"...), h.TransactionID...)
	w.buf = h.appendTo(w.buf)
	return w.overflow()
}

// Write adds to the body of a frame whose head says HasBody. ErrEndLine means that nothing of p was written,
// because with it the body would contain its end-line: the frame can be ended, and p goes into one with another
// transaction id (RFC 4975 §7.1).
func (w *Writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if w.head == nil || !w.head.HasBody {
		return 0, errors.New("msrp writer: no body is open")
	}
	keep := len(w.pattern) - 1
	seam := append(w.tail, p[:min(len(p), keep)]...)
	if bytes.Contains(seam, w.pattern) || bytes.Contains(p, w.pattern) {
		return 0, ErrEndLine
	}
	if len(p) >= keep {
		w.tail = append(w.tail[:0], p[len(p)-keep:]...)
	} else {
		w.tail = append(w.tail[:0], seam[max(0, len(seam)-keep):]...)
	}
	if len(p) < gathered/4 {
		w.buf = append(w.buf, p...)
		return len(p), w.overflow()
	}
	if err := w.Flush(); err != nil {
		return 0, err
	}
	n, err := w.dst.Write(p)
	w.err = err
	return n, err
}

// End writes the end-line with its flag: Complete, Incomplete or Aborted.
func (w *Writer) End(flag byte) error {
	if w.err != nil {
		return w.err
	}
	if w.head == nil || !isFlag(flag) {
		return errors.New("msrp writer: no frame is open, or no such flag")
	}
	w.buf = w.head.appendEnd(w.buf, flag)
	w.head = nil
	return w.overflow()
}

// Flush sends what was gathered.
func (w *Writer) Flush() error {
	if w.err == nil && len(w.buf) > 0 {
		_, w.err = w.dst.Write(w.buf)
		w.buf = w.buf[:0]
		if cap(w.buf) > gathered/4 {
			w.buf = nil // idle connections keep no memory
		}
	}
	return w.err
}

func (w *Writer) overflow() error {
	if len(w.buf) >= gathered {
		return w.Flush()
	}
	return nil
}
