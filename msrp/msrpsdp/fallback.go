package msrpsdp

import (
	"net"
	"strings"
)

// FallBack reports whether our offer with msrp-cema, whose answer has none, must be followed by an offer without it
// (RFC 6714 §4.2, criteria 1 to 3): something on the way has changed c=/m= alone, and the side that connects would pass it by.
// active says that we connect, relayed that we have a relay of our own.
//
//	answer's c=/m= and path   who connects   relays       offer again   where we connect
//	one of the path's         either         any          no            path (RFC 4975 §8.1)
//	different                 the peer       any          yes (1)
//	different                 we             ours         yes (2)
//	different                 we             the peer's   yes (3)
//	different                 we             none         no            c=/m=: what changed it listens there
func FallBack(answer Media, active, relayed bool) bool {
	return !answer.CEMA && answer.rewritten() && (!active || relayed || len(answer.Path) > 1)
}

// rewritten reports whether somebody on the way has put another place in c=/m=. Port 9 is no place (RFC 4145 §4.1), and neither is
// anything that a WebSocket client writes: nobody connects there.
func (m Media) rewritten() bool { return m.Port != discard && !m.WebSocket() && !m.agrees() }

// agrees reports whether c=/m= name the place of a URI in a=path (RFC 6714 §4.4): of the endpoint's own, which is the last (RFC 4975
// §8.1), or of a relay's. Names are compared as such: nobody is asked for their addresses.
func (m Media) agrees() bool {
	for _, u := range m.Path {
		host := strings.Trim(u.Host, "[]")
		a, b := net.ParseIP(host), net.ParseIP(m.Addr)
		if u.Port == m.Port && (a != nil && b != nil && a.Equal(b) || strings.EqualFold(host, m.Addr)) {
			return true
		}
	}
	return false
}

// answersPlainly reports whether the answer to an offer with msrp-cema has none (RFC 6714 §4.3, criteria 1 to 3). relayed says that we
// have a relay. Of the offerer's a path with several URIs tells.
//
//	relays      offer's a=setup     answer
//	both        any                 without (1)
//	offerer's   active, or none     without (2)
//	ours        passive             without (3)
//	else        any                 with
func (m Media) answersPlainly(relayed bool) bool {
	theirs := len(m.Path) > 1
	return theirs && relayed || theirs && (m.Setup == Active || m.Setup == "") || relayed && m.Setup == Passive
}

// placed puts the first relay's place in c=/m=, where CEMA asks for it (RFC 6714 §4.2, §4.3).
func (l Local) placed() Local {
	if l.CEMA && len(l.Relays) > 0 {
		l.Addr, l.Port = strings.Trim(l.Relays[0].Host, "[]"), l.Relays[0].Port
	}
	return l
}
