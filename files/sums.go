package files

import (
	"crypto/sha1" //nolint:gosec // RFC 5547 §6 names files by it
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"hash"
	"sync"
)

// sums are the hashes of what came of a file.
type sums struct{ sha1, sha256 hash.Hash }

func newSums() *sums { return &sums{sha1.New(), sha256.New()} } //nolint:gosec // see the import

// besides is how many bytes are worth a second goroutine.
const besides = 8 << 10

// while adds bytes to both hashes, one of them while write runs: each takes about as long as the write does.
func (s *sums) while(b []byte, write func()) {
	if len(b) < besides {
		write()
		_, _ = s.Write(b)
		return
	}
	var other sync.WaitGroup
	other.Go(func() { _, _ = s.sha256.Write(b) }) // never fails (package hash)
	write()
	_, _ = s.sha1.Write(b)
	other.Wait()
}

// Write adds bytes to both hashes.
func (s *sums) Write(b []byte) (int, error) {
	_, _ = s.sha1.Write(b)
	return s.sha256.Write(b)
}

func (s *sums) reset() {
	s.sha1.Reset()
	s.sha256.Reset()
}

// hex is what was summed until now.
func (s *sums) hex() (sha1, sha256 string) {
	return hex.EncodeToString(s.sha1.Sum(nil)), hex.EncodeToString(s.sha256.Sum(nil))
}

// state is what restore goes on from.
func (s *sums) state() (sha1, sha256 []byte, err error) {
	if sha1, err = s.sha1.(encoding.BinaryMarshaler).MarshalBinary(); err != nil {
		return nil, nil, err
	}
	sha256, err = s.sha256.(encoding.BinaryMarshaler).MarshalBinary()
	return sha1, sha256, err
}

func (s *sums) restore(sha1, sha256 []byte) error {
	if err := s.sha1.(encoding.BinaryUnmarshaler).UnmarshalBinary(sha1); err != nil {
		return err
	}
	return s.sha256.(encoding.BinaryUnmarshaler).UnmarshalBinary(sha256)
}
