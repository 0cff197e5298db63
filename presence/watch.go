package presence

import (
	"slices"
	"time"

	"latchkey"
)

// watch is one person who is watched, on behalf of everybody who watches them. Its fields
// are guarded by Board.mu.
type watch struct {
	name     string // in Board.watches
	watchers []*watcher
	last     latchkey.Status
	known    bool          // last is set
	stop     chan struct{} // closed when the last watcher leaves, or by Board.Close
	news     chan bool     // ends the period early; true: by a question. It holds the newest
}

// watcher is one who is told of changes.
type watcher struct {
	from latchkey.AccountID
	news func(latchkey.Status)
}

// Watch has news told the state of of: as it is at first, where that is known, and then each change (R24, F26c). All watchers of one
// person share the questions, and those are asked by an account that watches at the time. news must neither wait nor call the Board; it
// is not called any more when stop has returned.
func (b *Board) Watch(from latchkey.AccountID, of latchkey.Address, news func(latchkey.Status)) (stop func()) {
	me := &watcher{from, news}
	name := of.String()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return func() {}
	}
	w := b.watches[name]
	if w == nil {
		w = &watch{name: name, stop: make(chan struct{}), news: make(chan bool, 1)}
		w.last, w.known = b.recent(name)
		b.watches[name] = w
		known := w.known
		b.running.Go(func() { b.poll(w, of, known) }) // ends when w.stop is closed
	}
	w.watchers = append(w.watchers, me)
	if w.known {
		news(w.last)
	}
	return func() { b.leave(w, me) }
}

// leave takes a watcher off, and with the last one the watch.
func (b *Board) leave(w *watch, me *watcher) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(w.watchers, me)
	if i < 0 {
		return
	}
	w.watchers = slices.Delete(w.watchers, i, i+1) // in place: thousands may leave at once
	if len(w.watchers) == 0 && b.watches[w.name] == w {
		delete(b.watches, w.name)
		close(w.stop)
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
		me.news(s)
	}
	return true
}
