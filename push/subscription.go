package push

import (
	"crypto/ecdh"
	"encoding/base64"
	"net/netip"
	"net/url"
	"strings"

	"latchkey"
)

// maxEndpoint is how long a push service's address may be.
const maxEndpoint = 2000

// subscription reads what a browser says of its push service. A guest may write anything there.
func (c *Crier) subscription(endpoint, p256dh, auth string) (p latchkey.PushSubscription, err error) {
	u, err := url.Parse(endpoint)
	switch {
	case err != nil, len(endpoint) > maxEndpoint, u.Host == "", u.Hostname() == "", u.User != nil, u.Scheme != "https", strings.Contains(endpoint, "#"): // RFC 8030 §4: an https URI
		return p, latchkey.Errorf(latchkey.KindBadRequest, "endpoint: must be the https: URL of a push service")
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil && !c.opt.Allows(a) {
		return p, latchkey.Errorf(latchkey.KindBadRequest, "endpoint: this address is not allowed")
	}
	key, err := decode(p256dh)
	if err == nil {
		_, err = ecdh.P256().NewPublicKey(key)
	}
	if err != nil {
		return p, latchkey.Errorf(latchkey.KindBadRequest, "p256dh: must be a public key on P-256, uncompressed, in base64url")
	}
	secret, err := decode(auth)
	if err != nil || len(secret) != 16 { // RFC 8291 §3.2
		return p, latchkey.Errorf(latchkey.KindBadRequest, "auth: must be 16 bytes in base64url")
	}
	p.Endpoint = latchkey.Secret(u.String())
	p.P256dh, p.Auth = latchkey.Secret(base64.RawURLEncoding.EncodeToString(key)), latchkey.Secret(base64.RawURLEncoding.EncodeToString(secret))
	return p, nil
}

// decode reads base64url with or without its padding.
func decode(s string) ([]byte, error) {
	if len(s) > 128 {
		return nil, base64.CorruptInputError(128)
	}
	return base64.RawURLEncoding.Strict().DecodeString(strings.TrimRight(s, "="))
}
