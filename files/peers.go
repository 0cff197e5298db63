package files

import "net/netip"

// Peers are the addresses from which files may be fetched: public ones, and the operator's own list. A file's address comes
// from a stranger, so without this anybody with a phone could make the gateway ask whatever it can reach (S13, F54).
type Peers []netip.Prefix

// special are networks that are no place for a public server (IANA's special-purpose registries, RFC 6890), and those in which
// an IPv4 address hides that nobody would look at.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"), // carriers (RFC 6598)
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("192.88.99.0/24"), // 6to4 relays
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("::/96"),        // IPv4-compatible
	netip.MustParsePrefix("64:ff9b::/96"), // NAT64
	netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("100::/64"),
	netip.MustParsePrefix("2001::/23"), // Teredo, ORCHID
	netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("2002::/16"), // 6to4
	netip.MustParsePrefix("fec0::/10"), // site-local
}

// Allows reports whether files may be fetched from the address. Link-local is never allowed: that is where clouds keep their
// metadata services.
func (p Peers) Allows(a netip.Addr) bool {
	if a.Zone() != "" {
		return false
	}
	a = a.Unmap()
	if !a.IsValid() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() {
		return false
	}
	for _, n := range p {
		if n.Contains(a) {
			return true
		}
	}
	if a.IsLoopback() || a.IsPrivate() || !a.IsGlobalUnicast() {
		return false
	}
	for _, n := range special {
		if n.Contains(a) {
			return false
		}
	}
	return true
}
