package sipua

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"
)

// silences are next hops that have not answered several times in a row: they may be overloaded so far that they can't even say so. Such a
// one gets nothing new (RFC 7339 §5.9) but, later and later, one request to see whether it is back. Any response of its ends that.
// Its zero value is ready. A next hop goes by what the branches of requests to it begin with.
type silences struct {
	some  atomic.Int32 // how many there are
	mu    sync.Mutex
	known map[string]*silence
}

type silence struct {
	times int       // in a row
	until time.Time // then one request goes
	hold  time.Duration
}

// A next hop's silence.
const (
	silentTimes = 3
	silentLeast = time.Second
	silentMost  = 8 * time.Second
	maxSilences = 1024
)

// unanswered notes that a request had no response, or could not be sent.
func (s *silences) unanswered(mark string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.known[mark]
	if at == nil {
		if len(s.known) >= maxSilences || s.known == nil {
			s.known = map[string]*silence{}
		}
		at = &silence{}
		s.known[mark] = at
		s.some.Store(int32(len(s.known)))
	}
	if now.Before(at.until) {
		return // what was under way when the others failed
	}
	if at.times++; at.times < silentTimes {
		return
	}
	at.hold = min(max(2*at.hold, silentLeast), silentMost)
	at.until = now.Add(at.hold)
}

// answered notes a response.
func (s *silences) answered(mark string) {
	if s.some.Load() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, mark)
	s.some.Store(int32(len(s.known)))
}

// allows reports whether a request may go to a next hop now.
func (s *silences) allows(mark string, req *sip.Request, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.known[mark]
	if at == nil || at.times < silentTimes || worthOf(req) == classKept {
		return true
	}
	if now.Before(at.until) {
		return false
	}
	at.until = now.Add(at.hold) // the next one waits for what becomes of this one
	return true
}

// count is how many next hops are held off.
func (s *silences) count() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, at := range s.known {
		if at.times >= silentTimes {
			n++
		}
	}
	return n
}
