package httpapi

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Issue 7: a crew does so much at a time at most, in the order in which it came, and who steps aside doesn't count.
func TestCrewWorksInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crew{most: 3}
		var now, peak atomic.Int64
		var begun []int
		for i := range 9 {
			c.do(func(func()) {
				c.mu.Lock()
				begun = append(begun, i/3)
				c.mu.Unlock()
				peak.Store(max(peak.Load(), now.Add(1)))
				time.Sleep(time.Second)
				now.Add(-1)
			})
		}
		start := time.Now()
		c.working.Wait()
		if took := time.Since(start); took != 3*time.Second || peak.Load() != 3 || fmt.Sprint(begun) != "[0 0 0 1 1 1 2 2 2]" {
			t.Errorf("took %v, %d at a time, in the order %v", took, peak.Load(), begun)
		}
		if c.hands != 0 || c.waiting != nil {
			t.Errorf("%d hands and %d tasks are left", c.hands, len(c.waiting))
		}
		for range 9 {
			c.do(func(off func()) {
				off()
				off() // a second time says nothing new
				time.Sleep(time.Second)
			})
		}
		start = time.Now()
		c.working.Wait()
		if took := time.Since(start); took != time.Second || c.hands != 0 {
			t.Errorf("those who step aside took %v; %d hands", took, c.hands)
		}
	})
}
