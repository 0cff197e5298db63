package msrp

import (
	"crypto"
	_ "crypto/sha1" // rcsjta sends SHA-1 fingerprints
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/subtle"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// ErrFingerprint means that a peer's certificate is not the one that its description named, or that it showed none. Whoever
// is on the connection is not the one who wrote the description, or somebody is in between.
var ErrFingerprint = errors.New("certificate does not match a=fingerprint")

// Fingerprint is a hash of a certificate, as a=fingerprint carries it (RFC 4975 §14.4, RFC 8122 §5). It makes self-signed
// certificates as good as the way on which the description came. The zero Fingerprint matches nothing.
type Fingerprint struct {
	hash crypto.Hash
	sum  string // its octets
}

// hashes are those that are read, the best one first. MD5 and MD2 are not: RFC 8122 §5 forbids them.
var hashes = []struct {
	name string
	hash crypto.Hash
}{
	{"SHA-512", crypto.SHA512}, {"SHA-384", crypto.SHA384}, {"SHA-256", crypto.SHA256}, {"SHA-224", crypto.SHA224},
	{"SHA-1", crypto.SHA1}, // rcsjta (f9e1e610) sends no other
}

// FingerprintOf is the SHA-256 fingerprint of a certificate (RFC 8122 §5: the one that everybody must know).
func FingerprintOf(c tls.Certificate) Fingerprint {
	if len(c.Certificate) == 0 {
		return Fingerprint{}
	}
	return fingerprint(crypto.SHA256, c.Certificate[0])
}

func fingerprint(hash crypto.Hash, der []byte) Fingerprint {
	h := hash.New()
	_, _ = h.Write(der) // never fails
	return Fingerprint{hash, string(h.Sum(nil))}
}

// ParseFingerprint reads the value of a=fingerprint, "SHA-256 AB:CD:…". Small letters are taken, too.
func ParseFingerprint(s string) (Fingerprint, error) {
	name, value, _ := strings.Cut(strings.TrimSpace(s), " ")
	for _, h := range hashes {
		if !strings.EqualFold(name, h.name) {
			continue
		}
		value = strings.TrimSpace(value)
		if len(value) != 3*h.hash.Size()-1 {
			return Fingerprint{}, fmt.Errorf("fingerprint %.200q has not %d octets", s, h.hash.Size())
		}
		digits := make([]byte, 0, 2*h.hash.Size())
		for i := range len(value) {
			if i%3 != 2 {
				digits = append(digits, value[i])
			} else if value[i] != ':' {
				return Fingerprint{}, fmt.Errorf("fingerprint %.200q has no colons between its octets", s)
			}
		}
		sum, err := hex.DecodeString(string(digits))
		if err != nil {
			return Fingerprint{}, fmt.Errorf("fingerprint %.200q is not hexadecimal", s)
		}
		return Fingerprint{h.hash, string(sum)}, nil
	}
	return Fingerprint{}, fmt.Errorf("fingerprint %.80q has an algorithm that is not taken", s)
}

// Preferred are those of the fingerprints that count: the ones of the best algorithm. Several name several certificates, one
// of which the peer shows (RFC 8122 §5.1).
func Preferred(all []Fingerprint) []Fingerprint {
	for _, h := range hashes {
		var best []Fingerprint
		for _, f := range all {
			if f.hash == h.hash {
				best = append(best, f)
			}
		}
		if best != nil {
			return best
		}
	}
	return nil
}

// Matches reports whether it is the fingerprint of a certificate, given as DER. Its time does not depend on where they differ.
func (f Fingerprint) Matches(der []byte) bool {
	return !f.IsZero() && subtle.ConstantTimeCompare([]byte(f.sum), []byte(fingerprint(f.hash, der).sum)) == 1
}

// IsZero reports whether there is no fingerprint.
func (f Fingerprint) IsZero() bool { return f.hash == 0 }

// String is the fingerprint as a=fingerprint has it; "" for the zero one.
func (f Fingerprint) String() string {
	for _, h := range hashes {
		if h.hash != f.hash {
			continue
		}
		b := []byte(h.name)
		for i := range len(f.sum) {
			sep := byte(':')
			if i == 0 {
				sep = ' '
			}
			b = fmt.Appendf(b, "%c%02X", sep, f.sum[i])
		}
		return string(b)
	}
	return ""
}
