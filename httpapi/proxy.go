package httpapi

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"latchkey"
)

const (
	// assertedHeader names who sends a request, in the words of a proxy that has authenticated them (TS 24.109 §6.4 (unverified)).
	assertedHeader = "X-3GPP-Asserted-Identity"
	// maxAsserted is how many identities one request may assert: those of one subscription.
	maxAsserted = 16
)

// peerOf is the address that the connection comes from.
func peerOf(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return plainAddr(host)
}

func plainAddr(s string) netip.Addr {
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap().WithZone("")
}

// trusts reports whether the address is a proxy's whose word is believed.
func (a *API) trusts(addr netip.Addr) bool {
	for _, p := range a.opt.Trusted {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// remote is the client's address; limits count by it. Behind trusted proxies it is the last address that one of them
// names and that is no trusted proxy itself: what stands before it, the client may have written.
func (a *API) remote(r *http.Request) netip.Addr {
	peer := peerOf(r)
	if !a.trusts(peer) {
		return peer
	}
	forwarded, old := forwardedFor(r.Header.Values("Forwarded")), xForwardedFor(r.Header.Values("X-Forwarded-For"))
	client := a.client(forwarded, peer)
	switch {
	case len(old) == 0:
		return client
	case len(forwarded) == 0:
		return a.client(old, peer)
	case client == a.client(old, peer):
		return client
	}
	// The proxy writes one of the two, and the client may have written the other: neither is believed.
	return peer
}

// client walks back along the way that a request took. What is no address ends the walk at the proxy that wrote it.
func (a *API) client(way []string, peer netip.Addr) netip.Addr {
	last := peer
	for i := len(way) - 1; i >= 0; i-- {
		addr := plainAddr(way[i])
		if !addr.IsValid() {
			return last
		}
		if last = addr; !a.trusts(addr) {
			return last
		}
	}
	return last
}

// xForwardedFor lists the addresses of X-Forwarded-For, the client's side first. Some proxies add ports.
func xForwardedFor(values []string) []string {
	var way []string
	for _, v := range commas(values) {
		way = append(way, withoutPort(strings.Trim(v, `" `)))
	}
	return way
}

// forwardedFor lists the for= of Forwarded (RFC 7239 §4), the client's side first. An element without one
// counts as an unknown address.
func forwardedFor(values []string) []string {
	var way []string
	for _, element := range commas(values) {
		node := ""
		for pair := range strings.SplitSeq(element, ";") {
			name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
			if strings.EqualFold(name, "for") {
				node = withoutPort(strings.Trim(value, `"`))
			}
		}
		way = append(way, node)
	}
	return way
}

// withoutPort takes the port and the brackets of IPv6 off.
func withoutPort(s string) string {
	if host, _, err := net.SplitHostPort(s); err == nil {
		return host
	}
	return strings.Trim(s, "[]")
}

// commas splits header values at commas that stand outside of quotes and angle brackets.
func commas(values []string) []string {
	var all []string
	for _, v := range values {
		from, quoted, angle := 0, false, false
		for i := range len(v) {
			switch c := v[i]; {
			case c == '"':
				quoted = !quoted
			case quoted:
			case c == '<':
				angle = true
			case c == '>':
				angle = false
			case c == ',' && !angle:
				all = append(all, strings.TrimSpace(v[from:i]))
				from = i + 1
			}
		}
		all = append(all, strings.TrimSpace(v[from:]))
	}
	return all
}

// asserted is the inviter whom a trusted proxy names (R2); false: no such proxy names anybody. Several identities
// are those of one person; whom the directory doesn't know is no inviter.
func (a *API) asserted(r *http.Request) (who latchkey.Subscriber, ok bool, err error) {
	values := r.Header.Values(assertedHeader)
	if len(values) == 0 || !a.trusts(peerOf(r)) {
		return who, false, nil
	}
	// A browser that the proxy knows by a cookie sends it for other sites' sake, too (S5).
	if err := sameSource(r); err != nil {
		return who, true, err
	}
	identities := slices.DeleteFunc(commas(values), func(s string) bool { return s == "" })
	if len(identities) > maxAsserted {
		return who, true, latchkey.Errorf(latchkey.KindBadRequest, "%s: names too many identities", assertedHeader)
	}
	for _, text := range identities {
		uri, err := latchkey.ParseAddress(strings.Trim(text, `"<> `))
		if err != nil {
			return who, true, latchkey.Errorf(latchkey.KindBadRequest, `%s: is not a list of URIs such as "sip:a@cc.com"`, assertedHeader)
		}
		s, registered, err := a.ports.Desk.RegisteredURI(r.Context(), uri)
		switch {
		case err != nil:
			return who, true, err
		case !registered:
		case who.URI.IsZero():
			who = s
		case who.ID() != s.ID():
			return who, true, latchkey.Errorf(latchkey.KindNotAllowed, "%s: names several people", assertedHeader)
		}
	}
	if who.URI.IsZero() {
		return who, true, latchkey.Errorf(latchkey.KindNotAllowed, "no subscriber has this identity")
	}
	return who, true, nil
}
