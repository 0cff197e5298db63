package terminal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"latchkey/guestclient"
)

// reportEvery is how often the progress of a file is told at most.
const reportEvery = 100 * time.Millisecond

// transfer is a file that goes up, comes down or could. It has a number by which the guest names it.
type transfer struct {
	n      int
	id     string // the gateway's; "" until it is known
	from   string // the inviter; "": the guest sends it
	name   string // safe to show
	kind   string
	size   int64
	at     int64 // bytes so far
	whole  bool  // all of it is there
	cancel context.CancelFunc
	to     string
	out    *outgoing // of one that the guest sends
}

// number gives a file its number.
func (c *chat) number(t *transfer) *transfer {
	c.files = append(c.files, t)
	t.n = len(c.files)
	return t
}

// file finds a file by the guest's number or the gateway's id; "": the newest one under way.
func (c *chat) file(what string) *transfer {
	for i := len(c.files) - 1; i >= 0; i-- {
		if t := c.files[i]; t.id == what && what != "" || strconv.Itoa(t.n) == strings.TrimPrefix(what, "#") || what == "" && t.cancel != nil {
			return t
		}
	}
	return nil
}

// sendFile begins to send a file.
func (c *chat) sendFile(r request) {
	to := c.addressee(r, "/send")
	if to == "" {
		return
	}
	f, info, err := openFile(r.Path)
	if err != nil {
		c.unsent = true
		c.out.trouble(r, "/send", err)
		return
	}
	name := cmp.Or(r.Name, filepath.Base(f.Name()))
	kind := cmp.Or(r.Type, kindOf(f))
	o := &outgoing{key: cmp.Or(r.ID, guestclient.NewID()), text: cleanLine(name), at: time.Now()}
	t := c.number(&transfer{name: cleanLine(name), kind: kind, size: info.Size(), to: to, out: o})
	o.file = t
	ctx, cancel := context.WithCancel(context.Background()) // of this file; the chat's own ends it, too
	t.cancel = cancel
	c.sending++
	c.out.begun(o)
	c.uploads.add(func(all context.Context) {
		defer f.Close()
		defer context.AfterFunc(all, cancel)()
		m := &meter{from: f, tell: func(at int64) { c.post(ctx, func() { c.progress(r, t, at) }) }}
		got, err := c.client.SendFileAs(ctx, o.key, to, name, kind, m)
		if ctx.Err() != nil && all.Err() == nil { // the guest wants it no more
			again, stop := context.WithTimeout(all, lastWords)
			_ = c.client.AbandonFile(again, o.key, to) // what came goes by itself after some hours
			stop()
		}
		c.post(all, func() { c.fileSent(r, t, got, err) })
	})
}

// openFile opens what can be sent.
func openFile(path string) (*os.File, fs.FileInfo, error) {
	if path == "" {
		return nil, nil, errors.New("say which file, as in /send photo.jpg")
	}
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		if homeDir, err := os.UserHomeDir(); err == nil {
			path = filepath.Join(homeDir, rest)
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a file", path)
	}
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// kindOf is a file's media type by its name, else by how it begins.
func kindOf(f *os.File) string {
	kind, _, _ := mime.ParseMediaType(mime.TypeByExtension(filepath.Ext(f.Name())))
	if kind == "" {
		first := make([]byte, 512)
		n, _ := f.ReadAt(first, 0)
		kind, _, _ = mime.ParseMediaType(http.DetectContentType(first[:n]))
	}
	return cmp.Or(kind, "application/octet-stream")
}

// fileSent is the end of an upload.
func (c *chat) fileSent(r request, t *transfer, f guestclient.File, err error) {
	c.sending--
	given := t.cancel == nil // taken back by the guest
	t.cancel = nil
	switch {
	case err != nil && given:
		t.out.state = "cancelled"
		c.out.changed(t.out)
		c.out.done(r)
	case err != nil:
		c.unsent = true
		t.out.state, t.out.why = "failed", err.Error()
		c.out.refused(r, t.out, err)
	default:
		t.id, t.at, t.whole = f.ID, t.size, true
		t.out.state = "accepted"
		c.open[f.ID] = t.out
		c.out.acceptedFile(r, t.out, f)
	}
	c.retell()
}

func (c *chat) progress(r request, t *transfer, at int64) {
	t.at = at
	if t.cancel != nil {
		c.out.transferred(r, t)
	}
}

// offer shows a file of an inviter.
func (c *chat) offer(from string, f guestclient.File, at time.Time) {
	t := c.file(f.ID)
	if t == nil {
		t = c.number(&transfer{id: f.ID, from: from, name: cleanLine(f.Name), kind: cleanLine(f.Type), size: f.Size})
	}
	c.out.offered(at, c.name(from), t)
}

// save fetches a file of an inviter, behind what an earlier try has left.
func (c *chat) save(r request) {
	t := c.file(r.ID)
	if t == nil && c.opt.JSON && r.ID != "" {
		t = c.number(&transfer{id: r.ID, from: c.to, name: cmp.Or(cleanLine(r.Name), "file"), size: -1})
	}
	switch {
	case t == nil || t.id == "" || r.ID == "":
		c.out.trouble(r, "/save", errors.New("say which file, by the number behind it, as in /save 1"))
		return
	case t.cancel != nil:
		c.out.trouble(r, "/save", fmt.Errorf("file %d is under way", t.n))
		return
	}
	path, part, err := place(r.Path, t.name, t.id)
	if err != nil {
		c.out.trouble(r, "/save", err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background()) // of this file; the chat's own ends it, too
	t.cancel = cancel
	c.saving++
	c.downloads.add(func(all context.Context) {
		defer context.AfterFunc(all, cancel)()
		n, err := c.download(ctx, r, t, part)
		if err == nil {
			path, err = settle(part, path)
		}
		c.post(all, func() { c.saved(r, t, path, n, err) })
	})
}

// download writes to the part and gives its size.
func (c *chat) download(ctx context.Context, r request, t *transfer, part string) (int64, error) {
	f, err := os.OpenFile(part, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	m := &meter{at: info.Size(), tell: func(at int64) { c.post(ctx, func() { c.progress(r, t, at) }) }}
	_, err = c.client.Download(ctx, t.id, info.Size(), io.MultiWriter(f, m))
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return m.at, err
}

func (c *chat) saved(r request, t *transfer, path string, size int64, err error) {
	c.saving--
	given := t.cancel == nil
	t.cancel = nil
	switch {
	case err != nil && given:
		c.out.transferred(r, t)
		c.out.notice("Stopped. /save %d goes on.", t.n)
	case err != nil:
		c.unsaved = true
		c.out.trouble(r, "/save", err)
	default:
		t.at, t.size, t.whole = size, size, true
		c.out.transferred(r, t)
		c.out.saved(r, t, path)
		c.tellRead(t.id)
	}
}

// cancel stops a file: one that is under way here, or on its way from the gateway.
func (c *chat) cancel(r request) {
	t := c.file(r.ID)
	switch {
	case t == nil:
		c.out.trouble(r, "/cancel", errors.New("there is no such file"))
	case t.cancel != nil:
		t.cancel()
		t.cancel = nil // fileSent or saved sees that it was the guest
		c.out.done(r)
	case t.id == "":
		c.out.trouble(r, "/cancel", errors.New("the file is not at the gateway"))
	default:
		c.rest.add(func(ctx context.Context) {
			err := c.client.CancelFile(ctx, t.id)
			c.post(ctx, func() {
				if err != nil {
					c.out.trouble(r, "/cancel", err)
					return
				}
				if t.out != nil {
					t.out.state = "cancelled"
					delete(c.open, t.id)
					c.out.changed(t.out)
				}
				c.out.notice("The file %s is cancelled.", t.name)
				c.out.done(r)
			})
		})
	}
}

// meter counts the bytes of a file that are read from it, but for ReadAt, or written to it.
type meter struct {
	from
	at   int64
	told time.Time
	tell func(at int64)
}

// from is a file that is read.
type from interface {
	io.ReadSeeker
	io.ReaderAt
}

func (m *meter) count(n int) {
	m.at += int64(n)
	if n > 0 && time.Since(m.told) >= reportEvery {
		m.told = time.Now()
		m.tell(m.at)
	}
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.from.Read(p)
	m.count(n)
	return n, err
}

func (m *meter) Seek(offset int64, whence int) (int64, error) {
	at, err := m.from.Seek(offset, whence)
	m.at = at
	return at, err
}

func (m *meter) Write(p []byte) (int, error) {
	m.count(len(p))
	return len(p), nil
}

// place is where a file is to be saved, and where its parts are kept until it is whole. A sender's name never leaves the
// folder, is never hidden, and replaces nothing.
func place(given, name, id string) (path, part string, err error) {
	name = safeName(name)
	dir := "."
	if given != "" {
		if info, err := os.Stat(given); err == nil && info.IsDir() {
			dir = given
		} else if err == nil {
			return "", "", fmt.Errorf("%s is there already", given)
		} else {
			dir, name = filepath.Split(given)
			dir = cmp.Or(dir, ".")
		}
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return "", "", fmt.Errorf("%s is not a folder", dir)
	}
	return filepath.Join(dir, name), filepath.Join(dir, "."+safeName(id)+".part"), nil
}

// safeName is a name that is one part of a path on every system.
func safeName(name string) string {
	name = strings.Map(func(r rune) rune {
		if r < ' ' || strings.ContainsRune(`/\:*?"<>|`, r) {
			return '_'
		}
		return r
	}, cleanLine(name))
	for len(name) > 200 {
		name = string([]rune(name)[1:]) // the ending stays
	}
	return cmp.Or(strings.TrimLeft(strings.TrimSpace(name), "."), "file")
}

// settle gives a whole file its name, or where that is taken the next one that is free.
func settle(part, path string) (string, error) {
	ext := filepath.Ext(path)
	stem := strings.TrimSuffix(path, ext)
	for n := 1; n < 1000; n++ {
		err := os.Link(part, path) // unlike a rename it never replaces
		if err == nil {
			return path, os.Remove(part)
		}
		if !errors.Is(err, fs.ErrExist) {
			if _, statErr := os.Lstat(path); errors.Is(statErr, fs.ErrNotExist) {
				return path, os.Rename(part, path) // a file system without links
			}
		}
		path = fmt.Sprintf("%s (%d)%s", stem, n, ext)
	}
	return "", fmt.Errorf("%s: too many of that name", path)
}

// bytesOf is a size for people.
func bytesOf(n int64) string {
	switch {
	case n < 0:
		return "size unknown"
	case n < 1000:
		return fmt.Sprintf("%d bytes", n)
	case n < 1_000_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	case n < 1_000_000_000:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}

// bar shows how much of a file is there.
func (t *transfer) bar() string {
	const size = 20
	if t.size <= 0 {
		return bytesOf(t.at)
	}
	share := min(float64(t.at)/float64(t.size), 1)
	full := int(share * size)
	return fmt.Sprintf("[%s%s] %d %%", strings.Repeat("█", full), strings.Repeat("░", size-full), int(share*100))
}
