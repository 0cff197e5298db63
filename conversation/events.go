package conversation

import (
	"context"
	"slices"
	"time"

	"latchkey"
)

// audience is who listens to one account.
type audience struct {
	streams   int // by Present
	listeners []*listener
}

// listener is one call of Listen.
type listener struct{ news func(closing error) }

// Post adds an event to a guest's stream and wakes those who wait for it.
func (h *Hall) Post(ctx context.Context, e latchkey.Event) error {
	if e.Time.IsZero() {
		e.Time = time.Now().UTC()
	}
	if _, err := h.store.AddEvent(ctx, e); err != nil {
		return err
	}
	h.wakeStreams(e.Account)
	return nil
}

// Events lists the events after a number, oldest first.
func (h *Hall) Events(ctx context.Context, account latchkey.AccountID, after int64, limit int) ([]latchkey.Event, error) {
	return h.store.Events(ctx, account, after, limit)
}

// Over reports whether the guest has no relation any more, and the events say so of each that they had: no more
// will come.
func (h *Hall) Over(ctx context.Context, account latchkey.AccountID) (bool, error) {
	return h.store.ConversationsOver(ctx, account)
}

// Listen has news called whenever events were added for the account, until stop; a call that is under way may outlast that. When the hall
// closes, news is called with the error that says so, which Listen itself gives after that. news must not wait.
func (h *Hall) Listen(account latchkey.AccountID, news func(closing error)) (stop func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, errRestarting()
	}
	a, me := h.audience(account), &listener{news}
	a.listeners = append(a.listeners, me)
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if i := slices.Index(a.listeners, me); i >= 0 {
			a.listeners = slices.Delete(a.listeners, i, i+1)
		}
		h.tidy(account, a)
	}, nil
}

// Wait returns when there may be events after the number, or with ctx's error.
func (h *Hall) Wait(ctx context.Context, account latchkey.AccountID, after int64) error {
	more := make(chan error, 1)
	stop, err := h.Listen(account, func(closing error) {
		select {
		case more <- closing:
		default:
		}
	})
	if err != nil {
		return err
	}
	defer stop()
	// Looked up after Listen, so that nothing falls between; on a stack of its own, since the query needs a deep one
	// and thousands may wait here for hours.
	var there bool
	looked := make(chan struct{})
	go func() { // ends with the query
		defer close(looked)
		var events []latchkey.Event
		events, err = h.store.Events(ctx, account, after, 1)
		there = len(events) > 0
	}()
	if <-looked; err != nil || there {
		return err
	}
	select {
	case err := <-more:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Present notes that a stream of the guest came (+1) or went (-1).
func (h *Hall) Present(account latchkey.AccountID, delta int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.audience(account)
	a.streams += delta
	h.tidy(account, a)
}

// Online reports whether the guest has a stream attached.
func (h *Hall) Online(account latchkey.AccountID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.streams[account]
	return a != nil && a.streams > 0
}

// audience needs h.mu.
func (h *Hall) audience(account latchkey.AccountID) *audience {
	a := h.streams[account]
	if a == nil {
		a = &audience{}
		h.streams[account] = a
	}
	return a
}

// tidy needs h.mu.
func (h *Hall) tidy(account latchkey.AccountID, a *audience) {
	if a.streams <= 0 && len(a.listeners) == 0 && h.streams[account] == a {
		delete(h.streams, account)
	}
}

func (h *Hall) wakeStreams(account latchkey.AccountID) {
	h.mu.Lock()
	var listeners []*listener
	if a := h.streams[account]; a != nil {
		listeners = slices.Clone(a.listeners)
	}
	h.mu.Unlock()
	for _, l := range listeners {
		l.news(nil)
	}
}

// dismiss tells all who listen that the hall closes.
func (h *Hall) dismiss() {
	h.mu.Lock()
	var listeners []*listener
	for _, a := range h.streams {
		listeners = append(listeners, a.listeners...)
	}
	h.mu.Unlock()
	for _, l := range listeners {
		l.news(errRestarting())
	}
}

// Ack notes that the guest's client has everything up to the event: only now an inviter's message
// counts as delivered, and the notification that was asked for is owed (PROTOCOLS B3.10).
func (h *Hall) Ack(ctx context.Context, account latchkey.AccountID, upTo int64) error {
	relations, err := h.store.Acknowledge(ctx, account, upTo)
	if err != nil {
		return err
	}
	for _, rel := range relations {
		h.nudge(rel)
	}
	return nil
}

// Read notes that the guest has read a message, and what was before it.
func (h *Hall) Read(ctx context.Context, account latchkey.AccountID, id latchkey.MessageID) error {
	rel, err := h.store.Displayed(ctx, account, id)
	if err == nil && rel.ID != "" {
		h.nudge(rel)
	}
	return err
}

// History lists the newest messages between the two before a message, oldest first.
func (h *Hall) History(ctx context.Context, account latchkey.AccountID, with latchkey.InviterID, before latchkey.MessageID, limit int) ([]latchkey.Message, error) {
	return h.store.History(ctx, account, with, before, limit)
}
