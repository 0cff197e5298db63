package b2bua

import (
	"sync"

	"github.com/emiago/sipgo/sip"
)

// ackStore keeps the ACK of an accepted 2xx for its repeats. It has a lock because sipgo
// calls its hook from another goroutine than the reader's.
type ackStore struct {
	mu  sync.Mutex
	tag string
	ack *sip.Request
}

func (s *ackStore) add(res *sip.Response, ack *sip.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tag, _ = res.To().Params.Get("tag")
	s.ack = ack
}

// repeat sends the ACK again if res is a repeat of the accepted 2xx. False: res is of another fork.
func (s *ackStore) repeat(g *Engine, res *sip.Response) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	tag, _ := res.To().Params.Get("tag")
	if s.ack == nil || tag == s.tag {
		if s.ack != nil {
			_ = g.sip.SendACK(s.ack, true)
		}
		return true
	}
	return false
}
