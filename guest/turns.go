package guest

import (
	"context"
	"sync"
)

// turns gives each name to one flow at a time. A flow talks to the core and may take seconds, so
// waiting for a turn ends with the waiter's context, too.
type turns struct {
	mu    *sync.Mutex
	taken map[string]*turn
}

type turn struct {
	free    chan struct{} // holds one token while nobody has the turn
	holders int           // who have it or wait for it
}

func newTurns() turns { return turns{mu: new(sync.Mutex), taken: map[string]*turn{}} }

// take waits for the name's turn. release gives it on and must be called once.
func (t turns) take(ctx context.Context, name string) (release func(), err error) {
	t.mu.Lock()
	w := t.taken[name]
	if w == nil {
		w = &turn{free: make(chan struct{}, 1)}
		w.free <- struct{}{}
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
