package files_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"latchkey"
	"latchkey/files"
	"latchkey/imstest"
)

// following reads a file to its end beside the test.
func following(r io.Reader) (got *bytes.Buffer, ended <-chan error) {
	got = new(bytes.Buffer)
	done := make(chan error, 1)
	go func() {
		_, err := io.Copy(got, struct{ io.Reader }{r})
		done <- err
	}()
	return got, done
}

// declared is the description of a file whose hash is known before.
func (c *cellar) declared(content []byte) latchkey.StoredFile {
	f := c.file(latchkey.ToInviter, len(content))
	sum := sha1.Sum(content)
	f.SHA1, f.Type = hex.EncodeToString(sum[:]), "application/x-thing"
	return f
}

func (c *cellar) follow(w *files.Writer) *files.Follower {
	c.t.Helper()
	r, err := c.Follow(w.File())
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = r.Close() })
	return r
}

// F51: who follows a file has its bytes as they come, however slowly it reads, and the last one when the file counts.
func TestFileIsFollowedAsItComes(t *testing.T) {
	c := open(t, files.Options{})
	body := noise(300_000)
	w := c.begin(c.declared(body))
	_, _ = w.Write(body[:100_000])
	r := c.follow(w) // begins in the middle, reads from the beginning
	slow := c.follow(w)
	first := make([]byte, 150_000)
	if n, err := io.ReadFull(r, first[:100_000]); n != 100_000 || err != nil {
		t.Fatalf("ReadFull = %d, %v", n, err)
	}
	got, ended := following(r)
	for at := 100_000; at < len(body); at += 1000 {
		_, _ = w.Write(body[at : at+1000])
	}
	if n, err := io.ReadFull(iotest.OneByteReader(slow), first); n != len(first) || err != nil || !bytes.Equal(first, body[:len(first)]) {
		t.Fatalf("who reads slowly got %d, %v", n, err)
	}
	rest := make([]byte, len(body)-len(first)-1)
	if _, err := io.ReadFull(slow, rest); err != nil || !bytes.Equal(rest, body[len(first):len(body)-1]) {
		t.Fatalf("ReadFull = %v", err)
	}
	impatient := c.follow(w)
	if n, err := io.CopyN(io.Discard, impatient, int64(len(body)-1)); err != nil {
		t.Fatalf("CopyN = %d, %v", n, err)
	}
	impatient.Stop() // ends a Read that finds nothing
	if n, err := impatient.Read(first); n != 0 || err == nil {
		t.Errorf("the last byte came before the file counted: %d, %v", n, err)
	}
	last := make(chan error, 1)
	go func() {
		_, err := io.ReadFull(slow, first[:1])
		last <- err
	}()
	if slow.Stored() {
		t.Error("Stored before Commit")
	}
	if _, err := w.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-last; err != nil || first[0] != body[len(body)-1] || !slow.Stored() {
		t.Errorf("the last byte: %v, stored %v", err, slow.Stored())
	}
	if err := <-ended; err != nil || !bytes.Equal(got.Bytes(), body[100_000:]) {
		t.Errorf("the follower got %d bytes, %v", got.Len(), err)
	}
	if err := slow.Wait(t.Context()); err != nil {
		t.Errorf("Wait = %v", err)
	}
	if _, err := c.Follow(w.File()); !latchkey.Is(err, latchkey.KindNotFound) {
		t.Errorf("Follow of a complete file = %v", err)
	}
}

// F55, X4: who follows a file that won't count learns it at once, whatever could still be read, and never has all of it.
func TestFollowersLearnThatAFileDoesNotCome(t *testing.T) {
	for name, c := range map[string]struct {
		size int // of what comes
		end  func(*cellar, *files.Writer) error
	}{
		"cut":        {100_000, func(c *cellar, w *files.Writer) error { return w.Abort(c.t.Context()) }},
		"paused":     {100_000, func(c *cellar, w *files.Writer) error { return w.Pause(c.t.Context()) }},
		"cancelled":  {100_000, func(c *cellar, w *files.Writer) error { return c.cancel(w) }},
		"too little": {100_000, func(c *cellar, w *files.Writer) error { return wrong(w.Commit(c.t.Context())) }},
		"wrong hash": {300_000, func(c *cellar, w *files.Writer) error { return wrong(w.Commit(c.t.Context())) }},
		"relation over": {300_000, func(c *cellar, w *files.Writer) error {
			if _, err := c.db.BeginEnding(c.t.Context(), []latchkey.RelationID{c.rel.ID}, latchkey.GuestLeft); err != nil {
				return err
			}
			return wrong(w.Commit(c.t.Context()))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			v := open(t, files.Options{})
			body := noise(300_000)
			f := v.declared(body)
			if name == "wrong hash" {
				f = v.declared(body[1:])
				f.Size++
			}
			w := v.begin(f)
			r := v.follow(w)
			_, _ = w.Write(body[:c.size])
			if _, err := io.CopyN(io.Discard, r, int64(min(c.size, len(body)-1))); err != nil {
				t.Fatal(err)
			}
			got, ended := following(r)
			if err := c.end(v, w); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; err == nil || got.Len() > 0 {
				t.Errorf("the follower has %d bytes more, %v", got.Len(), err)
			}
			if n, err := r.Read(make([]byte, 1)); n != 0 || err == nil || err == io.EOF {
				t.Errorf("Read after the end = %d, %v", n, err)
			}
			if err := r.Wait(t.Context()); err == nil || r.Stored() {
				t.Errorf("Wait = %v, stored %v", err, r.Stored())
			}
		})
	}
}

// cancel takes a file back while it is written, as its guest does by another request.
func (c *cellar) cancel(w *files.Writer) error {
	ended := make(chan error, 1)
	go func() {
		<-w.Taken()
		ended <- w.Abort(c.t.Context())
	}()
	return errors.Join(c.Cancel(c.t.Context(), w.File()), <-ended)
}

// wrong is what is not wrong enough.
func wrong(_ latchkey.StoredFile, err error) error {
	if err == nil {
		return errors.New("the file counts")
	}
	return nil
}

// A reader that nobody needs any more is woken, and so is who waits for the file's end.
func TestFollowerIsStopped(t *testing.T) {
	c := open(t, files.Options{})
	w := c.begin(c.declared(noise(10)))
	r := c.follow(w)
	_, ended := following(r)
	r.Stop()
	if err := <-ended; err == nil {
		t.Error("the file ended well")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait = %v", err)
	}
	if err := w.Abort(t.Context()); err != nil {
		t.Error(err)
	}
}

// X3: what a scanner is to see first, whose size nobody said, and what lies in a bucket is not followed.
func TestNotAllFilesAreFollowed(t *testing.T) {
	body := noise(10)
	for name, c := range map[string]*cellar{
		"scanner": open(t, files.Options{Scanner: &files.Clamd{}}),
		"size":    open(t, files.Options{}),
		"bucket":  openIn(t, imstest.NewBucket(t), files.Options{}),
	} {
		f := c.declared(body)
		if name == "size" {
			f.Size = latchkey.UnknownSize
		}
		w := c.begin(f)
		if r, err := c.Follow(w.File()); err == nil {
			t.Errorf("%s: Follow = %v", name, r)
		}
		if err := w.Abort(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
