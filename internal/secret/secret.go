// Package secret makes passwords and login tokens and keeps what is needed to recognise
// them again: a salted hash for passwords, a plain one for tokens, which must be found by it.
// All of them have at least 128 random bits, so a fast hash is as good as a slow one (S3).
package secret

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"

	"latchkey"
)

// Hash recognises one password. Both parts are hexadecimal.
type Hash struct{ Salt, Sum string }

// New makes a password of 130 random bits and its hash.
func New() (latchkey.Secret, Hash) {
	password := latchkey.NewToken()
	var salt [16]byte
	_, _ = rand.Read(salt[:]) // never fails (crypto/rand)
	h := Hash{Salt: hex.EncodeToString(salt[:])}
	h.Sum = sum(h.Salt, password)
	return latchkey.Secret(password), h
}

// Matches reports whether password is the one of h. Its time does not depend on where they differ.
func (h Hash) Matches(password string) bool {
	return subtle.ConstantTimeCompare([]byte(sum(h.Salt, password)), []byte(h.Sum)) == 1
}

// Token makes a login token of 130 random bits.
func Token() string { return latchkey.NewToken() }

// Index is the hash under which a token is found.
func Index(token string) string {
	h := sha256.Sum256([]byte("latchkey login " + token))
	return hex.EncodeToString(h[:])
}

func sum(salt, password string) string {
	mac := hmac.New(sha256.New, []byte(salt))
	mac.Write([]byte(password))
	return hex.EncodeToString(mac.Sum(nil))
}
