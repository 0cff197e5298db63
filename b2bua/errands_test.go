package b2bua

import "testing"

// A request that is being served as the engine ends may begin something while somebody waits for the end; only what goes on is waited for.
func TestErrandsMayBeginWhileSomebodyWaits(t *testing.T) {
	t.Parallel()
	var e errands
	for range 100 {
		first, second := make(chan struct{}), make(chan struct{})
		e.Go(func() { <-first })
		waited, begun := make(chan struct{}), make(chan struct{})
		go func() { e.Wait(); close(waited) }()                        // ends with the errands
		go func() { e.Go(func() { <-second }); close(begun) }()        // ends at once
		go func() { e.Go(func() {}); e.Go(func() {}); close(first) }() // ends at once
		<-begun
		close(second)
		<-waited
	}
	e.Wait()
}
