package msrpws

import (
	"bytes"
	"errors"
)

// errNoChunk is for bytes that don't begin like a chunk.
var errNoChunk = errors.New("no MSRP chunk")

// maxTransactionID bounds what is taken for a transaction id; RFC 4975 §9 allows 32 octets.
const maxTransactionID = 64

// scanner finds the end of a chunk in bytes that come piece by piece. The zero scanner waits for a start-line.
type scanner struct {
	line    []byte // "MSRP tid " as far as it is there
	pattern []byte // "\r\n-------tid"; nil before the start-line was read
	tail    []byte // the last octets, where the end-line could begin
}

// feed looks at more bytes. n of them belong to the chunk, which is whole when done; then the scanner waits for another
// start-line.
func (s *scanner) feed(p []byte) (n int, done bool, err error) {
	begin := 0
	for ; s.pattern == nil; begin++ {
		if begin == len(p) {
			return len(p), false, nil
		}
		if err := s.start(p[begin]); err != nil {
			return begin, false, err
		}
	}
	rest := p[begin:]
	whole := len(s.pattern) + 3 // with the flag and CRLF
	seam := append(s.tail, rest[:min(len(rest), whole-1)]...)
	if end := s.end(seam); end >= 0 {
		n = begin + end - len(s.tail)
	} else if end := s.end(rest); end >= 0 {
		n = begin + end
	} else {
		if len(rest) >= whole-1 {
			seam = rest
		}
		s.tail = append(s.tail[:0], seam[max(0, len(seam)-whole+1):]...)
		return len(p), false, nil
	}
	s.line, s.pattern, s.tail = s.line[:0], nil, s.tail[:0]
	return n, true, nil
}

// start takes an octet of the start-line up to the transaction id.
func (s *scanner) start(c byte) error {
	const first = "MSRP "
	at := len(s.line)
	switch {
	case at < len(first) && c != first[at]:
		return errNoChunk
	case at < len(first) || c != ' ':
		if at == len(first)+maxTransactionID || c < ' ' || c >= 0x7f {
			return errNoChunk
		}
		s.line = append(s.line, c)
		return nil
	case at == len(first):
		return errNoChunk
	}
	s.pattern = append([]byte("\r\n-------"), s.line[len(first):]...)
	return nil
}

// end is where the chunk ends in data; -1: not there. A look-alike of the end-line with another flag, or without CRLF, is body (RFC
// 4975 §7.1).
func (s *scanner) end(data []byte) int {
	for at := 0; ; {
		i := bytes.Index(data[at:], s.pattern)
		if i < 0 {
			return -1
		}
		at += i + len(s.pattern)
		if len(data) < at+3 {
			return -1
		}
		if f := data[at]; (f == '$' || f == '+' || f == '#') && data[at+1] == '\r' && data[at+2] == '\n' {
			return at + 3
		}
	}
}
