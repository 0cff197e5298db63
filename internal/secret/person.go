package secret

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"

	"latchkey"
)

// Person is what stands for a person where their address must not stand: a hash that nobody makes without the key.
func Person(key []byte, id latchkey.Identifier) string {
	return hex.EncodeToString(keyed(key, "person", string(id.Kind), id.Value))
}

// PersonToken makes a token that names a person and their account to whoever has the key, and proves that it was made there.
func PersonToken(key []byte, account, person string) string {
	return person + hex.EncodeToString(keyed(key, "token", account, person)[:16])
}

// PersonOf is the person of a token for the account; false if it is none.
func PersonOf(key []byte, account, token string) (person string, ok bool) {
	if len(token) != 2*sha256.Size+32 {
		return "", false
	}
	person = token[:2*sha256.Size]
	return person, hmac.Equal([]byte(PersonToken(key, account, person)), []byte(token))
}

// MAC is a keyed hash of texts under what they are for, in hexadecimal, of 80 bits: enough where each guess costs a connection.
func MAC(key []byte, of ...string) string { return hex.EncodeToString(keyed(key, of...)[:10]) }

func keyed(key []byte, texts ...string) []byte {
	mac := hmac.New(sha256.New, key)
	for _, text := range texts {
		var length [8]byte
		for i := range length {
			length[i] = byte(len(text) >> (8 * i))
		}
		mac.Write(length[:])
		mac.Write([]byte(text))
	}
	return mac.Sum(nil)
}

// Equal compares in a time that does not depend on where they differ.
func Equal(a, b string) bool { return hmac.Equal([]byte(a), []byte(b)) }
