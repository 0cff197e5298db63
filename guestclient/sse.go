package guestclient

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// maxEvent bounds one event; a longer one ends the stream.
const maxEvent = 4 << 20

var errEventTooLong = errors.New("events: an event is too long")

// parser reads server-sent events (WHATWG HTML §9.2.5, §9.2.6).
type parser struct {
	r       *bufio.Reader
	started bool
	afterCR bool // the last line ended with CR, so a LF now belongs to that end
}

func newParser(r io.Reader) *parser { return &parser{r: bufio.NewReader(r)} }

// next is the data of the next event that has any. An event that the stream's end cuts off is
// dropped, as the standard says. Ids stand in the data, too, so other fields don't matter.
func (p *parser) next() ([]byte, error) {
	var data []byte
	has := false
	for {
		line, err := p.line()
		if err != nil {
			return nil, err
		}
		if len(line) == 0 {
			if has && len(data) > 0 {
				return data, nil
			}
			data, has = data[:0], false
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if string(name) != "data" { // a comment has an empty name
			continue
		}
		if has {
			data = append(data, '\n')
		}
		data = append(data, bytes.TrimPrefix(value, []byte(" "))...)
		has = true
		if len(data) > maxEvent {
			return nil, errEventTooLong
		}
	}
}

// line reads up to LF, CR or CRLF and gives the text before it. After a CR it doesn't wait for
// the next byte: that may be long in coming.
func (p *parser) line() ([]byte, error) {
	var line []byte
	for {
		c, err := p.r.ReadByte()
		if err != nil {
			return nil, err
		}
		if c == '\n' && p.afterCR && len(line) == 0 {
			p.afterCR = false
			continue
		}
		p.afterCR = c == '\r'
		if c == '\n' || c == '\r' {
			if !p.started {
				p.started = true
				line = bytes.TrimPrefix(line, []byte("\ufeff"))
			}
			return line, nil
		}
		if line = append(line, c); len(line) > maxEvent {
			return nil, errEventTooLong
		}
	}
}
