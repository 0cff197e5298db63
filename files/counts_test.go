package files_test

import (
	"errors"
	"testing"

	"latchkey"
	"latchkey/files"
)

// R33: each file that comes to an end is counted once, whatever the end is; bytes are counted as they come.
func TestEndsOfFilesAreCounted(t *testing.T) {
	s := &scanner{}
	c := open(t, files.Options{MaxSize: 100, Scanner: s})
	want := map[files.Outcome]int64{}
	check := func(what string, plus files.Outcome) {
		t.Helper()
		want[plus]++
		for _, o := range files.FileOutcomes {
			if got := c.Files(latchkey.ToGuest, o); got != want[o] || c.Files(latchkey.ToInviter, o) != 0 {
				t.Errorf("after %s: %d %s, want %d", what, got, o, want[o])
			}
		}
	}
	in := c.file(latchkey.ToGuest, 5)
	c.put(in, []byte("hello"))
	check("a good one", files.Stored)
	w := c.begin(in)
	if _, err := w.Commit(t.Context()); !latchkey.Is(err, latchkey.KindBadRequest) {
		t.Fatal(err)
	}
	check("one that is too short", files.Refused)
	fail := func(finding string, broken error, kind latchkey.Kind) {
		t.Helper()
		s.set(finding, broken)
		w := c.begin(in)
		pour(t, w, []byte("hello"))
		if _, err := w.Commit(t.Context()); !latchkey.Is(err, kind) {
			t.Fatal(err)
		}
	}
	fail("Eicar", nil, latchkey.KindNotAllowed)
	check("a harmful one", files.Harmful)
	fail("", errors.New("down"), latchkey.KindUnavailable)
	check("one that could not be scanned", files.Lost)
	s.set("", nil)
	if err := c.begin(in).Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
	check("one that its sender gave up", files.GivenUp)
	for _, end := range []func(latchkey.StoredFile) error{
		func(f latchkey.StoredFile) error { return c.Cancel(t.Context(), f) },
		func(f latchkey.StoredFile) error { return c.Farewell(t.Context(), f.Relation) },
	} {
		w := c.begin(in)
		if err := errors.Join(w.Pause(t.Context()), end(w.File())); err != nil {
			t.Fatal(err)
		}
		check("a part that was erased", files.GivenUp)
	}
	if n := c.Bytes(latchkey.ToGuest); n != 15 || c.Bytes(latchkey.ToInviter) != 0 {
		t.Errorf("%d bytes came, want 15", n)
	}
	if c.Scans(files.Clean) != 1 || c.Scans(files.Harmful) != 1 || c.Scans(files.Unscanned) != 1 {
		t.Errorf("scans: %d, %d, %d", c.Scans(files.Clean), c.Scans(files.Harmful), c.Scans(files.Unscanned))
	}
}
