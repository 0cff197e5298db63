package msrp

import "latchkey/internal/doze"

const canSleep = doze.Can

// sleep lets the connection wait without a goroutine. False: that can't be, and the caller is its reader still.
func (c *conn) sleep(on *socket) bool {
	if !c.nap.Begin(on.raw, c) {
		return false
	}
	select {
	case <-c.done: // close may have come before the nap
		return !c.nap.End()
	default:
		return true
	}
}

// Wake begins to read again.
func (c *conn) Wake() { c.read(true) } // ends with close, or sleeps again
