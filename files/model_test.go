package files_test

import (
	"bytes"
	"testing"

	"latchkey"
	"latchkey/files"
	"latchkey/imstest"
)

// uploadSteps are what clients and crashes do, as takeSteps reads it.
var uploadSteps = [][]byte{
	{10, 'w', 'w', 'p', 'r', 'w', 'c'}, {3, 'w', 'c', 'c', 'w', 'd'}, {10, 'w', 'p', 'o', 'r', 'w', 'c', 'd', 'd'}, {10, 'w', 'a', 'r'}, {10, 'w', 'p', 'd', 'r'},
	{0, 'w', 'p', 'r', 's', 'w', 'c'}, {10, 'w', 'c'}, {20, 'w', 'o', 'r', 'w', 'p', 'r', 's', 'w', 'w', 'w', 'w', 'w', 'w', 'w', 'c', 'o'},
}

// FuzzUpload does what clients and crashes may do to one file, in any order, beside a model of three facts: the bytes that came,
// whether they are whole, and whether the file is gone. Disk and rows must say what the model says after each step.
func FuzzUpload(f *testing.F) {
	for _, steps := range uploadSteps {
		f.Add(steps)
	}
	f.Fuzz(func(t *testing.T, steps []byte) {
		if len(steps) > 0 && len(steps) <= 24 {
			takeSteps(t, nil, 1, steps)
		}
	})
}

// takeSteps takes the steps with a file of a vault, on a disk or in a bucket, three units of bytes at a time.
func takeSteps(t *testing.T, in *imstest.Bucket, unit int, steps []byte) {
	t.Helper()
	size, limit := int(steps[0]%32)*unit, 40*unit // size 0: not known
	opt := files.Options{MaxSize: int64(limit)}
	c := openIn(t, in, opt)
	want := c.file(latchkey.ToInviter, size)
	if size == 0 {
		want.Size = latchkey.UnknownSize
	}
	if size > 0 {
		limit = size
	}
	w := c.begin(want)
	id := w.File().ID
	var came []byte
	whole, gone := false, false
	for i, step := range steps[1:] {
		switch step {
		case 'w':
			if w == nil {
				continue
			}
			chunk := bytes.Repeat([]byte{byte('a' + i)}, 3*unit)
			n, err := w.Write(chunk)
			if fits := len(came)+3*unit <= limit; fits != (err == nil) || !fits && n != 0 {
				t.Fatalf("step %d: Write = %d, %v with %d of %d bytes", i, n, err, len(came), limit)
			}
			came = append(came, chunk[:n]...)
		case 's':
			if w == nil {
				continue
			}
			if err := w.Restart(); err != nil {
				t.Fatal(err)
			}
			came = nil
		case 'p', 'o':
			if w != nil {
				if err := w.Pause(t.Context()); err != nil {
					t.Fatal(err)
				}
				w = nil
			}
			if step == 'o' {
				c.reopen(opt)
			}
		case 'a':
			if w != nil {
				if err := w.Abort(t.Context()); err != nil {
					t.Fatal(err)
				}
				w, gone = nil, true
			}
		case 'r':
			if w != nil {
				continue
			}
			var err error
			w, err = c.Resume(t.Context(), id)
			if (err == nil) != (!whole && !gone) {
				t.Fatalf("step %d: Resume = %v, whole %v, gone %v", i, err, whole, gone)
			}
		case 'c':
			if w == nil {
				continue
			}
			f, err := w.Commit(t.Context())
			if right := size == 0 || len(came) == size; right != (err == nil) || right && f.Size != int64(len(came)) {
				t.Fatalf("step %d: Commit = %+v, %v with %d of %d bytes", i, f, err, len(came), size)
			}
			w, whole, gone = nil, err == nil, err != nil
		case 'd':
			f, err := c.Find(t.Context(), id)
			if err != nil || w != nil {
				continue
			}
			if err := c.Cancel(t.Context(), f); err != nil {
				t.Fatal(err)
			}
			whole, gone = false, true
		}
		f, err := c.Find(t.Context(), id)
		switch {
		case gone:
			if c.onDisk() != 0 || err == nil && f.State != latchkey.FileFailed {
				t.Fatalf("step %d: %d files on the disk, %+v, %v of one that is gone", i, c.onDisk(), f, err)
			}
		case err != nil || c.onDisk() != 1 && (in == nil || whole):
			t.Fatalf("step %d: %v, %d files on the disk", i, err, c.onDisk())
		case whole:
			if f.State != latchkey.FileAccepted || !bytes.Equal(c.content(f), came) {
				t.Fatalf("step %d: %+v holds other bytes than came", i, f)
			}
		default:
			if n, err := c.Offset(t.Context(), f); err != nil || n != int64(len(came)) || f.State != latchkey.FileReceiving {
				t.Fatalf("step %d: Offset = %d, %v in %s, want %d", i, n, err, f.State, len(came))
			}
		}
	}
}
