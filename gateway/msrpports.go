package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"latchkey/msrp"
	"latchkey/msrp/msrpsdp"
)

// msrpPort is one MSRP listener of the gateway.
type msrpPort struct {
	*msrp.Listener
	web    *webPort // where its connections come from; nil: it has a socket of its own
	secure bool
	host   string // of c= and the path
}

// msrpPorts are the MSRP listeners in the order of msrp-listen, with the certificate of those that have TLS.
type msrpPorts struct {
	all  []*msrpPort
	cert func() *tls.Certificate
}

// openMSRP binds the listeners. core is where signalling goes; behind a wildcard address the descriptions name the
// address that leads there. The certificate is that of HTTPS if there is one, else one that is made here: the descriptions have its
// fingerprint (RFC 4975 §14.4). Pages of origins may connect to WebSocket listeners beside their own.
func openMSRP(listen, origins []string, web func() *tls.Certificate, core netip.Addr, log *slog.Logger) (p *msrpPorts, err error) {
	p = &msrpPorts{cert: web}
	if web == nil {
		own, err := msrp.SelfSigned()
		if err != nil {
			return nil, err
		}
		p.cert = func() *tls.Certificate { return &own }
	}
	for _, l := range listen {
		network, addr, _ := strings.Cut(l, ":")
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			p.close()
			return nil, err
		}
		port := &msrpPort{secure: network == "tls" || network == "wss", host: mediaHost(ln.Addr().String(), core)}
		switch network {
		case "ws", "wss":
			port.host = webHost(addr, ln.Addr().String(), core)
			if port.secure {
				ln = tls.NewListener(ln, webTLS(p.cert))
			}
			port.Listener = msrp.NewListener(nil, msrp.ListenerOptions{Log: log})
			port.web = newWebPort(ln, port.Listener, port.secure, port.host, origins, log)
			p.all = append(p.all, port)
			continue
		case "tls":
			c := msrp.ServerTLS()
			c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.cert(), nil } // new ones without a restart
			ln = tls.NewListener(ln, c)
		}
		port.Listener = msrp.NewListener(ln, msrp.ListenerOptions{Secure: port.secure, Advertise: port.host, Log: log})
		p.all = append(p.all, port)
	}
	return p, nil
}

// mediaHost is the host by which peers reach a listener: its own, or, where that is a wildcard, the one from which the
// core is reached.
func mediaHost(listen string, core netip.Addr) string {
	host, _, _ := net.SplitHostPort(listen)
	a, err := netip.ParseAddr(host)
	if err != nil || !a.IsUnspecified() || !core.IsValid() || a.Is4() && !core.Unmap().Is4() {
		return host
	}
	c, err := net.Dial("udp", netip.AddrPortFrom(core, 5060).String()) // sends nothing
	if err != nil {
		return host
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap().String()
}

// addrs are the addresses as bound, in the form of msrp-listen.
func (p *msrpPorts) addrs() []string {
	var all []string
	for _, l := range p.all {
		all = append(all, l.network()+":"+l.Addr().String())
	}
	return all
}

// offering is the port of our own calls, the first one; plain: the first tcp:, or else the first.
func (p *msrpPorts) offering(plain bool) *msrpPort {
	if i := slices.IndexFunc(p.all, func(l *msrpPort) bool { return l.network() == "tcp" }); plain && i >= 0 {
		return p.all[i]
	}
	return p.all[0]
}

// way is what a call of ours may offer.
type way struct {
	port *msrpPort
	cema bool
}

// ways are what a call offers, one after the other as long as the peer can't take it: the first port, plain TCP without CEMA, since a peer without CEMA
// answers 488 or port 0 when c=/m= and path differ, and one without TLS does when that is offered (RFC 6714 §4.3; F35), and at last
// what a browser can connect to (RFC 7977 §5.1).
func (p *msrpPorts) ways() []way {
	first := p.all[0]
	all := []way{{first, first.web == nil}}
	if plain := p.offering(true); plain.web == nil {
		all = append(all, way{plain, false})
	}
	if i := slices.IndexFunc(p.all, func(l *msrpPort) bool { return l.web != nil }); i > 0 && first.web == nil {
		all = append(all, way{p.all[i], false})
	}
	return all
}

// answering are the ports that may answer an offer, the best one first: TLS before TCP, so that a peer that offers both gets TLS, those for WebSocket, which take no
// other offers, in the same order behind, and of each transport one of the peer's address family, or else the first.
func (p *msrpPorts) answering(offer []byte) []*msrpPort {
	six := false
	if m, err := msrpsdp.Parse(offer); err == nil {
		six = isIPv6(m.Addr)
	}
	var best []*msrpPort
	for _, network := range []string{"tls", "tcp", "wss", "ws"} {
		var some []*msrpPort
		for _, l := range p.all {
			if l.network() == network {
				some = append(some, l)
			}
		}
		if len(some) > 0 {
			best = append(best, some[max(0, slices.IndexFunc(some, func(l *msrpPort) bool { return isIPv6(l.host) == six }))])
		}
	}
	return best
}

func isIPv6(host string) bool {
	a, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && a.Is6() && !a.Is4In6()
}

// describe is what a session on the port says of itself.
func (p *msrpPorts) describe(l *msrpPort, uri msrp.URI) msrpsdp.Local {
	d := msrpsdp.Local{Addr: l.host, Port: uri.Port, URI: uri, TLS: l.secure, AcceptTypes: chatTypes, AcceptWrappedTypes: chatWrappedTypes, MaxSize: maxMessage}
	if l.secure {
		d.Fingerprint = msrp.FingerprintOf(*p.cert())
	}
	return d
}

// dialTLS is the configuration for a connection to a peer, nil where it has no TLS. Without fingerprint, the
// certificate must be good for the path's host.
func (p *msrpPorts) dialTLS(peer msrpsdp.Media) *tls.Config {
	if !peer.TLS {
		return nil
	}
	return msrp.ClientTLS(*p.cert(), peer.Path[0].Host, peer.Fingerprints...)
}

// distrusted reports whether a connection failed since the peer is not the one that its description names. To try again would not help.
func distrusted(err error) bool {
	_, name := errors.AsType[*tls.CertificateVerificationError](err)
	return name || errors.Is(err, msrp.ErrFingerprint)
}

// serve serves all ports until they are closed, or one fails, which closes the others.
func (p *msrpPorts) serve(context.Context) error {
	failed := make([]error, len(p.all))
	var running sync.WaitGroup
	for i, l := range p.all {
		running.Go(func() { // ends with the listener
			if failed[i] = l.Serve(); failed[i] != nil {
				p.close()
			}
		})
	}
	running.Wait()
	return errors.Join(failed...)
}

// shutdown waits for the sessions of all ports, as msrp.Listener.Shutdown does.
func (p *msrpPorts) shutdown(ctx context.Context) error {
	failed := make([]error, len(p.all))
	var running sync.WaitGroup
	for i, l := range p.all {
		running.Go(func() { failed[i] = l.Shutdown(ctx) })
	}
	running.Wait()
	return errors.Join(failed...)
}

func (p *msrpPorts) close() {
	for _, l := range p.all {
		_ = l.Close()
	}
}

// checkMSRPListen reads one element of msrp-listen.
func checkMSRPListen(l string) error {
	network, addr, _ := strings.Cut(l, ":")
	switch network {
	case "tcp", "tls", "ws", "wss":
		return checkHostPort(addr)
	}
	return fmt.Errorf("%q begins with none of tcp:, tls:, ws: and wss: as it must", l)
}

// carries reports whether the port is of a transport.
func (l *msrpPort) carries(secure, web bool) bool { return l.secure == secure && (l.web != nil) == web }

// has reports whether there is a port for browsers, or for others.
func (p *msrpPorts) has(web bool) bool {
	return slices.ContainsFunc(p.all, func(l *msrpPort) bool { return (l.web != nil) == web })
}

// like is the port for a leg by a transport, of the peer's address family where there is one; else the first one that is for WebSockets as web says, or
// the first one of all.
func (p *msrpPorts) like(secure, web bool, addr string) *msrpPort {
	best, most := p.all[0], -1
	for _, l := range p.all {
		fits := 0
		if (l.web != nil) == web {
			fits += 4
		}
		if l.secure == secure {
			fits += 2
		}
		if isIPv6(l.host) == isIPv6(addr) {
			fits++
		}
		if fits > most {
			best, most = l, fits
		}
	}
	return best
}
