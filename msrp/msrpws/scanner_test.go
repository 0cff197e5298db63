package msrpws

import (
	"regexp"
	"testing"
)

// Whatever the pieces, a chunk ends where RFC 4975 §7.1 says.
func FuzzScanner(f *testing.F) {
	f.Add([]byte("MSRP abcd SEND\r\nTo-Path: x\r\n-------abcd$\r\nMSRP efgh 200\r\n-------efgh$\r\n"), uint8(1))
	f.Add([]byte("MSRP abcd SEND\r\n\r\n-------abcd!\r\n\r\n-------abcd$ \r\n-------abcd+\r\nrest"), uint8(5))
	f.Add([]byte("MSRP abcd SEND\r\n\r\n\r\n-------abc\r\n-------abcd\r\n-------abcd#\r\n"), uint8(13))
	f.Add([]byte("MSRP  x"), uint8(3))
	f.Fuzz(func(t *testing.T, data []byte, size uint8) {
		want := -1
		if start := regexp.MustCompile(`^MSRP ([!-~]{1,64}) `).FindSubmatchIndex(data); start != nil {
			end := regexp.MustCompile(`\r\n-------` + regexp.QuoteMeta(string(data[start[2]:start[3]])) + `[$+#]\r\n`)
			if at := end.FindIndex(data); at != nil {
				want = at[1]
			}
		}
		var s scanner
		got := 0
		for rest := data; len(rest) > 0; {
			piece := rest[:min(len(rest), int(size)+1)]
			n, done, err := s.feed(piece)
			if n < 0 || n > len(piece) || n < len(piece) && !done && err == nil {
				t.Fatalf("feed(%q) = %d, %v", piece, n, done)
			}
			got += n
			rest = rest[n:]
			if err != nil && want >= 0 {
				t.Fatalf("%q: %v", data, err)
			}
			if err != nil || done {
				if done && got != want {
					t.Fatalf("%q ends at %d, want %d", data, got, want)
				}
				return
			}
			if len(s.tail) > 100 || len(s.line) > 100 {
				t.Fatalf("the scanner keeps %d octets", len(s.tail)+len(s.line))
			}
		}
		if want >= 0 {
			t.Fatalf("%q has no end, want %d", data, want)
		}
	})
}
