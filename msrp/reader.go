package msrp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// Reader reads requests and responses from a stream in bounded memory: a buffer of 32 KiB, or up to 512 KiB where
// the stream keeps filling it, whatever the frames' size. It is not safe for use by several goroutines.
type Reader struct {
	src     io.Reader
	idle    *socket // src, where it can be waited for without a buffer; else nil
	patient patient // src, where it does that by itself; else nil
	buf     []byte
	r, w    int
	pattern []byte // "\r\n-------tid" of the current frame
	inBody  bool
	atStart bool // nothing of the body was read yet
	flag    byte
	pause   func() error // called before a read that may block; nil: nothing is to be done
}

// NewReader makes a reader.
func NewReader(src io.Reader) *Reader { return &Reader{src: src} }

// newConnReader makes a reader that holds no buffer while it waits on a TCP connection with nothing left over.
func newConnReader(src io.Reader) *Reader {
	r := &Reader{src: src, idle: socketOf(src)}
	r.patient, _ = src.(patient)
	return r
}

// patient is a connection with buffers of its own (package msrpws).
type patient interface {
	AwaitRead() error // returns when there is something to read, or an error
}

// Next reads the head of the next frame, past what is left of the one before. A *StatusError (400) comes with a
// head: the frame is whole, and its body, if any, is still to be read. After any other error the stream is of
// no use: io.EOF says that it ended between frames, io.ErrUnexpectedEOF that it ended within one, and
// ErrMalformed is for what is no MSRP, or has a head of more than 16 KiB.
func (r *Reader) Next() (*Head, error) {
	for r.inBody {
		if _, err := r.next(); err != nil && err != io.EOF {
			return nil, err
		}
	}
	line, err := r.line(0)
	for err == nil && len(line) == 0 { // empty lines between frames keep some peers' connections alive
		line, err = r.line(0)
	}
	if err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) && r.r == r.w {
			return nil, io.EOF
		}
		return nil, err
	}
	h, wrong := parseStart(line)
	if h == nil {
		return nil, wrong
	}
	r.pattern = append(append(r.pattern[:0], "\r\n-------"...), h.TransactionID...)
	end := r.pattern[2:]
	used := len(line) + 2
	for n := 0; ; n++ {
		line, err := r.line(used)
		if err != nil {
			return nil, err
		}
		used += len(line) + 2
		if len(line) == 0 { // the body begins
			h.HasBody, r.inBody, r.atStart = true, true, true
			break
		}
		if bytes.HasPrefix(line, end) && len(line) == len(end)+1 && isFlag(line[len(end)]) {
			r.flag = line[len(end)]
			break
		}
		if err := h.set(n, string(line)); err != nil && wrong == nil {
			wrong = err
		}
	}
	if wrong == nil {
		wrong = h.check()
	}
	return h, wrong
}

// Flag is the continuation flag of the frame, valid when its body was read to the end.
func (r *Reader) Flag() byte { return r.flag }

func isFlag(c byte) bool { return c == Complete || c == Incomplete || c == Aborted }

// line reads up to CRLF and returns what stands before it; valid until the next read. used octets
// of the head were read before it.
func (r *Reader) line(used int) ([]byte, error) {
	seen := 0
	for {
		i := bytes.Index(r.buf[r.r+seen:r.w], []byte("\r\n"))
		n := r.w - r.r
		if i >= 0 {
			n = seen + i + 2
		}
		if n+used > maxHead {
			return nil, fmt.Errorf("%w: head too long", ErrMalformed)
		}
		if i >= 0 {
			line := r.buf[r.r : r.r+n-2]
			r.r += n
			return line, nil
		}
		seen = max(0, n-1) // the last one may be the CR
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
}

// fill reads more bytes, moving what is there to the front if need be. Callers leave room: what they
// wait for is shorter than the buffer.
func (r *Reader) fill() error {
	if r.pause != nil {
		if err := r.pause(); err != nil {
			return err
		}
	}
	if r.idle != nil {
		err := r.more()
		if r.lingered(err) {
			err = r.more() // for something is under way
		}
		return err
	}
	if r.r == r.w && r.patient != nil {
		r.release()
		if err := r.patient.AwaitRead(); err != nil && err != io.EOF {
			return err
		}
	}
	if r.buf == nil {
		r.buf = takeBuffer(smallBuffer)
	}
	if r.r > 0 && (r.r == r.w || r.w == len(r.buf)) {
		r.w = copy(r.buf, r.buf[r.r:r.w])
		r.r = 0
	}
	for range 100 {
		n, err := r.src.Read(r.buf[r.w:])
		r.w += n
		switch {
		case n > 0:
			return nil
		case err == io.EOF:
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
	}
	return io.ErrNoProgress
}

// lingered reports whether a read ended because socket.linger had it end.
func (r *Reader) lingered(err error) bool {
	return err != nil && r.idle != nil && errors.Is(err, os.ErrDeadlineExceeded) && r.idle.stay()
}

// rest waits for the next frame. False: nothing came for a while.
func (r *Reader) rest() (bool, error) {
	for {
		if canSleep {
			r.idle.linger()
		}
		err := r.more()
		if r.lingered(err) {
			return false, nil
		}
		if err == io.ErrUnexpectedEOF {
			err = io.EOF // it is between frames
		}
		if err != nil || !r.between() {
			return true, err
		}
	}
}

// between reports whether the reader is between two frames, with nothing of the next one, and can rest. It reads past the empty
// lines that keep some peers' connections alive.
func (r *Reader) between() bool {
	if r.idle == nil || r.inBody {
		return false
	}
	for bytes.HasPrefix(r.buf[r.r:r.w], []byte("\r\n")) {
		r.r += 2
	}
	return r.r == r.w
}

// more is fill for a socket: there is no buffer, or a small one for what is left over, while it waits.
func (r *Reader) more() error {
	size := smallBuffer
	if r.w > 0 && r.w == len(r.buf) || r.w >= smallBuffer {
		size = largeBuffer // it was filled at once, or nearly so: more is on its way
	}
	if r.r > 0 && (r.r == r.w || r.w == len(r.buf)) {
		r.w = copy(r.buf, r.buf[r.r:r.w])
		r.r = 0
	}
	n, err := r.idle.read(r, size)
	r.w += n
	if n == 0 && err == nil {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// fit takes a buffer of the size, or moves to one.
func (r *Reader) fit(size int) {
	if len(r.buf) == size {
		return
	}
	b := takeBuffer(size)
	n := copy(b, r.buf[r.r:r.w])
	giveBuffer(r.buf)
	r.buf, r.r, r.w = b, 0, n
}

// settle gives up what is not needed while there is nothing to read.
func (r *Reader) settle() {
	switch n := r.w - r.r; {
	case n == 0:
		r.release()
	case n <= smallBuffer/2:
		r.fit(smallBuffer)
	}
}

// release gives the buffer back. What is in it is lost.
func (r *Reader) release() {
	giveBuffer(r.buf)
	r.buf, r.r, r.w = nil, 0, 0
}

// Body reads the current frame's body. It ends with io.EOF at the end-line, after which Flag is valid.
func (r *Reader) Body() io.Reader { return (*bodyReader)(r) }

type bodyReader Reader

// Read gives body bytes.
func (b *bodyReader) Read(p []byte) (int, error) {
	r := (*Reader)(b)
	if len(p) == 0 {
		return 0, nil
	}
	data, err := r.peek()
	n := copy(p, data)
	r.r += n
	return n, err
}

// next gives the next body bytes without a copy; valid until the next read.
func (r *Reader) next() ([]byte, error) {
	data, err := r.peek()
	r.r += len(data)
	return data, err
}

// peek finds body bytes in the buffer, at least one, or io.EOF. An end-line look-alike with another flag or
// without CRLF is body (RFC 4975 §7.1).
func (r *Reader) peek() ([]byte, error) {
	for r.inBody {
		data := r.buf[r.r:r.w]
		if r.atStart {
			// The end-line of an empty body may lack the CRLF before it.
			end := r.pattern[2:]
			if len(data) < len(end)+3 && bytes.HasPrefix(end, data[:min(len(data), len(end))]) {
				if err := r.fill(); err != nil {
					return nil, err
				}
				continue
			}
			r.atStart = false
			if r.endAt(data, end) {
				r.finish(len(end))
				break
			}
		}
		i := bytes.Index(data, r.pattern)
		switch {
		case i == 0 && len(data) < len(r.pattern)+3:
			if err := r.fill(); err != nil {
				return nil, err
			}
			continue
		case i == 0 && r.endAt(data, r.pattern):
			r.finish(len(r.pattern))
			continue
		case i == 0:
			i = 2 // look-alike: its CRLF is body
		case i < 0:
			// Keep what might be the beginning of the end-line.
			if i = len(data) - partial(data, r.pattern); i == 0 {
				if err := r.fill(); err != nil {
					return nil, err
				}
				continue
			}
		}
		return data[:i], nil
	}
	return nil, io.EOF
}

func (r *Reader) endAt(data, pattern []byte) bool {
	n := len(pattern)
	return len(data) >= n+3 && bytes.HasPrefix(data, pattern) && isFlag(data[n]) && data[n+1] == '\r' && data[n+2] == '\n'
}

func (r *Reader) finish(n int) {
	r.flag = r.buf[r.r+n]
	r.r += n + 3
	r.inBody = false
}

// partial is the length of the longest suffix of data that begins pattern.
func partial(data, pattern []byte) int {
	for n := min(len(data), len(pattern)-1); n > 0; n-- {
		if bytes.HasPrefix(pattern, data[len(data)-n:]) {
			return n
		}
	}
	return 0
}
