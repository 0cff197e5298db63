package b2bua

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey/internal/dialog"
	"latchkey/internal/sipua"
)

// Field is a header field to put into a request or response.
type Field struct{ Name, Value string }

// addFields appends fields, none of which may hold a line end: it would begin another one (S7).
func addFields(m interface{ AppendHeader(sip.Header) }, fields []Field) error {
	for _, f := range fields {
		if !sipua.Clean(f.Name) || !sipua.Clean(f.Value) {
			return fmt.Errorf("header field %q: a line end in it", f.Name)
		}
		m.AppendHeader(sip.NewHeader(f.Name, f.Value))
	}
	return nil
}

// always are fields for dialog.State, which Call has found clean.
func always(fields []Field) []sip.Header {
	var all []sip.Header
	for _, f := range fields {
		all = append(all, sip.NewHeader(f.Name, f.Value))
	}
	return all
}

// Invite is what a call is made of.
type Invite struct {
	From        string   // our URI
	To          string   // the peer's sip: or tel: URI, also the R-URI
	Hop         string   // first hop in place of the core; "": the core
	Route       []string // behind the first hop's own Route, e.g. Service-Route values
	Header      []Field
	Always      []Field // of the INVITE and of every later request of ours in the dialog, such as P-Charging-Vector
	ContentType string
	Body        []byte // the offer
	Related     []Part // further parts beside the offer, which it names by Content-ID (RFC 2387); of the INVITE alone
	Credentials sipua.Credentials
	OnOffer     func(offer []byte) (answer []byte, err error) // where Body is empty: answers the offer of the 2xx, in the ACK
	OnReoffer   func(offer []byte) (answer []byte, err error) // a peer's re-INVITE; runs in the leg's loop and must not block
	OnProgress  func(code int)                                // each 1xx above 100
}

// Refused is a final response of 300 and up.
type Refused struct {
	Code       int
	Reason     string
	RetryAfter time.Duration
	Response   *sip.Response // nil: it is not one, but our own word
}

// Error tells code and phrase.
func (r *Refused) Error() string { return fmt.Sprintf("refused: %d %s", r.Code, r.Reason) }

func refusedBy(res *sip.Response) *Refused {
	r := &Refused{Code: res.StatusCode, Reason: res.Reason, Response: res}
	if h := res.GetHeader("Retry-After"); h != nil {
		// RFC 3261 §20.33: seconds, then an optional comment and parameters.
		digits := strings.TrimLeft(h.Value(), " ")
		if i := strings.IndexFunc(digits, func(c rune) bool { return c < '0' || c > '9' }); i >= 0 {
			digits = digits[:i]
		}
		if n, err := strconv.ParseUint(digits, 10, 31); err == nil {
			r.RetryAfter = time.Duration(n) * time.Second
		}
	}
	return r
}

// Call sends an INVITE and returns when it has a final response. A 2xx is acknowledged and
// gives a Leg; anything from 300 is a *Refused. When ctx ends first, the INVITE is cancelled; a 2xx
// that crosses the CANCEL is acknowledged and hung up (F42). Of several 2xx (a fork) the first is kept (F41).
func (g *Engine) Call(ctx context.Context, inv Invite) (*Leg, error) {
	if len(inv.Body) == 0 && inv.OnOffer == nil {
		return nil, errors.New("call: neither an offer nor a way to answer one")
	}
	req, err := sipua.NewRequest(sip.INVITE, inv.To, inv.From, inv.To)
	if err != nil {
		return nil, err
	}
	sipua.AddRoute(req, cmp.Or(inv.Hop, g.core))
	for _, r := range inv.Route {
		sipua.AddRoute(req, r)
	}
	req.AppendHeader(sip.NewHeader("Allow", allow))
	req.AppendHeader(sip.NewHeader("Session-Expires", dialog.Timer{}.Ask()))
	if len(inv.Body) > 0 {
		// Without an offer of ours the peer's could come in a reliable 1xx, to be answered
		// by PRACK (RFC 3262 §5); it waits for the 2xx where we don't support that.
		req.AppendHeader(sip.NewHeader("Supported", "100rel, timer"))
		contentType, body, err := inv.related()
		if err != nil {
			return nil, err
		}
		req.AppendHeader(sip.NewHeader("Content-Type", contentType))
		req.SetBody(body)
	} else {
		req.AppendHeader(sip.NewHeader("Supported", "timer"))
	}
	if err := addFields(req, slices.Concat(inv.Header, inv.Always)); err != nil {
		return nil, err
	}
	g.contact(req, req.From().Address)
	if !g.begin() {
		return nil, errShutDown
	}
	defer g.calls.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(g.stopped, cancel)()
	brief := uint32(0)
	for ch := (sipua.Challenges{}); ; {
		leg, res, err := g.callOnce(ctx, inv, sipua.Clone(req))
		if err != nil || leg != nil {
			return leg, err
		}
		again := false
		if again = res.StatusCode == 422 && brief < dialog.MinInterval(res); again {
			brief = dialog.MinInterval(res) // RFC 4028 §7.3
			askAgain(req, brief)
		} else {
			again, err = ch.Answer(req, res, inv.Credentials)
		}
		if err != nil {
			return nil, err
		}
		if !again {
			return nil, refusedBy(res)
		}
		req.CSeq().SeqNo++ // RFC 3261 §22.2
	}
}

// contact gives req a Contact that leads back to this endpoint.
func (g *Engine) contact(req *sip.Request, user sip.Uri) {
	hop := req.Recipient
	if r := req.Route(); r != nil {
		hop = r.Address
	}
	req.RemoveHeader("Contact")
	req.AppendHeader(&sip.ContactHeader{Address: g.sip.Contact(user.User, hop)})
}

// contactHeader is the Contact of our responses within a dialog: the listener of the transport that req came by.
func (g *Engine) contactHeader(user sip.Uri, req *sip.Request) *sip.ContactHeader {
	host, _, _ := net.SplitHostPort(req.Source())
	hop := sip.Uri{Host: host, UriParams: sip.NewParams()}
	hop.UriParams.Add("transport", strings.ToLower(req.Transport()))
	return &sip.ContactHeader{Address: g.sip.Contact(user.User, hop)}
}

// call is one INVITE that shall open a dialog. All fields but result are its reader's own.
type call struct {
	*invitation
	inv    Invite
	result chan outcome
	early  map[string]*early       // early dialogs by To tag
	acks   map[string]*sip.Request // of the 2xx kept and those of forks, by To tag
}

type outcome struct {
	leg *Leg
	res *sip.Response // a final response of 300 and up
	err error
}

func (g *Engine) callOnce(ctx context.Context, inv Invite, req *sip.Request) (*Leg, *sip.Response, error) {
	gone := make(chan struct{})
	c := &call{inv: inv, result: make(chan outcome), early: map[string]*early{}, acks: map[string]*sip.Request{}}
	c.invitation = &invitation{engine: g, req: req, gone: gone, progress: c.progress, final: c.final, repeated: c.repeated}
	g.mu.Lock()
	g.calls.Add(1) // Call's own count is there, so this one is not the first
	g.mu.Unlock()
	if err := c.send(ctx); err != nil {
		g.calls.Done()
		return nil, nil, err
	}
	select {
	case o := <-c.result:
		return o.leg, o.res, o.err
	case <-ctx.Done():
		close(gone)
		return nil, nil, fmt.Errorf("call cancelled: %w", ctx.Err())
	}
}

func (c *call) final(res *sip.Response, lost error) {
	defer c.engine.calls.Done()
	o := outcome{res: res, err: lost}
	if res != nil && res.IsSuccess() {
		leg, err := c.accept(res)
		o = outcome{leg: leg, err: err}
	}
	c.engine.forgetEarly(c.early)
	// The one who waits takes the result, or it is gone: never both.
	select {
	case c.result <- o:
	case <-c.gone:
		if o.leg != nil {
			c.engine.calls.Go(o.leg.hangUp) // not the first count: Done comes after
		}
	}
}

// accept makes a leg of the first 2xx and acknowledges it.
func (c *call) accept(res *sip.Response) (*Leg, error) {
	state, sdp, err := c.open(res)
	if err != nil {
		return nil, err
	}
	ack := state.ACK(c.req.CSeq().SeqNo)
	local := c.inv.Body
	var unanswered error
	if len(local) == 0 { // RFC 3261 §13.2.2.4: the offer is in the 2xx, the answer goes in the ACK
		if local, unanswered = c.inv.OnOffer(sdp); unanswered == nil {
			ack.AppendHeader(sip.NewHeader("Content-Type", sdpType))
			ack.SetBody(local)
		}
	}
	leg := c.engine.newLeg(state, legParts{caller: true, local: local, remote: sdp, reoffer: c.inv.OnReoffer, creds: c.inv.Credentials})
	leg.post(func() {
		leg.session.learn(res)
		leg.keepTime(dialog.Granted(res))
	})
	c.acks[state.RemoteTag] = ack
	err = c.engine.sip.SendACK(ack, false)
	if err == nil {
		err = unanswered
	}
	if err != nil { // not the session that either wanted: the dialog is closed at once
		c.engine.calls.Go(leg.hangUp)
		return nil, err
	}
	return leg, nil
}

// open makes the dialog of a 2xx, which goes on where its early dialog was. sdp is the answer: the first
// one counts, be it in a reliable 1xx (RFC 3261 §13.2.1).
func (c *call) open(res *sip.Response) (state *dialog.State, sdp []byte, err error) {
	if state, err = dialog.FromResponse(c.req, res); err != nil {
		return nil, nil, err
	}
	state.Always = always(c.inv.Always)
	sdp = bodyPart(res, sdpType)
	if e := c.early[state.RemoteTag]; e != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		state.LocalSeq, state.RemoteSeq = e.state.LocalSeq, e.state.RemoteSeq
		if len(e.sdp) > 0 {
			sdp = e.sdp
		}
	}
	return state, sdp, nil
}

// repeated acknowledges a repeat of a 2xx again. The first 2xx of another branch of the same INVITE opens a dialog that
// nobody wants; it is acknowledged and hung up (F41).
func (c *call) repeated(res *sip.Response) {
	tag, _ := res.To().Params.Get("tag")
	if ack := c.acks[tag]; ack != nil {
		_ = c.engine.sip.SendACK(ack, true)
		return
	}
	state, _, err := c.open(res)
	if err != nil || len(c.acks) >= maxForks {
		return
	}
	ack := state.ACK(c.req.CSeq().SeqNo)
	c.acks[tag] = ack
	c.engine.mu.Lock()
	c.engine.over[state.Key()] = true // a BYE of the other side may cross ours (B5.09)
	c.engine.later(c.engine.over, state.Key())
	c.engine.mu.Unlock()
	if err := c.engine.sip.SendACK(ack, false); err != nil {
		return
	}
	c.engine.running.Go(func() { // ends with its request
		ctx, cancel := context.WithTimeout(context.Background(), c.engine.h())
		defer cancel()
		_, _ = c.engine.sip.DoAuth(ctx, state.Request(sip.BYE), c.inv.Credentials)
	})
}
