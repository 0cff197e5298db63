package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"latchkey"
)

// Disk keeps files below one directory.
type Disk struct{ dir string }

// NewDisk makes the directory where there is none.
func NewDisk(dir string) (*Disk, error) {
	// Nobody else on the machine may read what people send to each other.
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, errors.Join(fmt.Errorf("%s is not a directory", dir), err)
	}
	probe, err := os.CreateTemp(dir, "probe")
	if err != nil {
		return nil, err
	}
	_ = probe.Close()
	return &Disk{dir}, os.Remove(probe.Name())
}

// path is where a file's bytes lie. Ids are letters and digits; they are ours.
func (d *Disk) path(id latchkey.FileID) string {
	return filepath.Join(d.dir, string(id[:2]), string(id))
}

// diskFile is a file that is being written.
type diskFile struct {
	*os.File
	at, begun int64 // up to where there are bytes, and up to where the disk was told to write
}

func (d *Disk) create(f latchkey.StoredFile, _ <-chan struct{}) (sink, error) {
	path := d.path(f.ID)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, diskError(err)
	}
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, diskError(err)
	}
	// The name must be as durable as the bytes.
	for _, dir := range []string{filepath.Dir(path), d.dir} {
		if err := syncDir(dir); err != nil {
			_ = out.Close()
			_ = os.Remove(path)
			return nil, diskError(err)
		}
	}
	return &diskFile{File: out}, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func (d *Disk) resume(_ context.Context, f latchkey.StoredFile, s *digest, _ <-chan struct{}) (sink, int64, error) {
	path := d.path(f.ID)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, 0, diskError(err)
	}
	out, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, 0, diskError(err)
	}
	n, err := io.Copy(s, out)
	if err != nil {
		_ = out.Close()
		return nil, 0, err
	}
	return &diskFile{out, n, n}, n, nil
}

func (d *Disk) size(_ context.Context, id latchkey.FileID) (int64, error) {
	info, err := os.Stat(d.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (d *Disk) open(_ context.Context, id latchkey.FileID) (io.ReadSeekCloser, error) {
	f, err := os.Open(d.path(id))
	if err != nil { // an interface that holds a nil pointer is not nil
		return nil, err
	}
	return f, nil
}

func (d *Disk) erase(_ context.Context, id latchkey.FileID) error {
	if err := os.Remove(d.path(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (d *Disk) each(ctx context.Context, look func(latchkey.FileID)) error {
	folders, err := os.ReadDir(d.dir)
	if err != nil {
		return err
	}
	var failed error
	for _, folder := range folders {
		if !folder.IsDir() || len(folder.Name()) != 2 {
			continue // not ours
		}
		entries, err := os.ReadDir(filepath.Join(d.dir, folder.Name()))
		failed = errors.Join(failed, err)
		for _, e := range entries {
			if isID(e.Name()) && ctx.Err() == nil {
				look(latchkey.FileID(e.Name()))
			}
		}
	}
	return failed
}

func (d *Disk) close() {}

// ahead is after how many bytes the disk is told to begin with them, so that Commit has the last ones only to wait for.
const ahead = 8 << 20

func (f *diskFile) Write(b []byte) (int, error) {
	n, err := f.File.Write(b)
	f.at += int64(n)
	if f.at-f.begun >= ahead {
		writeBack(f.File, f.begun, f.at-f.begun)
		f.begun = f.at
	}
	return n, diskError(err)
}

func (f *diskFile) follow() (io.ReadCloser, error) { return os.Open(f.Name()) }

func (f *diskFile) mark(*digest) {} // the bytes are there to be read

func (f *diskFile) restart(context.Context) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	f.at, f.begun = 0, 0
	_, err := f.Seek(0, io.SeekStart)
	return err
}

func (f *diskFile) keep(context.Context, *digest) error { return diskError(f.Sync()) }

func (f *diskFile) finish(context.Context) error { return diskError(f.Sync()) }

func (f *diskFile) close() { _ = f.Close() } // what counts was synced

// diskError is an error of the disk in our words: a full one is not the sender's fault.
func diskError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return latchkey.Wrap(latchkey.KindNoSpace, err, "")
	}
	return err
}
