package directory

import (
	"sync"
	"time"
)

// When the circuit opens, and for how long.
const (
	tripAfter = 5 // failures in a row
	firstRest = time.Second
	maxRest   = 30 * time.Second
)

// circuit leaves a directory alone that has failed several times in a row: whoever asks meanwhile is told at once, instead
// of waiting for one more timeout. After the rest one request tries; its success closes the circuit, its failure
// doubles the rest.
type circuit struct {
	mu      sync.Mutex
	faults  int       // in a row
	until   time.Time // no request before it
	rest    time.Duration
	probing bool // the one request is under way
}

// change is what a request's end did to the circuit.
type change int

const (
	unchanged change = iota
	opened
	closed
)

// enter asks for leave to send a request, or tells how long to wait. leave must follow where it is given.
func (c *circuit) enter(now time.Time) (wait time.Duration, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.rest == 0:
		return 0, true
	case now.Before(c.until):
		return max(time.Second, c.until.Sub(now)), false
	case c.probing:
		return time.Second, false
	}
	c.probing = true
	return 0, true
}

// leave notes how a request ended. atLeast is what the directory asked for by Retry-After.
func (c *circuit) leave(fault error, atLeast time.Duration, now time.Time) (rest time.Duration, what change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if fault == nil {
		if c.rest > 0 {
			what = closed
		}
		c.faults, c.rest, c.until, c.probing = 0, 0, time.Time{}, false
		return 0, what
	}
	c.faults++
	switch {
	case c.rest > 0 && !c.probing: // one that left before the circuit opened tells nothing new
		return c.rest, unchanged
	case c.rest > 0:
		rest = min(2*c.rest, maxRest)
	case c.faults >= tripAfter || atLeast > 0:
		rest = firstRest
	default:
		return 0, unchanged
	}
	c.rest, c.probing = rest, false
	c.until = now.Add(max(rest, atLeast))
	return max(rest, atLeast), opened
}
