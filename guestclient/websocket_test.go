package guestclient

import (
	"bufio"
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func readAll(r io.Reader) (all []string, err error) {
	f := &frameReader{r: bufio.NewReader(r), w: io.Discard}
	for {
		m, err := f.next()
		if err != nil {
			return all, err
		}
		all = append(all, string(m))
	}
}

// RFC 6455 §5.
func TestFramesAreReadAsTheStandardSays(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []string
		ends string // in the error
	}{
		{"\x81\x05Hello", []string{"Hello"}, "EOF"},
		{"\x01\x03Hel\x89\x01p\x80\x02lo", []string{"Hello"}, "EOF"},
		{"\x82\x7e\x00\x82" + strings.Repeat("x", 130), []string{strings.Repeat("x", 130)}, "EOF"},
		{"\x88\x02\x03\xe8\x81\x01x", nil, "EOF"},
		{"\x80\x01x", nil, "fragments"},
		{"\x01\x01x\x81\x01y", nil, "fragments"},
		{"\x81\x85abcdHello", nil, "masked"},
		{"\xc1\x01x", nil, "0xc1"},
		{"\x83\x01x", nil, "0x83"},
		{"\x09\x01x", nil, "control"},
		{"\x89\x7e\x00\x80", nil, "control"},
		{"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", nil, "too long"},
	} {
		if got, err := readAll(strings.NewReader(c.in)); !slices.Equal(got, c.want) || !strings.Contains(err.Error(), c.ends) {
			t.Errorf("%q: %q, %v; want %q, %s", c.in, got, err, c.want, c.ends)
		}
	}
}

// However the bytes are cut, the messages are the same, and no more than came.
func FuzzFrames(f *testing.F) {
	for _, s := range []string{"\x81\x02{}", "\x01\x01{\x89\x01p\x80\x01}", "\x82\x7e\x00\x01x", "\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x01x", "\x88\x00", "\x8a\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		whole, _ := readAll(bytes.NewReader(in))
		cut, _ := readAll(iotest.OneByteReader(bytes.NewReader(in)))
		if !slices.Equal(whole, cut) {
			t.Fatalf("%q: %q in one piece, %q byte by byte", in, whole, cut)
		}
		if len(strings.Join(whole, "")) > len(in) {
			t.Fatalf("%q: %q", in, whole)
		}
	})
}
