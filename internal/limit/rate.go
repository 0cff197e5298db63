package limit

import (
	"sync"
	"time"
)

// burst is for how many seconds' worth a Rate saves what a key doesn't use.
const burst = 10

// Rate lets a key have so many events a second in the long run, and ten seconds' worth at once.
type Rate struct {
	perSecond float64
	keys      int

	mu   sync.Mutex
	left map[string]allowance
}

// allowance is what a key may still have, as it was at a time.
type allowance struct {
	n  float64
	at time.Time
}

// NewRate makes a Rate that remembers at most keys keys; those beyond are forgotten, as if they were new. One of 0 a second is nil, which
// allows everything.
func NewRate(perSecond float64, keys int) *Rate {
	if perSecond <= 0 {
		return nil
	}
	return &Rate{perSecond: perSecond, keys: max(keys, 1), left: map[string]allowance{}}
}

// Take counts an event for key, or tells how long to wait until the next is allowed.
func (r *Rate) Take(key string) (wait time.Duration, ok bool) {
	if r == nil {
		return 0, true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	a, known := r.left[key]
	if !known {
		if len(r.left) >= r.keys {
			r.makeRoom(now)
		}
		a = allowance{max(burst*r.perSecond, 1), now}
	}
	a.n, a.at = r.now(a, now), now
	if ok = a.n >= 1; ok {
		a.n--
	} else {
		wait = time.Duration((1 - a.n) / r.perSecond * float64(time.Second))
	}
	r.left[key] = a
	return wait, ok
}

// now is what an allowance has grown to.
func (r *Rate) now(a allowance, now time.Time) float64 {
	return min(a.n+now.Sub(a.at).Seconds()*r.perSecond, max(burst*r.perSecond, 1))
}

// makeRoom forgets keys of a sample that have all of their allowance, or else the one that was seen first.
func (r *Rate) makeRoom(now time.Time) {
	const sample = 64
	oldest, looked := "", 0
	for key, a := range r.left {
		if r.now(a, now) >= burst*r.perSecond {
			delete(r.left, key)
		} else if oldest == "" || a.at.Before(r.left[oldest].at) {
			oldest = key
		}
		if looked++; looked == sample {
			break
		}
	}
	if len(r.left) >= r.keys {
		delete(r.left, oldest)
	}
}
