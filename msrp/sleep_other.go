//go:build !linux

package msrp

const canSleep = false

// sleep is for systems on which a connection can wait without a goroutine.
func (c *conn) sleep(*socket) bool { return false }
