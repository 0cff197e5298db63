package gateway

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"latchkey"
	"latchkey/conversation"
	"latchkey/internal/limit"
	"latchkey/notify"
	"latchkey/notify/wording"
	"latchkey/storage"
)

// outcomeBox is the outbox of what inviters are told about their invitations, for a courier of its own: an outcome is kept, tried again
// and ticked off as an invitation is.
type outcomeBox struct{ db *storage.DB }

// ClaimNotices gives outcomes that are due, as notices to be brought to the chat.
func (b outcomeBox) ClaimNotices(ctx context.Context, channel latchkey.Channel, now, again time.Time, limit int) ([]latchkey.Notice, error) {
	claimed, err := b.db.ClaimOutcomes(ctx, now, again, limit)
	notices := make([]latchkey.Notice, len(claimed))
	for i, o := range claimed {
		notices[i] = latchkey.Notice{ID: string(o.ID), Relation: o.Relation, Channel: channel, Created: o.Created, Expires: o.Expires, Attempts: o.Attempts}
	}
	return notices, err
}

// NextNotice is when the next one is due.
func (b outcomeBox) NextNotice(ctx context.Context, _ latchkey.Channel) (time.Time, error) {
	return b.db.NextOutcome(ctx)
}

// RetryNotice plans the next attempt.
func (b outcomeBox) RetryNotice(ctx context.Context, id string, due time.Time, _ string) error {
	return b.db.RetryOutcome(ctx, latchkey.MessageID(id), due)
}

// EndNotice ticks it off. One that could not be told is in the inviter's list all the same.
func (b outcomeBox) EndNotice(ctx context.Context, id string, _ latchkey.NotificationState, _ string) error {
	return b.db.EndOutcome(ctx, latchkey.MessageID(id))
}

// NoticesWaiting is how many there are, and since when the oldest waits.
func (b outcomeBox) NoticesWaiting(ctx context.Context, _ latchkey.Channel) (int, time.Time, error) {
	return b.db.OutcomesWaiting(ctx)
}

// chatChannel tells inviters in their chats what became of their invitations.
type chatChannel struct {
	db    *storage.DB
	hall  *conversation.Hall
	texts *wording.Book
	turns *limit.Turns[string] // by inviter
}

// One phone that is silent has a few of the teller's workers at most, and others for a moment.
const (
	tellers    = 32
	tellersOne = 2 // of one inviter
	tellWait   = time.Second
)

// Deliver tells one outcome. A repeat has the same Message-ID.
func (c chatChannel) Deliver(ctx context.Context, n latchkey.Notice) error {
	o, err := c.db.Outcome(ctx, latchkey.MessageID(n.ID))
	if latchkey.Is(err, latchkey.KindNotFound) {
		return nil // the relation is over, and with it what there was to tell
	}
	if err != nil {
		return err
	}
	rel, err := c.db.Relation(ctx, o.Relation)
	if latchkey.Is(err, latchkey.KindNotFound) || err == nil && rel.Ending() {
		return nil
	}
	if err != nil {
		return err
	}
	word, err := c.texts.Outcome(o.Language, o.Recipient, o.State, o.Reason)
	if err != nil {
		return &notify.Failure{Reason: "the outcome can't be worded", Permanent: true, Err: err}
	}
	release, err := c.turn(ctx, rel.Inviter)
	if err != nil {
		return &notify.Failure{Reason: "the inviter is being told something else", Err: err}
	}
	defer release()
	err = c.hall.Convey(ctx, rel, o.ID, word)
	if refused, ok := errors.AsType[*conversation.CallRefused](err); ok {
		// Who has no phone that takes messages sees it in their list.
		return &notify.Failure{Reason: "the inviter's side does not take it", Permanent: refused.Final(), Err: err}
	}
	return err
}

// turn waits for a moment until fewer outcomes are on their way to an inviter.
func (c chatChannel) turn(ctx context.Context, who latchkey.InviterID) (release func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, tellWait)
	defer cancel()
	return c.turns.Take(ctx, string(who))
}

// newTeller makes the courier of outcomes.
func newTeller(db *storage.DB, hall *conversation.Hall, texts *wording.Book, log *slog.Logger) *notify.Courier {
	return notify.New(outcomeBox{db}, map[latchkey.Channel]notify.Channel{latchkey.InChat: chatChannel{db, hall, texts, limit.NewTurns[string](tellersOne)}},
		notify.Options{Workers: tellers, Log: log})
}

// soon is within what time an outcome is told anyway, or is being told: none is hastened that is due by then.
const soon = 2 * time.Minute

// returned is told of somebody who is there again: what waits for them goes out now. It doesn't wait.
func (g *Gateway) returned(who latchkey.Address) {
	g.hall.Returned(who)
	g.present(who)
}

// wrote is told of an inviter from whom something came: they are there. It doesn't wait.
func (g *Gateway) wrote(who latchkey.InviterID) {
	if _, first := g.writers.Take(string(who)); first {
		g.present(who.Address())
	}
}

// present has the teller reminded of an inviter. If there are too many, what is owed to some comes in its time.
func (g *Gateway) present(who latchkey.Address) {
	select {
	case g.back <- who:
	default:
	}
}

// remind has outcomes told soon to those who are there again, until ctx ends.
func (g *Gateway) remind(ctx context.Context) error {
	for {
		select {
		case who := <-g.back:
			now := time.Now()
			n, err := g.db.HastenOutcomes(ctx, latchkey.InviterID(who.Identity()), who.Number(), now, now.Add(soon))
			if err != nil && ctx.Err() == nil {
				g.log.Warn("outcomes not hastened", latchkey.LogInviter, who.Identity(), latchkey.LogError, err)
			}
			if n > 0 {
				g.teller.Load().Wake()
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// noticeEnded is told by the store, which must not wait, that there is an outcome.
func (g *Gateway) noticeEnded(string) {
	if teller := g.teller.Load(); teller != nil {
		teller.Wake()
	}
}
