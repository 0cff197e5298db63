package sipua

import (
	"sync"
	"time"
)

// resting are transactions that wait for their last timer, which is the same for many: J, L and M, or I and K. Each such time is a line that
// they stand in, with one timer of the runtime for all.
type resting struct {
	mu     sync.Mutex
	lines  []*line
	closed bool
}

// line is the transactions that rest for the same time, in the order of their ends.
type line struct {
	time  time.Duration
	queue []rest
	timer *time.Timer // while somebody is in it
}

type rest struct {
	until time.Time
	tx    interface{ rested() }
}

// add has tx.rested called, on a goroutine of the runtime's, when that time is over.
func (r *resting) add(d time.Duration, tx interface{ rested() }) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	var l *line
	for _, known := range r.lines {
		if known.time == d {
			l = known
		}
	}
	if l == nil {
		l = &line{time: d}
		r.lines = append(r.lines, l)
	}
	l.queue = append(l.queue, rest{time.Now().Add(d), tx})
	if l.timer == nil {
		l.timer = time.AfterFunc(d, func() { r.wake(l) })
	}
}

// pause is how much longer somebody may rest, so that many are woken at once.
const pause = 50 * time.Millisecond

func (r *resting) wake(l *line) {
	var up []rest
	r.mu.Lock()
	now := time.Now()
	n := 0
	for n < len(l.queue) && !l.queue[n].until.After(now) {
		n++
	}
	up = append(up, l.queue[:n]...)
	clear(l.queue[:n])
	switch l.queue = l.queue[n:]; {
	case r.closed:
	case len(l.queue) == 0:
		l.queue, l.timer = nil, nil
	default:
		l.timer.Reset(max(l.queue[0].until.Sub(now), min(pause, l.time/8)))
	}
	r.mu.Unlock()
	for _, t := range up {
		t.tx.rested()
	}
}

// close ends all waiting.
func (r *resting) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, l := range r.lines {
		if l.timer != nil {
			l.timer.Stop()
		}
		l.queue = nil
	}
}
