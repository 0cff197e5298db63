package latchkey

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Address is a sip:, sips: or tel: URI in canonical form. It is made by
// ParseAddress only, so a value that exists is safe to put into a SIP message.
// Header parts (`?…`) and `maddr` are never part of one: a guest or an inviter
// must not be able to steer where the gateway sends (S7).
type Address struct {
	scheme string // sip, sips, tel; lower case
	user   string // unescaped; for tel the +digits
	host   string // lower case, IPv6 in brackets; "" for tel
	port   int    // 0 if the URI has none
	params string // ";name=value…" in canonical order of appearance, lower-case names
}

// ParseAddress reads one SIP, SIPS or TEL URI (RFC 3261 §19.1, RFC 3966) without display name.
// The error is a KindBadRequest whose public text says what is wrong.
func ParseAddress(s string) (Address, error) {
	bad := func(why string) (Address, error) {
		return Address{}, Errorf(KindBadRequest, "address: %s; an address looks like sip:a@cc.com or tel:+8613800000000", why)
	}
	if len(s) > 512 {
		return bad("is too long")
	}
	for i := range len(s) {
		// RFC 3261 §25.1: a URI has no space, control character or angle bracket.
		if c := s[i]; c <= ' ' || c == 0x7f || c == '<' || c == '>' || c == '"' || c == ',' && !strings.HasPrefix(s, "tel:") {
			return bad("has a character that is not allowed")
		}
	}
	scheme, rest, found := strings.Cut(s, ":")
	if !found || rest == "" {
		return bad("has no scheme")
	}
	a := Address{scheme: strings.ToLower(scheme)}
	switch a.scheme {
	case "tel":
		number, params, hasParams := strings.Cut(rest, ";")
		id, err := ParseTel(number)
		if err != nil {
			return bad("is not an international number")
		}
		a.user = id.Value
		return a.withParams(params, hasParams, bad)
	case "sip", "sips":
	default:
		return bad("must begin with sip:, sips: or tel:")
	}
	if strings.ContainsRune(rest, '?') {
		return bad("must not carry header fields")
	}
	// RFC 3261 §25.1 allows ; and : in the user part, so the last @ divides.
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		user := rest[:at]
		rest = rest[at+1:]
		if strings.ContainsAny(user, ":@") {
			return bad("must not carry a password")
		}
		u, ok := unescape(user)
		if !ok || u == "" {
			return bad("has an invalid user part")
		}
		a.user = u
	}
	hostport, params, hasParams := strings.Cut(rest, ";")
	if err := a.setHostPort(hostport); err != "" {
		return bad(err)
	}
	return a.withParams(params, hasParams, bad)
}

// MustAddress is ParseAddress for constants; it panics on an error.
func MustAddress(s string) Address {
	a, err := ParseAddress(s)
	if err != nil {
		panic(fmt.Sprintf("latchkey.MustAddress(%q): %v", s, err))
	}
	return a
}

func (a *Address) setHostPort(hostport string) (why string) {
	host := hostport
	if strings.HasPrefix(hostport, "[") {
		end := strings.IndexByte(hostport, ']')
		if end < 0 {
			return "has an unclosed ["
		}
		if ip, err := netip.ParseAddr(hostport[1:end]); err != nil || !ip.Is6() || ip.Zone() != "" {
			return "has an invalid IPv6 address"
		}
		host = hostport[:end+1]
		hostport = hostport[end+1:]
		if hostport != "" && hostport[0] != ':' {
			return "has text after the IPv6 address"
		}
		hostport = strings.TrimPrefix(hostport, ":")
	} else if h, p, found := strings.Cut(hostport, ":"); found {
		host, hostport = h, p
		if p == "" {
			return "has an empty port"
		}
	} else {
		hostport = ""
	}
	if hostport != "" {
		n, err := strconv.ParseUint(hostport, 10, 16)
		if err != nil || n == 0 {
			return "has an invalid port"
		}
		a.port = int(n)
	}
	if host == "" || host[0] != '[' && !isDomain(strings.TrimSuffix(host, ".")) {
		return "has an invalid host"
	}
	a.host = strings.ToLower(strings.TrimSuffix(host, "."))
	return ""
}

func (a Address) withParams(params string, present bool, bad func(string) (Address, error)) (Address, error) {
	if !present {
		return a, nil
	}
	var b strings.Builder
	for p := range strings.SplitSeq(params, ";") {
		name, value, hasValue := strings.Cut(p, "=")
		name = strings.ToLower(name)
		switch name {
		case "":
			return bad("has an empty parameter")
		case "maddr", "ttl", "method", "lr", "orig":
			return bad("must not carry the parameter " + name)
		}
		b.WriteByte(';')
		b.WriteString(name)
		if hasValue {
			b.WriteByte('=')
			b.WriteString(strings.ToLower(value)) // RFC 3261 §19.1.4: compared without case
		}
	}
	a.params = b.String()
	return a, nil
}

// IsZero reports whether a is no address at all.
func (a Address) IsZero() bool { return a.scheme == "" }

// Number is the E.164 number that a stands for (RFC 3261 §19.1.6), or "".
func (a Address) Number() string {
	if a.scheme == "tel" {
		return a.user
	}
	number, _, _ := strings.Cut(a.user, ";")
	if id, err := ParseTel(number); err == nil && id.Value == number {
		return number
	}
	return ""
}

// Scheme is sip, sips or tel.
func (a Address) Scheme() string { return a.scheme }

// User is the unescaped user part; the number for tel:.
func (a Address) User() string { return a.user }

// Host is the lower-case host; "" for tel:.
func (a Address) Host() string { return a.host }

// Port is the explicit port, or 0.
func (a Address) Port() int { return a.port }

// String is the canonical URI with port and parameters.
func (a Address) String() string {
	if a.IsZero() {
		return ""
	}
	if a.port == 0 {
		return a.Identity() + a.params
	}
	return a.Identity() + ":" + strconv.Itoa(a.port) + a.params
}

// Identity is the URI without port and parameters: the canonical form of a public
// user identity (TS 23.003 §13.4 (unverified)). It is the key for relations.
func (a Address) Identity() string {
	switch {
	case a.IsZero():
		return ""
	case a.scheme == "tel":
		return "tel:" + a.user
	case a.user == "":
		return a.scheme + ":" + a.host
	}
	return a.scheme + ":" + escape(a.user) + "@" + a.host
}

// SameIdentity reports whether a and b name the same public user identity. A
// number is the same person as tel: and as sip:…;user=phone of any host
// only where the directory says so, so it isn't equal here.
func (a Address) SameIdentity(b Address) bool {
	return !a.IsZero() && a.Identity() == b.Identity()
}

// escape percent-encodes what RFC 3261 §25.1 does not allow in a user part.
func escape(user string) string {
	var b strings.Builder
	for i := range len(user) {
		c := user[i]
		if isAlphanumeric(c) || strings.IndexByte("-_.!~*'()&=+$,;?/", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}

// unescape decodes %HH and refuses what decodes to a control character.
func unescape(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' {
			if i+2 >= len(s) {
				return "", false
			}
			n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				return "", false
			}
			c, i = byte(n), i+2
		}
		if c < ' ' || c == 0x7f {
			return "", false
		}
		b.WriteByte(c)
	}
	return b.String(), true
}
