package sipua

import (
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// Overload is what an endpoint knows of its own load and of its next hops', for whoever watches it.
type Overload struct {
	Rules     bool                     // new work is refused that would wait for too long
	Percent   int                      // what neighbours that heed oc are told to hold back (RFC 7339 §4.2)
	Serving   int                      // requests other than INVITE in hand
	Shed      map[Shed]uint64          // requests refused since the start
	Held      map[Shed]uint64          // requests of ours that were not sent
	Told      uint64                   // responses that asked a neighbour to hold something back
	Heard     uint64                   // responses in which a next hop asked for that
	Silent    int                      // next hops that get nothing new, since they have not answered
	Waits     uint64                   // requests that were begun
	WaitSum   time.Duration            // how long all of them waited for a processor after they came
	WaitBelow map[time.Duration]uint64 // how many waited no longer
}

// Shed says what was not done, and why: "queue" (it would have waited for too long), "full" (too many are in hand); of requests of ours
// "oc" (the next hop asked for less) and "silence" (it doesn't answer).
type Shed struct{ Method, Reason string }

// waitBounds are those of WaitBelow.
var waitBounds = [...]time.Duration{time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond, lawTarget, 500 * time.Millisecond, 2 * time.Second}

// counts is what Overload counts beside load's own. Its zero value is ready.
type counts struct {
	mu     sync.Mutex
	unsent map[Shed]uint64
	heard  uint64
}

// held notes a request of ours that was not sent.
func (c *counts) held(req *sip.Request, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unsent == nil {
		c.unsent = map[Shed]uint64{}
	}
	c.unsent[Shed{methodLabel(string(req.Method)), reason}]++
}

// methodLabel keeps what strangers invent out of the labels.
func methodLabel(method string) string {
	if Recognized(method) {
		return method
	}
	return "other"
}

// hear takes what a response says of its sender's load.
func (e *Endpoint) hear(res *sip.Response, now time.Time) {
	if top := res.Via(); top != nil {
		branch, _ := top.Params.Get("branch")
		e.silences.answered(markOf(branch))
	}
	if e.neighbours.hear(res, now) {
		e.counts.mu.Lock()
		e.counts.heard++
		e.counts.mu.Unlock()
	}
}

// Overload tells how things stand.
func (e *Endpoint) Overload() Overload {
	o := Overload{Shed: map[Shed]uint64{}, Held: map[Shed]uint64{}, WaitBelow: map[time.Duration]uint64{}, Silent: e.silences.count()}
	e.counts.mu.Lock()
	for s, n := range e.counts.unsent {
		o.Held[s] = n
	}
	o.Heard = e.counts.heard
	e.counts.mu.Unlock()
	d := &e.load
	d.mu.Lock()
	defer d.mu.Unlock()
	d.turn(time.Now())
	o.Rules, o.Percent, o.Serving, o.Told = d.standing, d.percent(), d.serving, d.told
	for s, n := range d.refused {
		o.Shed[s] = n
	}
	o.Waits, o.WaitSum = d.waits, d.waitSum
	sum := uint64(0)
	for i, bound := range waitBounds {
		sum += d.waited[i]
		o.WaitBelow[bound] = sum
	}
	return o
}
