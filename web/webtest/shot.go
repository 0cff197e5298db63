package webtest

import (
	"errors"
	"os"
	"path/filepath"
)

// keep writes a picture to the module's artifacts, which git ignores.
func keep(name string, png []byte) error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			return errors.New("no go.mod above the test")
		}
	}
	dir = filepath.Join(dir, "artifacts")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644)
}
