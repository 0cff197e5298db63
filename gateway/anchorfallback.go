package gateway

import (
	"errors"

	"latchkey"
	"latchkey/b2bua"
	"latchkey/msrp/msrpsdp"
)

var errNothingToOffer = errors.New("nothing was offered to this side")

// fallBack offers the media of one side again, without CEMA: something on the way has changed c=/m= of its answer alone, and it connects, so that
// it would pass that by (RFC 6714 §4.2). The paths stay, so that a connection that is there stays, too, and what the other side has sent already
// waits for the one that comes. That side, whose leg is one of its own, hears nothing of it. Where no answer comes, all stays as it is. a.mu is held.
func (a *anchor) fallBack(to b2bua.Side) {
	if a.reoffer == nil {
		return
	}
	var x *exchange
	a.reoffer(to, func() ([]byte, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		sdp := a.sent[to]
		media, err := msrpsdp.All(sdp)
		if err != nil || sdp == nil || a.kept == nil || a.ctx.Err() != nil {
			return nil, errors.Join(errNothingToOffer, err)
		}
		next, places := &exchange{from: to.Other(), next: map[int]*proposal{}, forks: map[string]map[int]msrpsdp.Role{}}, map[int]msrpsdp.Place{}
		for _, m := range media {
			s := a.streams[m.Index]
			if s == nil || m.Port == 0 {
				continue
			}
			p, err := a.propose(s, next.from, s.legs[next.from].theirs)
			if err != nil {
				a.forget(next)
				return nil, err
			}
			next.next[m.Index], places[m.Index] = p, p.legs[to].place
		}
		if before := a.offers[*a.kept]; before != nil && !before.done {
			a.forget(before)
		}
		x, a.offers[*a.kept] = next, next
		a.ahead[to]++
		offer, err := msrpsdp.Relocate(sdp, places, a.ports.offering(true).host)
		a.sent[to] = msrpsdp.Later(offer, 1)
		a.told[to] = a.sent[to]
		return a.sent[to], err
	}, func(fork string, answer []byte, err error) {
		if err == nil {
			_, err = a.Answer(fork, to, answer)
		}
		if err != nil {
			a.log.Info("fall-back from CEMA came to nothing", "side", to.String(), latchkey.LogError, err)
			if x != nil {
				a.Rejected(fork, to.Other())
			}
		}
	})
}
