package gateway

import (
	"context"

	"latchkey"
)

// stopper takes what people answer to an SMS to the desk, which is made after the channels.
type stopper struct{ gateway *Gateway }

// OptOut is guest.Desk's.
func (s stopper) OptOut(ctx context.Context, who latchkey.Identifier) error {
	return s.gateway.desk.OptOut(ctx, who)
}

// OptIn is guest.Desk's.
func (s stopper) OptIn(ctx context.Context, who latchkey.Identifier) error {
	return s.gateway.desk.OptIn(ctx, who)
}

// optOutLink is where the recipient of a notice stops all invitations.
func (g *Gateway) optOutLink(ctx context.Context, n latchkey.Notice) (string, error) {
	who, err := latchkey.ParseIdentifier(n.Recipient)
	if err != nil {
		return "", err
	}
	return g.desk.OptOutLink(ctx, n.Account, who)
}
