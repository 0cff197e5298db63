package msrp

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// URI is an MSRP URI (RFC 4975 §6).
type URI struct {
	Secure    bool   // msrps
	User      string // userinfo; ignored in comparisons
	Host      string // as written; IPv6 in brackets
	Port      int    // 0: none given
	SessionID string // case-sensitive
	Transport string // tcp or ws, lower case
	Params    string // further parameters, with their leading ';'
}

var errURI = errors.New("msrp uri")

// ParseURI reads one MSRP URI of at most 1024 octets (RFC 4975 §9). A transport is mandatory, a session id is not.
func ParseURI(s string) (URI, error) {
	bad := func(why string) (URI, error) { return URI{}, fmt.Errorf("%w %.80q: %s", errURI, s, why) }
	if len(s) > 1024 {
		return bad("too long")
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return bad("has a character that is not allowed")
		}
	}
	var u URI
	scheme, rest, ok := strings.Cut(s, "://")
	switch {
	case !ok:
		return bad("has no scheme")
	case strings.EqualFold(scheme, "msrp"):
	case strings.EqualFold(scheme, "msrps"):
		u.Secure = true
	default:
		return bad("scheme is not msrp or msrps")
	}
	if at := strings.IndexByte(rest, '@'); at >= 0 && !strings.Contains(rest[:at], "/") { // userinfo may have a ';'
		u.User, rest = rest[:at], rest[at+1:]
		if u.User == "" {
			return bad("has an empty userinfo")
		}
	}
	path, params, ok := strings.Cut(rest, ";")
	if !ok {
		return bad("has no transport")
	}
	transport, more, hasMore := strings.Cut(params, ";")
	u.Transport = strings.ToLower(transport)
	if u.Transport == "" || strings.ContainsFunc(u.Transport, func(r rune) bool { return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9') }) {
		return bad("has no transport")
	}
	if hasMore {
		u.Params = ";" + more
	}
	authority, session, hasSession := strings.Cut(path, "/") // a session id may have further slashes
	if u.SessionID = session; hasSession && session == "" {
		return bad("has an empty session id")
	}
	host, port := authority, ""
	if strings.HasPrefix(authority, "[") {
		end := strings.IndexByte(authority, ']')
		if end < 0 {
			return bad("has an unclosed [")
		}
		host, port = authority[:end+1], authority[end+1:]
		if port != "" && port[0] != ':' {
			return bad("has text after the IPv6 address")
		}
		port = strings.TrimPrefix(port, ":")
	} else if h, p, found := strings.Cut(authority, ":"); found {
		host, port = h, p
		if p == "" {
			return bad("has an empty port")
		}
	}
	if host == "" || host == "[]" || host[0] != '[' && strings.ContainsAny(host, "[]@:") {
		return bad("has no valid host")
	}
	u.Host = host
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return bad("has an invalid port")
		}
		u.Port = int(n)
	}
	return u, nil
}

// String is the URI on the wire.
func (u URI) String() string {
	var b strings.Builder
	b.WriteString("msrp")
	if u.Secure {
		b.WriteByte('s')
	}
	b.WriteString("://")
	if u.User != "" {
		b.WriteString(u.User)
		b.WriteByte('@')
	}
	b.WriteString(u.Host)
	if u.Port != 0 {
		b.WriteByte(':')
		b.WriteString(strconv.Itoa(u.Port))
	}
	if u.SessionID != "" {
		b.WriteByte('/')
		b.WriteString(u.SessionID)
	}
	b.WriteByte(';')
	b.WriteString(u.Transport)
	b.WriteString(u.Params)
	return b.String()
}

// Equal compares as RFC 4975 §6.1 says: scheme, host and transport without case, session id with
// case; an explicit port never equals a missing one; userinfo and parameters don't count.
func (u URI) Equal(v URI) bool {
	return u.Secure == v.Secure && sameHost(u.Host, v.Host) && u.Port == v.Port &&
		u.SessionID == v.SessionID && strings.EqualFold(u.Transport, v.Transport)
}

// sameHost also knows the ways to write an IPv6 address.
func sameHost(a, b string) bool {
	if strings.EqualFold(a, b) {
		return true
	}
	if !strings.HasPrefix(a, "[") || !strings.HasPrefix(b, "[") {
		return false
	}
	x, errX := netip.ParseAddr(strings.Trim(a, "[]"))
	y, errY := netip.ParseAddr(strings.Trim(b, "[]"))
	return errX == nil && errY == nil && x == y
}

// Path is the value of To-Path, From-Path or a=path: URIs in the order of the hops.
type Path []URI

// ParsePath reads URIs divided by spaces: one at least, 16 at most.
func ParsePath(s string) (Path, error) {
	var p Path
	for f := range strings.FieldsSeq(s) {
		if len(p) == 16 {
			return nil, fmt.Errorf("%w: more than 16 hops", errURI)
		}
		u, err := ParseURI(f)
		if err != nil {
			return nil, err
		}
		p = append(p, u)
	}
	if len(p) == 0 {
		return nil, fmt.Errorf("%w: empty path", errURI)
	}
	return p, nil
}

// String is the path on the wire.
func (p Path) String() string {
	s := make([]string, len(p))
	for i, u := range p {
		s[i] = u.String()
	}
	return strings.Join(s, " ")
}
