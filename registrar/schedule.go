package registrar

import (
	"container/heap"
	"sync"
	"time"

	"latchkey"
)

// key names a registration.
type key struct {
	account latchkey.AccountID
	server  latchkey.Server
}

// schedule is the timer heap: one entry for each registration that Run has to look after.
type schedule struct {
	mu      sync.Mutex
	heap    entries
	entry   map[key]*entry
	changed chan struct{} // has one element while the earliest entry may have become earlier
}

type entry struct {
	key   key
	due   time.Time
	index int // in the heap
}

func newSchedule() *schedule {
	return &schedule{entry: map[key]*entry{}, changed: make(chan struct{}, 1)}
}

// set plans the registration for due, in place of whatever was planned; zero: no more.
func (s *schedule) set(k key, due time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entry[k]
	switch {
	case due.IsZero() && e == nil:
		return
	case due.IsZero():
		heap.Remove(&s.heap, e.index)
		delete(s.entry, k)
		return
	case e == nil:
		e = &entry{key: k, due: due}
		s.entry[k] = e
		heap.Push(&s.heap, e)
	default:
		e.due = due
		heap.Fix(&s.heap, e.index)
	}
	if e.index == 0 {
		select {
		case s.changed <- struct{}{}:
		default:
		}
	}
}

// take removes and returns the earliest entry if it is due at t. Otherwise it says when to
// look again; the zero time if nothing is planned.
func (s *schedule) take(t time.Time) (k key, ok bool, next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.heap) == 0 {
		return key{}, false, time.Time{}
	}
	e := s.heap[0]
	if e.due.After(t) {
		return key{}, false, e.due
	}
	heap.Pop(&s.heap)
	delete(s.entry, e.key)
	return e.key, true, time.Time{}
}

// entries implements heap.Interface, the earliest first.
type entries []*entry

func (h entries) Len() int           { return len(h) }
func (h entries) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h entries) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *entries) Push(x any) {
	e := x.(*entry)
	e.index = len(*h)
	*h = append(*h, e)
}

func (h *entries) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return e
}
