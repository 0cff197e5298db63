package msrp_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"latchkey/msrp"
)

// FuzzChunks: a message is what a plain model makes of its chunks, in whatever order and overlap they come (B4.09, RFC 4975 §7.3.1).
// Three octets make a chunk: its place, its length and flag, its letter.
func FuzzChunks(f *testing.F) {
	f.Add([]byte{0, 3, 'a', 3, 3, 'b', 6, 0x83, 'c'})
	f.Add([]byte{6, 0x83, 'c', 3, 3, 'b', 4, 1, 'x', 0, 3, 'a'})
	f.Add([]byte{2, 5, 'a', 1, 3, 'b', 0, 0x82, 'c', 5, 0x80, 'd'})
	f.Fuzz(func(t *testing.T, in []byte) {
		in = in[:min(len(in), 60)]
		want, total, whole := map[int]byte{}, -1, false
		var got []string
		ours, theirs := net.Pipe()
		p := newRaw(t, theirs)
		b := &inbox{answer: func(m *msrp.IncomingMessage) error {
			body, _ := io.ReadAll(m.Body)
			got = append(got, string(body))
			return nil
		}}
		s := msrp.NewSession(msrp.SessionOptions{Local: uri(t, ourURI), Remote: msrp.Path{uri(t, peerURI)}, Handler: b})
		defer s.Close()
		go func() { _ = s.ConnectOn(t.Context(), ours) }()
		p.ok(p.read())
		for i := 0; i+3 <= len(in); i += 3 {
			at, n, flag := int(in[i])%40+1, int(in[i+1])%9, byte('+')
			if in[i+1] >= 0x80 {
				flag = '$'
			}
			tid := fmt.Sprintf("%dtest", i)
			go p.send(tid, "m1", fmt.Sprintf("Byte-Range: %d-*/*\n", at), "", strings.Repeat(string('a'+in[i+2]%26), n), flag)
			p.expect(tid, "200")
			if whole {
				continue
			}
			for at := range n {
				if at += int(in[i])%40 + 1; total < 0 || at <= total {
					want[at] = 'a' + in[i+2]%26
				}
			}
			if flag == '$' {
				total = at + n - 1
				for k := range want {
					if k > total {
						delete(want, k)
					}
				}
			}
			whole = total >= 0 && len(want) == total
		}
		var text strings.Builder
		for k := 1; k <= total; k++ {
			text.WriteByte(want[k])
		}
		if whole && (len(got) != 1 || got[0] != text.String()) || !whole && len(got) > 0 {
			t.Fatalf("got %q, want %q, whole: %v", got, text.String(), whole)
		}
	})
}

// FuzzSession: whatever a peer writes to a bound session, nothing panics or hangs, and no more comes out than went in.
func FuzzSession(f *testing.F) {
	frame := func(tid, method, fields, body string) string {
		return "MSRP " + tid + " " + method + "\r\nTo-Path: " + ourURI + "\r\nFrom-Path: " + peerURI + "\r\n" + fields + body + "-------" + tid + "$\r\n"
	}
	const plain = "Content-Type: text/plain\r\n\r\nhello\r\n"
	f.Add([]byte(frame("1test", "SEND", "Message-ID: m1\r\nSuccess-Report: yes\r\n", plain) + frame("2test", "SEND", "Message-ID: m2\r\nByte-Range: 2-*/*\r\n", plain)))
	f.Add([]byte(frame("1test", "REPORT", "Message-ID: m1\r\nByte-Range: 1-5/5\r\nStatus: 000 413\r\n", "") + frame("2test", "FOO", "", "") + frame("3test", "200 OK", "", "")))
	f.Add([]byte(strings.Replace(frame("1test", "SEND", "Message-ID: m1\r\nByte-Range: 1-*/70000\r\nFailure-Report: partial\r\n", "Content-Type: a/b\r\n\r\n"+strings.Repeat("x", 70000)+"\r\n"), "test$", "test#", 1)))
	f.Fuzz(func(t *testing.T, in []byte) {
		b := &inbox{answer: func(m *msrp.IncomingMessage) error {
			n, err := io.Copy(io.Discard, m.Body)
			if n > int64(len(in)) {
				t.Errorf("%d octets of %d", n, len(in))
			}
			return err
		}}
		ours, theirs := net.Pipe()
		p := newRaw(t, theirs)
		s := msrp.NewSession(msrp.SessionOptions{Local: uri(t, ourURI), Remote: msrp.Path{uri(t, peerURI)}, Handler: b})
		go func() { _ = s.ConnectOn(t.Context(), ours) }()
		p.ok(p.read())
		go func() { _, _ = io.Copy(io.Discard, p.r) }() // ends with the connection
		_ = p.nc.SetDeadline(time.Now().Add(patience))
		if _, err := p.nc.Write(in); errors.Is(err, io.ErrNoProgress) || err != nil && strings.Contains(err.Error(), "timeout") {
			t.Fatalf("the session takes no more: %v", err)
		}
		_ = p.nc.Close()
		select {
		case <-s.Done():
		case <-time.After(patience):
			t.Fatal("the session outlives its connection")
		}
	})
}
