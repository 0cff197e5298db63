package guestclient

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
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

// proxied are the first words of streams, one each, on which nothing comes then; polls are counted, and not answered.
type proxied struct {
	words []string
	polls int
}

func (p *proxied) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.RawQuery != "" {
		p.polls++
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	word := ""
	if len(p.words) > 0 {
		word, p.words = p.words[0], p.words[1:]
	}
	body, w := io.Pipe()
	go func() { // ends with the request
		_, _ = io.WriteString(w, word)
		<-r.Context().Done()
		_ = w.CloseWithError(r.Context().Err())
	}()
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: body, Request: r}, nil
}

// R32: two streams in a row that are silent from the beginning are a proxy's doing; with one between them that said something they are not.
func TestOnlySilenceInARowIsAProxys(t *testing.T) {
	for _, c := range []struct {
		words []string
		polls bool
	}{{[]string{"", ":\n", "", ":\n"}, false}, {[]string{":\n", "", ""}, true}} {
		synctest.Test(t, func(t *testing.T) {
			p := &proxied{words: c.words}
			client := New("http://gw", "sip:b@cc.com", "p", Options{HTTP: &http.Client{Transport: p}, Quiet: time.Minute})
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(len(c.words))*time.Minute+50*time.Second)
			defer cancel()
			for _, err := range client.Events(ctx, 0) {
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Events = %v", err)
				}
			}
			if (p.polls > 0) != c.polls || len(p.words) > 0 {
				t.Errorf("streams that say %q: %d polls, %d streams left", c.words, p.polls, len(p.words))
			}
		})
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
