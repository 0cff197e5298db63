// Package storagetest gives tests data files that have their schema already: migrations take longer than most of the tests that need a
// store. What becomes of a file that is not there is proven in package storage and by latchkey serve.
package storagetest

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"latchkey/storage"
)

// blank is such a file, made once.
var blank = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "storagetest")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "latchkey.db")
	db, err := storage.Open(context.Background(), path, storage.Options{})
	if err != nil {
		return nil, err
	}
	if err := db.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

// Blank writes a data file without rows, as Open leaves it.
func Blank(t testing.TB, path string) {
	t.Helper()
	data, err := blank()
	if err == nil {
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Open opens a store of its own for a test, and closes it when the test ends.
func Open(t testing.TB, opt storage.Options) *storage.DB {
	t.Helper()
	path := filepath.Join(t.TempDir(), "latchkey.db")
	Blank(t, path)
	db, err := storage.Open(context.Background(), path, opt)
	if err != nil {
		t.Fatalf("Open = %v", err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}
