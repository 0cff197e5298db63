// Package stranger asks servers whose addresses came from strangers, and nothing that only we can reach: an address is looked at when the
// connection is made, behind every name and redirect (S13, F54). It decides which addresses are public, and by a Gate how many
// requests are under way at once so that nobody's silence is everybody's; what is asked there is its caller's affair.
package stranger

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"syscall"
	"time"
)

// Peers are the addresses that may be asked: public ones, and the operator's own list.
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

// Never reports whether an address is none to connect to whoever allows it: none of one machine or group, or link-local, where
// clouds keep their metadata services.
func Never(a netip.Addr) bool {
	a = a.Unmap()
	return !a.IsValid() || a.Zone() != "" || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified()
}

// Public reports whether an address may be that of a server on the Internet.
func Public(a netip.Addr) bool {
	a = a.Unmap()
	if Never(a) || a.IsLoopback() || a.IsPrivate() || !a.IsGlobalUnicast() {
		return false
	}
	return !Peers(special).list(a)
}

// Allows reports whether the address may be asked.
func (p Peers) Allows(a netip.Addr) bool { return !Never(a) && (p.list(a.Unmap()) || Public(a)) }

func (p Peers) list(a netip.Addr) bool {
	for _, n := range p {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// ErrForbidden says that an address is none to ask. A repeat ends the same.
var ErrForbidden = errors.New("address is not allowed")

// Dial makes connections to addresses that are allowed, for an http.Transport, which must have no proxy: it would do the asking for us.
func Dial(allows func(netip.Addr) bool) func(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: 10 * time.Second, ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		if a, err := netip.ParseAddrPort(address); err != nil || !allows(a.Addr()) {
			return ErrForbidden
		}
		return nil
	}}
	return dialer.DialContext
}

// WithoutURL takes the address out of an error of package http: it is a key to what lies there, and goes to no log.
func WithoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
