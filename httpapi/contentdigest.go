package httpapi

import (
	"context"
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // RFC 7616 §3.2 keeps it for old clients, such as rcsjta
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"net/url"
	"strings"
	"time"

	"latchkey"
)

// Digests is what a Directory also is that can check Digest (RFC 7616). *directory.File is one.
type Digests interface {
	// Digest gives a user, and H(user:latchkey:password) by the algorithm, in hexadecimal. KindUnauthorized: there is none.
	Digest(ctx context.Context, user, algorithm string) (who latchkey.Subscriber, a1 string, err error)
}

// digestRealm is the one for which directories keep digests.
const digestRealm = "latchkey"

// nonceLife is how long a challenge may be answered, again and again: phones answer one challenge in all requests of an upload.
const nonceLife = 5 * time.Minute

// algorithms are those that are offered, the better one first: RFC 7616 §3.7 has clients take the first that they know, and rcsjta (f9e1e610),
// which knows MD5 alone, takes the last.
var algorithms = []struct {
	name string
	new  func() hash.Hash
}{{"SHA-256", sha256.New}, {"MD5", md5.New}}

// errStale says that an answer was right, to a challenge of long ago.
var errStale = errors.New("nonce is stale")

// nonces makes challenges that need no memory: a time, and a proof that it is from here.
type nonces struct{ key [32]byte }

func newNonces() *nonces {
	n := &nonces{}
	_, _ = rand.Read(n.key[:]) // never fails (crypto/rand)
	return n
}

func (n *nonces) make(now time.Time) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(now.Unix())) //nolint:gosec // after 1970
	m := hmac.New(sha256.New, n.key[:])
	m.Write(b)
	return base64.RawURLEncoding.EncodeToString(m.Sum(b)[:8+16])
}

// age is how old a nonce of ours is; false: it is none.
func (n *nonces) age(nonce string, now time.Time) (time.Duration, bool) {
	b, err := base64.RawURLEncoding.DecodeString(nonce)
	if err != nil || len(b) != 8+16 {
		return 0, false
	}
	at := time.Unix(int64(binary.BigEndian.Uint64(b)), 0) //nolint:gosec // what is no time of ours fails below
	if !hmac.Equal([]byte(n.make(at)), []byte(nonce)) {
		return 0, false
	}
	return now.Sub(at), true
}

// challengeDigest adds the challenges.
func (a *API) challengeDigest(h http.Header, stale bool) {
	h.Del("WWW-Authenticate")
	nonce, more := a.nonces.make(time.Now()), ""
	if stale {
		more = ", stale=true"
	}
	for _, alg := range algorithms {
		h.Add("WWW-Authenticate", fmt.Sprintf(`Digest realm="%s", qop="auth", algorithm=%s, nonce="%s"%s`, digestRealm, alg.name, nonce, more))
	}
}

// digested is who proves by Digest to be a user (RFC 7616 §3.4).
func (a *API) digested(r *http.Request) (who latchkey.Subscriber, err error) {
	directory, ok := a.ports.Directory.(Digests)
	p := digestParams(r.Header.Get("Authorization"))
	if !ok || p == nil || p["realm"] != digestRealm || p["response"] == "" || !a.sameTarget(r, p["uri"]) {
		return who, unauthorized()
	}
	age, ours := a.nonces.age(p["nonce"], time.Now())
	if !ours {
		return who, unauthorized()
	}
	name := timeless(p["username"])
	if known, err := address(name); err == nil {
		name = known.Identity()
	} else {
		name = strings.ToLower(name)
	}
	err = a.opt.Guard.Try(name, a.remote(r), func() (bool, error) {
		var a1 string
		for _, alg := range algorithms {
			if !strings.EqualFold(alg.name, p["algorithm"]) {
				continue
			}
			who, a1, err = directory.Digest(r.Context(), p["username"], alg.name)
			unknown := latchkey.Is(err, latchkey.KindUnauthorized)
			if err != nil && !unknown {
				return false, err
			}
			want := digestResponse(alg.new, a1, r.Method, p)
			return hmac.Equal([]byte(want), []byte(strings.ToLower(p["response"]))) && !unknown, nil
		}
		return false, nil
	})
	if err == nil && age > nonceLife {
		err = latchkey.Wrap(latchkey.KindUnauthorized, errStale, "")
	}
	if err != nil {
		return latchkey.Subscriber{}, err
	}
	return who, a.paced(string(who.ID()))
}

// timeless is a name without the time in seconds with which a time-limited one begins: whoever guesses has as many of those as there are seconds.
func timeless(name string) string {
	if end, rest, ok := strings.Cut(name, ":"); ok && end != "" && strings.Trim(end, "0123456789") == "" {
		return rest
	}
	return name
}

// sameTarget reports whether an answer is for this request: by its path, with or without the query (rcsjta leaves it out), as it comes here or as the
// phone knows it.
func (a *API) sameTarget(r *http.Request, uri string) bool {
	path, query, _ := strings.Cut(uri, "?")
	if query != "" && query != r.URL.RawQuery {
		return false
	}
	if path == r.URL.EscapedPath() {
		return true
	}
	base, err := url.Parse(a.contentURL())
	return err == nil && path == base.EscapedPath()+strings.TrimPrefix(r.URL.EscapedPath(), contentPath)
}

// digestResponse is what the right answer is (RFC 7616 §3.4.1; without qop as RFC 2069 has it).
func digestResponse(algorithm func() hash.Hash, a1, method string, p map[string]string) string {
	h := func(s string) string {
		d := algorithm()
		d.Write([]byte(s)) // never fails
		return hex.EncodeToString(d.Sum(nil))
	}
	a2 := h(method + ":" + p["uri"])
	switch p["qop"] {
	case "":
		return h(a1 + ":" + p["nonce"] + ":" + a2)
	case "auth":
		return h(strings.Join([]string{a1, p["nonce"], p["nc"], p["cnonce"], "auth", a2}, ":"))
	}
	return ""
}

// digestParams reads an Authorization of the scheme Digest; nil: it is none. Quoted or not, values are the same here.
func digestParams(v string) map[string]string {
	scheme, rest, _ := strings.Cut(strings.TrimSpace(v), " ")
	if !strings.EqualFold(scheme, "Digest") {
		return nil
	}
	p := map[string]string{"algorithm": "MD5"} // RFC 7616 §3.4: where none is named
	seen := map[string]bool{}
	for _, part := range commas([]string{rest}) {
		name, value, ok := strings.Cut(part, "=")
		name = strings.ToLower(strings.TrimSpace(name))
		if !ok || seen[name] {
			return nil
		}
		seen[name] = true
		value = strings.TrimSpace(value)
		if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
			value = value[1 : len(value)-1]
		}
		p[name] = value
	}
	return p
}
