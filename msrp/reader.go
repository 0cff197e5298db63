package msrp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Reader reads requests and responses from a stream in bounded memory.
type Reader struct {
	src     io.Reader
	buf     []byte
	r, w    int
	pattern []byte // "\r\n-------tid" of the current frame
	inBody  bool
	atStart bool // nothing of the body was read yet
	flag    byte
}

// NewReader makes a reader with a buffer of 32 KiB.
func NewReader(src io.Reader) *Reader {
	return &Reader{src: src, buf: make([]byte, 32<<10)}
}

// Next reads the head of the next frame. A *badRequest error comes with a head; the frame's body, if any,
// is still to be read. After any other error the stream is of no use; io.EOF says that it ended between frames.
func (r *Reader) Next() (*Head, error) {
	if r.inBody {
		if _, err := io.Copy(io.Discard, r.Body()); err != nil {
			return nil, err
		}
	}
	line, err := r.line(0)
	if err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) && r.r == r.w {
			return nil, io.EOF
		}
		return nil, err
	}
	h, err := parseStart(line)
	if err != nil {
		return nil, err
	}
	r.pattern = append(append(r.pattern[:0], "\r\n-------"...), h.TransactionID...)
	end := r.pattern[2:]
	total := len(line)
	var bad error
	for n := 0; ; n++ {
		line, err := r.line(total)
		if err != nil {
			return nil, err
		}
		total += len(line) + 2
		if len(line) == 0 { // the body begins
			h.hasBody, r.inBody, r.atStart = true, true, true
			break
		}
		if bytes.HasPrefix(line, end) && len(line) == len(end)+1 && isFlag(line[len(end)]) {
			r.flag = line[len(end)]
			break
		}
		if bad == nil {
			bad = h.set(n, string(line))
		}
	}
	if bad == nil {
		bad = h.check()
	}
	return h, bad
}

// Flag is the continuation flag of the frame, valid when its body was read to the end.
func (r *Reader) Flag() byte { return r.flag }

func isFlag(c byte) bool { return c == Complete || c == Incomplete || c == Aborted }

// line reads up to CRLF and returns what stands before it; valid until the next read.
func (r *Reader) line(used int) ([]byte, error) {
	from := r.r
	for {
		if i := bytes.Index(r.buf[from:r.w], []byte("\r\n")); i >= 0 {
			line := r.buf[r.r : from+i]
			r.r = from + i + 2
			return line, nil
		}
		if r.w-r.r+used > maxHead {
			return nil, fmt.Errorf("%w: head too long", ErrMalformed)
		}
		from = max(r.r, r.w-1)
		shift := r.r
		if err := r.fill(); err != nil {
			return nil, err
		}
		if r.r != shift {
			from -= shift
		}
	}
}

// fill reads more bytes, moving what is there to the front if need be.
func (r *Reader) fill() error {
	if r.r > 0 && (r.r == r.w || r.w == len(r.buf)) {
		copy(r.buf, r.buf[r.r:r.w])
		r.w -= r.r
		r.r = 0
	}
	if r.w == len(r.buf) {
		return fmt.Errorf("%w: line too long", ErrMalformed)
	}
	n, err := r.src.Read(r.buf[r.w:])
	r.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		return nil
	}
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Body reads the current frame's body. It ends with io.EOF at the end-line, after which Flag is valid.
func (r *Reader) Body() io.Reader { return (*bodyReader)(r) }

type bodyReader Reader

// Read gives body bytes. An end-line look-alike with another flag or without CRLF is body (RFC 4975 §7.1).
func (b *bodyReader) Read(p []byte) (int, error) {
	r := (*Reader)(b)
	for r.inBody {
		if len(p) == 0 {
			return 0, nil
		}
		data := r.buf[r.r:r.w]
		if r.atStart {
			// An empty body may lack the CRLF before its end-line.
			end := r.pattern[2:]
			if len(data) < len(end)+3 && bytes.HasPrefix(end, data[:min(len(data), len(end))]) {
				if err := r.fill(); err != nil {
					return 0, err
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
		case i == 0:
			if len(data) < len(r.pattern)+3 {
				if err := r.fill(); err != nil {
					return 0, err
				}
				continue
			}
			if r.endAt(data, r.pattern) {
				r.finish(len(r.pattern))
				continue
			}
			i = 2 // look-alike: its CRLF is body
		case i < 0:
			// Keep what might be the beginning of the end-line.
			i = len(data) - partial(data, r.pattern)
			if i == 0 {
				if err := r.fill(); err != nil {
					return 0, err
				}
				continue
			}
		}
		n := copy(p, data[:i])
		r.r += n
		return n, nil
	}
	return 0, io.EOF
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
