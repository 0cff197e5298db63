package terminal

import (
	"context"
	"sync"
)

// chores runs jobs one after the other on one goroutine, so that the chat's loop never
// waits for the network. Any number of jobs can wait.
type chores struct {
	mu   sync.Mutex // guards jobs
	jobs []func(context.Context)
	wake chan struct{} // holds one token when there are jobs
	done chan struct{} // closed when the goroutine has ended
}

// newChores starts the goroutine; it ends with ctx.
func newChores(ctx context.Context) *chores {
	c := &chores{wake: make(chan struct{}, 1), done: make(chan struct{})}
	go c.run(ctx)
	return c
}

func (c *chores) add(job func(context.Context)) {
	c.mu.Lock()
	c.jobs = append(c.jobs, job)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *chores) run(ctx context.Context) {
	defer close(c.done)
	for {
		c.mu.Lock()
		jobs := c.jobs
		c.jobs = nil
		c.mu.Unlock()
		for _, job := range jobs {
			if ctx.Err() != nil {
				return
			}
			job(ctx)
		}
		if len(jobs) > 0 {
			continue
		}
		select {
		case <-c.wake:
		case <-ctx.Done():
			return
		}
	}
}

// flush returns when all jobs that were there have been done, or with ctx.
func (c *chores) flush(ctx context.Context) {
	last := make(chan struct{})
	c.add(func(context.Context) { close(last) })
	select {
	case <-last:
	case <-c.done:
	case <-ctx.Done():
	}
}
