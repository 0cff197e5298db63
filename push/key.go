package push

import (
	"crypto/ecdh"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
)

// Key is the pair that a gateway signs its calls with (RFC 8292 §2). Browsers subscribe to the one that they were shown, so another one
// is of no use for those who have subscribed.
type Key struct{ public, private string } // base64url

// String hides the key from logs.
func (Key) String() string { return "***" }

// GoString hides the key from %#v.
func (Key) GoString() string { return "***" }

// ParseKey reads a private key as tools for Web Push write it: 32 bytes in base64url.
func ParseKey(s string) (Key, error) {
	b, err := decode(strings.TrimSpace(s))
	if err == nil {
		if k, err := keyOf(b); err == nil {
			return k, nil
		}
	}
	return Key{}, errors.New("is not a private key on P-256, 32 bytes in base64url") // it isn't repeated
}

// MakeKey makes the key that belongs to 32 random bytes, always the same.
func MakeKey(seed []byte) Key {
	for {
		if k, err := keyOf(seed); err == nil {
			return k
		}
		next := sha256.Sum256(seed) // once in 2³² seeds is above the curve's order
		seed = next[:]
	}
}

func keyOf(b []byte) (Key, error) {
	k, err := ecdh.P256().NewPrivateKey(b)
	if err != nil {
		return Key{}, err
	}
	return Key{base64.RawURLEncoding.EncodeToString(k.PublicKey().Bytes()), base64.RawURLEncoding.EncodeToString(b)}, nil
}

// subscriber is the contact as the library wants it, which writes mailto: itself.
func subscriber(contact string) string { return strings.TrimPrefix(contact, "mailto:") }
