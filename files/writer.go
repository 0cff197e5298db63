package files

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
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
	out    *os.File
	offset atomic.Int64
	begun  int64 // up to where the disk was told to write
	sha1   hash.Hash
	sha256 hash.Hash

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

func (w *Writer) create() error {
	path := w.vault.path(w.file.ID)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return diskError(err)
	}
	var err error
	if w.out, err = os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err != nil {
		return diskError(err)
	}
	// The name must be as durable as the bytes.
	for _, dir := range []string{filepath.Dir(path), w.vault.dir} {
		if err := syncDir(dir); err != nil {
			_ = w.out.Close()
			_ = os.Remove(path)
			return diskError(err)
		}
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// reopen reads what is there, for the hashes, and goes on behind it.
func (w *Writer) reopen() error {
	path := w.vault.path(w.file.ID)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return diskError(err)
	}
	var err error
	if w.out, err = os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return diskError(err)
	}
	n, err := io.Copy(io.MultiWriter(w.sha1, w.sha256), w.out)
	if err != nil {
		_ = w.out.Close()
		return err
	}
	w.offset.Store(n)
	w.begun = n
	return nil
}

// Restart forgets the bytes that are there.
func (w *Writer) Restart() error {
	if err := w.out.Truncate(0); err != nil {
		return err
	}
	if _, err := w.out.Seek(0, io.SeekStart); err != nil {
		return err
	}
	w.sha1.Reset()
	w.sha256.Reset()
	w.offset.Store(0)
	w.begun = 0
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
	n, err := w.out.Write(b)
	w.sum(b[:n])
	w.offset.Store(at + int64(n))
	if from := w.begun; w.Offset()-from >= ahead {
		w.begun = w.Offset()
		writeBack(w.out, from, w.Offset()-from)
	}
	return n, diskError(err)
}

// ahead is after how many bytes the disk is told to begin with them, so that Commit has the last ones only to wait for.
const ahead = 8 << 20

// sum adds bytes to both hashes, at the same time where they are many: SHA-256 alone takes as long as the rest of Write.
func (w *Writer) sum(b []byte) {
	if len(b) < 8<<10 {
		_, _ = w.sha1.Write(b) // never fail (package hash)
		_, _ = w.sha256.Write(b)
		return
	}
	var other sync.WaitGroup
	other.Go(func() { _, _ = w.sha1.Write(b) })
	_, _ = w.sha256.Write(b)
	other.Wait()
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
	f.SHA1, f.SHA256 = hex.EncodeToString(w.sha1.Sum(nil)), hex.EncodeToString(w.sha256.Sum(nil))
	f.Size = w.Offset()
	err := w.check(ctx, f)
	if err == nil {
		err = diskError(w.out.Sync())
	}
	if err == nil {
		f, err = w.vault.rows.CompleteFile(ctx, f, w.vault.opt.Quota)
	}
	if err != nil {
		return w.file, w.refuse(ctx, err)
	}
	w.file = f
	if f.Direction == latchkey.ToGuest {
		w.vault.opt.Arrived(f)
	}
	return f, nil
}

// check compares what came with what was promised, and has it scanned.
func (w *Writer) check(ctx context.Context, f latchkey.StoredFile) error {
	if w.file.Size >= 0 && w.file.Size != f.Size {
		return latchkey.Errorf(latchkey.KindBadRequest, "the file has %d bytes, and %d came", w.file.Size, f.Size)
	}
	if w.file.SHA1 != "" && w.file.SHA1 != f.SHA1 { // RFC 5547 §8.3.1: the hash says whether it is the file
		return latchkey.Errorf(latchkey.KindBadRequest, "the file was damaged on its way: its hash is wrong")
	}
	if w.vault.opt.Scanner == nil {
		return nil
	}
	r, err := os.Open(w.vault.path(f.ID))
	if err != nil {
		return err
	}
	defer r.Close()
	finding, err := w.vault.opt.Scanner.Scan(ctx, r)
	if err != nil { // what nobody could look at is not passed on
		return latchkey.Wrap(latchkey.KindUnavailable, fmt.Errorf("scan: %w", err), "files can't be checked at the moment")
	}
	if finding != "" {
		w.vault.log.Warn("file is harmful", latchkey.LogFile, f.ID, latchkey.LogRelation, f.Relation, "finding", finding)
		return latchkey.Errorf(latchkey.KindNotAllowed, "the file was found to be harmful")
	}
	return nil
}

// refuse ends a file that can't count.
func (w *Writer) refuse(ctx context.Context, why error) error {
	switch latchkey.KindOf(why) {
	case latchkey.KindNotFound: // it was cancelled meanwhile
		return joinKind(why, w.vault.erase(w.file.ID))
	case latchkey.KindUnavailable:
		if w.file.Source != "" {
			return why // the bytes stay for the next attempt
		}
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
	if err := w.vault.erase(w.file.ID); err != nil {
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
	if err := w.out.Sync(); err != nil {
		return diskError(err)
	}
	return w.vault.rows.TouchFile(context.WithoutCancel(ctx), w.file.ID, w.file.Size, time.Now())
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
	if w.out != nil {
		_ = w.out.Close() // what counts was synced
	}
	w.vault.mu.Lock()
	if w.vault.writers[w.file.ID] == w {
		delete(w.vault.writers, w.file.ID)
	}
	w.vault.mu.Unlock()
	close(w.done)
}
