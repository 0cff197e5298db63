package files_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"

	"latchkey/files"
)

// clamd is a daemon that reads one INSTREAM, up to its limit, and answers; an empty answer hangs up.
func clamd(t *testing.T, limit int, answer string) (addr string, got func() (command string, body []byte, chunks int)) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var command string
	var body []byte
	var chunks int
	done := make(chan struct{})
	go func() { // ends with the connection, or with the listener
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		head := make([]byte, len("zINSTREAM\x00"))
		_, _ = io.ReadFull(c, head)
		command = string(head)
		for {
			var n uint32
			if binary.Read(c, binary.BigEndian, &n) != nil || n == 0 {
				break
			}
			chunk := make([]byte, n)
			if _, err := io.ReadFull(c, chunk); err != nil {
				return
			}
			body = append(body, chunk...)
			if chunks++; len(body) > limit {
				break
			}
		}
		_, _ = io.WriteString(c, answer)
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String(), func() (string, []byte, int) { <-done; return command, body, chunks }
}

// Each verdict of clamd's, and that the whole file was before its eyes.
func TestClamdSeesTheWholeFile(t *testing.T) {
	body := noise(200_000)
	for _, c := range []struct {
		answer, finding string
		fails           bool
	}{
		{"stream: OK\x00", "", false},
		{"stream: Win.Test.EICAR_HDB-1 FOUND\x00", "Win.Test.EICAR_HDB-1", false},
		{"stream: ERROR\x00", "", true},
		{"stream:  FOUND\x00", "", true},
		{"INSTREAM size limit exceeded. ERROR\x00", "", true},
		{"stream: OK", "", true}, // cut off
		{"", "", true},
		{strings.Repeat("x", 10_000) + "\x00", "", true},
	} {
		addr, got := clamd(t, 1<<20, c.answer)
		finding, err := (&files.Clamd{Addr: addr}).Scan(t.Context(), bytes.NewReader(body))
		if finding != c.finding || (err != nil) != c.fails {
			t.Errorf("answer %.40q: %q, %v", c.answer, finding, err)
		}
		if command, seen, chunks := got(); command != "zINSTREAM\x00" || !bytes.Equal(seen, body) || chunks < 2 {
			t.Errorf("answer %.40q: command %q, %d bytes in %d chunks", c.answer, command, len(seen), chunks)
		}
	}
}

// A daemon that has heard enough closes: that is its answer, not a broken pipe; and none at all is an error.
func TestClamdThatCannotSayIsAnError(t *testing.T) {
	addr, _ := clamd(t, 100, "INSTREAM size limit exceeded. ERROR\x00")
	if _, err := (&files.Clamd{Addr: addr}).Scan(t.Context(), bytes.NewReader(noise(100))); err == nil {
		t.Error("too large a file was found clean")
	}
	addr, _ = clamd(t, 1<<20, "stream: OK\x00")
	if _, err := (&files.Clamd{Addr: addr}).Scan(t.Context(), io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(errors.New("disk")))); err == nil {
		t.Error("half a file was found clean")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if _, err := (&files.Clamd{Addr: l.Addr().String()}).Scan(t.Context(), strings.NewReader("x")); err == nil {
		t.Error("found clean by nobody")
	}
}
