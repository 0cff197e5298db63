package b2bua

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey/internal/dialog"
	"latchkey/internal/sipua"
)

// Field is a header field to put into a request or response.
type Field struct{ Name, Value string }

// Invite is what a call is made of.
type Invite struct {
	From        string   // our URI
	To          string   // the peer's sip: or tel: URI, also the R-URI
	Route       []string // behind the core's own Route, e.g. Service-Route values
	Header      []Field
	ContentType string
	Body        []byte // the offer
	Credentials sipua.Credentials
	OnReoffer   func(offer []byte) (answer []byte, err error) // a peer's re-INVITE; runs in the leg's loop and must not block
	OnProgress  func(code int)                                // each 1xx above 100
}

// Refused is a final response of 300 and up.
type Refused struct {
	Code       int
	Reason     string
	RetryAfter time.Duration
}

// Error tells code and phrase.
func (r *Refused) Error() string { return fmt.Sprintf("refused: %d %s", r.Code, r.Reason) }

func refusedBy(res *sip.Response) *Refused {
	r := &Refused{Code: res.StatusCode, Reason: res.Reason}
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
	req, err := sipua.NewRequest(sip.INVITE, inv.To, inv.From, inv.To)
	if err != nil {
		return nil, err
	}
	sipua.AddRoute(req, g.core)
	for _, r := range inv.Route {
		sipua.AddRoute(req, r)
	}
	req.AppendHeader(sip.NewHeader("Allow", allow))
	req.AppendHeader(sip.NewHeader("Supported", "100rel"))
	for _, f := range inv.Header {
		req.AppendHeader(sip.NewHeader(f.Name, f.Value))
	}
	if len(inv.Body) > 0 {
		req.AppendHeader(sip.NewHeader("Content-Type", inv.ContentType))
	}
	req.SetBody(inv.Body)
	g.contact(req, req.From().Address)
	for try := 0; ; try++ {
		c := &call{engine: g, inv: inv, req: req, result: make(chan outcome, 1), early: map[string]*early{}}
		leg, res, err := c.run(ctx)
		if err != nil || leg != nil {
			return leg, err
		}
		if try == 0 {
			again, err := sipua.Answer(req, res, inv.Credentials)
			if err != nil {
				return nil, err
			}
			if again {
				continue
			}
		}
		return nil, refusedBy(res)
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
	hop := sip.Uri{UriParams: sip.NewParams()}
	hop.UriParams.Add("transport", strings.ToLower(req.Transport()))
	return &sip.ContactHeader{Address: g.sip.Contact(user.User, hop)}
}

// call is one INVITE transaction. run's goroutine reads it to its end.
type call struct {
	engine *Engine
	inv    Invite
	req    *sip.Request
	result chan outcome
	early  map[string]*early // early dialogs by To tag; the reader's own
	kept   *Leg              // the first 2xx's; the reader's own until result is sent
}

type outcome struct {
	leg *Leg
	res *sip.Response // a final response of 300 and up
	err error
}

// early is an early dialog: what PRACK needs.
type early struct {
	state *dialog.State
	rseq  uint32 // the last one acknowledged
}

func (c *call) run(ctx context.Context) (*Leg, *sip.Response, error) {
	tx, err := c.engine.sip.Start(ctx, c.req)
	if err != nil {
		return nil, nil, err
	}
	cancelled := make(chan struct{})
	// Ends with the transaction: by a final response and its timers, or timer B.
	c.engine.running.Go(func() { c.read(tx, cancelled) })
	select {
	case o := <-c.result:
		return o.leg, o.res, o.err
	case <-ctx.Done():
		close(cancelled)
		return nil, nil, fmt.Errorf("call cancelled: %w", ctx.Err())
	}
}

// read handles all responses of the transaction until it is gone.
func (c *call) read(tx *sip.ClientTx, cancelled <-chan struct{}) {
	var dead bool        // the caller gave up
	var provisional bool // CANCEL may go only after a 1xx (RFC 3261 §9.1)
	var giveUp <-chan time.Time
	finished := false
	finish := func(o outcome) {
		if !finished {
			finished = true
			c.result <- o
		}
	}
	// 2xx after the first come by this hook: repeats of the first are acknowledged again (RFC 6026 §7.2).
	var acks ackStore
	tx.OnRetransmission(func(res *sip.Response) {
		if res.IsSuccess() && !acks.repeat(c.engine, res) {
			c.engine.running.Go(func() { c.hangUpFork(res) })
		}
	})
	for {
		select {
		case res := <-tx.Responses():
			switch {
			case res.IsProvisional():
				provisional = true
				c.progress(res)
				if dead {
					c.cancel()
				}
			case res.IsSuccess():
				leg, ack, err := c.accept(res)
				if ack != nil {
					acks.add(res, ack)
				}
				if dead && leg != nil {
					c.engine.running.Go(func() { _ = leg.Bye(context.Background(), "") })
				}
				finish(outcome{leg: leg, err: err})
			default:
				finish(outcome{res: res})
			}
		case <-cancelled:
			cancelled, dead = nil, true
			if finished {
				// The result crossed the caller's leaving: nobody takes it.
				select {
				case o := <-c.result:
					if o.leg != nil {
						c.engine.running.Go(func() { _ = o.leg.Bye(context.Background(), "") })
					}
				default:
				}
			} else if provisional {
				c.cancel()
			}
			giveUp = time.After(timerH) // RFC 3261 §9.1: then the INVITE counts as cancelled
		case <-giveUp:
			tx.Terminate()
		case <-tx.Done():
			err := tx.Err()
			if err == nil {
				err = sipua.ErrTimeout
			} else if errors.Is(err, sip.ErrTransactionTimeout) {
				err = fmt.Errorf("%w: %w", sipua.ErrTimeout, err)
			} else {
				err = fmt.Errorf("%w: %w", sipua.ErrTransport, err)
			}
			finish(outcome{err: err})
			return
		}
	}
}

// accept makes a leg of the first 2xx and acknowledges it.
func (c *call) accept(res *sip.Response) (*Leg, *sip.Request, error) {
	state, err := dialog.FromResponse(c.req, res)
	if err != nil {
		return nil, nil, err
	}
	tag, _ := res.To().Params.Get("tag")
	if e := c.early[tag]; e != nil {
		state.LocalSeq = e.state.LocalSeq // PRACKs have used numbers of this dialog
	}
	ack := state.ACK(c.req.CSeq().SeqNo)
	leg := c.engine.newLeg(state, c.inv.Body, bytes.Clone(res.Body()), c.inv.Credentials)
	leg.post(func() { leg.reoffer = c.inv.OnReoffer })
	if err := c.engine.sip.SendACK(ack, false); err != nil {
		leg.end("error")
		return nil, nil, err
	}
	return leg, ack, nil
}

// hangUpFork ends a dialog that another branch of the same INVITE opened (F41).
func (c *call) hangUpFork(res *sip.Response) {
	state, err := dialog.FromResponse(c.req, res)
	if err != nil {
		return
	}
	if err := c.engine.sip.SendACK(state.ACK(c.req.CSeq().SeqNo), false); err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), timerH)
	defer cancel()
	_, _ = c.engine.sip.DoAuth(ctx, state.Request(sip.BYE), c.inv.Credentials)
}

func (c *call) cancel() {
	ctx, done := context.WithTimeout(context.Background(), timerH)
	tx, err := c.engine.sip.StartCancel(ctx, dialog.Cancel(c.req))
	if err != nil {
		done()
		return // a CANCEL with this branch is out already
	}
	c.engine.running.Go(func() {
		defer done()
		drain(tx)
	})
}

// progress acknowledges reliable provisional responses in their order (RFC 3262 §4).
func (c *call) progress(res *sip.Response) {
	if res.StatusCode > 100 && c.inv.OnProgress != nil {
		c.inv.OnProgress(res.StatusCode)
	}
	rseq := dialog.RSeq(res)
	if rseq == 0 {
		return
	}
	tag, _ := res.To().Params.Get("tag")
	e := c.early[tag]
	if e == nil {
		state, err := dialog.FromResponse(c.req, res)
		if err != nil || state.Target.Host == "" {
			return
		}
		e = &early{state: state}
		c.early[tag] = e
	} else if rseq != e.rseq+1 {
		return // a repeat, or out of order: it will come again
	}
	e.rseq = rseq
	prack := e.state.Request(sip.PRACK)
	prack.AppendHeader(sip.NewHeader("RAck", dialog.RAck(rseq, c.req.CSeq().SeqNo, sip.INVITE)))
	c.engine.running.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), timerH)
		defer cancel()
		_, _ = c.engine.sip.DoAuth(ctx, prack, c.inv.Credentials)
	})
}
