// Package dialog holds the tables of RFC 3261 §12, RFC 3262 and RFC 4028 without any
// network: what a dialog's state is made of and how a message changes it.
//
// A State belongs to one goroutine, the loop of its leg. It never sends anything.
package dialog

import (
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// Errors of messages that a dialog can't take.
var (
	ErrOrder  = errors.New("cseq out of order")                       // RFC 3261 §12.2.2: answered 500
	ErrNoPeer = errors.New("response creates no dialog: no To in it") // RFC 3261 §12.1.2
)

// State is one dialog as one of its two ends sees it.
type State struct {
	CallID    string
	LocalTag  string
	RemoteTag string
	Local     sip.Uri // our From in requests
	Remote    sip.Uri // our To in requests
	Target    sip.Uri // remote target: R-URI of our requests
	Routes    []string
	LocalSeq  uint32
	RemoteSeq uint32       // 0: none received yet
	Always    []sip.Header // fields of every request of ours
}

// Key names a dialog (RFC 3261 §12). Our tags are random, but the forks of one INVITE share
// ours, so the peer's belongs to the name.
func Key(callID, localTag, remoteTag string) string {
	return callID + "\x00" + localTag + "\x00" + remoteTag
}

// Key names the dialog.
func (s *State) Key() string { return Key(s.CallID, s.LocalTag, s.RemoteTag) }

// FromResponse makes the dialog that a response to our INVITE creates (RFC 3261 §12.1.2). Where the
// Contact is missing the INVITE's own target stays, so that a 2xx can at least be acknowledged.
func FromResponse(req *sip.Request, res *sip.Response) (*State, error) {
	to, from := res.To(), req.From()
	if to == nil {
		return nil, ErrNoPeer
	}
	s := &State{
		CallID: req.CallID().Value(), LocalTag: tag(from.Params), RemoteTag: tag(to.Params),
		Local: from.Address, Remote: to.Address, Target: req.Recipient, LocalSeq: req.CSeq().SeqNo,
	}
	s.retarget(res.Contact())
	// The route set is taken in reverse order.
	s.Routes = recorded(res)
	slices.Reverse(s.Routes)
	return s, nil
}

// FromRequest makes the dialog that our 1xx or 2xx to an INVITE creates (RFC 3261 §12.1.1).
func FromRequest(req *sip.Request, localTag string) *State {
	s := &State{
		CallID: req.CallID().Value(), LocalTag: localTag, RemoteTag: tag(req.From().Params),
		Local: req.To().Address, Remote: req.From().Address, RemoteSeq: req.CSeq().SeqNo,
	}
	s.retarget(req.Contact())
	s.Routes = recorded(req)
	return s
}

func (s *State) retarget(c *sip.ContactHeader) {
	if c != nil && !c.Address.Wildcard && (c.Address.Host != "" || c.Address.Raw() != "") {
		s.Target = c.Address
	}
}

// recorded lists the Record-Route values in order, also where several stand in one field
// (RFC 3261 §7.3.1).
func recorded(m fields) []string { return Values(m, "Record-Route") }

func tag(p sip.HeaderParams) string {
	t, _ := p.Get("tag")
	return t
}

// Request makes the next request within the dialog (RFC 3261 §12.2.1.1). ACK and CANCEL
// have their own makers, since they take the CSeq number of their INVITE.
func (s *State) Request(method sip.RequestMethod) *sip.Request {
	s.LocalSeq++
	req := s.request(method, s.LocalSeq)
	req.AppendHeader(sip.NewHeader("Supported", "timer")) // RFC 4028 §7.1: in each request but ACK
	return req
}

// ACK makes the ACK for a 2xx to the INVITE with the given CSeq number (RFC 3261 §13.2.2.4).
func (s *State) ACK(seq uint32) *sip.Request { return s.request(sip.ACK, seq) }

func (s *State) request(method sip.RequestMethod, seq uint32) *sip.Request {
	target, routes, strict := s.Target, s.Routes, false
	// §12.2.1.1: a first route without lr is a strict router; it takes the R-URI's place.
	if len(routes) > 0 {
		var first sip.Uri
		if _, err := sip.ParseAddressValue(routes[0], &first, nil); err == nil && !first.UriParams.Has("lr") {
			routes = append(slices.Clone(routes[1:]), "<"+target.String()+">")
			target, strict = first, true
		}
	}
	req := sip.NewRequest(method, *target.Clone())
	if strict {
		// The next hop is the R-URI then, whatever the Route says: a destination without
		// a transport tells it to sipua.
		port := target.Port
		if port == 0 {
			port = sip.DefaultUdpPort
		}
		req.SetDestination(net.JoinHostPort(strings.Trim(target.Host, "[]"), strconv.Itoa(port)))
	}
	for _, r := range routes {
		req.AppendHeader(sip.NewHeader("Route", r))
	}
	from := &sip.FromHeader{Address: s.Local, Params: sip.NewParams()}
	from.Params.Add("tag", s.LocalTag)
	to := &sip.ToHeader{Address: s.Remote, Params: sip.NewParams()}
	if s.RemoteTag != "" {
		to.Params.Add("tag", s.RemoteTag)
	}
	callID := sip.CallIDHeader(s.CallID)
	maxForwards := sip.MaxForwardsHeader(70)
	req.AppendHeader(from)
	req.AppendHeader(to)
	req.AppendHeader(&callID)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: seq, MethodName: method})
	req.AppendHeader(&maxForwards)
	for _, h := range s.Always {
		req.AppendHeader(sip.HeaderClone(h))
	}
	return req
}

// Take notes a request that arrived within the dialog. ErrOrder: it is older than
// one that was taken already, or its number is none (RFC 3261 §8.1.1.5: below 2^31).
func (s *State) Take(req *sip.Request) error {
	seq := req.CSeq().SeqNo
	if s.RemoteSeq != 0 && seq <= s.RemoteSeq || seq >= 1<<31 {
		return ErrOrder
	}
	s.RemoteSeq = seq
	if req.Method == sip.INVITE || req.Method == sip.UPDATE {
		s.retarget(req.Contact()) // §12.2.2: a target refresh
	}
	return nil
}

// Gap reports whether requests between the last one taken and req are missing yet: they may be
// on their way on another goroutine or another datagram.
func (s *State) Gap(req *sip.Request) bool {
	return s.RemoteSeq != 0 && req.CSeq().SeqNo > s.RemoteSeq+1
}

// Refresh notes the target of a 2xx to our re-INVITE or UPDATE (RFC 3261 §12.2.1.2).
func (s *State) Refresh(res *sip.Response) { s.retarget(res.Contact()) }

// Cancel makes the CANCEL of an INVITE that was sent: same R-URI, Call-ID, To, From, Route,
// CSeq number and topmost Via (RFC 3261 §9.1).
func Cancel(invite *sip.Request) *sip.Request {
	c := sip.NewRequest(sip.CANCEL, *invite.Recipient.Clone())
	c.AppendHeader(invite.Via().Clone())
	for h := range All(invite, "Route") {
		c.AppendHeader(sip.HeaderClone(h))
	}
	for _, name := range []string{"From", "To", "Call-ID"} {
		c.AppendHeader(sip.HeaderClone(invite.GetHeader(name)))
	}
	c.AppendHeader(&sip.CSeqHeader{SeqNo: invite.CSeq().SeqNo, MethodName: sip.CANCEL})
	maxForwards := sip.MaxForwardsHeader(70)
	c.AppendHeader(&maxForwards)
	c.SetBody(nil)
	c.SetTransport(invite.Transport())
	c.SetDestination(invite.Destination())
	c.Laddr = invite.Laddr
	return c
}
