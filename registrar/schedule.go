package registrar

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"latchkey"
)

// key names a registration.
type key struct {
	account latchkey.AccountID
	server  latchkey.Server
}

// schedule is the timer heap: one entry for each thing that has to be looked after.
type schedule[K comparable] struct {
	mu      sync.Mutex
	heap    entries[K]
	entry   map[K]*entry[K]
	changed chan struct{} // has one element while the earliest entry may have become earlier
}

type entry[K comparable] struct {
	key   K
	due   time.Time
	index int // in the heap
}

func newSchedule[K comparable]() *schedule[K] {
	return &schedule[K]{entry: map[K]*entry[K]{}, changed: make(chan struct{}, 1)}
}

// set plans the key for due, in place of whatever was planned; zero: no more.
func (s *schedule[K]) set(k K, due time.Time) {
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
		e = &entry[K]{key: k, due: due}
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
func (s *schedule[K]) take(t time.Time) (k K, ok bool, next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.heap) == 0 {
		return k, false, time.Time{}
	}
	e := s.heap[0]
	if e.due.After(t) {
		return k, false, e.due
	}
	heap.Pop(&s.heap)
	delete(s.entry, e.key)
	return e.key, true, time.Time{}
}

// idle is how long a schedule sleeps when nothing is planned; a change wakes it before.
const idle = time.Hour

// next waits for the earliest entry to be due and takes it off.
func (s *schedule[K]) next(ctx context.Context) (K, error) {
	for {
		k, ok, at := s.take(time.Now())
		if ok {
			return k, ctx.Err()
		}
		wait := idle
		if !at.IsZero() {
			wait = time.Until(at)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-s.changed:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return k, ctx.Err()
		}
	}
}

// run acts on what is due until ctx ends. It begins perSecond acts in a second at most and has parallel under way.
func (s *schedule[K]) run(ctx context.Context, perSecond float64, parallel int, act func(context.Context, K)) {
	pace := rate.NewLimiter(rate.Limit(perSecond), 1)
	slots := make(chan struct{}, parallel)
	var acts sync.WaitGroup
	defer acts.Wait()
	for {
		k, err := s.next(ctx)
		if err != nil || pace.Wait(ctx) != nil {
			return // ctx is over, as it should be
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		acts.Go(func() { // ends with its request, which ends with ctx
			defer func() { <-slots }()
			act(ctx, k)
		})
	}
}

// entries implements heap.Interface, the earliest first.
type entries[K comparable] []*entry[K]

func (h entries[K]) Len() int           { return len(h) }
func (h entries[K]) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h entries[K]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *entries[K]) Push(x any) {
	e := x.(*entry[K])
	e.index = len(*h)
	*h = append(*h, e)
}

func (h *entries[K]) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return e
}
