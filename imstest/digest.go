package imstest

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"time"
)

// digestParams reads the comma-separated parameters of a Digest header value.
func digestParams(v string) map[string]string {
	p := map[string]string{}
	scheme, rest, _ := strings.Cut(strings.TrimSpace(v), " ")
	if !strings.EqualFold(scheme, "Digest") {
		return p
	}
	for _, f := range splitList(rest) {
		k, val, _ := strings.Cut(f, "=")
		p[strings.ToLower(strings.TrimSpace(k))] = strings.Trim(strings.TrimSpace(val), `"`)
	}
	return p
}

// digestResponse computes the response of RFC 7616 §3.4.1 with qop auth, or of RFC 2069 without.
func digestResponse(p map[string]string, method, password string) string {
	h := func(s string) string {
		var d hash.Hash = md5.New()
		if strings.EqualFold(p["algorithm"], "SHA-256") {
			d = sha256.New()
		}
		d.Write([]byte(s))
		return hex.EncodeToString(d.Sum(nil))
	}
	ha1 := h(p["username"] + ":" + p["realm"] + ":" + password)
	ha2 := h(method + ":" + p["uri"])
	if p["qop"] == "" {
		return h(ha1 + ":" + p["nonce"] + ":" + ha2)
	}
	return h(strings.Join([]string{ha1, p["nonce"], p["nc"], p["cnonce"], p["qop"], ha2}, ":"))
}

// authorization answers a challenge as a phone does.
func authorization(challenge, method, uri, user, password string) string {
	p := digestParams(challenge)
	p["username"], p["uri"] = user, uri
	algorithm := p["algorithm"]
	out := fmt.Sprintf(`Digest username="%s", realm="%s", nonce="%s", uri="%s"`, user, p["realm"], p["nonce"], uri)
	if algorithm != "" {
		out += ", algorithm=" + algorithm
	}
	if p["qop"] != "" {
		p["qop"], p["nc"], p["cnonce"] = "auth", "00000001", token()
		out += fmt.Sprintf(`, qop=auth, nc=00000001, cnonce="%s"`, p["cnonce"])
	}
	return out + fmt.Sprintf(`, response="%s"`, digestResponse(p, method, password))
}

// ephemeralPassword is the password of a time-limited user name: base64 of HMAC-SHA1. It
// reports false where the name is over or malformed.
func ephemeralPassword(secret, username string, now time.Time) (string, bool) {
	expiry, _, ok := strings.Cut(username, ":")
	at, err := strconv.ParseInt(expiry, 10, 64)
	if !ok || err != nil || now.Unix() > at {
		return "", false
	}
	m := hmac.New(sha1.New, []byte(secret))
	m.Write([]byte(username))
	return base64.StdEncoding.EncodeToString(m.Sum(nil)), true
}
