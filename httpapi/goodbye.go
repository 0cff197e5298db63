package httpapi

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"
)

const (
	goodbyeHolds = 10 * time.Minute
	maxGoodbyes  = 10_000
)

// goodbyes remembers for a while who has logged out, so that a logout whose answer got lost can be repeated
// though its credentials are dead (F56). It holds a keyed hash of them only, and the key never leaves it.
type goodbyes struct {
	key [32]byte

	mu    sync.Mutex
	said  map[[sha256.Size]byte]time.Time
	swept time.Time
}

func newGoodbyes() *goodbyes {
	g := &goodbyes{said: map[[sha256.Size]byte]time.Time{}}
	_, _ = rand.Read(g.key[:]) // never fails (crypto/rand)
	return g
}

func (g *goodbyes) sum(account, credentials string) (sum [sha256.Size]byte) {
	mac := hmac.New(sha256.New, g.key[:])
	mac.Write([]byte(account + "\x00" + credentials)) // neither an account nor credentials have a NUL
	mac.Sum(sum[:0])
	return sum
}

// add notes that these credentials, which are right, log out.
func (g *goodbyes) add(account, credentials string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if now.Sub(g.swept) >= goodbyeHolds || len(g.said) >= maxGoodbyes {
		g.swept = now
		for sum, at := range g.said {
			if now.Sub(at) >= goodbyeHolds || len(g.said) > maxGoodbyes/2 { // where all are fresh, any will do
				delete(g.said, sum)
			}
		}
	}
	g.said[g.sum(account, credentials)] = now
}

// has tells whether these credentials have logged out lately.
func (g *goodbyes) has(account, credentials string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	at, ok := g.said[g.sum(account, credentials)]
	return ok && time.Since(at) < goodbyeHolds
}
