package httpapi

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

// F53: what came before a body broke is written, in the beginning and where pieces are long, and how it ended is told.
func TestBodyIsPouredUpToWhereItEnds(t *testing.T) {
	broke := errors.New("broke")
	for _, size := range []int{0, 1, firstPieces + 1, longBody, longBody + longPieces + 7, 3 * longBody} {
		for _, end := range []error{nil, broke, io.ErrUnexpectedEOF} {
			content := bytes.Repeat([]byte("0123456789abcde"), size/15+1)[:size]
			from := io.Reader(bytes.NewReader(content))
			if end != nil {
				from = io.MultiReader(from, iotest.ErrReader(end))
			}
			var to pieces
			if n, err := pour(&to, iotest.HalfReader(from)); n != int64(size) || err != end || !bytes.Equal(to.Bytes(), content) {
				t.Errorf("pour of %d bytes with end %v = %d, %v", size, end, n, err)
			}
			if long := size > longBody+longPieces; long != (to.most == longPieces) {
				t.Errorf("the longest piece of %d bytes has %d", size, to.most)
			}
		}
	}
	if n, err := pour(&brimful{room: longBody + 5}, bytes.NewReader(make([]byte, 3*longBody))); n != longBody+5 || err != io.ErrShortWrite {
		t.Errorf("pour to what is full = %d, %v", n, err)
	}
}

// pieces remembers the longest one.
type pieces struct {
	bytes.Buffer
	most int
}

func (p *pieces) Write(b []byte) (int, error) {
	p.most = max(p.most, len(b))
	return p.Buffer.Write(b)
}

// brimful takes so many bytes.
type brimful struct{ room int }

func (f *brimful) Write(b []byte) (int, error) {
	n := min(len(b), f.room)
	if f.room -= n; n < len(b) {
		return n, io.ErrShortWrite
	}
	return n, nil
}
