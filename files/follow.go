package files

import (
	"context"
	"errors"
	"io"
	"sync"

	"latchkey"
)

// followed is a sink whose bytes can be read while others come.
type followed interface{ follow() (io.ReadCloser, error) }

// errGivenUp is what followers of a file learn that did not come to its end.
var errGivenUp = errors.New("the file did not come to its end")

// errUnfollowed says that a file can't be read before it counts.
var errUnfollowed = errors.New("the file can't be read before it is whole")

// tail is the end of a file that is being written, as its followers see it.
type tail struct {
	mu    sync.Mutex // guards the fields below
	out   followed   // nil: nothing can be followed
	at    int64      // how many bytes are there
	over  bool
	err   error         // why the file does not count
	moved chan struct{} // closed by the next change; nil: nobody waits
}

// begin says where bytes go, and how many are there.
func (t *tail) begin(out sink, at int64) {
	t.change(func() {
		t.out, _ = out.(followed)
		t.at = at
	})
}

func (t *tail) reach(at int64) { t.change(func() { t.at = at }) }

// end is the file's: nil, it counts. Only the first one is heard.
func (t *tail) end(err error) {
	t.change(func() {
		if !t.over {
			t.over, t.err = true, err
		}
	})
}

func (t *tail) change(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f()
	if t.moved != nil {
		close(t.moved)
		t.moved = nil
	}
}

// look tells how things stand; moved is closed when they don't any more.
func (t *tail) look() (at int64, over bool, moved <-chan struct{}, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.moved == nil {
		t.moved = make(chan struct{})
	}
	return t.at, t.over, t.moved, t.err
}

// Follower reads a file from its beginning while it is being written, as fast as that is. It never slows the writer: what is not read yet
// is on the disk. The last byte can't be read before the file counts, so that whoever passes it on as it comes can take it back until
// then. One goroutine reads; Stop may come from others.
type Follower struct {
	tail *tail
	file io.ReadCloser
	size int64
	at   int64

	once    sync.Once
	stopped chan struct{} // closed by Stop
}

// Follow reads a file that is being written and of which the size is known. KindNotFound: nobody writes it. What a scanner is to see first, and
// what lies in a bucket, can't be followed. Close it after use.
func (v *Vault) Follow(f latchkey.StoredFile) (*Follower, error) {
	v.mu.Lock()
	w := v.writers[f.ID]
	v.mu.Unlock()
	switch {
	case w == nil:
		return nil, latchkey.Errorf(latchkey.KindNotFound, "the file is not being written")
	case v.opt.Scanner != nil || f.Size <= 0:
		return nil, errUnfollowed
	}
	w.tail.mu.Lock()
	out := w.tail.out
	w.tail.mu.Unlock()
	if out == nil {
		return nil, errUnfollowed
	}
	file, err := out.follow()
	if err != nil {
		return nil, err
	}
	return &Follower{tail: &w.tail, file: file, size: f.Size, stopped: make(chan struct{})}, nil
}

// Read waits until there is something. An error other than io.EOF: the file does not count, or Stop was called.
func (r *Follower) Read(b []byte) (int, error) {
	for {
		at, over, moved, err := r.tail.look()
		if !over {
			at = min(at, r.size-1)
		}
		switch {
		case err != nil:
			return 0, err
		case at > r.at:
			n, err := r.file.Read(b[:min(int64(len(b)), at-r.at)])
			r.at += int64(n)
			return n, err
		case over:
			return 0, io.EOF
		}
		select {
		case <-moved:
		case <-r.stopped:
			return 0, errStopped
		}
	}
}

var errStopped = errors.New("nobody reads on")

// Stop ends a Read that waits, and those that would.
func (r *Follower) Stop() { r.once.Do(func() { close(r.stopped) }) }

// Stored reports whether the file counts by now.
func (r *Follower) Stored() bool {
	_, over, _, err := r.tail.look()
	return over && err == nil
}

// Wait returns at the file's end: nil, it counts, and else why it does not. It gives up with ctx.
func (r *Follower) Wait(ctx context.Context) error {
	for {
		_, over, moved, err := r.tail.look()
		if over {
			return err
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close lets go of the file.
func (r *Follower) Close() error {
	r.Stop()
	return r.file.Close()
}
