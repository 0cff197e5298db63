package b2bua

import "sync"

// errands counts goroutines that outlive their caller. It is a sync.WaitGroup that may be added to while somebody waits: requests come
// until the endpoint closes, and what serves them is not counted.
type errands struct {
	mu    sync.Mutex
	under int           // how many are under way
	none  chan struct{} // closed when under is zero again; nil: nobody waits
}

// Go runs f on a goroutine of its own.
func (e *errands) Go(f func()) {
	e.mu.Lock()
	e.under++
	e.mu.Unlock()
	go func() { // ends with f
		defer e.done()
		f()
	}()
}

func (e *errands) done() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.under--; e.under == 0 && e.none != nil {
		close(e.none)
		e.none = nil
	}
}

// Wait returns when none is under way.
func (e *errands) Wait() {
	e.mu.Lock()
	if e.under == 0 {
		e.mu.Unlock()
		return
	}
	if e.none == nil {
		e.none = make(chan struct{})
	}
	none := e.none
	e.mu.Unlock()
	<-none
}
