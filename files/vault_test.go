package files_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey"
	"latchkey/cpim"
	"latchkey/files"
	"latchkey/imstest"
	"latchkey/storage"
	"latchkey/storage/storagetest"
)

const bob = latchkey.AccountID("sip:b_at_cc.com@guest.example")

// cellar is a vault on real storage, with one live relation.
type cellar struct {
	*files.Vault
	t    *testing.T
	db   *storage.DB
	dir  string
	in   *imstest.Bucket // in place of dir
	rel  latchkey.Relation
	mu   sync.Mutex
	told []latchkey.StoredFile
}

func open(t *testing.T, opt files.Options) *cellar {
	t.Helper()
	return openIn(t, nil, opt)
}

// openIn is open in a bucket.
func openIn(t *testing.T, in *imstest.Bucket, opt files.Options) *cellar {
	t.Helper()
	c := &cellar{t: t, dir: filepath.Join(t.TempDir(), "files"), in: in}
	c.db = storagetest.Open(t, storage.Options{})
	c.rel = c.relate("sip:a@cc.com")
	c.reopen(opt)
	return c
}

func (c *cellar) relate(inviter latchkey.InviterID) latchkey.Relation {
	c.t.Helper()
	now := time.Now().UTC().Truncate(time.Microsecond)
	_, rel, err := c.db.Ask(c.t.Context(), latchkey.Guest{Account: bob, Identifier: latchkey.Identifier{Kind: latchkey.Mail, Value: "b@cc.com"}, Created: now}, latchkey.Relation{
		ID: latchkey.NewRelationID(), Account: bob, Inviter: inviter, Interactions: []latchkey.Interaction{latchkey.File}, Created: now, Expires: now.Add(time.Hour), State: latchkey.Asked,
	})
	if err == nil {
		rel.State = latchkey.Live
		err = c.db.Settle(c.t.Context(), rel, latchkey.NewToken(), "h", latchkey.Notice{ID: latchkey.NewToken(), Relation: rel.ID, Channel: latchkey.ByMail})
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return rel
}

// reopen is what a restart is for the vault.
func (c *cellar) reopen(opt files.Options) {
	c.t.Helper()
	opt.Arrived = func(f latchkey.StoredFile) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.told = append(c.told, f)
	}
	c.Vault = files.Open(c.place(), c.db, opt)
	c.t.Cleanup(func(v *files.Vault) func() { return func() { _ = v.Close() } }(c.Vault))
}

func (c *cellar) place() files.Place {
	c.t.Helper()
	if c.in != nil {
		return bucketPlace(c.t, c.in)
	}
	place, err := files.NewDisk(c.dir)
	if err != nil {
		c.t.Fatal(err)
	}
	return place
}

func (c *cellar) arrived() []latchkey.StoredFile {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]latchkey.StoredFile{}, c.told...)
}

func (c *cellar) file(d latchkey.Direction, size int) latchkey.StoredFile {
	return latchkey.StoredFile{Relation: c.rel.ID, Account: bob, Inviter: c.rel.Inviter, Direction: d, Name: "x.bin", Type: "image/png", Size: int64(size)}
}

func (c *cellar) begin(f latchkey.StoredFile) *files.Writer {
	c.t.Helper()
	w, _, repeated, err := c.Create(c.t.Context(), f)
	if err != nil || repeated {
		c.t.Fatalf("Create = repeated %v, %v", repeated, err)
	}
	return w
}

// offer writes a whole file and says whether the vault keeps it.
func (c *cellar) offer(f latchkey.StoredFile, content []byte) (latchkey.StoredFile, error) {
	c.t.Helper()
	w := c.begin(f)
	if _, err := w.Write(content); err != nil {
		c.t.Fatal(err)
	}
	return w.Commit(c.t.Context())
}

func (c *cellar) put(f latchkey.StoredFile, content []byte) latchkey.StoredFile {
	c.t.Helper()
	stored, err := c.offer(f, content)
	if err != nil {
		c.t.Fatal(err)
	}
	return stored
}

// onDisk is how many files the vault's place holds.
func (c *cellar) onDisk() (n int) {
	c.t.Helper()
	if c.in != nil {
		return len(c.in.Objects()) + c.in.Parts()
	}
	err := filepath.WalkDir(c.dir, func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

func (c *cellar) content(f latchkey.StoredFile) []byte {
	c.t.Helper()
	r, err := c.Open(c.t.Context(), f)
	if err != nil {
		c.t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		c.t.Fatal(err)
	}
	return b
}

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1, byte(n)}).Read(b)
	return b
}

func is(t *testing.T, what string, err error, k latchkey.Kind) {
	t.Helper()
	if !latchkey.Is(err, k) {
		t.Errorf("%s = %v, want %s", what, err, k)
	}
}

// R33, X3: a file counts when it is whole; its hash is that of its bytes, only its owner can read it on
// the disk, and an inviter's is told in the transaction that makes it count.
func TestWholeFileCounts(t *testing.T) {
	c := open(t, files.Options{})
	body := noise(300_000)
	for _, d := range []latchkey.Direction{latchkey.ToInviter, latchkey.ToGuest} {
		f := c.put(c.file(d, len(body)), body)
		sum := sha1.Sum(body)
		if f.State != latchkey.FileAccepted || f.Size != int64(len(body)) || f.SHA1 != hex.EncodeToString(sum[:]) {
			t.Errorf("%s: %+v", d, f)
		}
		if again, err := c.Find(t.Context(), f.ID); err != nil || again != f {
			t.Errorf("Find = %+v, %v, want %+v", again, err, f)
		}
		if !bytes.Equal(c.content(f), body) {
			t.Errorf("%s: the bytes are others", d)
		}
		path := filepath.Join(c.dir, string(f.ID[:2]), string(f.ID))
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		if d == latchkey.ToInviter && len(f.Key) < 26 || d == latchkey.ToGuest && f.Key != "" || strings.Contains(string(f.Key), string(f.ID)) {
			t.Errorf("%s has the key %q", d, string(f.Key))
		}
	}
	events, err := c.db.Events(t.Context(), bob, 0, 10)
	if err != nil || len(events) != 1 || events[0].Type != latchkey.FileEvent || events[0].From != "sip:a@cc.com" || events[0].File.Name != "x.bin" || events[0].File.Size != int64(len(body)) {
		t.Errorf("events %+v, %v", events, err)
	}
	if told := c.arrived(); len(told) != 1 || told[0].ID != events[0].File.ID {
		t.Errorf("told %v", told)
	}
}

// F53: what was damaged, is too short or too long never counts, and nothing of it stays.
func TestDamagedFileLeavesNothing(t *testing.T) {
	c := open(t, files.Options{MaxSize: 1000})
	for _, d := range []latchkey.Direction{latchkey.ToInviter, latchkey.ToGuest} {
		f := c.file(d, 10)
		f.SHA1 = strings.Repeat("00", 20)
		w := c.begin(f)
		_, _ = w.Write(noise(10))
		_, err := w.Commit(t.Context())
		is(t, "Commit of another hash", err, latchkey.KindBadRequest)

		w = c.begin(c.file(d, 10))
		_, _ = w.Write(noise(9))
		_, err = w.Commit(t.Context())
		is(t, "Commit of 9 of 10 bytes", err, latchkey.KindBadRequest)

		w = c.begin(c.file(d, 10))
		_, err = w.Write(noise(11))
		is(t, "11 of 10 bytes", err, latchkey.KindBadRequest)
		if err := w.Abort(t.Context()); err != nil {
			t.Error(err)
		}
		w = c.begin(c.file(d, latchkey.UnknownSize))
		_, err = w.Write(noise(1001))
		is(t, "more bytes than a file may have", err, latchkey.KindTooLarge)
		if err := w.Abort(t.Context()); err != nil {
			t.Error(err)
		}
		_, _, _, err = c.Create(t.Context(), c.file(d, 1001))
		is(t, "Create of a file that is too large", err, latchkey.KindTooLarge)
	}
	if n := c.onDisk(); n != 0 {
		t.Errorf("%d files are left", n)
	}
	// The guest hears of the two of the inviter's that can't be had, and nothing else.
	events, err := c.db.Events(t.Context(), bob, 0, 10)
	if err != nil || len(events) != 2 || events[0].File.State != latchkey.FileFailed || events[0].File.Reason == "" {
		t.Errorf("events %+v, %v", events, err)
	}
}

// X3: bytes that a broken connection brought are there after a restart, and the hash is that of all.
func TestUploadGoesOnAfterACutAndARestart(t *testing.T) {
	c := open(t, files.Options{})
	body := noise(100_000)
	w := c.begin(c.file(latchkey.ToInviter, len(body)))
	id := w.File().ID
	_, _ = w.Write(body[:40_000])
	if err := w.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.reopen(files.Options{})
	running, stop := context.WithCancel(t.Context())
	stop()
	if err := c.Run(running); err != nil { // tidies, as every start does
		t.Fatal(err)
	}
	f, err := c.Find(t.Context(), id)
	if n, err2 := c.Offset(t.Context(), f); err != nil || err2 != nil || n != 40_000 {
		t.Errorf("Offset = %d, %v, %v", n, err, err2)
	}
	w, err = c.Resume(t.Context(), id)
	if err != nil || w.Offset() != 40_000 {
		t.Fatalf("Resume = %v at %d", err, w.Offset())
	}
	_, _ = w.Write(body[40_000:])
	f, err = w.Commit(t.Context())
	sum := sha1.Sum(body)
	if err != nil || f.SHA1 != hex.EncodeToString(sum[:]) || !bytes.Equal(c.content(f), body) {
		t.Errorf("Commit = %+v, %v", f, err)
	}
	_, err = c.Resume(t.Context(), id)
	is(t, "Resume of a complete file", err, latchkey.KindConflict)
}

// A connection that is dead without anybody knowing does not keep its file from the one that goes on.
func TestSecondWriterTakesTheFileOver(t *testing.T) {
	c := open(t, files.Options{})
	first := c.begin(c.file(latchkey.ToInviter, 10))
	_, _ = first.Write([]byte("01234"))
	let := make(chan error, 1)
	go func() { // ends when the second writer comes
		<-first.Taken()
		let <- first.Pause(context.Background())
	}()
	second, err := c.Resume(t.Context(), first.File().ID)
	if err != nil || second.Offset() != 5 || <-let != nil {
		t.Fatalf("Resume = %v at %d", err, second.Offset())
	}
	if _, err := first.Write([]byte("x")); err == nil {
		t.Error("the first writer still writes")
	}
	if err := first.Abort(t.Context()); err != nil { // what it does now is nobody's loss
		t.Error(err)
	}
	_, _ = second.Write([]byte("56789"))
	if f, err := second.Commit(t.Context()); err != nil || string(c.content(f)) != "0123456789" {
		t.Errorf("Commit = %v", err)
	}
}

// F55: a file that is cancelled while it comes leaves nothing, and can't be completed any more.
func TestCancelledFileIsGone(t *testing.T) {
	c := open(t, files.Options{})
	w := c.begin(c.file(latchkey.ToInviter, 10))
	_, _ = w.Write([]byte("01234"))
	go func() { // ends with the cancel
		<-w.Taken()
		_ = w.Abort(context.Background())
	}()
	if err := c.Cancel(t.Context(), w.File()); err != nil {
		t.Fatal(err)
	}
	if f, err := c.Find(t.Context(), w.File().ID); err != nil || f.State != latchkey.FileFailed || c.onDisk() != 0 {
		t.Errorf("%+v, %v, %d files on the disk", f, err, c.onDisk())
	}
	if _, err := c.Resume(t.Context(), w.File().ID); err == nil {
		t.Error("it can be resumed")
	}
	whole := c.put(c.file(latchkey.ToInviter, 1), []byte("x"))
	in := c.put(c.file(latchkey.ToGuest, 1), []byte("y"))
	for range 2 { // may be repeated
		for _, f := range []latchkey.StoredFile{whole, in} {
			if now, err := c.Find(t.Context(), f.ID); err == nil {
				f = now
			}
			if err := c.Cancel(t.Context(), f); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := c.Open(t.Context(), whole); !latchkey.Is(err, latchkey.KindExpired) || c.onDisk() != 0 {
		t.Errorf("Open = %v, %d files on the disk", err, c.onDisk())
	}
	events, err := c.db.Events(t.Context(), bob, 0, 10)
	if err != nil || len(events) != 2 || events[0].Type != latchkey.DeliveryEvent || events[1].File.State != latchkey.FileFailed {
		t.Errorf("events %+v, %v", events, err)
	}
}

// One guest can't fill the disk, neither with files that say their size nor with those that don't.
func TestQuotaHoldsForAllFilesOfAGuest(t *testing.T) {
	c := open(t, files.Options{Quota: 100})
	first := c.put(c.file(latchkey.ToInviter, 60), noise(60))
	_, _, _, err := c.Create(t.Context(), c.file(latchkey.ToInviter, 41))
	is(t, "Create beyond the quota", err, latchkey.KindQuota)
	w := c.begin(c.file(latchkey.ToGuest, latchkey.UnknownSize))
	_, _ = w.Write(noise(41))
	_, err = w.Commit(t.Context())
	is(t, "Commit beyond the quota", err, latchkey.KindQuota)
	c.put(c.file(latchkey.ToInviter, 40), noise(40))
	if err := c.Cancel(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	c.put(c.file(latchkey.ToInviter, 60), noise(60))
	if n := c.onDisk(); n != 2 {
		t.Errorf("%d files, want 2", n)
	}
}

// R30: the bytes end with the relation, also those that are coming; other relations keep theirs.
func TestFilesEndWithTheirRelation(t *testing.T) {
	c := open(t, files.Options{})
	other := c.relate("sip:c@cc.com")
	c.put(c.file(latchkey.ToInviter, 3), []byte("abc"))
	kept := c.file(latchkey.ToInviter, 3)
	kept.Relation, kept.Inviter = other.ID, other.Inviter
	kept = c.put(kept, []byte("def"))
	w := c.begin(c.file(latchkey.ToInviter, 10))
	go func() { // ends with the farewell
		<-w.Taken()
		_ = w.Pause(context.Background())
	}()
	if _, err := c.db.BeginEnding(t.Context(), []latchkey.RelationID{c.rel.ID}, latchkey.GuestLeft); err != nil {
		t.Fatal(err)
	}
	_, _, _, err := c.Create(t.Context(), c.file(latchkey.ToInviter, 1))
	is(t, "Create while the relation ends", err, latchkey.KindNoRelation)
	for range 2 {
		if err := c.Farewell(t.Context(), c.rel.ID); err != nil {
			t.Fatal(err)
		}
	}
	if n := c.onDisk(); n != 1 || string(c.content(kept)) != "def" {
		t.Errorf("%d files on the disk, want the other relation's", n)
	}
	if all, err := c.db.FilesOf(t.Context(), c.rel.ID); err != nil || len(all) != 0 {
		t.Errorf("rows %v, %v", all, err)
	}
}

// A start finds what a crash left: bytes without a row, rows without a relation, parts that nobody goes on with, files that expired.
func TestStartSweepsWhatACrashLeft(t *testing.T) {
	c := open(t, files.Options{})
	old := c.put(c.file(latchkey.ToInviter, 1), []byte("x"))
	c.reopen(files.Options{Lifetime: time.Nanosecond})
	expired := c.put(c.file(latchkey.ToGuest, 1), []byte("y"))
	if _, err := c.Open(t.Context(), expired); !latchkey.Is(err, latchkey.KindExpired) {
		t.Errorf("Open of an expired file = %v", err)
	}
	part := func() {
		w := c.begin(c.file(latchkey.ToInviter, 10))
		_, _ = w.Write([]byte("12345"))
		if err := w.Pause(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	c.reopen(files.Options{})
	part()
	stray := latchkey.NewFileID()
	if err := errors.Join(os.MkdirAll(filepath.Join(c.dir, string(stray[:2])), 0o700), os.WriteFile(filepath.Join(c.dir, string(stray[:2]), string(stray)), []byte("z"), 0o600)); err != nil {
		t.Fatal(err)
	}
	orphan := c.file(latchkey.ToInviter, 1)
	gone := c.relate("sip:c@cc.com")
	orphan.Relation = gone.ID
	c.put(orphan, []byte("o"))
	if err := c.db.End(t.Context(), bob, []latchkey.RelationID{gone.ID}, false); err != nil {
		t.Fatal(err)
	}
	if n := c.onDisk(); n != 5 {
		t.Fatalf("%d files before the start", n)
	}
	c.reopen(files.Options{Quiet: time.Nanosecond})
	running, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(running) }() // ends with running
	imstest.Eventually(t, time.Minute, func() bool { return c.onDisk() <= 1 })
	stop()
	if err := <-done; err != nil || c.onDisk() != 1 || string(c.content(old)) != "x" {
		t.Errorf("Run = %v, %d files on the disk, want the one that is whole", err, c.onDisk())
	}
}

// F29: the same ClientID is the same file; another one under it is a conflict.
func TestRepeatedFileIsOne(t *testing.T) {
	c := open(t, files.Options{})
	f := c.file(latchkey.ToInviter, 1)
	f.ClientID = "7"
	first := c.put(f, []byte("x"))
	_, stored, repeated, err := c.Create(t.Context(), f)
	if err != nil || !repeated || stored != first {
		t.Errorf("Create again = %+v, %v, %v", stored, repeated, err)
	}
	f.Name = "other"
	_, _, _, err = c.Create(t.Context(), f)
	is(t, "another file under the id", err, latchkey.KindConflict)
	in := c.file(latchkey.ToGuest, 1)
	in.RemoteID = "7"
	c.put(in, []byte("y"))
	if _, _, repeated, err := c.Create(t.Context(), in); err != nil || !repeated {
		t.Errorf("the inviter's file again: %v, %v", repeated, err)
	}
}

// F52: the document names an address that only its reader can know, and until when; the key opens the file until then.
func TestDocumentTellsWhereAFileIs(t *testing.T) {
	c := open(t, files.Options{PublicURL: func() string { return "https://chat.example/base" }})
	w := c.begin(c.file(latchkey.ToInviter, 3))
	picture := append([]byte("\x89PNG\r\n\x1a\n"), "small"...)
	for _, no := range []struct{ kind, body string }{{"image/svg+xml", "<svg/>"}, {"image/png", "<svg/>"}, {"text/html", "<b>"}, {"image/jpeg", "\xff\xd8\xff" + strings.Repeat("x", files.MaxPreview)}} {
		if err := w.SetPreview(t.Context(), no.kind, []byte(no.body)); err != nil || w.File().Preview != "" {
			t.Errorf("%s became a preview, %v", no.kind, err)
		}
	}
	if err := w.SetPreview(t.Context(), "image/png", picture); err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write([]byte("abc"))
	f, err := w.Commit(t.Context())
	if err != nil || f.Preview != "image/png" {
		t.Fatalf("Commit = %+v, %v", f, err)
	}
	kind, body, err := c.Document(t.Context(), f)
	if err != nil || kind != cpim.FileTransferType {
		t.Fatalf("Document = %s, %v", kind, err)
	}
	doc, err := cpim.ParseFileTransfer(body)
	if err != nil {
		t.Fatal(err)
	}
	key, ok := strings.CutPrefix(doc.File.URL, "https://chat.example/base/rcsgw/file/")
	if !ok || len(key) < 26 || doc.File.Size != 3 || doc.File.Name != "x.bin" || doc.File.Until.Sub(f.Expires).Abs() > time.Second || doc.Thumbnail.URL != doc.File.URL+"/preview" || doc.Thumbnail.Size != int64(len(picture)) {
		t.Errorf("document %+v, %+v", doc.File, doc.Thumbnail)
	}
	if got, err := c.FindByKey(t.Context(), key); err != nil || got.ID != f.ID {
		t.Errorf("FindByKey = %+v, %v", got, err)
	}
	_, err = c.FindByKey(t.Context(), string(f.ID))
	is(t, "FindByKey(id)", err, latchkey.KindNotFound)
	_, err = c.FindByKey(t.Context(), "")
	is(t, "FindByKey()", err, latchkey.KindNotFound)
	if err := c.Fail(t.Context(), f, "x"); err != nil {
		t.Fatal(err)
	}
	_, err = c.FindByKey(t.Context(), key)
	is(t, "FindByKey of what failed", err, latchkey.KindExpired)
}

// scanner finds what its text says in every file.
type scanner struct {
	mu      sync.Mutex
	finding string
	err     error
	seen    []string
}

func (s *scanner) set(finding string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finding, s.err = finding, err
}

func (s *scanner) Scan(_ context.Context, r io.Reader) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := io.ReadAll(r)
	s.seen = append(s.seen, string(b))
	return s.finding, errors.Join(err, s.err)
}

// A file with a finding, or one that could not be looked at, reaches nobody, on both ways.
func TestHarmfulFileIsErased(t *testing.T) {
	s := &scanner{}
	c := open(t, files.Options{Scanner: s})
	c.put(c.file(latchkey.ToGuest, 1), []byte("1"))
	for i, d := range []latchkey.Direction{latchkey.ToInviter, latchkey.ToGuest} {
		for what, kind := range map[string]latchkey.Kind{"Eicar": latchkey.KindNotAllowed, "": latchkey.KindUnavailable} {
			s.set(what, nil)
			if what == "" {
				s.set("", errors.New("down"))
			}
			w := c.begin(c.file(d, 2))
			_, _ = w.Write([]byte{'2', byte(i)})
			f, err := w.Commit(t.Context())
			is(t, fmt.Sprintf("Commit %s with %q", d, what), err, kind)
			if _, err := c.Open(t.Context(), f); err == nil {
				t.Error("it can be read")
			}
		}
	}
	if c.onDisk() != 1 || len(s.seen) != 5 || s.seen[0] != "1" {
		t.Errorf("%d files on the disk; scanned %q", c.onDisk(), s.seen)
	}
	events, err := c.db.Events(t.Context(), bob, 0, 10)
	if err != nil || len(events) != 3 || events[0].File.State != "" || events[1].File.State != latchkey.FileFailed || events[2].File.State != latchkey.FileFailed {
		t.Errorf("events %+v, %v", events, err)
	}
}

// R33, B3.13: a guest's picture is told with a small one of it, also where its sender gave none; a bomb and what is none go without.
func TestGuestsPictureGetsASmallOne(t *testing.T) {
	c := open(t, files.Options{PublicURL: func() string { return "https://chat.example" }})
	var large bytes.Buffer
	if err := jpeg.Encode(&large, image.NewGray(image.Rect(0, 0, 800, 600)), nil); err != nil {
		t.Fatal(err)
	}
	bomb := append([]byte("GIF89a"), 0xff, 0xff, 0xff, 0xff, 0, 0, 0)
	for _, x := range []struct {
		name  string
		d     latchkey.Direction
		kind  string
		body  []byte
		small bool
	}{
		{"a picture", latchkey.ToInviter, "image/jpeg", large.Bytes(), true},
		{"by another name", latchkey.ToInviter, "image/png", large.Bytes(), true},
		{"not said to be one", latchkey.ToInviter, "application/pdf", large.Bytes(), false},
		{"none", latchkey.ToInviter, "image/jpeg", noise(5000), false},
		{"a bomb", latchkey.ToInviter, "image/gif", bomb, false},
		{"an inviter's", latchkey.ToGuest, "image/jpeg", large.Bytes(), false},
	} {
		f := c.file(x.d, len(x.body))
		f.Type, f.ClientID, f.RemoteID = x.kind, "", ""
		w := c.begin(f)
		if _, err := w.Write(x.body); err != nil {
			t.Fatal(err)
		}
		f, err := w.Commit(t.Context())
		if err != nil {
			t.Errorf("%s: %v", x.name, err)
			continue
		}
		if (f.Preview == "image/jpeg") != x.small {
			t.Errorf("%s: preview %q", x.name, f.Preview)
		}
		if !x.small {
			continue
		}
		_, small, err := c.Preview(t.Context(), f)
		_, document, err2 := c.Document(t.Context(), f)
		if m, err := jpeg.DecodeConfig(bytes.NewReader(small)); err != nil || m.Width != 256 || m.Height != 192 {
			t.Errorf("%s: %+v, %v", x.name, m, err)
		}
		if want := fmt.Sprintf("<file-info type=\"thumbnail\">\r\n<file-size>%d</file-size>\r\n<content-type>image/jpeg<", len(small)); err != nil || err2 != nil || !strings.Contains(string(document), want) {
			t.Errorf("%s: %v, %v\n%s", x.name, err, err2, document)
		}
	}
}

// F53: whoever asks how far an upload has come while another request takes it up is told what is there, not nothing.
func TestOffsetIsKnownWhileAFileIsTakenUp(t *testing.T) {
	c := open(t, files.Options{})
	w := c.begin(c.file(latchkey.ToInviter, 40<<20))
	f := w.File()
	part := noise(1 << 20)
	for range 32 {
		if _, err := w.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // ends with Resume
		defer close(done)
		w, err := c.Resume(t.Context(), f.ID)
		if err != nil {
			t.Error(err)
			return
		}
		_ = w.Pause(t.Context())
	}()
	for asking := true; asking; {
		select {
		case <-done:
			asking = false
		default:
		}
		if n, err := c.Offset(t.Context(), f); n != 32<<20 || err != nil {
			t.Fatalf("Offset = %d, %v", n, err)
		}
	}
}
