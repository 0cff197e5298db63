package msrp

import (
	"bytes"
	"errors"
	"testing"
)

// FuzzScan: what scan takes, Reader.Next reads alike.
func FuzzScan(f *testing.F) {
	const head = "MSRP a786hjs2 SEND\r\nTo-Path: msrp://a.example:1/b;tcp\r\nFrom-Path: msrp://c.example:2/d;tcp\r\n"
	for _, rest := range []string{
		"Message-ID: m1\r\nByte-Range: 1-2/2\r\nContent-Type: text/plain\r\n\r\nhi\r\n-------a786hjs2$\r\n",
		"Message-ID: m1\r\nX: y\r\n-------a786hjs2+\r\n", "-------\r\n\r\n", "-------a786hjs2!\r\n\r\n", "-------a786hjs2:x\r\n\r\n",
		"message-id: m1\r\n\r\n", "Message-ID: m1\r\nMessage-ID: m2\r\n\r\n", "Message-ID:m1\r\n\r\n", "Failure-Report: no\r\nByte-Range: 1-*/* \r\n\r\n",
		"X-One: \ty\r\nTo-Path: msrp://a/b;tcp\r\n\r\n", "X: a\rb\r\n\r\n", "X: a\nb\r\n\r\n", "X: \xff\r\n\r\n",
	} {
		f.Add([]byte(head + rest))
	}
	f.Add([]byte("MSRP a786hjs2 200 OK\r\nTo-Path: msrp://a.example:1/b;tcp\r\nFrom-Path: msrp://c.example:2/d;tcp\r\n-------a786hjs2$\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		h, ok := scan(in)
		if !ok {
			return
		}
		what := string(h.what)
		if what != SEND && what != REPORT && what != "200 OK" {
			return // passes lets nothing else go
		}
		r := NewReader(bytes.NewReader(in))
		n, err := r.Next()
		if n == nil {
			t.Fatalf("Next = %v", err)
		}
		if status, wrong := errors.AsType[*StatusError](err); wrong {
			// What passes looks at by itself.
			_, errTo := ParsePath(string(h.to))
			_, errFrom := ParsePath(string(h.from))
			_, errRange := parseByteRange(string(h.byteRange))
			if errTo == nil && errFrom == nil && (errRange == nil || len(h.byteRange) == 0) && !(what == SEND && len(h.messageID) == 0) {
				t.Fatalf("scan takes what Next calls %v", status)
			}
			return
		}
		if n.TransactionID != string(h.tid) || n.Method != what && n.Status != 200 || n.ToPath.String() == "" || n.HasBody != h.body || n.MessageID != string(h.messageID) ||
			n.ContentType != string(h.contentType) || (n.FailureReport == "no") != (string(bytes.ToLower(h.failureReport)) == "no") {
			t.Fatalf("scan = %+v, Next = %+v", h, n)
		}
		if start, end, total, ok := readRange(h.byteRange); ok && n.Range != (ByteRange{start, end, total}) {
			t.Fatalf("range %s, Next: %s", h.byteRange, n.Range)
		}
		if used := len(in) - (r.w - r.r); r.buf != nil && used != h.size && len(in) <= smallBuffer {
			t.Fatalf("scan ends at %d, Next at %d", h.size, used)
		}
		if !h.body && r.Flag() != h.flag {
			t.Fatalf("flag %c, Next: %c", h.flag, r.Flag())
		}
	})
}

// FuzzReadRange: what readRange takes, parseByteRange reads alike; and it takes what RFC 4975 §9 has, up to 18 digits.
func FuzzReadRange(f *testing.F) {
	for _, s := range []string{"1-2/3", "1-*/*", "01-2/*", "*-1/1", "1-2", "1-2/3/4", "0-1/1", "-1/1", "1--/1", "999999999999999999-*/999999999999999999", "1-1/1000000000000000000", " 1-1/1", "1-1/1 "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		start, end, total, ok := readRange([]byte(s))
		r, err := parseByteRange(s)
		if ok && (err != nil || r != ByteRange{start, end, total}) {
			t.Fatalf("readRange(%q) = %d-%d/%d, parseByteRange = %v, %v", s, start, end, total, r, err)
		}
		if err == nil && !ok && r.String() == s && len(s) < 20 {
			t.Fatalf("readRange(%q) = false", s)
		}
	})
}
