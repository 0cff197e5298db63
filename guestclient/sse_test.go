package guestclient

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func parseAll(p *parser) []string {
	var all []string
	for {
		data, err := p.next()
		if err != nil {
			return all
		}
		all = append(all, string(data))
	}
}

// WHATWG HTML §9.2.6 and its examples.
func TestServerSentEventsAreReadAsTheStandardSays(t *testing.T) {
	for in, want := range map[string][]string{
		"data: a\n\n":                     {"a"},
		"\ufeffdata: a\n\n":               {"a"},
		"data: a\r\ndata:b\r\n\r\n":       {"a\nb"},
		"data: a\rdata\r\rdata: c\r\r":    {"a\n", "c"},
		": comment\n\nid: 1\n\ndata: x\n": nil, // no data, and then no end
		"event: m\nid: 7\ndata:  x \n\n":  {" x "},
		"data: a\n\n\n\ndata: b\n\n":      {"a", "b"},
		"database: a\n\ndata: b\n\n":      {"b"},
	} {
		if got := parseAll(newParser(strings.NewReader(in))); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestEndlessEventIsRefused(t *testing.T) {
	endless := strings.NewReader("data: " + strings.Repeat("x", maxEvent+10))
	if _, err := newParser(endless).next(); err != errEventTooLong {
		t.Errorf("next() = %v, want %v", err, errEventTooLong)
	}
}

// However the bytes are cut, the events are the same, and none has a line end that was not sent.
func FuzzServerSentEvents(f *testing.F) {
	for _, s := range []string{"data: a\n\n", "data\r\n\r\n", ":\r\rdata:x\r\r\ndata:y\n\n", "\ufeffid: 1\ndata: {}\n\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		whole := parseAll(newParser(bytes.NewReader(in)))
		cut := parseAll(newParser(iotest.OneByteReader(bytes.NewReader(in))))
		if !slices.Equal(whole, cut) {
			t.Fatalf("%q: %q in one piece, %q byte by byte", in, whole, cut)
		}
		for _, e := range whole {
			if len(e) > len(in) || strings.Contains(e, "\r") {
				t.Fatalf("%q: event %q", in, e)
			}
		}
	})
}
