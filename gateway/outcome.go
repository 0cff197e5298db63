package gateway

import (
	"context"

	"latchkey"
	"latchkey/guest"
)

// maxOutcomes bounds the outcomes of invitations that wait to be told. One that finds no room is not: it is in the inviter's list all the same.
const maxOutcomes = 4096

// noticeEnded takes the id of a notice that was delivered or has failed, from the store, which must not wait.
func (g *Gateway) noticeEnded(notice string) {
	select {
	case g.outcomes <- notice:
	default:
	}
}

// tellOutcomes tells inviters in their chats what became of their invitations, until ctx ends.
func (g *Gateway) tellOutcomes(ctx context.Context) error {
	for {
		select {
		case notice := <-g.outcomes:
			if err := g.tellOutcome(ctx, notice); err != nil && ctx.Err() == nil && !latchkey.Is(err, latchkey.KindNotFound) {
				g.log.Warn("outcome of an invitation not told", latchkey.LogError, err)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func (g *Gateway) tellOutcome(ctx context.Context, notice string) error {
	n, state, reason, err := g.db.NoticeEnd(ctx, notice)
	if err != nil {
		return err
	}
	rel, err := g.db.Relation(ctx, n.Relation)
	if err != nil || rel.Ending() {
		return err
	}
	if word := guest.Outcome(n.Language, n.Recipient, state, reason); word != "" {
		g.hall.Tell(rel, word)
	}
	return nil
}
