package directory

import (
	"context"
	"crypto/md5" //nolint:gosec // RFC 7616 §3.2 keeps it for old clients
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"

	"latchkey"
)

// DigestRealm is the realm for which the file holds digests: that of the gateway's content server.
const DigestRealm = "latchkey"

// digestLengths are the algorithms of Digest and how many hexadecimal digits theirs have.
var digestLengths = map[string]int{"MD5": 2 * md5.Size, "SHA-256": 2 * sha256.Size}

// digests are what Digest is checked by (RFC 7616 §3.4.2, A1), by algorithm. Each stands for the password, in this realm alone.
type digests map[string]string

// DigestPassword makes the value of a user's digest field: of the name that their phone is provisioned with, and the password.
func DigestPassword(user, password string) string {
	return "SHA-256:" + DigestSum("SHA-256", user, password) + " MD5:" + DigestSum("MD5", user, password)
}

// DigestSum is one of the sums in it; "": there is no such algorithm.
func DigestSum(algorithm, user, password string) string {
	a1 := []byte(user + ":" + DigestRealm + ":" + password)
	switch algorithm {
	case "SHA-256":
		sum := sha256.Sum256(a1)
		return hex.EncodeToString(sum[:])
	case "MD5":
		sum := md5.Sum(a1) //nolint:gosec // see the import
		return hex.EncodeToString(sum[:])
	}
	return ""
}

func parseDigests(s string) (digests, error) {
	all := digests{}
	for d := range strings.FieldsSeq(s) {
		algorithm, sum, _ := strings.Cut(d, ":")
		n, known := digestLengths[algorithm]
		if _, err := hex.DecodeString(sum); !known || err != nil || len(sum) != n || all[algorithm] != "" {
			return nil, errors.New("is not as latchkey hash-password --digest writes it")
		}
		all[algorithm] = strings.ToLower(sum)
	}
	if len(all) == 0 {
		return nil, errors.New("is empty; leave it out")
	}
	return all, nil
}

// Digest gives the user of that name and what Digest with that algorithm is checked by. A user without one is as good as nobody: KindUnauthorized.
func (f *File) Digest(_ context.Context, user, algorithm string) (who latchkey.Subscriber, a1 string, err error) {
	s := f.now.Load()
	if i, known := s.named(user); known {
		if a1 := s.entries[i].digests[algorithm]; a1 != "" {
			return s.entries[i].Subscriber, a1, nil
		}
	}
	return latchkey.Subscriber{}, "", latchkey.Errorf(latchkey.KindUnauthorized, "")
}
