package presence

import (
	"context"
	"slices"
	"time"

	"latchkey"
)

// watch is one person who is watched, on behalf of everybody who watches them. Its fields
// are guarded by Board.mu.
type watch struct {
	watchers []*watcher
	last     latchkey.Status
	known    bool          // last is set
	stop     chan struct{} // closed when the last watcher leaves, or by Board.Close
	news     chan bool     // ends the period early; true: by a question. It holds the newest
}

// watcher is one reader of changes.
type watcher struct {
	from    latchkey.AccountID
	changes chan latchkey.Status // holds the newest that was not read; closed when the watcher leaves
	sent    latchkey.Status      // what stands in changes or was read last
	before  latchkey.Status      // what was read before sent
}

// Watch tells the state of of: as it is at first, and then each change (R24, F26c). A reader
// who is slow misses states that are over, never the newest. The channel is closed when
// ctx ends. All watchers of one person share the questions, and those are asked by an
// account that watches at the time.
func (b *Board) Watch(ctx context.Context, from latchkey.AccountID, of latchkey.Address) <-chan latchkey.Status {
	me := &watcher{from: from, changes: make(chan latchkey.Status, 1)}
	name := of.String()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		close(me.changes)
		return me.changes
	}
	w := b.watches[name]
	if w == nil {
		w = &watch{stop: make(chan struct{}), news: make(chan bool, 1)}
		w.last, w.known = b.recent(name)
		b.watches[name] = w
		known := w.known
		b.running.Go(func() { b.poll(w, of, known) }) // ends when w.stop is closed
	}
	w.watchers = append(w.watchers, me)
	if w.known {
		me.tell(w.last)
	}
	context.AfterFunc(ctx, func() { b.leave(w, name, me) })
	return me.changes
}

// leave takes a watcher off, and with the last one the watch.
func (b *Board) leave(w *watch, name string, me *watcher) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, other := range w.watchers {
		if other != me {
			continue
		}
		w.watchers = slices.Delete(w.watchers, i, i+1) // in place: thousands may leave at once
		close(me.changes)
		if len(w.watchers) == 0 && b.watches[name] == w {
			delete(b.watches, name)
			close(w.stop)
		}
		return
	}
}

// poll asks once a period until the watch stops; the first time at once, unless that is known.
func (b *Board) poll(w *watch, of latchkey.Address, known bool) {
	tick := time.NewTicker(b.opt.Period)
	defer tick.Stop()
	for {
		b.mu.Lock()
		if len(w.watchers) > 0 && !known {
			_, _ = b.probe(w.watchers[0].from, of) // the answer is told to w; an error means that the Board is closing
		}
		b.mu.Unlock()
		known = false
		select {
		case <-tick.C:
		case ask := <-w.news:
			known = !ask
			tick.Reset(b.opt.Period)
		case <-w.stop:
			b.mu.Lock()
			for _, me := range w.watchers { // by Close: the others have left
				close(me.changes)
			}
			w.watchers = nil
			b.mu.Unlock()
			return
		}
	}
}

// tell passes a change on to all watchers, and reports whether it is one. Board.mu is held.
func (w *watch) tell(s latchkey.Status) bool {
	if w.known && w.last.Same(s) {
		return false
	}
	w.last, w.known = s, true
	for _, me := range w.watchers {
		me.tell(s)
	}
	return true
}

// tell replaces what was not read yet. A state that the reader knows already is not told.
func (me *watcher) tell(s latchkey.Status) {
	select {
	case <-me.changes:
	default:
		me.before = me.sent
	}
	me.sent = me.before
	if !me.before.Same(s) {
		me.sent = s
		me.changes <- s
	}
}
