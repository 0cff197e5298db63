package sipua

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

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
		if !Clean(p.text) || strings.ContainsAny(p.text, " <>\"") {
			return nil, fmt.Errorf("uri %q: not a character of a URI", p.text)
		}
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

// Clean reports whether a text may stand in a header field: a line end in it would begin another field (S7).
func Clean(text string) bool { return !strings.ContainsAny(text, "\r\n\x00") }

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

// Clone copies a request that is not prepared yet. What was sent belongs to sipgo, which repeats it and
// copies its fields into ACKs, so a changed repeat starts from a copy.
func Clone(req *sip.Request) *sip.Request {
	c := sip.NewRequest(req.Method, *req.Recipient.Clone())
	for _, h := range req.CloneHeaders() {
		c.AppendHeader(h)
	}
	c.SetBody(slices.Clone(req.Body()))
	c.SetDestination(req.MessageData.Destination())
	return c
}

// nextHop is where a request goes: its first Route, or its R-URI (RFC 3261 §8.1.2). The R-URI of one with
// a destination, but no transport, is a strict router (dialog.State.Request).
func nextHop(req *sip.Request) sip.Uri {
	strict := req.MessageData.Destination() != "" && req.MessageData.Transport() == ""
	if r := req.Route(); r != nil && !strict {
		return r.Address
	}
	return req.Recipient
}

// prepare gives a request its Via with a fresh branch, next hop and transport. Large ones go over TCP where we
// listen for it, unless datagram is set; moved reports that. A request is prepared once.
func (e *Endpoint) prepare(req *sip.Request, hop sip.Uri, datagram bool) (moved bool, err error) {
	if hop.Host == "" {
		return false, fmt.Errorf("%w: %s has no next hop", ErrTransport, hop.String())
	}
	network := transportOf(hop)
	if network != "udp" && network != "tcp" {
		return false, fmt.Errorf("%w: no transport %s towards %s", ErrTransport, network, hop.String())
	}
	if e.agent != "" && req.GetHeader("User-Agent") == nil {
		req.AppendHeader(sip.NewHeader("User-Agent", e.agent))
	}
	req.SetBody(req.Body()) // RFC 3261 §20.14: writes Content-Length
	e.address(req, hop, network)
	if network == "udp" && !datagram && len(req.String()) > maxDatagram && e.has("tcp") {
		e.address(req, hop, "tcp")
		return true, nil
	}
	return false, nil
}

// address writes the Via and where sipgo sends the request.
func (e *Endpoint) address(req *sip.Request, hop sip.Uri, network string) {
	a := e.listener(network)
	host, port := e.reachable(a, hop)
	params := sip.NewParams()
	params.Add("branch", e.neighbours.mark(destination(hop, network))+NewToken())
	ask(&params)
	params.Add("rport", "") // RFC 3581
	req.RemoveHeader("Via")
	req.PrependHeader(&sip.ViaHeader{
		ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: sip.NetworkToUpper(network), Host: bracket(host), Port: port, Params: params,
	})
	req.SetTransport(sip.NetworkToUpper(network))
	req.SetDestination(destination(hop, network))
	req.Laddr = sip.Addr{}
	if network == "udp" && a.Network == "udp" {
		// Send from the listening socket, so that responses find it through any firewall.
		host, port := splitHostPort(a.HostPort)
		req.Laddr = sip.Addr{IP: net.ParseIP(host), Port: port, Hostname: host}
	}
}

// destination is a hop's host and port.
func destination(hop sip.Uri, network string) string {
	p := hop.Port
	if p == 0 {
		p = sip.DefaultPort(network)
	}
	return net.JoinHostPort(unbracket(hop.Host), strconv.Itoa(p))
}

func unbracket(host string) string {
	if len(host) > 2 && host[0] == '[' {
		return host[1 : len(host)-1]
	}
	return host
}

// send prepares a request and hands it to out. RFC 3261 §18.1.1: one that would go over TCP only for its
// size goes over UDP where that fails.
func (e *Endpoint) send(ctx context.Context, req *sip.Request, out func(context.Context) error) error {
	hop := nextHop(req)
	moved, err := e.prepare(req, hop, false)
	if err != nil {
		return err
	}
	if !e.neighbours.allows(req.Destination(), req, time.Now()) {
		return ErrOverload
	}
	return e.open(ctx, func(ctx context.Context) error {
		err := out(ctx)
		if err != nil && moved && ctx.Err() == nil {
			if _, err = e.prepare(req, hop, true); err == nil {
				err = out(ctx)
			}
		}
		return err
	})
}

// open runs out, which may open a connection, unless Close has begun; Close ends its context and waits for it.
func (e *Endpoint) open(ctx context.Context, out func(context.Context) error) error {
	e.mu.Lock()
	if e.closed.Load() {
		e.mu.Unlock()
		return errClosed
	}
	e.sending.Add(1)
	e.mu.Unlock()
	defer e.sending.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.stopped, cancel)()
	err := out(ctx)
	if err != nil && e.closed.Load() {
		return errClosed
	}
	return asError(err)
}

// Start sends a request and returns its client transaction. The request is sipgo's then.
func (e *Endpoint) Start(ctx context.Context, req *sip.Request) (tx *sip.ClientTx, err error) {
	err = e.send(ctx, req, func(ctx context.Context) (err error) {
		tx, err = e.layer.Request(ctx, req)
		return err
	})
	return tx, err
}

// StartCancel sends a CANCEL, whose Via, destination and transport are those of its INVITE already.
func (e *Endpoint) StartCancel(ctx context.Context, cancel *sip.Request) (tx *sip.ClientTx, err error) {
	err = e.open(ctx, func(ctx context.Context) (err error) {
		tx, err = e.layer.Request(ctx, cancel)
		return err
	})
	return tx, err
}

// SendACK sends an ACK for a 2xx, which is a transaction of its own (RFC 3261 §13.2.2.4). again
// keeps the Via of the first time.
func (e *Endpoint) SendACK(ack *sip.Request, again bool) error {
	write := func(ctx context.Context) error {
		conn, err := e.sockets.ClientRequestConnection(ctx, ack)
		if err != nil {
			return err
		}
		defer func() { _, _ = conn.TryClose() }() // gives the reference back
		return conn.WriteMsg(ack)
	}
	if again {
		return e.open(context.Background(), write)
	}
	return e.send(context.Background(), ack, write)
}

// Do sends a copy of a request other than INVITE and returns its final response.
func (e *Endpoint) Do(ctx context.Context, req *sip.Request) (*sip.Response, error) {
	req = Clone(req)
	tx, err := e.Start(ctx, req)
	if err != nil {
		return nil, err
	}
	defer tx.Terminate()
	for {
		select {
		case res := <-tx.Responses():
			switch {
			case res.IsProvisional():
			case Fits(req, res):
				return res, nil
			default: // sipgo has ended the transaction by it
				return nil, ErrMisfit
			}
		case <-tx.Done():
			return nil, EndError(tx)
		case <-ctx.Done():
			return nil, asError(ctx.Err())
		}
	}
}

// EndError says why a client transaction ended without a final response; it is never nil.
func EndError(tx *sip.ClientTx) error {
	if err := tx.Err(); err != nil {
		return asError(err)
	}
	return errClosed // between the two steps in which sipgo terminates
}
