package limit

import (
	"context"
	"sync"
)

// Turns gives each name to a few flows at a time, and remembers only names that somebody has or waits for. A flow talks to others and
// may take seconds, so waiting for a turn ends with the waiter's context, too.
type Turns[K comparable] struct {
	most  int
	mu    sync.Mutex
	taken map[K]*turn
}

type turn struct {
	free    chan struct{} // holds a token for each flow more that may have the turn
	holders int           // who have it or wait for it
}

// NewTurns makes Turns for so many flows of one name.
func NewTurns[K comparable](most int) *Turns[K] { return &Turns[K]{most: most, taken: map[K]*turn{}} }

// Take waits for the name's turn. release gives it on and must be called once.
func (t *Turns[K]) Take(ctx context.Context, name K) (release func(), err error) {
	t.mu.Lock()
	w := t.taken[name]
	if w == nil {
		w = &turn{free: make(chan struct{}, t.most)}
		for range t.most {
			w.free <- struct{}{}
		}
		t.taken[name] = w
	}
	w.holders++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if w.holders--; w.holders == 0 {
			delete(t.taken, name)
		}
	}
	select {
	case <-w.free:
		return func() { w.free <- struct{}{}; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
