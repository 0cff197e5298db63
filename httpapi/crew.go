package httpapi

import "sync"

// crew does what it is given in the order in which that comes, so much of it at a time at most. It has goroutines only while there is
// something to do, so that thousands who have to do the same at once need neither thousands of stacks nor one each while they wait.
type crew struct {
	most int // goroutines at a time

	mu      sync.Mutex // guards the fields below
	hands   int        // that count
	waiting []func(off func())

	working sync.WaitGroup
}

// do has f called soon. Before f waits for somebody out there it calls off: then it holds up nobody.
func (c *crew) do(f func(off func())) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = append(c.waiting, f)
	c.hire()
}

// hire starts a goroutine where there is work for it. c.mu is held.
func (c *crew) hire() {
	if c.hands < c.most && len(c.waiting) > 0 {
		c.hands++
		c.working.Go(c.work) // ends when nothing waits
	}
}

func (c *crew) work() {
	for counts := true; counts; {
		f := c.next()
		if f == nil {
			return
		}
		f(func() {
			if counts {
				counts = false
				c.mu.Lock()
				defer c.mu.Unlock()
				c.hands--
				c.hire()
			}
		})
	}
}

// next is what has waited for the longest; nil, and one hand less, where nothing does.
func (c *crew) next() func(off func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) == 0 {
		c.waiting = nil
		c.hands--
		return nil
	}
	f := c.waiting[0]
	c.waiting[0] = nil
	c.waiting = c.waiting[1:]
	return f
}
