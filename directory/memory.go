package directory

import (
	"sync"
	"time"
)

// maxKept is how many answers are kept at most.
const maxKept = 10_000

// memory keeps values for a while, and not more of them than maxKept.
type memory[K comparable, V any] struct {
	mu  sync.Mutex
	all map[K]remembered[V]
}

type remembered[V any] struct {
	value V
	until time.Time
}

func newMemory[K comparable, V any]() *memory[K, V] {
	return &memory[K, V]{all: map[K]remembered[V]{}}
}

func (m *memory[K, V]) get(k K) (v V, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.all[k]
	if !ok || !time.Now().Before(r.until) {
		return v, false
	}
	return r.value, true
}

// put keeps a value for d; 0: not at all.
func (m *memory[K, V]) put(k K, v V, d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if _, there := m.all[k]; !there && len(m.all) >= maxKept {
		m.makeRoom(now)
	}
	if d <= 0 {
		delete(m.all, k)
		return
	}
	m.all[k] = remembered[V]{v, now.Add(d)}
}

// makeRoom forgets what is over among a few, or else any of them.
func (m *memory[K, V]) makeRoom(now time.Time) {
	const sample = 64
	looked := 0
	for k, r := range m.all {
		if !now.Before(r.until) {
			delete(m.all, k)
		}
		if looked++; looked == sample {
			break
		}
	}
	for k := range m.all {
		if len(m.all) < maxKept {
			return
		}
		delete(m.all, k)
	}
}
