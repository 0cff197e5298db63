package files_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey"
	"latchkey/files"
	"latchkey/imstest"
)

const mib = 1 << 20

// ours is the prefix of our keys in the bucket.
const ours = "chat/"

func bucketPlace(t testing.TB, b *imstest.Bucket) *files.S3 {
	t.Helper()
	s, err := files.NewS3(files.S3Options{Endpoint: b.Addr, Plain: true, Region: "us-east-1", Bucket: b.Name, Prefix: ours, KeyID: b.KeyID, Secret: latchkey.Secret(b.Secret), PartDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// pour writes content in pieces as connections bring them.
func pour(t *testing.T, w *files.Writer, content []byte) {
	t.Helper()
	for piece := range slices.Chunk(content, 200_000) {
		if n, err := w.Write(piece); err != nil || n != len(piece) {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
}

// F51, F53, F55, X3: a bucket does in all orders of steps what a disk does, with files of one object and of many parts.
func TestBucketDoesWhatADiskDoes(t *testing.T) {
	b := imstest.NewBucket(t)
	for unit, some := range map[int][]int{1: {2, 5}, mib: {0, 1, 2, 4, 7}} {
		for _, i := range some {
			steps := uploadSteps[i]
			t.Run(fmt.Sprintf("%d/%d", unit, i), func(t *testing.T) {
				takeSteps(t, b, unit, steps)
				for _, key := range b.Objects() { // for the next one
					if !strings.HasPrefix(key, ours) {
						t.Errorf("%s lies outside of %s", key, ours)
					}
				}
				c := openIn(t, b, files.Options{})
				stop := c.run()
				imstest.Eventually(t, time.Minute, func() bool { return c.onDisk() == 0 })
				stop()
			})
		}
	}
}

// run runs the vault until it is stopped.
func (c *cellar) run() (stop func()) {
	ctx, cancel := context.WithCancel(c.t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }() // ends with ctx
	return func() {
		cancel()
		if err := <-done; err != nil {
			c.t.Error(err)
		}
	}
}

// R33, F52: a long file goes to the bucket in parts, without being in memory, and is read from any place on.
func TestBucketStreams(t *testing.T) {
	b := imstest.NewBucket(t)
	c := openIn(t, b, files.Options{})
	const size = 44*mib + 12_345
	w := c.begin(c.file(latchkey.ToGuest, size))
	piece := noise(256 << 10)
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before, most := heap(), int64(0)
	for at := 0; at < size; at += len(piece) {
		if _, err := w.Write(piece[:min(len(piece), size-at)]); err != nil {
			t.Fatal(err)
		}
		if at%(4*mib) == 0 {
			most = max(most, heap())
		}
	}
	if n := b.Parts(); n != 5 {
		t.Errorf("%d parts in the bucket before the end", n)
	}
	if grown := most - before; grown > 6*mib {
		t.Errorf("the heap grew by %d bytes for parts of 8 MiB", grown)
	}
	f, err := w.Commit(t.Context())
	if err != nil || c.onDisk() != 1 {
		t.Fatalf("Commit = %v, %d things in the bucket: %q", err, c.onDisk(), b.Objects())
	}
	r, err := c.Open(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if n, err := r.Seek(0, io.SeekEnd); n != size || err != nil {
		t.Errorf("Seek to the end = %d, %v", n, err)
	}
	for _, at := range []int64{0, 40*mib + 7, size - 10, 8 * mib} {
		got := make([]byte, 100)
		if _, err := r.Seek(at, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		n, err := io.ReadFull(r, got)
		want := min(100, size-int(at))
		if from := int(at) % len(piece); n != want || !bytes.Equal(got[:n], slices.Concat(piece, piece)[from:from+n]) || (n == 100) != (err == nil) {
			t.Errorf("at %d: %d bytes, %v", at, n, err)
		}
	}

}

// F53: after a crash a file goes on from the last marks, though no part can be read; its hash is right.
func TestBucketFileGoesOnAfterACrash(t *testing.T) {
	b := imstest.NewBucket(t)
	c := openIn(t, b, files.Options{})
	content := noise(45 * mib)
	f := c.file(latchkey.ToGuest, len(content))
	f.SHA1 = fmt.Sprintf("%x", sha1.Sum(content))
	id := c.begun(f, content[:42*mib])
	c.reopen(files.Options{}) // and nobody paused
	w, err := c.Resume(t.Context(), id)
	if err != nil || w.Offset() < 32*mib || w.Offset() >= 42*mib {
		t.Fatalf("Resume = %v at %d", err, w.Offset())
	}
	pour(t, w, content[w.Offset():])
	stored, err := w.Commit(t.Context())
	if err != nil || !bytes.Equal(c.content(stored), content) || c.onDisk() != 1 {
		t.Fatalf("Commit = %v, %q in the bucket", err, b.Objects())
	}
	// One without marks begins anew, and its parts are gone.
	id = c.begun(c.file(latchkey.ToGuest, 30*mib), content[:20*mib])
	c.reopen(files.Options{})
	if w, err = c.Resume(t.Context(), id); err != nil || w.Offset() != 0 || b.Parts() != 0 {
		t.Fatalf("Resume = %v at %d, %d parts", err, w.Offset(), b.Parts())
	}
	if err := w.Abort(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// begun is a file whose writer a crash took away.
func (c *cellar) begun(f latchkey.StoredFile, content []byte) latchkey.FileID {
	c.t.Helper()
	w := c.begin(f)
	pour(c.t, w, content)
	return w.File().ID
}

// F55, X3: who cancels in the middle leaves nothing in the bucket, no part either.
func TestBucketKeepsNothingOfACancelledFile(t *testing.T) {
	b := imstest.NewBucket(t)
	c := openIn(t, b, files.Options{})
	for _, paused := range []bool{false, true} {
		w := c.begin(c.file(latchkey.ToInviter, 40*mib))
		pour(t, w, noise(20*mib))
		if b.Parts() == 0 {
			t.Fatal("no part is in the bucket in the middle")
		}
		over := make(chan error, 1)
		if paused {
			over <- w.Pause(t.Context())
		} else {
			go func() { // the upload's own goroutine; ends with Taken
				<-w.Taken()
				over <- w.Pause(t.Context())
			}()
		}
		f, err := c.Find(t.Context(), w.File().ID)
		if err == nil {
			err = c.Cancel(t.Context(), f)
		}
		if err := errors.Join(err, <-over); err != nil {
			t.Fatal(err)
		}
		if n := c.onDisk(); n != 0 {
			t.Errorf("paused %v: %d things are left: %q", paused, n, b.Objects())
		}
	}
}

// X3: what a crash left without a row is erased at the start, and what is not ours stays.
func TestBucketIsTidied(t *testing.T) {
	b := imstest.NewBucket(t)
	c := openIn(t, b, files.Options{})
	stray, id := string(latchkey.NewFileID()), c.begun(c.file(latchkey.ToGuest, 30*mib), noise(20*mib))
	b.Put(ours+stray, "x")
	b.Put(ours+stray+".part", "x")
	b.Put("other/"+stray, "x")
	b.Put(ours+"note.txt", "x")
	if err := c.db.DropFiles(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	c.reopen(files.Options{})
	defer c.run()()
	imstest.Eventually(t, time.Minute, func() bool { return b.Parts() == 0 && len(b.Objects()) == 2 })
	if left := b.Objects(); !slices.Contains(left, "other/"+stray) || !slices.Contains(left, ours+"note.txt") {
		t.Errorf("left are %q", left)
	}
}

// R33: while the store is down each step fails soon, as a failure of ours; when it is back, what should be gone goes.
func TestBucketThatIsDown(t *testing.T) {
	t.Parallel()
	b := imstest.NewBucket(t)
	c := openIn(t, b, files.Options{})
	stored := c.put(c.file(latchkey.ToGuest, 5), []byte("hello"))
	w := c.begin(c.file(latchkey.ToInviter, 40*mib))
	pour(t, w, noise(10*mib))
	b.Stop()
	begun := time.Now()
	var err error
	for range 10 {
		if _, err = w.Write(noise(mib)); err != nil {
			break
		}
	}
	if !latchkey.Is(err, latchkey.KindUnavailable) || !strings.Contains(err.Error(), "file store") {
		t.Errorf("Write = %v", err)
	}
	if _, err := c.Open(t.Context(), stored); !latchkey.Is(err, latchkey.KindUnavailable) {
		t.Errorf("Open = %v", err)
	}
	if err := w.Abort(t.Context()); !latchkey.Is(err, latchkey.KindUnavailable) {
		t.Errorf("Abort = %v", err)
	}
	if err := c.Cancel(t.Context(), stored); !latchkey.Is(err, latchkey.KindUnavailable) {
		t.Errorf("Cancel = %v", err)
	}
	if err := bucketPlace(t, b).Try(t.Context()); err == nil || errors.Is(err, files.ErrRefused) {
		t.Errorf("Try = %v", err)
	}
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("all that took %v", took)
	}
	b.Start()
	defer c.run()()
	imstest.Eventually(t, time.Minute, func() bool { return c.onDisk() == 0 })
}

// F51: the scanner reads from the bucket, and what it finds harmful is gone from it.
func TestBucketIsScanned(t *testing.T) {
	b := imstest.NewBucket(t)
	c := openIn(t, b, files.Options{Scanner: reader(func(r io.Reader) (string, error) {
		all, err := io.ReadAll(r)
		if bytes.HasPrefix(all, []byte("X5O!")) {
			return "Eicar", err
		}
		return "", err
	})})
	c.put(c.file(latchkey.ToGuest, 5), []byte("hello"))
	w := c.begin(c.file(latchkey.ToGuest, 12*mib))
	pour(t, w, append([]byte("X5O!"), make([]byte, 12*mib-4)...))
	if _, err := w.Commit(t.Context()); !latchkey.Is(err, latchkey.KindNotAllowed) {
		t.Errorf("Commit = %v", err)
	}
	if c.onDisk() != 1 || c.Scans(files.Clean) != 1 || c.Scans(files.Harmful) != 1 || c.Files(latchkey.ToGuest, files.Harmful) != 1 {
		t.Errorf("%d in the bucket, %d clean, %d harmful", c.onDisk(), c.Scans(files.Clean), c.Scans(files.Harmful))
	}
}

type reader func(io.Reader) (string, error)

func (s reader) Scan(_ context.Context, r io.Reader) (string, error) { return s(r) }

// What is wrong with a bucket is said in words, and apart from a store that is down.
func TestBucketThatRefusesUs(t *testing.T) {
	b := imstest.NewBucket(t)
	if err := bucketPlace(t, b).Try(t.Context()); err != nil || len(b.Objects()) != 0 {
		t.Errorf("Try = %v, and left %q", err, b.Objects())
	}
	for want, change := range map[string]func(*files.S3Options){
		"no such bucket":    func(o *files.S3Options) { o.Bucket = "nowhere" },
		"secret is another": func(o *files.S3Options) { o.Secret = "guess" },
		"access key ID":     func(o *files.S3Options) { o.KeyID = "AKIAOTHER" },
	} {
		opt := files.S3Options{Endpoint: b.Addr, Plain: true, Region: "us-east-1", Bucket: b.Name, KeyID: b.KeyID, Secret: latchkey.Secret(b.Secret)}
		change(&opt)
		s, err := files.NewS3(opt)
		if err == nil {
			err = s.Try(t.Context())
		}
		if !errors.Is(err, files.ErrRefused) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), opt.Secret.Reveal()) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
