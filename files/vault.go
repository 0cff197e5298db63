// Package files keeps the bytes of files, in both directions, from the first byte to the last day: what may come in, where
// it lies, who may still read it and when it is gone (R33, X3).
//
// It streams: no file is ever in memory. A file counts when its bytes are on the disk, its hash is right and the scanner found
// nothing; then its row, and for the guest the event, are one transaction. What fails, expires, is cancelled or loses
// its relation is erased. An inviter's file on an HTTP server (PROTOCOLS B3.13) is fetched here, and only from addresses that
// stranger.Peers allows (S13). The package never speaks SIP, MSRP or the facade's HTTP; rows stand behind the port Rows.
//
// Start with Open; Vault.Create and Vault.Open are the two ends of a file's life. Vault.Follow reads one between them.
package files

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"latchkey"
	"latchkey/internal/stranger"
)

// Rows keep what is known of files. Each method is one transaction that is on disk when it returns. *storage.DB is one.
type Rows interface {
	AddFile(ctx context.Context, f latchkey.StoredFile, quota int64) (stored latchkey.StoredFile, repeated bool, err error)
	File(ctx context.Context, id latchkey.FileID) (latchkey.StoredFile, error)
	FileByKey(ctx context.Context, key latchkey.Secret) (latchkey.StoredFile, error)
	TouchFile(ctx context.Context, id latchkey.FileID, size int64, now time.Time) error
	CompleteFile(ctx context.Context, f latchkey.StoredFile, quota int64) (latchkey.StoredFile, error)
	MoveFile(ctx context.Context, relation latchkey.RelationID, id latchkey.FileID, to latchkey.FileState, reason string) (moved bool, err error)
	SetPreview(ctx context.Context, id latchkey.FileID, contentType string, picture []byte) error
	Preview(ctx context.Context, id latchkey.FileID) (contentType string, picture []byte, err error)
	Promised(ctx context.Context) ([]latchkey.StoredFile, error)
	FileHistory(ctx context.Context, account latchkey.AccountID, with latchkey.InviterID, before latchkey.FileID, limit int) ([]latchkey.StoredFile, error)
	FilesOf(ctx context.Context, id latchkey.RelationID) ([]latchkey.StoredFile, error)
	StaleFiles(ctx context.Context, now, quiet time.Time, limit int) ([]latchkey.StoredFile, error)
	HeldFiles(ctx context.Context) (n, bytes int64, err error)
	OrphanedFiles(ctx context.Context) ([]latchkey.StoredFile, error)
	DropFiles(ctx context.Context, ids ...latchkey.FileID) error
}

// Scanner looks for what harms. finding is "" where there is nothing. *Clamd is one.
type Scanner interface {
	Scan(ctx context.Context, r io.Reader) (finding string, err error)
}

// Options of a Vault.
type Options struct {
	MaxSize   int64          // of one file, in bytes; default 100 MiB
	Quota     int64          // of all files of one guest; default 1 GiB; negative: none
	Lifetime  time.Duration  // a file is erased after it; default 168 h
	Quiet     time.Duration  // a file that comes in parts is given up after so long without a byte; default 6 h
	PublicURL func() string  // base of the addresses where inviters fetch files
	Peers     stranger.Peers // where files may be fetched from
	// Own answers a request for a file whose address is our own, without the network; nil: it is somebody else's. May be nil itself.
	Own     func(*http.Request) *http.Response
	Scanner Scanner // nil: nobody looks
	// Arrived is told of files for a guest that became complete, or failed; their event is in the store.
	Arrived func(latchkey.StoredFile)
	Log     *slog.Logger
}

// Vault holds all files of a gateway, in one place that is its alone.
type Vault struct {
	place  Place
	rows   Rows
	opt    Options
	log    *slog.Logger
	counts counts

	mu      sync.Mutex // guards the fields below
	writers map[latchkey.FileID]*Writer
	left    map[latchkey.FileID]bool // what could not be erased; sweep tries again

	ctx      context.Context // of what is fetched; until Close
	stop     context.CancelFunc
	fetching sync.WaitGroup
	gate     *stranger.Gate // for fetches
	drawing  chan struct{}  // one for the picture that is being made smaller
}

// Open makes a vault of a place. Run it, and Close it after use.
func Open(place Place, rows Rows, opt Options) *Vault {
	if opt.MaxSize <= 0 {
		opt.MaxSize = 100 << 20
	}
	if opt.Quota == 0 {
		opt.Quota = 1 << 30
	}
	if opt.Lifetime <= 0 {
		opt.Lifetime = 168 * time.Hour
	}
	if opt.Quiet <= 0 {
		opt.Quiet = 6 * time.Hour
	}
	if opt.PublicURL == nil {
		opt.PublicURL = func() string { return "" }
	}
	if opt.Arrived == nil {
		opt.Arrived = func(latchkey.StoredFile) {}
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	v := &Vault{place: place, rows: rows, opt: opt, log: opt.Log, writers: map[latchkey.FileID]*Writer{}, left: map[latchkey.FileID]bool{}, gate: stranger.NewGate(maxFetches), drawing: make(chan struct{}, 1)}
	v.ctx, v.stop = context.WithCancel(context.Background())
	return v
}

// MaxSize is how many bytes a file may have.
func (v *Vault) MaxSize() int64 { return v.opt.MaxSize }

// Create makes the row of a file that begins to come and opens it for writing. The caller gives relation, direction, name, type and
// size, and what else is known. repeated: a file with this ClientID or RemoteID is there already and is returned as it is, without
// a writer.
func (v *Vault) Create(ctx context.Context, f latchkey.StoredFile) (w *Writer, stored latchkey.StoredFile, repeated bool, err error) {
	f, err = v.prepare(f)
	if err != nil {
		return nil, f, false, err
	}
	stored, repeated, err = v.rows.AddFile(ctx, f, v.opt.Quota)
	if err != nil || repeated {
		return nil, stored, repeated, err
	}
	if w, err = v.claim(ctx, stored); err == nil {
		w.out, err = v.place.create(stored, w.taken)
	}
	if err != nil {
		if w != nil {
			w.release()
		}
		return nil, stored, false, errors.Join(err, v.rows.DropFiles(context.WithoutCancel(ctx), stored.ID))
	}
	w.tail.begin(w.out, 0)
	return w, stored, false, nil
}

// prepare makes a file's description whole and safe.
func (v *Vault) prepare(f latchkey.StoredFile) (latchkey.StoredFile, error) {
	if f.Size > v.opt.MaxSize {
		return f, v.tooLarge()
	}
	if f.Size < 0 {
		f.Size = latchkey.UnknownSize
	}
	now := time.Now().UTC()
	f.ID, f.State, f.Time, f.Touched, f.Expires = latchkey.NewFileID(), latchkey.FileReceiving, now, now, now.Add(v.opt.Lifetime)
	f.Name, f.Type, f.SHA1 = CleanName(f.Name), CleanType(f.Type), strings.ToLower(f.SHA1)
	if f.Direction != latchkey.ToGuest {
		f.Key = latchkey.Secret(latchkey.NewToken())
	}
	return f, nil
}

func (v *Vault) tooLarge() error {
	return latchkey.Errorf(latchkey.KindTooLarge, "a file may have %d bytes", v.opt.MaxSize)
}

// Resume opens a file that has not come to its end for more bytes, behind those that are there. Whoever was writing it is
// told to stop: their connection may be dead for long without anybody knowing.
func (v *Vault) Resume(ctx context.Context, id latchkey.FileID) (*Writer, error) {
	f, err := v.rows.File(ctx, id)
	if err != nil {
		return nil, err
	}
	w, err := v.claim(ctx, f)
	if err != nil {
		return nil, err
	}
	// Looked up again under the claim: the writer before may have completed it.
	if w.file, err = v.rows.File(ctx, id); err == nil && w.file.State != latchkey.FileReceiving {
		err = latchkey.Errorf(latchkey.KindConflict, "the file is complete, or was given up")
	}
	if err == nil {
		var n int64
		w.out, n, err = v.place.resume(ctx, w.file, w.digest, w.taken)
		w.offset.Store(n)
	}
	if err != nil {
		w.release()
		return nil, err
	}
	w.tail.begin(w.out, w.Offset())
	return w, nil
}

// Offset is how many bytes of a file are there.
func (v *Vault) Offset(ctx context.Context, f latchkey.StoredFile) (int64, error) {
	if f.State != latchkey.FileReceiving {
		return f.Size, nil
	}
	v.mu.Lock()
	w := v.writers[f.ID]
	v.mu.Unlock()
	if w != nil && w.Offset() > 0 { // else it may still be reading what is there
		return w.Offset(), nil
	}
	return v.place.size(ctx, f.ID)
}

// takeOver is how long a writer may take to let go of a file.
const takeOver = 15 * time.Second

// claim makes the one writer of a file.
func (v *Vault) claim(ctx context.Context, f latchkey.StoredFile) (*Writer, error) {
	w := &Writer{vault: v, file: f, taken: make(chan struct{}), done: make(chan struct{}), digest: newDigest()}
	ctx, cancel := context.WithTimeout(ctx, takeOver)
	defer cancel()
	for {
		v.mu.Lock()
		before := v.writers[f.ID]
		if before == nil {
			v.writers[f.ID] = w
			delete(v.left, f.ID) // it is wanted again
			v.mu.Unlock()
			return w, nil
		}
		v.mu.Unlock()
		before.giveUp()
		select {
		case <-before.done:
		case <-ctx.Done():
			return nil, latchkey.Errorf(latchkey.KindBusy, "the file is being written; try again in a moment")
		}
	}
}

// interrupt makes the writer of a file stop, and waits for it.
func (v *Vault) interrupt(id latchkey.FileID) {
	v.mu.Lock()
	w := v.writers[id]
	v.mu.Unlock()
	if w == nil {
		return
	}
	w.giveUp()
	select {
	case <-w.done:
	case <-time.After(takeOver): // it writes to what has no name any more, and can't complete it
	}
}

// Find is the file of that id.
func (v *Vault) Find(ctx context.Context, id latchkey.FileID) (latchkey.StoredFile, error) {
	return v.rows.File(ctx, id)
}

// FindByKey is the file that an inviter may fetch under that key. KindExpired where it is over.
func (v *Vault) FindByKey(ctx context.Context, key string) (latchkey.StoredFile, error) {
	f, err := v.rows.FileByKey(ctx, latchkey.Secret(key))
	if err == nil && (f.State == latchkey.FileFailed || !time.Now().Before(f.Expires)) {
		err = latchkey.Errorf(latchkey.KindExpired, "the file is no longer here")
	}
	if err == nil && f.State == latchkey.FileReceiving {
		err = latchkey.Errorf(latchkey.KindNotFound, "No such file.")
	}
	return f, err
}

// History lists the newest files between the two before a file, oldest first.
func (v *Vault) History(ctx context.Context, account latchkey.AccountID, with latchkey.InviterID, before latchkey.FileID, limit int) ([]latchkey.StoredFile, error) {
	return v.rows.FileHistory(ctx, account, with, before, limit)
}

// Open reads a complete file. From a Disk it stays readable until it is closed, whatever becomes of it.
func (v *Vault) Open(ctx context.Context, f latchkey.StoredFile) (io.ReadSeekCloser, error) {
	switch {
	case f.State == latchkey.FileReceiving:
		return nil, latchkey.Errorf(latchkey.KindNotFound, "the file is not complete")
	case f.State == latchkey.FileFailed, !time.Now().Before(f.Expires):
		return nil, latchkey.Errorf(latchkey.KindExpired, "the file is no longer here")
	}
	r, err := v.place.open(ctx, f.ID)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, latchkey.Wrap(latchkey.KindExpired, err, "the file is no longer here")
	}
	return r, err
}

// Cancel takes a file back: one of the guest's that the inviter doesn't have has failed then, as the guest's stream tells; any other is
// forgotten. The bytes are gone when it returns (F55).
func (v *Vault) Cancel(ctx context.Context, f latchkey.StoredFile) error {
	var err error
	if f.State == latchkey.FileReceiving {
		v.counts.ended(f.Direction, GivenUp)
	}
	switch f.State {
	case latchkey.FileFailed:
	case latchkey.FileReceiving, latchkey.FileAccepted:
		if f.Direction == latchkey.ToInviter {
			_, err = v.rows.MoveFile(ctx, f.Relation, f.ID, latchkey.FileFailed, "It was cancelled.")
			break
		}
		err = v.rows.DropFiles(ctx, f.ID)
	default:
		err = v.rows.DropFiles(ctx, f.ID)
	}
	if err != nil && !latchkey.Is(err, latchkey.KindNotFound) {
		return err
	}
	v.interrupt(f.ID)
	return v.erase(ctx, f.ID)
}

// Fail ends a file for a reason that people read. The bytes are gone when it returns.
func (v *Vault) Fail(ctx context.Context, f latchkey.StoredFile, reason string) error {
	moved, err := v.rows.MoveFile(ctx, f.Relation, f.ID, latchkey.FileFailed, reason)
	if err != nil && !latchkey.Is(err, latchkey.KindNotFound) {
		return err
	}
	if err := v.erase(ctx, f.ID); err != nil {
		return err
	}
	if moved {
		f.State, f.Reason = latchkey.FileFailed, reason
		v.opt.Arrived(f)
	}
	return nil
}

// Farewell erases all files of a relation that ends. Calling it again does no harm.
func (v *Vault) Farewell(ctx context.Context, id latchkey.RelationID) error {
	all, err := v.rows.FilesOf(ctx, id)
	if err != nil {
		return err
	}
	return v.forget(ctx, all)
}

// forget erases files, bytes first, so that what a crash interrupts is found again by its row.
func (v *Vault) forget(ctx context.Context, all []latchkey.StoredFile) error {
	var gone []latchkey.FileID
	var failed error
	for _, f := range all {
		v.interrupt(f.ID)
		if err := v.erase(ctx, f.ID); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		if gone = append(gone, f.ID); f.State == latchkey.FileReceiving {
			v.counts.ended(f.Direction, GivenUp)
		}
	}
	if len(gone) == 0 {
		return failed
	}
	return errors.Join(failed, v.rows.DropFiles(ctx, gone...))
}

// placeTime is how long one word with the place may take, apart from bytes.
const placeTime = 30 * time.Second

// erase leaves nothing of a file's bytes. What could not be erased now is tried again by sweep.
func (v *Vault) erase(ctx context.Context, id latchkey.FileID) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), placeTime)
	defer cancel()
	err := v.place.erase(ctx, id)
	v.mu.Lock()
	defer v.mu.Unlock()
	if err != nil {
		v.left[id] = true
	} else {
		delete(v.left, id)
	}
	return err
}
