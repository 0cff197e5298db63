package msrp

import (
	"sync"
	"time"
)

// place is what a Session and an AnchorLeg have in common: who expects them, and the connection once there is one.
type place struct {
	bound chan struct{} // closed when conn is set
	trust *trust

	mu       sync.Mutex // guards the fields below, and more of who has the place
	conn     *conn
	listener *Listener   // that expects it
	unbound  *time.Timer // ends it if nobody connects
}

func newPlace(remote Path) place { return place{bound: make(chan struct{}), trust: newTrust(remote)} }

func (p *place) trusted() *trust { return p.trust }

func (p *place) unexpect() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listener = nil
	p.stopWaiting()
}

// await starts the wait for the peer's connection, if somebody expects it: peers that wait for each other must not
// hang. mu is held.
func (p *place) await(within time.Duration, end func(error)) {
	if p.listener == nil || p.conn != nil || p.unbound != nil {
		return
	}
	p.unbound = time.AfterFunc(within, func() {
		select {
		case <-p.bound:
		default:
			end(ErrNotBound)
		}
	})
}

// stopWaiting ends the wait. mu is held.
func (p *place) stopWaiting() {
	if p.unbound != nil {
		p.unbound.Stop()
		p.unbound = nil
	}
}

// take binds t, whose place this is, to its connection. mu is held.
func (p *place) take(t target, c *conn) {
	p.conn = c
	p.stopWaiting()
	c.attach(t)
	close(p.bound)
}

// reaches compares the URI that a request is for with a target's own (RFC 4975 §7.3), by the session id alone where lenient.
func reaches(to, local URI, lenient bool) bool {
	if lenient {
		return to.SessionID == local.SessionID
	}
	return to.Equal(local)
}
