package files

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"latchkey"
)

// Writer takes the bytes of one file. It ends by Commit, Pause or Abort; after any of them the others do nothing. Only Taken and
// Offset may be called from other goroutines.
type Writer struct {
	vault  *Vault
	file   latchkey.StoredFile
	out    sink
	offset atomic.Int64
	digest *digest
	broken error // why no byte can follow
	tail   tail  // what followers see

	once  sync.Once
	taken chan struct{} // closed when somebody else wants the file
	ended bool
	done  chan struct{} // closed by release
}

func (w *Writer) giveUp() { w.once.Do(func() { close(w.taken) }) }

// Taken is closed when the writer must let go of the file: somebody else goes on with it, or it is to be erased.
func (w *Writer) Taken() <-chan struct{} { return w.taken }

// File is what is known of the file.
func (w *Writer) File() latchkey.StoredFile { return w.file }

// Offset is how many bytes are there.
func (w *Writer) Offset() int64 { return w.offset.Load() }

// Restart forgets the bytes that are there, before anybody follows.
func (w *Writer) Restart() error {
	ctx, cancel := context.WithTimeout(context.Background(), placeTime)
	defer cancel()
	if err := w.out.restart(ctx); err != nil {
		return err
	}
	w.digest.Reset()
	w.offset.Store(0)
	w.tail.reach(0)
	return nil
}

// SetSize says how many bytes the file has in all, where that wasn't known before.
func (w *Writer) SetSize(ctx context.Context, size int64) error {
	switch {
	case size == w.file.Size:
		return nil
	case w.file.Size >= 0 || size < w.Offset():
		return latchkey.Errorf(latchkey.KindBadRequest, "the file's size is not what was said before")
	case size > w.vault.opt.MaxSize:
		return w.vault.tooLarge()
	}
	w.file.Size = size
	return w.vault.rows.TouchFile(ctx, w.file.ID, size, time.Now())
}

// Write adds bytes. Those that are more than the file may have are an error.
func (w *Writer) Write(b []byte) (int, error) {
	select {
	case <-w.taken:
		return 0, errTaken()
	default:
	}
	at := w.Offset()
	switch {
	case w.file.Size >= 0 && at+int64(len(b)) > w.file.Size:
		return 0, latchkey.Errorf(latchkey.KindBadRequest, "more bytes came than the file has")
	case at+int64(len(b)) > w.vault.opt.MaxSize:
		return 0, w.vault.tooLarge()
	}
	if w.broken != nil {
		return 0, w.broken
	}
	n, err := w.out.Write(b)
	_, _ = w.digest.Write(b[:n]) // never fails (package hash)
	if n < len(b) {
		w.broken = cmp.Or(err, io.ErrShortWrite)
	} else if err == nil {
		w.out.mark(w.digest)
	}
	w.offset.Store(at + int64(n))
	w.tail.reach(at + int64(n))
	w.vault.counts.came(w.file.Direction, n)
	return n, err
}

func errTaken() error {
	return latchkey.Errorf(latchkey.KindConflict, "the file is being written by another request, or was cancelled")
}

// Commit makes the file count: all bytes came, the hash is the one that was promised, the scanner found nothing, and
// bytes and row are on the disk. A file for the guest is told then. What can't count is erased, and the error says why.
func (w *Writer) Commit(ctx context.Context) (latchkey.StoredFile, error) {
	if w.ended {
		return w.file, errTaken()
	}
	ctx = context.WithoutCancel(ctx) // every byte is here: that the sender goes away now changes nothing
	defer w.release()
	f := w.file
	f.SHA1 = w.digest.hex()
	f.Size = w.Offset()
	err := cmp.Or(w.broken, w.check(f))
	if err == nil {
		err = w.out.finish(ctx)
	}
	if err == nil {
		err = w.scan(ctx, f)
	}
	if err == nil {
		w.draw(ctx, f)
		f, err = w.vault.rows.CompleteFile(ctx, f, w.vault.opt.Quota)
	}
	w.tail.end(err)
	if err != nil {
		return w.file, w.refuse(ctx, err)
	}
	w.file = f
	w.vault.counts.ended(f.Direction, Stored)
	if f.Direction == latchkey.ToGuest {
		w.vault.opt.Arrived(f)
	}
	return f, nil
}

// check compares what came with what was promised.
func (w *Writer) check(f latchkey.StoredFile) error {
	if w.file.Size >= 0 && w.file.Size != f.Size {
		return latchkey.Errorf(latchkey.KindBadRequest, "the file has %d bytes, and %d came", w.file.Size, f.Size)
	}
	if w.file.SHA1 != "" && w.file.SHA1 != f.SHA1 { // RFC 5547 §8.3.1: the hash says whether it is the file
		return latchkey.Errorf(latchkey.KindBadRequest, "the file was damaged on its way: its hash is wrong")
	}
	return nil
}

// scan has a finished file looked at.
func (w *Writer) scan(ctx context.Context, f latchkey.StoredFile) error {
	if w.vault.opt.Scanner == nil {
		return nil
	}
	r, err := w.vault.place.open(ctx, f.ID)
	if err != nil {
		return err
	}
	defer r.Close()
	finding, err := w.vault.opt.Scanner.Scan(ctx, r)
	if err != nil { // what nobody could look at is not passed on
		w.vault.counts.scanned(Unscanned)
		return latchkey.Wrap(latchkey.KindUnavailable, fmt.Errorf("scan: %w", err), "files can't be checked at the moment")
	}
	if finding != "" {
		w.vault.counts.scanned(Harmful)
		w.vault.log.Warn("file is harmful", latchkey.LogFile, f.ID, latchkey.LogRelation, f.Relation, "finding", finding)
		return latchkey.Errorf(latchkey.KindNotAllowed, "the file was found to be harmful")
	}
	w.vault.counts.scanned(Clean)
	return nil
}

// refuse ends a file that can't count.
func (w *Writer) refuse(ctx context.Context, why error) error {
	kind := latchkey.KindOf(why)
	if kind == latchkey.KindUnavailable && w.file.Source != "" {
		return why // the bytes stay for the next attempt
	}
	w.vault.counts.ended(w.file.Direction, outcomeOf(why))
	switch kind {
	case latchkey.KindNotFound: // it was cancelled meanwhile
		return joinKind(why, w.vault.erase(ctx, w.file.ID))
	case latchkey.KindNotAllowed:
		return joinKind(why, w.vault.Fail(ctx, w.file, "It was found to be harmful."))
	case latchkey.KindBadRequest:
		if w.file.Direction == latchkey.ToGuest {
			return joinKind(why, w.vault.Fail(ctx, w.file, "It was damaged on its way."))
		}
	}
	return joinKind(why, w.drop(ctx))
}

// joinKind keeps why as what the caller learns.
func joinKind(why, also error) error {
	if also == nil {
		return why
	}
	return fmt.Errorf("%w; %w", why, also)
}

func (w *Writer) drop(ctx context.Context) error {
	if err := w.vault.erase(ctx, w.file.ID); err != nil {
		return err
	}
	return w.vault.rows.DropFiles(ctx, w.file.ID)
}

// Pause keeps what came, on the disk, for a Resume.
func (w *Writer) Pause(ctx context.Context) error {
	if w.ended {
		return nil
	}
	defer w.release()
	ctx = context.WithoutCancel(ctx)
	if err := w.broken; err != nil {
		return err
	}
	if err := w.out.keep(ctx, w.digest); err != nil {
		return err
	}
	return w.vault.rows.TouchFile(ctx, w.file.ID, w.file.Size, time.Now())
}

// Abort forgets the file, as if it had never begun.
func (w *Writer) Abort(ctx context.Context) error {
	if w.ended {
		return nil
	}
	defer w.release()
	select {
	case <-w.taken: // it is another's by now
		return nil
	default:
		w.vault.counts.ended(w.file.Direction, GivenUp)
		return w.drop(context.WithoutCancel(ctx))
	}
}

// SetPreview stores a small picture of the file, before Commit, so that it is told with it. What is no picture that a browser shows, or
// too large, is left out.
func (w *Writer) SetPreview(ctx context.Context, contentType string, picture []byte) error {
	contentType = CleanType(contentType)
	if len(picture) == 0 || len(picture) > MaxPreview || !isPicture(contentType, picture) {
		return nil
	}
	if err := w.vault.rows.SetPreview(ctx, w.file.ID, contentType, picture); err != nil {
		return err
	}
	w.file.Preview = contentType
	return nil
}

// MaxPreview is how many bytes a preview may have.
const MaxPreview = 128 << 10

// isPicture reports whether the bytes begin as the type says. Only formats that run no script count (S6).
func isPicture(contentType string, b []byte) bool {
	switch contentType {
	case "image/jpeg":
		return bytes.HasPrefix(b, []byte("\xff\xd8\xff"))
	case "image/png":
		return bytes.HasPrefix(b, []byte("\x89PNG\r\n\x1a\n"))
	case "image/gif":
		return bytes.HasPrefix(b, []byte("GIF8"))
	case "image/webp":
		return len(b) > 12 && string(b[:4]) == "RIFF" && string(b[8:12]) == "WEBP"
	}
	return false
}

// release lets go of the file.
func (w *Writer) release() {
	if w.ended {
		return
	}
	w.ended = true
	w.tail.end(errGivenUp)
	if w.out != nil {
		w.out.close()
	}
	w.vault.mu.Lock()
	if w.vault.writers[w.file.ID] == w {
		delete(w.vault.writers, w.file.ID)
	}
	w.vault.mu.Unlock()
	close(w.done)
}
