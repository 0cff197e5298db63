package b2bua

import (
	"errors"
	"time"

	"github.com/emiago/sipgo/sip"
)

// errBridgeOver is why an offer of ours comes to nothing.
var errBridgeOver = errors.New("the bridged call is over")

// reofferSoon is how long an offer of ours waits where another INVITE is under way.
const reofferSoon = 200 * time.Millisecond

// Reoffer sends an offer of our own to one side of a bridged call that stands, by re-INVITE, of which the other side hears nothing; callID is that
// of the side that called. It returns at once. When no other INVITE is under way, offer makes the offer. Then
// answered is called with the answer, or with why there is none. Both are called as the methods of Media are.
func (g *Engine) Reoffer(callID string, s Side, offer func() ([]byte, error), answered func(fork string, answer []byte, err error)) {
	g.running.Go(func() { // ends when the request has left
		for _, p := range g.pairs() {
			if p.ends[SideA].state.CallID == callID {
				p.turns.do(func() { p.reoffer(s, offer, answered) })
			}
		}
	})
}

func (p *pair) reoffer(s Side, offer func() ([]byte, error), answered func(string, []byte, error)) {
	again := func(wait time.Duration) {
		time.AfterFunc(wait, func() { p.turns.do(func() { p.reoffer(s, offer, answered) }) })
	}
	e := &p.ends[s]
	switch {
	case p.over:
		answered(p.fork, nil, errBridgeOver)
		return
	case p.invite != nil && p.invite.early() && p.invite.pair != nil && p.invite.pair != p:
		return // a fork that is not kept
	case p.invite != nil || p.offered.open:
		again(reofferSoon)
		return
	}
	sdp, err := offer()
	if err != nil {
		answered(p.fork, nil, err)
		return
	}
	req := p.own(s, sip.INVITE, sdp)
	c := &crossing{bridge: p.bridge, from: s.Other(), out: req, pair: p, other: map[string]*sip.Request{}, acked: make(chan struct{})}
	c.concluded = func(res *sip.Response, lost error) {
		p.offered.open = false
		switch {
		case p.over:
			answered(p.fork, nil, errBridgeOver)
		case res != nil && res.IsSuccess():
			e.keep(sdp)
			e.heard(res)
			answered(p.fork, c.answer(res), nil)
		case res != nil && res.StatusCode == 491:
			again(standBackFor(s == SideB)) // side B's Call-ID is ours
		case res != nil:
			answered(p.fork, nil, refusedBy(res))
		default:
			answered(p.fork, nil, lost)
		}
	}
	p.offered = offered{true, s.Other()}
	p.ask(c)
}
