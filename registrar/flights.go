package registrar

import (
	"context"
	"sync"
	"time"

	"latchkey"
)

// flights lets callers who want the same thing for one account share one act.
type flights struct {
	mu sync.Mutex
	of map[latchkey.AccountID]*flight
}

type flight struct {
	landed    chan struct{} // closed by the caller that acts
	err       error
	abandoned bool // the one who acted gave up; the result is nobody else's
}

// share runs f, or waits for the f of another caller and returns its error.
func (f *flights) share(ctx context.Context, account latchkey.AccountID, act func() error) error {
	for {
		f.mu.Lock()
		if f.of == nil {
			f.of = map[latchkey.AccountID]*flight{}
		}
		other := f.of[account]
		if other == nil {
			break
		}
		f.mu.Unlock()
		select {
		case <-other.landed:
			if !other.abandoned {
				return other.err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	mine := &flight{landed: make(chan struct{}), abandoned: true}
	f.of[account] = mine
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.of, account)
		f.mu.Unlock()
		close(mine.landed)
	}()
	mine.err = act()
	mine.abandoned = ctx.Err() != nil
	return mine.err
}

// holds remembers which servers asked to be left alone: RFC 3261 §21.5.4, no other request
// goes to a server before its Retry-After is over.
type holds struct {
	mu    sync.Mutex
	until map[latchkey.Server]time.Time
}

func (h *holds) set(s latchkey.Server, until time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.until == nil {
		h.until = map[latchkey.Server]time.Time{}
	}
	h.until[s] = until
}

func (h *holds) left(s latchkey.Server, now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return max(0, h.until[s].Sub(now))
}
