package files

import (
	"crypto/sha1" //nolint:gosec // RFC 5547 §6 names files by it
	"encoding"
	"encoding/hex"
	"hash"
)

// digest is the hash of what came of a file.
type digest struct{ hash.Hash }

func newDigest() *digest { return &digest{sha1.New()} } //nolint:gosec // see the import

// hex is what was hashed until now.
func (d *digest) hex() string { return hex.EncodeToString(d.Sum(nil)) }

// state is what restore goes on from.
func (d *digest) state() ([]byte, error) { return d.Hash.(encoding.BinaryMarshaler).MarshalBinary() }

func (d *digest) restore(state []byte) error {
	return d.Hash.(encoding.BinaryUnmarshaler).UnmarshalBinary(state)
}
