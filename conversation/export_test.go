package conversation

import "latchkey"

// Rooms counts the loops that run.
func (h *Hall) Rooms() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.rooms)
}

// Audiences counts the accounts that somebody listens to.
func (h *Hall) Audiences() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.streams)
}

// Block occupies a relation's loop until release is closed, and tells how many more posts fit.
func (h *Hall) Block(rel latchkey.Relation, release chan struct{}) error {
	_, err := h.post(rel, func(*room) { <-release })
	return err
}

// Fill posts nothing until the mailbox is full.
func (h *Hall) Fill(rel latchkey.Relation) (n int, err error) {
	for {
		if _, err = h.post(rel, func(*room) {}); err != nil {
			return n, err
		}
		n++
	}
}
