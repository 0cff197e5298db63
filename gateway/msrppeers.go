package gateway

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"latchkey/internal/stranger"
)

// peerPolicy decides which addresses MSRP may connect to. An address comes from a
// peer's SDP, so without it anybody who can send an INVITE could make the gateway
// connect anywhere (S13).
type peerPolicy struct {
	networks []netip.Prefix // the operator's list; nil: the default
	loopback bool           // default: the core is on this machine
	private  bool           // default: the core is in a private network
}

// newPeerPolicy makes the policy of option msrp-peers. Without networks, public addresses
// are allowed, and those of the core's own class where the core is loopback or private.
func newPeerPolicy(networks []netip.Prefix, core netip.Addr) peerPolicy {
	return peerPolicy{networks: networks, loopback: core.IsLoopback(), private: core.IsPrivate()}
}

func (p peerPolicy) allows(a netip.Addr) bool {
	if stranger.Never(a) {
		return false
	}
	a = a.Unmap()
	if p.networks != nil {
		for _, n := range p.networks {
			if n.Contains(a) {
				return true
			}
		}
		return false
	}
	switch {
	case a.IsLoopback():
		return p.loopback
	case a.IsPrivate():
		return p.private
	}
	return stranger.Public(a)
}

// dial connects to hostport if the policy allows one of its addresses. The name is
// resolved here once and the connection goes to the address that was checked.
func (p peerPolicy) dial(ctx context.Context, network, hostport string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, fmt.Errorf("msrp peer %q: %w", hostport, err)
	}
	addrs := []netip.Addr{}
	if a, err := netip.ParseAddr(host); err == nil {
		addrs = append(addrs, a)
	} else if addrs, err = net.DefaultResolver.LookupNetIP(ctx, "ip", host); err != nil {
		return nil, fmt.Errorf("msrp peer %q: %w", hostport, err)
	}
	var last error
	for _, a := range addrs {
		if !p.allows(a) {
			last = fmt.Errorf("msrp peer %s: not among the networks of msrp-peers", a)
			continue
		}
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, net.JoinHostPort(a.Unmap().String(), port))
		if err == nil {
			return conn, nil
		}
		last = err
	}
	if last == nil {
		last = fmt.Errorf("msrp peer %q: has no address", hostport)
	}
	return nil, last
}
