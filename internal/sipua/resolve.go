package sipua

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/emiago/sipgo/sip"
	"github.com/miekg/dns"
)

// target is one address that a request may be sent to.
type target struct {
	network string // udp, tcp, tls, ws or wss
	addr    netip.AddrPort
	domain  string // what was asked for, and what a TLS peer must prove to be (RFC 3263 §4.1, RFC 5922 §7.3)
	host    string // whose address it is: those of one host are tried side by side
	route   string // URI of the hop that it is of, where that is one of several; ""
}

// maxTargets bounds how many addresses of one domain are tried.
const maxTargets = 16

// targets lists where a request to hop may go, best first (RFC 3263 §4): the servers of the hop, and behind them those of its stand-ins. Requests with one key, as the Call-ID, get the servers
// in the same order, so that those of a dialog and the repeat after a challenge come to one server, and yet weights spread the load.
func (e *Endpoint) targets(ctx context.Context, hop sip.Uri, key string) ([]target, error) {
	if len(e.standIns) < 2 || !sameHop(hop, e.standIns[0]) {
		all, err := e.servers(ctx, hop, key)
		return e.shunned.last(all), err
	}
	var all []target
	var err error
	for _, other := range e.standIns {
		found, ferr := e.servers(ctx, other, key)
		for _, t := range found {
			t.route = other.String()
			t.host += " " + t.route // whoever stands in waits for its turn
			all = append(all, t)
		}
		err = cmp.Or(err, ferr)
	}
	if len(all) == 0 {
		return nil, err
	}
	return e.shunned.last(all), nil
}

// sameHop reports whether two URIs name the same servers.
func sameHop(a, b sip.Uri) bool {
	networkA, _ := transport(a)
	networkB, _ := transport(b)
	return a.Scheme == b.Scheme && strings.EqualFold(a.Host, b.Host) && a.Port == b.Port && networkA == networkB
}

// servers lists those of one hop.
func (e *Endpoint) servers(ctx context.Context, hop sip.Uri, key string) ([]target, error) {
	host := unbracket(hop.Host)
	if m, _ := hop.UriParams.Get("maddr"); m != "" {
		host = unbracket(m)
	}
	if host == "" {
		return nil, fmt.Errorf("%w: %s has no next hop", ErrTransport, hop.String())
	}
	network, named := transport(hop)
	if network == "" {
		return nil, fmt.Errorf("%w: no transport towards %s", ErrTransport, hop.String())
	}
	domain := unbracket(hop.Host)
	port := uint16(hop.Port)
	if hop.Port == 0 {
		port = uint16(sip.DefaultPort(network))
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return []target{{network: network, addr: netip.AddrPortFrom(ip.Unmap(), port), domain: domain, host: host}}, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.stopped, cancel)()
	l := lookup{resolver: &e.resolver, domain: domain, secure: hop.Scheme == "sips", random: seeded(key)}
	var all []target
	if hop.Port == 0 && network != "ws" && network != "wss" {
		all = l.services(ctx, host, network, named)
	}
	if len(all) == 0 && !l.refused {
		all = l.addresses(ctx, network, host, port)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: %s: no address found", ErrTransport, host)
	}
	return all[:min(len(all), maxTargets)], nil
}

// transport is the network that a URI asks for, and whether it names one (RFC 3263 §4.1); "": one that we don't have. SIPS is
// TLS whatever carries it (RFC 3261 §26.2.2), so its WebSocket is the secure one (RFC 7118 §5.2).
func transport(u sip.Uri) (network string, named bool) {
	t, _ := u.UriParams.Get("transport")
	t = strings.ToLower(t)
	if u.Scheme == "sips" {
		switch t {
		case "":
			return "tls", false
		case "tcp", "tls":
			return "tls", true
		case "ws", "wss":
			return "wss", true
		}
		return "", true
	}
	switch t {
	case "":
		return "udp", false
	case "udp", "tcp", "tls", "ws", "wss":
		return t, true
	}
	return "", true
}

// naptr are the services of RFC 3263 §4.1 that we speak, and service the SRV names of §4.2.
var (
	naptr   = map[string]string{"sip+d2u": "udp", "sip+d2t": "tcp", "sips+d2t": "tls"}
	service = map[string]string{"udp": "_sip._udp.", "tcp": "_sip._tcp.", "tls": "_sips._tcp."}
	byTaste = []string{"udp", "tcp", "tls"}
)

// lookup is one walk through the DNS.
type lookup struct {
	resolver *resolver
	domain   string
	secure   bool
	refused  bool // a SRV says that the service is not there (RFC 2782: a target of ".")
	random   *rand.Rand
}

func seeded(key string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(key))
	return rand.New(rand.NewPCG(h.Sum64(), 0))
}

// services follows NAPTR and SRV records. Nothing: the domain has none.
func (l *lookup) services(ctx context.Context, host, network string, named bool) (all []target) {
	if named {
		return l.srv(ctx, network, service[network]+host)
	}
	networks := byTaste
	if l.secure {
		networks = []string{"tls"}
	}
	ask := []question{{host, dns.TypeNAPTR}}
	for _, n := range networks {
		ask = append(ask, question{service[n] + host, dns.TypeSRV})
	}
	l.resolver.all(ctx, ask) // at once: what follows reads the cache
	var records []*dns.NAPTR
	for _, rr := range l.resolver.records(ctx, ask[0]) {
		if n, ok := rr.(*dns.NAPTR); ok && strings.EqualFold(n.Flags, "s") && slices.Contains(networks, naptr[strings.ToLower(n.Service)]) {
			records = append(records, n)
		}
	}
	slices.SortStableFunc(records, func(a, b *dns.NAPTR) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.Preference, b.Preference))
	})
	for _, n := range records {
		all = append(all, l.srv(ctx, naptr[strings.ToLower(n.Service)], n.Replacement)...)
	}
	if len(records) > 0 {
		return all
	}
	for _, n := range networks {
		all = append(all, l.srv(ctx, n, service[n]+host)...)
	}
	return all
}

// srv lists the addresses of a service's servers: by priority, and among equals by chance and weight (RFC 2782).
func (l *lookup) srv(ctx context.Context, network, name string) (all []target) {
	var records []*dns.SRV
	for _, rr := range l.resolver.records(ctx, question{name, dns.TypeSRV}) {
		if s, ok := rr.(*dns.SRV); ok {
			records = append(records, s)
		}
	}
	if len(records) == 1 && records[0].Target == "." {
		l.refused = true
		return nil
	}
	var ask []question
	for _, s := range records {
		ask = append(ask, l.resolver.addressQuestions(s.Target)...)
	}
	l.resolver.all(ctx, ask)
	for _, s := range drawn(records, l.random) {
		all = append(all, l.addresses(ctx, network, s.Target, s.Port)...)
	}
	return all
}

// drawn orders SRV records as RFC 2782 says. An order of the records by their text comes first, since servers turn them round.
func drawn(records []*dns.SRV, random *rand.Rand) []*dns.SRV {
	slices.SortFunc(records, func(a, b *dns.SRV) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Weight, b.Weight), cmp.Compare(a.Target, b.Target), cmp.Compare(a.Port, b.Port))
	})
	var all []*dns.SRV
	for len(records) > 0 {
		n, sum := 0, 0
		for n < len(records) && records[n].Priority == records[0].Priority {
			sum += int(records[n].Weight)
			n++
		}
		pick, at := random.IntN(sum+1), 0
		for i, r := range records[:n] {
			if pick -= int(r.Weight); pick <= 0 {
				at = i
				break
			}
		}
		all = append(all, records[at])
		records = slices.Delete(records, at, at+1)
	}
	return all
}

// addresses lists a host's addresses, the families by turns and IPv6 first (RFC 8305 §4), and those to which no way leads last.
func (l *lookup) addresses(ctx context.Context, network, host string, port uint16) (all []target) {
	var six, four, far []target
	for _, ip := range l.resolver.addresses(ctx, host) {
		t := target{network: network, addr: netip.AddrPortFrom(ip, port), domain: l.domain, host: host}
		switch {
		case !routable(ip):
			far = append(far, t)
		case ip.Is4():
			four = append(four, t)
		default:
			six = append(six, t)
		}
	}
	for i := range max(len(six), len(four)) {
		if i < len(six) {
			all = append(all, six[i])
		}
		if i < len(four) {
			all = append(all, four[i])
		}
	}
	return append(all, far...)
}

// routable reports whether the kernel knows a way to an address.
func routable(ip netip.Addr) bool {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 5060))) // sends nothing
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

// Lookup lists the addresses of the servers of a SIP URI, all that NAPTR, SRV and address records tell.
func (e *Endpoint) Lookup(ctx context.Context, uri string) []netip.Addr {
	var u sip.Uri
	if err := sip.ParseUri(uri, &u); err != nil {
		return nil
	}
	all, err := e.targets(ctx, u, "")
	if err != nil {
		return nil
	}
	var ips []netip.Addr
	for _, t := range all {
		if !slices.Contains(ips, t.addr.Addr()) {
			ips = append(ips, t.addr.Addr())
		}
	}
	return ips
}

// all asks several questions at once, so that the answers are known.
func (r *resolver) all(ctx context.Context, ask []question) {
	var wg sync.WaitGroup
	for _, q := range ask {
		wg.Go(func() { r.records(ctx, q) })
	}
	wg.Wait()
}
