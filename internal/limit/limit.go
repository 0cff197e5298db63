// Package limit slows down those who guess. It keeps counts in memory only, bounded in size,
// and decides by them; it never sees a password. Turns keeps flows of one name apart. Start with Guard.
package limit

import (
	"sync"
	"time"
)

// Window lets a key have at most Max events in any Length of time.
type Window struct {
	Max    int
	Length time.Duration

	keys int // how many keys are remembered at most

	mu   sync.Mutex
	seen map[string][]time.Time // ascending, at most Max
}

// NewWindow makes a Window that remembers at most keys keys. When more are in use at once, the
// oldest of a sample are forgotten: memory stays bounded whatever is thrown at it.
func NewWindow(limit int, length time.Duration, keys int) *Window {
	return &Window{Max: limit, Length: length, keys: max(keys, 1), seen: map[string][]time.Time{}}
}

// Take counts an event for key, or tells how long to wait until the next is allowed.
func (w *Window) Take(key string) (wait time.Duration, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	times := w.recent(key, now)
	if len(times) >= w.Max {
		w.seen[key] = times
		return times[len(times)-w.Max].Add(w.Length).Sub(now), false
	}
	if _, known := w.seen[key]; !known && len(w.seen) >= w.keys {
		w.makeRoom(now)
	}
	w.seen[key] = append(times, now)
	return 0, true
}

// Wait tells how long key must wait until Take allows an event; 0: not at all.
func (w *Window) Wait(key string) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	times := w.recent(key, now)
	if len(times) < w.Max {
		return 0
	}
	return times[len(times)-w.Max].Add(w.Length).Sub(now)
}

// Return takes back the latest event of key.
func (w *Window) Return(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.seen[key]); n > 1 {
		w.seen[key] = w.seen[key][:n-1]
	} else {
		delete(w.seen, key)
	}
}

// recent are the events of key that still count.
func (w *Window) recent(key string, now time.Time) []time.Time {
	times := w.seen[key]
	for len(times) > 0 && !now.Before(times[0].Add(w.Length)) {
		times = times[1:]
	}
	return times
}

// makeRoom forgets keys whose events no longer count, or else the oldest of a few.
func (w *Window) makeRoom(now time.Time) {
	const sample = 64
	oldest, looked := "", 0
	var last time.Time
	for key, times := range w.seen {
		t := times[len(times)-1]
		if !now.Before(t.Add(w.Length)) {
			delete(w.seen, key)
		} else if oldest == "" || t.Before(last) {
			oldest, last = key, t
		}
		if looked++; looked == sample {
			break
		}
	}
	if len(w.seen) >= w.keys {
		delete(w.seen, oldest)
	}
}
