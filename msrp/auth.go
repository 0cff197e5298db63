package msrp

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strings"
	"sync"
)

// challenge is what a relay wants to have answered: RFC 7616 §3.3 as RFC 4976 §9.1 narrows it. There is neither Basic, nor qop
// auth-int, nor MD5-sess; domain is ignored.
type challenge struct {
	realm, nonce string
	opaque       *string // nil: there is none
	algorithm    string  // as it was written; "" is MD5
	stale        bool
	hash         func() hash.Hash
	rank         int // the strongest one of several is answered
}

// digests are the algorithms that are answered, the strongest one last.
var digests = []struct {
	name string
	hash func() hash.Hash
}{
	{"MD5", md5.New}, {"SHA-256", sha256.New},
}

const (
	// maxParams bounds the parameters of a challenge; a head bounds their length.
	maxParams = 32
	// maxNonce bounds what is written back of a realm, a nonce or an opaque, in octets.
	maxNonce = 1024
)

// parseChallenge reads the value of a WWW-Authenticate field, which has one challenge.
func parseChallenge(s string) (*challenge, error) {
	scheme, rest, _ := strings.Cut(strings.TrimLeft(s, " \t"), " ")
	if !strings.EqualFold(scheme, "Digest") {
		return nil, fmt.Errorf("challenge of scheme %.20q, which is not answered", scheme) // RFC 4976 §9.1: never Basic
	}
	p, err := parseParams(rest)
	if err != nil {
		return nil, fmt.Errorf("challenge: %w", err)
	}
	c := &challenge{realm: p["realm"], nonce: p["nonce"], algorithm: p["algorithm"], stale: strings.EqualFold(p["stale"], "true"), rank: -1}
	if opaque, there := p["opaque"]; there {
		c.opaque = &opaque
	}
	if _, there := p["realm"]; !there || c.nonce == "" {
		return nil, errors.New("challenge without realm or nonce")
	}
	if len(c.realm) > maxNonce || len(c.nonce) > maxNonce || len(p["opaque"]) > maxNonce {
		return nil, errors.New("challenge with a realm, nonce or opaque that is too long")
	}
	for i, d := range digests {
		if strings.EqualFold(c.algorithm, d.name) || c.algorithm == "" && d.name == "MD5" {
			c.hash, c.rank = d.hash, i
		}
	}
	if c.hash == nil {
		return nil, fmt.Errorf("challenge of algorithm %.20q, which is not answered", c.algorithm)
	}
	if qop, there := p["qop"]; there { // it must be there; those who forget it take auth all the same (Kamailio 5.6.3 without its parameter qop)
		auth := false
		for q := range strings.SplitSeq(qop, ",") {
			auth = auth || strings.EqualFold(strings.Trim(q, " \t"), "auth")
		}
		if !auth {
			return nil, fmt.Errorf("challenge with qop %.40q, not auth", qop)
		}
	}
	return c, nil
}

// strongest picks a challenge from a response.
func strongest(fields []Header) (*challenge, error) {
	var best *challenge
	wrong := errors.New("401 without a challenge")
	for _, f := range fields {
		if !strings.EqualFold(f.Name, "WWW-Authenticate") {
			continue
		}
		c, err := parseChallenge(f.Value)
		if err != nil {
			wrong = err
		} else if best == nil || c.rank > best.rank {
			best = c
		}
	}
	if best == nil {
		return nil, wrong
	}
	return best, nil
}

// parseParams reads name=value pairs that are divided by commas (RFC 9110 §11.2). Names come in small letters.
func parseParams(s string) (map[string]string, error) {
	p := map[string]string{}
	for {
		s = strings.TrimLeft(s, " \t,")
		if s == "" {
			return p, nil
		}
		name, rest, ok := strings.Cut(s, "=")
		name = strings.ToLower(strings.TrimRight(name, " \t"))
		if !ok || !isName(name) {
			return nil, errors.New("parameter without value")
		}
		var value string
		if rest = strings.TrimLeft(rest, " \t"); strings.HasPrefix(rest, `"`) {
			if value, rest, ok = unquote(rest); !ok {
				return nil, fmt.Errorf("parameter %.20s: the quotes don't close", name)
			}
		} else {
			end := strings.IndexAny(rest, " \t,")
			if end < 0 {
				end = len(rest)
			}
			if value, rest = rest[:end], rest[end:]; !isName(value) {
				return nil, fmt.Errorf("parameter %.20s has no value", name)
			}
		}
		if rest = strings.TrimLeft(rest, " \t"); rest != "" && rest[0] != ',' {
			return nil, fmt.Errorf("text behind parameter %.20s", name)
		}
		if _, twice := p[name]; twice || len(p) == maxParams {
			return nil, fmt.Errorf("parameter %.20s is there twice, or one of too many", name)
		}
		p[name], s = value, rest
	}
}

// unquote takes a quoted-string off the front of s.
func unquote(s string) (value, rest string, ok bool) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return b.String(), s[i+1:], true
		case c == '\\':
			if i++; i < len(s) {
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}

func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// credentials are what one relay knows us by, and what it last challenged us with.
type credentials struct {
	username, password string

	mu   sync.Mutex // guards the fields below
	last *challenge
	nc   uint32 // how often its nonce was used
}

// proof is an answer to a challenge.
type proof struct {
	field   Header
	cnonce  string
	rspauth string // what a relay that knows the password says of its 200
}

func newNonce() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// challenged notes a challenge, or forgets the last one.
func (k *credentials) challenged(c *challenge) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last, k.nc = c, 0
}

// next notes the nonce that a relay wants next time (RFC 7616 §3.5: nextnonce).
func (k *credentials) next(nonce string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.last != nil && nonce != "" && len(nonce) <= maxNonce {
		c := *k.last
		c.nonce = nonce
		k.last, k.nc = &c, 0
	}
}

// answer proves that we know the password; nil before there is a challenge.
func (k *credentials) answer(method, uri, cnonce string) *proof {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.last == nil {
		return nil
	}
	k.nc++
	return k.last.answer(k.username, k.password, method, uri, cnonce, k.nc)
}

// answer makes the Authorization field. RFC 4976 §9.1: uri is the rightmost one of To-Path; qop, cnonce and nc are always there. The field
// uri is not needed then, but RFC 7616 §3.4 has it, and Kamailio 5.6.3 refuses credentials without it.
func (c *challenge) answer(username, password, method, uri, cnonce string, nc uint32) *proof {
	sum := func(parts ...string) string {
		h := c.hash()
		_, _ = h.Write([]byte(strings.Join(parts, ":"))) // never fails
		return hex.EncodeToString(h.Sum(nil))
	}
	count := fmt.Sprintf("%08x", nc)
	a1 := sum(username, c.realm, password)
	response := func(method string) string { return sum(a1, c.nonce, count, cnonce, "auth", sum(method, uri)) }
	b := fmt.Appendf(nil, "Digest username=%s, realm=%s, nonce=%s, uri=%s, qop=auth, nc=%s, cnonce=%s, response=\"%s\"",
		quote(username), quote(c.realm), quote(c.nonce), quote(uri), count, quote(cnonce), response(method))
	if c.algorithm != "" {
		b = append(append(b, ", algorithm="...), c.algorithm...)
	}
	if c.opaque != nil {
		b = append(append(b, ", opaque="...), quote(*c.opaque)...)
	}
	return &proof{Header{"Authorization", string(b)}, cnonce, response("")}
}

// errNotTheRelay means that whoever answered does not know our password.
var errNotTheRelay = errors.New("the relay's own proof (rspauth) is wrong")

// confirm looks at the relay's own proof (RFC 7616 §3.5), where it gave one: it must, but Kamailio doesn't. nonce is the one for next time, if it
// has another.
func (p *proof) confirm(fields []Header) (nonce string, err error) {
	for _, f := range fields {
		if !strings.EqualFold(f.Name, "Authentication-Info") {
			continue
		}
		info, err := parseParams(f.Value)
		if err != nil {
			return "", fmt.Errorf("Authentication-Info: %w", err)
		}
		if own, there := info["rspauth"]; there && subtle.ConstantTimeCompare([]byte(strings.ToLower(own)), []byte(p.rspauth)) != 1 {
			return "", errNotTheRelay
		}
		if cnonce, there := info["cnonce"]; there && cnonce != p.cnonce {
			return "", errNotTheRelay
		}
		nonce = info["nextnonce"]
	}
	return nonce, nil
}
