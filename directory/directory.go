// Package directory is the user centre (patent: RCS UP Center): who is a registered user, in which
// state and of what level, and whether a password is theirs. It never writes, and it doesn't count
// failed attempts: who knows where a request comes from does (S4). File and HTTP are the two; start with
// OpenFile or NewHTTP.
package directory

import (
	"sync"
	"sync/atomic"

	"latchkey"
)

// File is a directory in a YAML file. It is read as a whole; what is asked meets one state of it.
type File struct {
	path   string
	reload sync.Mutex // one Reload at a time
	now    atomic.Pointer[snapshot]
	proofs *proofs
}

// snapshot is one state of the file. Nothing of it changes, save for the memory of who proved
// a password lately, which dies with it.
type snapshot struct {
	entries []entry
	uris    map[string]int // identity URI to entry
	tels    map[string]int // E.164 number, as the field or the URI has it
	emails  map[string]int // as latchkey.ParseMail writes it
	secured []int          // the entries with a password
	proven  *proven
}

// entry is a user of the file.
type entry struct {
	latchkey.Subscriber
	hash    hash    // nil: has no password, and can't log in
	digests digests // nil: can't log in by Digest
}

// OpenFile reads the directory file. An error names the line and the field.
func OpenFile(path string) (*File, error) {
	f := &File{path: path, proofs: newProofs()}
	if err := f.Reload(); err != nil {
		return nil, err
	}
	return f, nil
}

// Reload reads the file again. If it is wrong, the state before stays in force.
func (f *File) Reload() error {
	f.reload.Lock()
	defer f.reload.Unlock()
	s, err := readFile(f.path)
	if err != nil {
		return err
	}
	f.now.Store(s)
	return nil
}
