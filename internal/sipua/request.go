package sipua

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"

	"github.com/emiago/sipgo/sip"
)

// maxDatagram is the size above which a request goes over TCP: RFC 3261 §18.1.1 asks for
// a congestion-controlled transport above 1300 bytes when the path MTU is unknown.
const maxDatagram = 1300

// NewToken makes a random token for tags, branches and Call-IDs.
func NewToken() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// NewRequest makes a request outside of a dialog: R-URI target, From with a fresh tag, To,
// a fresh Call-ID, CSeq 1 and Max-Forwards 70 (RFC 3261 §8.1.1). target, from and to are URIs.
func NewRequest(method sip.RequestMethod, target, from, to string) (*sip.Request, error) {
	var r, f, t sip.Uri
	for _, p := range []struct {
		uri  *sip.Uri
		text string
	}{{&r, target}, {&f, from}, {&t, to}} {
		if err := sip.ParseUri(p.text, p.uri); err != nil {
			return nil, fmt.Errorf("uri %q: %w", p.text, err)
		}
	}
	req := sip.NewRequest(method, r)
	fromParams := sip.NewParams()
	fromParams.Add("tag", NewToken())
	req.AppendHeader(&sip.FromHeader{Address: f, Params: fromParams})
	req.AppendHeader(&sip.ToHeader{Address: t, Params: sip.NewParams()})
	callID := sip.CallIDHeader(NewToken())
	req.AppendHeader(&callID)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: 1, MethodName: method})
	maxForwards := sip.MaxForwardsHeader(70)
	req.AppendHeader(&maxForwards)
	return req, nil
}

// AddRoute appends a Route; uri may stand with or without angle brackets.
func AddRoute(req *sip.Request, uri string) {
	if uri == "" {
		return
	}
	if uri[0] != '<' {
		uri = "<" + uri + ">"
	}
	req.AppendHeader(sip.NewHeader("Route", uri))
}

// LooseRoute is uri with the lr parameter (RFC 3261 §19.1.1), for use in a Route.
func LooseRoute(uri string) string {
	var u sip.Uri
	if err := sip.ParseUri(uri, &u); err != nil {
		return uri
	}
	if !u.UriParams.Has("lr") {
		u.UriParams.Add("lr", "")
	}
	return u.String()
}

// Prepare gives a request its Via, next hop and transport. Do and Start call it.
// A fresh branch is set each time.
func (e *Endpoint) Prepare(req *sip.Request) error {
	hop := req.Recipient
	if r := req.Route(); r != nil {
		hop = r.Address
	}
	if hop.Host == "" {
		return fmt.Errorf("%w: %s has no next hop", ErrTransport, hop.String())
	}
	network := transportOf(hop)
	req.RemoveHeader("Via")
	if e.agent != "" && req.GetHeader("User-Agent") == nil {
		req.AppendHeader(sip.NewHeader("User-Agent", e.agent))
	}
	req.SetBody(req.Body()) // RFC 3261 §20.14: writes Content-Length
	if network == "udp" && len(req.String())+200 > maxDatagram && e.has("tcp") {
		network = "tcp"
	}
	a := e.listener(network)
	host, port := splitHostPort(a.HostPort)
	params := sip.NewParams()
	params.Add("branch", "z9hG4bK"+NewToken())
	params.Add("rport", "") // RFC 3581
	req.PrependHeader(&sip.ViaHeader{
		ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: sip.NetworkToUpper(network), Host: bracket(host), Port: port, Params: params,
	})
	req.SetTransport(sip.NetworkToUpper(network))
	p := hop.Port
	if p == 0 {
		p = sip.DefaultPort(network)
	}
	req.SetDestination(net.JoinHostPort(unbracket(hop.Host), fmt.Sprint(p)))
	req.Laddr = sip.Addr{}
	if network == "udp" && a.Network == "udp" {
		// Send from the listening socket, so that responses find it through any firewall.
		req.Laddr = sip.Addr{IP: net.ParseIP(host), Port: port, Hostname: host}
	}
	return nil
}

func unbracket(host string) string {
	if len(host) > 2 && host[0] == '[' {
		return host[1 : len(host)-1]
	}
	return host
}

// Start sends a request and returns its client transaction.
func (e *Endpoint) Start(ctx context.Context, req *sip.Request) (*sip.ClientTx, error) {
	if err := e.Prepare(req); err != nil {
		return nil, err
	}
	tx, err := e.ua.TransactionLayer().Request(ctx, req)
	return tx, asError(err)
}

// StartCancel sends a CANCEL, whose Via, destination and transport are those of its INVITE already.
func (e *Endpoint) StartCancel(ctx context.Context, cancel *sip.Request) (*sip.ClientTx, error) {
	tx, err := e.ua.TransactionLayer().Request(ctx, cancel)
	return tx, asError(err)
}

// SendACK sends an ACK for a 2xx, which is a transaction of its own (RFC 3261 §13.2.2.4). again
// keeps the Via of the first time.
func (e *Endpoint) SendACK(ack *sip.Request, again bool) error {
	if !again {
		if err := e.Prepare(ack); err != nil {
			return err
		}
	}
	return asError(e.ua.TransportLayer().WriteMsg(ack))
}

// Do sends a request other than INVITE and returns its final response.
func (e *Endpoint) Do(ctx context.Context, req *sip.Request) (*sip.Response, error) {
	tx, err := e.Start(ctx, req)
	if err != nil {
		return nil, err
	}
	defer tx.Terminate()
	for {
		select {
		case res := <-tx.Responses():
			if !res.IsProvisional() {
				return res, nil
			}
		case <-tx.Done():
			return nil, asError(tx.Err())
		case <-ctx.Done():
			return nil, asError(ctx.Err())
		}
	}
}
