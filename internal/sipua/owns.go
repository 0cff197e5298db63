package sipua

import (
	"context"
	"net"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
)

// maxNames bounds how many host names are remembered.
const maxNames = 256

// Owns reports whether a URI's host and port are those of a listener. One on all addresses is reached by any of this machine's; a name
// is looked up once.
func (e *Endpoint) Owns(u sip.Uri) bool {
	port := u.Port
	if port == 0 {
		port = sip.DefaultPort(transportOf(u))
	}
	host := strings.ToLower(unbracket(u.Host))
	for _, a := range e.addrs {
		listen, p := splitHostPort(a.HostPort)
		if p == port && (strings.EqualFold(listen, host) || e.leadsTo(host, net.ParseIP(listen))) {
			return true
		}
	}
	return false
}

// leadsTo reports whether a host is a listener's address.
func (e *Endpoint) leadsTo(host string, listen net.IP) bool {
	if listen == nil {
		return false
	}
	for _, ip := range e.addresses(host) {
		switch {
		case listen.Equal(ip):
			return true
		case listen.IsUnspecified():
			if c, err := net.ListenUDP("udp", &net.UDPAddr{IP: ip}); err == nil { // only an address of this machine can be bound
				_ = c.Close()
				return true
			}
		}
	}
	return false
}

func (e *Endpoint) addresses(host string) []net.IP {
	if ip := net.ParseIP(host); ip != nil {
		return []net.IP{ip}
	}
	e.mu.Lock()
	known, ok := e.names[host]
	e.mu.Unlock()
	if ok {
		return known
	}
	ctx, cancel := context.WithTimeout(e.stopped, 2*time.Second)
	defer cancel()
	all, err := net.DefaultResolver.LookupIP(ctx, "ip", host)
	if err != nil {
		all = nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.names) >= maxNames || e.names == nil {
		e.names = map[string][]net.IP{}
	}
	e.names[host] = all
	return all
}
