package processors

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// One processor is for who needs less than a third of it for a while; who needs more than that of one has all at the next look.
func TestChoice(t *testing.T) {
	t.Parallel()
	type stretch struct {
		load  float64
		looks int
		one   bool // at its end
	}
	inCalm := int(calm / look)
	for name, all := range map[string][]stretch{
		"idle":                   {{0, inCalm - 1, false}, {0, 1, true}, {0, 100, true}},
		"some calls":             {{0.1, inCalm, true}, {0.55, 100, true}},
		"more than one can do":   {{0, inCalm, true}, {1, 1, false}, {0, inCalm - 1, false}, {0, 1, true}},
		"a burst within a calm":  {{0, inCalm - 1, false}, {16, 1, false}, {0, inCalm, true}},
		"between both":           {{0.4, 10 * inCalm, false}, {0.2, inCalm, true}, {0.4, 10 * inCalm, true}},
		"many processors in use": {{5, 10 * inCalm, false}},
	} {
		var c choice
		for i, s := range all {
			one := false
			for range s.looks {
				one = c.after(time.Duration(s.load*float64(look)), look)
			}
			if one != s.one {
				t.Errorf("%s: one processor after stretch %d: %v", name, i, one)
			}
		}
	}
}

// The process itself follows: to one processor when there is little to do, to all when there is more, and to all when nobody follows any more.
func TestFollow(t *testing.T) {
	runtime.SetDefaultGOMAXPROCS() // whatever -cpu says
	all := runtime.GOMAXPROCS(0)
	if all == 1 {
		t.Skip("this machine has one processor")
	}
	var load atomic.Int64 // in hundredths of a processor
	begun, used := time.Now(), time.Duration(0)
	spent := func() (time.Duration, bool) {
		now := time.Now()
		used += now.Sub(begun) * time.Duration(load.Load()) / 100
		begun = now
		return used, true
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); follow(ctx, spent) }()
	for _, step := range []struct{ load, processors int }{{10, 1}, {100, all}, {10, 1}} {
		load.Store(int64(step.load))
		for until := time.Now().Add(time.Minute); runtime.GOMAXPROCS(0) != step.processors; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(until) {
				t.Fatalf("%d processors at a load of %d %%", runtime.GOMAXPROCS(0), step.load)
			}
		}
	}
	cancel()
	<-ended
	if n := runtime.GOMAXPROCS(0); n != all {
		t.Errorf("%d processors at the end", n)
	}
}

// An operator who has set GOMAXPROCS is not followed.
func TestAnOperatorsWordStands(t *testing.T) {
	t.Setenv("GOMAXPROCS", "7")
	Follow(t.Context()) // ends at once
}

// CPU time is the process's own, and only grows by work.
func TestSpent(t *testing.T) {
	was, ok := spent()
	if !ok {
		t.Skip("this system doesn't tell CPU time")
	}
	for until := time.Now().Add(time.Minute); ; {
		if now, _ := spent(); now > was {
			return
		} else if now < was || time.Now().After(until) {
			t.Fatalf("%v after %v", now, was)
		}
	}
}
