package gateway

import (
	"context"

	"latchkey/msrp/msrpsdp"
)

// fallBack offers again within the call, without CEMA: something on the way has changed c=/m= of the peer's answer alone, and the
// peer, which connects, would pass it by (RFC 6714 §4.2). The new path is that of a new session, so that a connection for the old
// one can't be taken for it.
func (ch *channel) fallBack(ctx context.Context, local msrpsdp.Local, standing *msrpsdp.Standing) (role msrpsdp.Role, err error) {
	ch.session = ch.newSession(ch.port.NewURI())
	ch.port.Expect(ch.session)
	local.URI, local.CEMA = ch.session.Local(), false
	offer, err := standing.Offer(local)
	if err != nil {
		return msrpsdp.Role{}, err
	}
	answer, err := ch.leg.Reoffer(ctx, offer)
	if err != nil {
		return msrpsdp.Role{}, err
	}
	role, _, _, err = standing.Conclude(local, offer, answer)
	return role, err
}
