// Package processors lets a process that has little to do run on one processor, and on all as soon as it has more.
//
// With several, Go's runtime wakes a second thread to look for more work whenever a first one finds some. In a gateway
// that is asleep most of the time that is the larger part of what a call costs: a message comes, is answered, and there is
// nothing more. docs/explanation/sip-figures.md has what it is worth.
package processors

import (
	"context"
	"os"
	"runtime"
	"time"
)

// When one processor is too few, and when all are too many. Loads are in processors: CPU time over time.
const (
	look   = 50 * time.Millisecond // also the longest that a burst has to do with one
	enough = 0.6                   // of one processor within a look: more of them are wanted
	little = 0.3                   // of one over calm: one will do
	calm   = 2 * time.Second
)

// Follow sets GOMAXPROCS by what there is to do, until ctx ends; then it is the default again. It does nothing where the
// operator has set GOMAXPROCS, where there is one processor anyway, and where the system doesn't tell CPU time.
func Follow(ctx context.Context) {
	if _, known := spent(); known && os.Getenv("GOMAXPROCS") == "" && runtime.GOMAXPROCS(0) > 1 {
		follow(ctx, spent)
	}
}

func follow(ctx context.Context, spent func() (time.Duration, bool)) {
	defer runtime.SetDefaultGOMAXPROCS() // which takes note of what the process's cgroup is allowed meanwhile
	every := time.NewTicker(look)
	defer every.Stop()
	var c choice
	for was, before := time.Now(), time.Duration(0); ; {
		now := time.Now()
		used, _ := spent()
		if one := c.one; c.after(used-before, now.Sub(was)) != one {
			if c.one {
				runtime.GOMAXPROCS(1)
			} else {
				runtime.SetDefaultGOMAXPROCS()
			}
		}
		was, before = now, used
		select {
		case <-every.C:
		case <-ctx.Done():
			return
		}
	}
}

// choice is between one processor and all of them. The zero value is all.
type choice struct {
	one  bool
	used time.Duration // since the last time that it was looked at for calm
	past time.Duration
}

// after chooses anew when a time has passed, in which so much CPU time was spent.
func (c *choice) after(used, past time.Duration) (one bool) {
	if c.one {
		if float64(used) > enough*float64(past) {
			*c = choice{}
		}
		return c.one
	}
	c.used, c.past = c.used+used, c.past+past
	if c.past >= calm {
		*c = choice{one: float64(c.used) < little*float64(c.past)}
	}
	return c.one
}
