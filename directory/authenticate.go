package directory

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"runtime"
	"strings"
	"sync"
	"time"

	"latchkey"
)

// How passwords are proven. Clients send theirs with each request, and one proof costs a good part of
// a tenth of a second of a CPU, so a proof holds for a while.
const (
	proofHolds = 5 * time.Minute
	maxProofs  = 10_000
	maxWait    = 15 * time.Second // for a turn; whoever gets none is told to come again
)

// Authenticate gives the user whose name and password these are. The name is their URI, with or without
// its scheme, or their number. Whatever is wrong, the error is the same KindUnauthorized and takes
// the same time (F05). The state of the subscription is not judged here.
func (f *File) Authenticate(ctx context.Context, user, password string) (latchkey.Subscriber, error) {
	s := f.now.Load()
	i, known := s.named(user)
	known = known && s.entries[i].hash != nil
	h := decoy
	switch {
	case known:
		h = s.entries[i].hash
	case len(s.secured) > 0:
		// One name always meets the same user's hash, so that all names cost what users cost.
		h = s.entries[s.secured[f.proofs.pick(user, len(s.secured))]].hash
	}
	proof := f.proofs.of(h, user, password)
	if known && s.proven.holds(proof, time.Now()) {
		return s.entries[i].Subscriber, nil
	}
	leave, err := f.proofs.enter(ctx)
	if err != nil {
		return latchkey.Subscriber{}, err
	}
	// A client that opens with many requests at once is proven by the first of them.
	right := (known && s.proven.holds(proof, time.Now()) || h.matches(password)) && known
	if right {
		s.proven.add(proof, time.Now()) // before the next one has a turn
	}
	leave()
	if !right {
		return latchkey.Subscriber{}, latchkey.Errorf(latchkey.KindUnauthorized, "")
	}
	return s.entries[i].Subscriber, nil
}

// named reads a user's name as people write it.
func (s *snapshot) named(user string) (int, bool) {
	schemes := []string{"", "sip:", "sips:"}
	if strings.HasPrefix(user, "+") {
		schemes = append(schemes, "tel:")
	}
	for _, scheme := range schemes {
		if a, err := latchkey.ParseAddress(scheme + user); err == nil {
			if i, ok := s.find(a); ok {
				return i, true
			}
		}
	}
	return 0, false
}

// proofs limits how many passwords are proven at once, and makes the names under which a proof
// is remembered. The key never leaves the process, so that no memory dump is a list to guess against.
type proofs struct {
	key   [32]byte
	slots chan struct{}
}

func newProofs() *proofs {
	// Half of the CPUs are left to those who are let in.
	p := &proofs{slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))}
	_, _ = rand.Read(p.key[:]) // never fails (crypto/rand)
	return p
}

func (p *proofs) sum(parts ...string) (sum [sha256.Size]byte) {
	mac := hmac.New(sha256.New, p.key[:])
	for _, part := range parts {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		mac.Write(n[:])
		mac.Write([]byte(part))
	}
	mac.Sum(sum[:0])
	return sum
}

func (p *proofs) of(h hash, user, password string) [sha256.Size]byte {
	return p.sum("proof", h.String(), user, password)
}

func (p *proofs) pick(user string, n int) int {
	sum := p.sum("decoy", user)
	return int(binary.BigEndian.Uint64(sum[:]) % uint64(n))
}

// enter waits for a turn to burn CPU.
func (p *proofs) enter(ctx context.Context) (leave func(), err error) {
	leave = func() { <-p.slots }
	select {
	case p.slots <- struct{}{}:
		return leave, nil
	default:
	}
	timer := time.NewTimer(maxWait)
	defer timer.Stop()
	select {
	case p.slots <- struct{}{}:
		return leave, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timer.C:
		return nil, latchkey.Errorf(latchkey.KindBusy, "")
	}
}

// proven remembers which passwords were right lately.
type proven struct {
	mu    sync.Mutex
	until map[[sha256.Size]byte]time.Time
}

func (p *proven) holds(proof [sha256.Size]byte, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return now.Before(p.until[proof])
}

func (p *proven) add(proof [sha256.Size]byte, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.until) >= maxProofs {
		for old, until := range p.until {
			if !now.Before(until) {
				delete(p.until, old)
			}
		}
		for old := range p.until { // all are fresh: any will do
			if len(p.until) < maxProofs {
				break
			}
			delete(p.until, old)
		}
	}
	p.until[proof] = now.Add(proofHolds)
}
