package conversation

import (
	"time"

	"latchkey"
)

// Returned is told of somebody who has come online: what waits for them goes out now and not at the next attempt (F34). It may be
// called for anybody.
func (h *Hall) Returned(who latchkey.Address) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	for _, r := range h.rooms {
		if r.rel.Names(who) {
			_ = r.offer((*room).returned) // too busy to hear it: not one that waits
		}
	}
}

// returned ends the wait of a room that could not reach its inviter, or that of the attempt under way if it fails.
func (r *room) returned() {
	r.seen = r.dialing != nil || r.worker != nil
	if r.retries > 0 {
		r.earliest = time.Time{}
		r.wake()
	}
}
