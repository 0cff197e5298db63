// Package dialog holds the tables of RFC 3261 §12, RFC 3262 and RFC 4028 without any
// network: what a dialog's state is made of and how a message changes it.
//
// A State belongs to one goroutine, the loop of its leg. It never sends anything.
package dialog

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// ErrOrder is returned for a request whose CSeq is not above the last one (RFC 3261 §12.2.2: answered 500).
var ErrOrder = errors.New("cseq out of order")

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
	RemoteSeq uint32 // 0: none received yet
}

// Key names a dialog among ours: our tags are random, so Call-ID and own tag suffice.
func Key(callID, localTag string) string { return callID + "\x00" + localTag }

// Key names the dialog.
func (s *State) Key() string { return Key(s.CallID, s.LocalTag) }

// FromResponse makes the dialog that a response to our INVITE creates (RFC 3261 §12.1.2).
func FromResponse(req *sip.Request, res *sip.Response) (*State, error) {
	to, from := res.To(), req.From()
	if to == nil || res.Contact() == nil && res.StatusCode >= 200 {
		return nil, fmt.Errorf("response %d creates no dialog: To or Contact is missing", res.StatusCode)
	}
	s := &State{
		CallID: req.CallID().Value(), LocalTag: tag(from.Params), RemoteTag: tag(to.Params),
		Local: from.Address, Remote: to.Address, LocalSeq: req.CSeq().SeqNo,
	}
	if c := res.Contact(); c != nil {
		s.Target = c.Address
	}
	// The route set is taken in reverse order.
	s.Routes = recorded(res)
	slices.Reverse(s.Routes)
	return s, nil
}

// FromRequest makes the dialog that our 2xx to an INVITE creates (RFC 3261 §12.1.1).
func FromRequest(req *sip.Request, localTag string) *State {
	s := &State{
		CallID: req.CallID().Value(), LocalTag: localTag, RemoteTag: tag(req.From().Params),
		Local: req.To().Address, Remote: req.From().Address, RemoteSeq: req.CSeq().SeqNo,
	}
	if c := req.Contact(); c != nil {
		s.Target = c.Address
	}
	s.Routes = recorded(req)
	return s
}

// recorded lists the Record-Route values in order, also where several stand in one field
// (RFC 3261 §7.3.1). Commas inside quotes and angle brackets don't divide.
func recorded(m interface{ GetHeaders(string) []sip.Header }) []string {
	var all []string
	for _, h := range m.GetHeaders("Record-Route") {
		v, start, depth, quoted := h.Value(), 0, 0, false
		for i := range len(v) {
			switch c := v[i]; {
			case c == '"':
				quoted = !quoted
			case quoted:
			case c == '<':
				depth++
			case c == '>':
				depth--
			case c == ',' && depth == 0:
				all = append(all, strings.TrimSpace(v[start:i]))
				start = i + 1
			}
		}
		all = append(all, strings.TrimSpace(v[start:]))
	}
	return all
}

func tag(p sip.HeaderParams) string {
	t, _ := p.Get("tag")
	return t
}

// Request makes the next request within the dialog (RFC 3261 §12.2.1.1). ACK and CANCEL
// have their own makers, since they take the CSeq number of their INVITE.
func (s *State) Request(method sip.RequestMethod) *sip.Request {
	s.LocalSeq++
	return s.request(method, s.LocalSeq)
}

// ACK makes the ACK for a 2xx to the INVITE with the given CSeq number (RFC 3261 §13.2.2.4).
func (s *State) ACK(seq uint32) *sip.Request { return s.request(sip.ACK, seq) }

func (s *State) request(method sip.RequestMethod, seq uint32) *sip.Request {
	target, routes := s.Target, s.Routes
	// §12.2.1.1: a first route without lr is a strict router; it takes the R-URI's place.
	if len(routes) > 0 {
		var first sip.RouteHeader
		if err := parseRoute(routes[0], &first); err == nil && !first.Address.UriParams.Has("lr") {
			routes = append(append([]string{}, routes[1:]...), "<"+target.String()+">")
			target = first.Address
		}
	}
	req := sip.NewRequest(method, *target.Clone())
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
	return req
}

func parseRoute(value string, r *sip.RouteHeader) error {
	_, err := sip.ParseAddressValue(value, &r.Address, &sip.HeaderParams{})
	return err
}

// Take notes a request that arrived within the dialog. ErrOrder: it is older than
// one that was taken already.
func (s *State) Take(req *sip.Request) error {
	seq := req.CSeq().SeqNo
	if s.RemoteSeq != 0 && seq <= s.RemoteSeq {
		return ErrOrder
	}
	s.RemoteSeq = seq
	if (req.Method == sip.INVITE || req.Method == sip.UPDATE) && req.Contact() != nil {
		s.Target = req.Contact().Address // §12.2.2: a target refresh
	}
	return nil
}

// Gap reports whether requests between the last one taken and req are missing yet: they may be
// on their way on another goroutine or another datagram.
func (s *State) Gap(req *sip.Request) bool {
	return s.RemoteSeq != 0 && req.CSeq().SeqNo > s.RemoteSeq+1
}

// Refresh notes the target of a 2xx to our re-INVITE or UPDATE (RFC 3261 §12.2.1.2).
func (s *State) Refresh(res *sip.Response) {
	if c := res.Contact(); c != nil {
		s.Target = c.Address
	}
}

// Cancel makes the CANCEL of an INVITE that was sent: same R-URI, Call-ID, To, From, Route,
// CSeq number and topmost Via (RFC 3261 §9.1).
func Cancel(invite *sip.Request) *sip.Request {
	c := sip.NewRequest(sip.CANCEL, *invite.Recipient.Clone())
	c.AppendHeader(invite.Via().Clone())
	for _, h := range invite.GetHeaders("Route") {
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
