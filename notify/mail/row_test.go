package mail

import (
	"context"
	"sync"
	"time"

	"latchkey"
)

// row is a notify.Store with one notice.
type row struct {
	mu     sync.Mutex
	n      latchkey.Notice
	due    time.Time
	state  latchkey.NotificationState // "": queued
	reason string
}

func (r *row) ClaimNotices(_ context.Context, _ latchkey.Channel, now, again time.Time, _ int) ([]latchkey.Notice, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != "" || r.due.After(now) {
		return nil, nil
	}
	r.due = again
	r.n.Attempts++
	return []latchkey.Notice{r.n}, nil
}

func (r *row) NextNotice(context.Context, latchkey.Channel) (time.Time, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.due, nil
}

func (r *row) NoticesWaiting(context.Context, latchkey.Channel) (int, time.Time, error) {
	return 0, time.Time{}, nil
}

func (r *row) RetryNotice(_ context.Context, _ string, due time.Time, reason string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.due, r.reason = due, reason
	return nil
}

func (r *row) EndNotice(_ context.Context, _ string, state latchkey.NotificationState, reason string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state, r.reason, r.due = state, reason, time.Time{}
	return nil
}

func (r *row) now() (latchkey.NotificationState, string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state == "" {
		return latchkey.NotificationQueued, r.reason
	}
	return r.state, r.reason
}
