package sipua

import (
	"slices"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// shunned are servers that nobody shall be sent to as long as there is another one (RFC 3263 §4.3; RFC 3261 §21.5.4).
type shunned struct {
	mu    sync.Mutex
	until map[spot]shun
}

// shun is how long a server is left alone, and how often in a row it has been silent.
type shun struct {
	until    time.Time
	silences int
}

// spot is a server as the network knows it.
type spot struct{ network, addr string }

func (t target) spot() spot { return spot{t.network, t.addr.String()} }

// Times for which a server is left alone.
const (
	silentFor  = 30 * time.Second // it doesn't answer, or can't be connected to; doubled each time in a row
	longestFor = 10 * time.Minute // whatever its Retry-After says
	maxShunned = 1024
)

func (s *shunned) add(t target, d time.Duration) {
	if d <= 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(t, shun{time.Now().Add(min(d, longestFor)), s.until[t.spot()].silences})
}

// silent leaves a server alone that does not answer: longer each time, until it does. Requests that find it silent at the same time count once.
func (s *shunned) silent(t target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, old := time.Now(), s.until[t.spot()]
	if old.silences > 0 && old.until.After(now) {
		return
	}
	s.set(t, shun{now.Add(min(silentFor<<old.silences, longestFor)), min(old.silences+1, 8)})
}

func (s *shunned) set(t target, how shun) {
	if s.until == nil || len(s.until) >= maxShunned {
		s.until = map[spot]shun{}
	}
	s.until[t.spot()] = how
}

// back takes a server in again: it has answered.
func (s *shunned) back(t target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.until, t.spot())
}

// last moves shunned servers behind all others; the one whose time ends first leads them. Nobody is left out, since a bad server is
// better than none.
func (s *shunned) last(all []target) []target {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.until) == 0 || len(all) < 2 {
		return all
	}
	now := time.Now()
	until := func(t target) time.Time {
		if u := s.until[t.spot()].until; u.After(now) {
			return u
		}
		return time.Time{}
	}
	slices.SortStableFunc(all, func(a, b target) int { return until(a).Compare(until(b)) })
	return all
}

// retryAfter is what a 503 asks for: without Retry-After it is a 500 and shuns nobody (RFC 3261 §21.5.4).
func retryAfter(res *sip.Response) time.Duration {
	h := res.GetHeader("Retry-After")
	if h == nil {
		return 0
	}
	n := 0
	for _, c := range h.Value() { // seconds, then an optional comment and parameters (§20.33)
		if c < '0' || c > '9' || n > 1<<20 {
			break
		}
		n = n*10 + int(c-'0')
	}
	return time.Duration(n) * time.Second
}
