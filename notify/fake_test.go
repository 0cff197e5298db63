package notify_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"latchkey"
)

// outbox is a Store in memory.
type outbox struct {
	mu      sync.Mutex
	rows    map[string]*row
	most    int   // notices that one call gave at most
	broken  error // what every call answers
	noTicks error // what EndNotice and RetryNotice answer

	hastened int // calls of HastenNotices
}

type row struct {
	latchkey.Notice
	state  latchkey.NotificationState
	reason string
	due    time.Time
}

func newOutbox() *outbox { return &outbox{rows: map[string]*row{}} }

// queue puts n notices for a channel into the outbox, due one after the other.
func (o *outbox) queue(channel latchkey.Channel, n int) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	ids, now := []string{}, time.Now()
	for range n {
		id := fmt.Sprintf("%s-%05d", channel, len(o.rows))
		due := now.Add(time.Duration(len(ids)-n) * time.Microsecond)
		o.rows[id] = &row{Notice: latchkey.Notice{ID: id, Relation: latchkey.RelationID("r" + id), Channel: channel, Created: due, Expires: now.Add(168 * time.Hour)},
			state: latchkey.NotificationQueued, due: due}
		ids = append(ids, id)
	}
	return ids
}

func (o *outbox) ClaimNotices(_ context.Context, channel latchkey.Channel, now, again time.Time, limit int) ([]latchkey.Notice, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.broken != nil {
		return nil, o.broken
	}
	var due []*row
	for _, r := range o.rows {
		if r.Channel == channel && r.state == latchkey.NotificationQueued && !r.due.After(now) {
			due = append(due, r)
		}
	}
	slices.SortFunc(due, func(a, b *row) int { return cmp.Or(a.due.Compare(b.due), cmp.Compare(a.ID, b.ID)) })
	var claimed []latchkey.Notice
	for _, r := range due[:min(limit, len(due))] {
		r.due = again
		r.Attempts++
		claimed = append(claimed, r.Notice)
	}
	o.most = max(o.most, len(claimed))
	return claimed, nil
}

func (o *outbox) NextNotice(_ context.Context, channel latchkey.Channel) (next time.Time, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range o.rows {
		if r.Channel == channel && r.state == latchkey.NotificationQueued && (next.IsZero() || r.due.Before(next)) {
			next = r.due
		}
	}
	return next, o.broken
}

func (o *outbox) NoticesWaiting(_ context.Context, channel latchkey.Channel) (n int, oldest time.Time, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range o.rows {
		if r.Channel == channel && r.state == latchkey.NotificationQueued {
			if n++; oldest.IsZero() || r.Created.Before(oldest) {
				oldest = r.Created
			}
		}
	}
	return n, oldest, o.broken
}

func (o *outbox) RetryNotice(ctx context.Context, id string, due time.Time, reason string) error {
	return o.tick(ctx, id, func(r *row) { r.due, r.reason = due, reason })
}

func (o *outbox) HastenNotices(_ context.Context, channel latchkey.Channel, reason string, now, after time.Time, share int) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.hastened++
	for _, r := range o.rows {
		if r.Channel == channel && r.state == latchkey.NotificationQueued && r.reason == reason && r.due.After(after) {
			r.due = now.Add(r.due.Sub(now) / time.Duration(share))
		}
	}
	return nil
}

func (o *outbox) NoticesWait(_ context.Context, channel latchkey.Channel, reason string) (bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range o.rows {
		if r.Channel == channel && r.state == latchkey.NotificationQueued && r.reason == reason {
			return true, o.broken
		}
	}
	return false, o.broken
}

func (o *outbox) EndNotice(ctx context.Context, id string, state latchkey.NotificationState, reason string) error {
	return o.tick(ctx, id, func(r *row) { r.state, r.reason, r.Link = state, reason, "" })
}

func (o *outbox) tick(ctx context.Context, id string, change func(*row)) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := errors.Join(ctx.Err(), o.broken, o.noTicks); err != nil {
		return err
	}
	if r := o.rows[id]; r.state == latchkey.NotificationQueued {
		change(r)
	}
	return nil
}

func (o *outbox) fail(broken, noTicks error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.broken, o.noTicks = broken, noTicks
}

func (o *outbox) row(id string) row {
	o.mu.Lock()
	defer o.mu.Unlock()
	return *o.rows[id]
}

func (o *outbox) want(t *testing.T, id string, state latchkey.NotificationState, reason string) {
	t.Helper()
	if r := o.row(id); r.state != state || r.reason != reason {
		t.Errorf("%s is %s (%q), want %s (%q)", id, r.state, r.reason, state, reason)
	}
}

// post is a Channel that remembers what it delivered and when.
type post struct {
	mu      sync.Mutex
	got     []string
	at      []time.Time
	running int
	most    int // deliveries at once
	answer  func(ctx context.Context, n latchkey.Notice) error
}

func (p *post) Deliver(ctx context.Context, n latchkey.Notice) error {
	p.mu.Lock()
	p.got, p.at = append(p.got, n.ID), append(p.at, time.Now())
	p.running++
	p.most = max(p.most, p.running)
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.running--
	}()
	if p.answer == nil {
		return nil
	}
	return p.answer(ctx, n)
}

func (p *post) delivered() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.got)
}
