package sipua

import (
	"net/netip"

	"github.com/emiago/sipgo/sip"

	"latchkey/internal/dialog"
)

// address writes Via and destination for a target from the listener of its kind. ours: we opened the connection.
func (e *Endpoint) address(req *sip.Request, t target, ours bool) {
	a := e.listener(t.network, t.addr.Addr())
	host, port := e.reachable(a, t.addr.Addr())
	e.via(req, t, host, port, ours && a.Network == t.network)
}

// addressFrom is address for a socket of UDP, which may be none of the listeners.
func (e *Endpoint) addressFrom(req *sip.Request, t target, local netip.AddrPort) {
	host, port := e.reachable(Addr{"udp", local.String()}, t.addr.Addr())
	e.via(req, t, host, port, false)
}

func (e *Endpoint) via(req *sip.Request, t target, host string, port int, alias bool) {
	if e.agent != "" && dialog.First(req, "User-Agent") == nil {
		req.AppendHeader(sip.NewHeader("User-Agent", e.agent))
	}
	req.SetBody(req.Body()) // RFC 3261 §20.14: writes Content-Length
	params := sip.NewParams()
	params.Add("branch", e.neighbours.mark(t.addr.String())+NewToken())
	ask(&params)
	if alias && (t.network == "tcp" || t.network == "tls") {
		params.Add("alias", "") // RFC 5923 §8.1: requests to our listener may come over this connection
	}
	params.Add("rport", "")                          // RFC 3581
	if r := req.Route(); r != nil && t.route != "" { // the hop's own: whoever stands in for it would send it there
		req.ReplaceHeader(sip.NewHeader("Route", "<"+LooseRoute(t.route)+">"))
	}
	network := sip.NetworkToUpper(t.network)
	req.RemoveHeader("Via")
	req.PrependHeader(&sip.ViaHeader{ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: network, Host: bracket(host), Port: port, Params: params})
	req.SetTransport(network)
	req.SetDestination(t.addr.String())
}

// length is a message's in octets, without a copy of it.
func length(m sip.Message) int {
	var n count
	m.StringWrite(&n)
	return int(n)
}

type count int

// WriteString counts.
func (c *count) WriteString(s string) (int, error) {
	*c += count(len(s))
	return len(s), nil
}
