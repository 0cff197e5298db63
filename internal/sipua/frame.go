package sipua

import (
	"bytes"
	"errors"
)

// What ends a stream that can't be cut into messages.
var (
	errTooLong  = errors.New("message too long")
	errNoLength = errors.New("no Content-Length, or no single one, on a stream")
)

// border finds the first message of a stream: how many keep-alives come before it (RFC 5626 §3.5.1: double line ends; a single one
// is the answer to ours), where it starts, and where it ends, which Content-Length tells (RFC 3261 §18.3); end is 0 as long as it
// isn't whole. Bytes before start are done with.
func border(b []byte) (pings, start, end int, err error) {
	for bytes.HasPrefix(b[start:], []byte("\r\n")) {
		switch rest := b[start:]; {
		case bytes.HasPrefix(rest, []byte("\r\n\r\n")):
			pings++
			start += 4
		case string(rest) == "\r\n\r":
			return pings, start, 0, nil
		default:
			start += 2
		}
	}
	rest := b[start:]
	head := bytes.Index(rest, []byte("\r\n\r\n"))
	if head < 0 {
		if len(rest) > maxMessage {
			return pings, start, 0, errTooLong
		}
		return pings, start, 0, nil
	}
	length, err := contentLength(rest[:head+2])
	switch {
	case err != nil:
		return pings, start, 0, err
	case head+4+length > maxMessage:
		return pings, start, 0, errTooLong
	case len(rest) < head+4+length:
		return pings, start, 0, nil
	}
	return pings, start, start + head + 4 + length, nil
}

// contentLength reads the field from a head; it must be there on a stream (RFC 3261 §20.14), and once, since two would let one message
// hide in another.
func contentLength(head []byte) (int, error) {
	length, said := 0, 0
	_, rest, _ := nextLine(head)
	for len(rest) > 0 {
		var line []byte
		line, rest, _ = nextLine(rest)
		name, value, has := bytes.Cut(line, []byte(":"))
		if !has || blank(line[0]) || kindOf(bytes.TrimRight(name, " \t")) != kindContentLength {
			continue
		}
		for len(rest) > 0 && blank(rest[0]) { // folded (§7.3.1)
			line, rest, _ = nextLine(rest)
			value = append(append(bytes.Clone(value), ' '), line...)
		}
		n, ok := number(trim(value), 1<<30)
		if !ok {
			return 0, errNoLength
		}
		length, said = int(n), said+1
	}
	if said != 1 {
		return 0, errNoLength
	}
	return length, nil
}
