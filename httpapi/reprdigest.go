package httpapi

import (
	"crypto/sha1" //nolint:gosec // RFC 5547 §6 names files by it
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"

	"latchkey"
)

// digestHeader declares a file's hash before its bytes come (RFC 9530 §3 (unverified)); for an upload in several requests it stands in the one that
// creates it. A PATCH could only declare its own part.
const digestHeader = "Repr-Digest"

// declared is the SHA-1 of the file, in hexadecimal, that a request declares; "": it declares none. RFC 9530 §5 (unverified) calls it insecure against forgers; here it
// is what phones know the file by, and the bytes are held against it.
func declared(r *http.Request) (string, error) {
	sum := ""
	for _, member := range commas(r.Header.Values(digestHeader)) {
		name, value, _ := strings.Cut(member, "=")
		if name != "sha" {
			continue // RFC 9530 §3 (unverified): a recipient may leave digests alone
		}
		value, _, _ = strings.Cut(value, ";") // parameters (RFC 9651 §3.1.2 (unverified))
		value = strings.TrimSpace(value)
		// RFC 9651 §3.3.5 (unverified): a byte sequence is base64 between colons.
		text, begun := strings.CutPrefix(value, ":")
		text, ended := strings.CutSuffix(text, ":")
		b, err := base64.StdEncoding.DecodeString(text)
		if !begun || !ended || err != nil || len(b) != sha1.Size {
			return "", latchkey.Errorf(latchkey.KindBadRequest, "%s: sha must be the SHA-1 of the file, in base64 between colons", digestHeader)
		}
		sum = hex.EncodeToString(b) // RFC 9651 §3.2 (unverified): of several members of one name the last one counts
	}
	return sum, nil
}

// coming has a file whose bytes begin to come go out meanwhile, where its hash and size are known.
func (a *API) coming(rel latchkey.Relation, up Upload) {
	if f := up.File(); f.SHA1 != "" && f.Size > 0 && up.Offset() == 0 {
		a.ports.Hall.FileComing(rel, f)
	}
}
