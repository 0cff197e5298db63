package conversation

import (
	"context"
	"math/rand/v2"
	"time"

	"latchkey"
)

const (
	// resumeLease is how long one relation holds a place among those that Resume has calling. A phone that rings for a
	// minute does not keep the others waiting.
	resumeLease = 4 * time.Second
	// resumeJitter spreads what follows, so that gateways that were restarted together don't call in step.
	resumeJitter = 100 * time.Millisecond
)

// Resume takes up what a restart interrupted: all that waits goes out, under the ids that it had. It returns at once; the
// calls begin Options.ResumeAtOnce at a time, since the core has its own morning after. What a guest does
// meanwhile waits for none of that.
func (h *Hall) Resume(ctx context.Context) error {
	relations, err := h.store.Busy(ctx)
	rand.Shuffle(len(relations), func(i, j int) { relations[i], relations[j] = relations[j], relations[i] })
	waiting := make(chan latchkey.Relation, len(relations))
	for _, rel := range relations {
		waiting <- rel
	}
	close(waiting)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return err
	}
	for range min(h.opt.ResumeAtOnce, len(relations)) {
		h.running.Go(func() { h.resume(waiting) }) // ends with the list, or with Shutdown
	}
	return err
}

// resume takes up one relation after the other.
func (h *Hall) resume(waiting <-chan latchkey.Relation) {
	for rel := range waiting {
		tried := make(chan struct{})
		if !h.attempt(rel, tried) {
			return // what waits is taken up after the restart
		}
		lease := time.NewTimer(resumeLease)
		select {
		case <-tried:
		case <-lease.C:
		case <-h.draining:
		}
		lease.Stop()
		select {
		case <-time.After(rand.N(resumeJitter)):
		case <-h.draining:
			return
		}
	}
}

// attempt lets a room look at the store and closes tried when what it found was sent or could not be. False:
// nothing begins any more.
func (h *Hall) attempt(rel latchkey.Relation, tried chan<- struct{}) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	r, err := h.room(rel)
	if err != nil {
		return false
	}
	r.look()
	// A mailbox that is full belongs to a room that is busy enough.
	if r.offer(func(r *room) { r.tried = append(r.tried, tried) }) != nil {
		close(tried)
	}
	return true
}

// tell lets go of those who wait for the first attempt.
func (r *room) tell() {
	for _, tried := range r.tried {
		close(tried)
	}
	r.tried = nil
}
