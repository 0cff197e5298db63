package stranger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// crowd are requests at a gate, on made time.
type crowd struct {
	t    *testing.T
	gate *Gate
	all  sync.WaitGroup

	mu  sync.Mutex
	in  map[string]int // by host
	err map[string]int // ErrSilent, by host
}

func newCrowd(t *testing.T, most int) *crowd {
	return &crowd{t: t, gate: NewGate(most), in: map[string]int{}, err: map[string]int{}}
}

// send has n requests to a host that takes so long to answer in a manner. Each is of an asker of its own.
func (c *crowd) send(n int, host string, took time.Duration, m Manner) {
	for i := range n {
		c.ask(host, fmt.Sprint(host, i), took, m)
	}
	synctest.Wait()
}

func (c *crowd) ask(host, asker string, took time.Duration, m Manner) {
	c.all.Go(func() { // ends when it is answered
		turn, err := c.gate.Enter(c.t.Context(), host, asker)
		c.mu.Lock()
		switch {
		case errors.Is(err, ErrSilent):
			c.err[host]++
		case err != nil:
			c.t.Error(err)
		default:
			c.in[host]++
		}
		c.mu.Unlock()
		if err != nil {
			return
		}
		time.Sleep(took) // of made time
		c.mu.Lock()
		c.in[host]--
		c.mu.Unlock()
		turn.Leave(m)
	})
}

func (c *crowd) want(when string, want map[string]int) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for host, n := range want {
		if c.in[host] != n {
			c.t.Errorf("%s: %s has %d places, want %d", when, host, c.in[host], n)
		}
	}
}

// Issue 7, line 3; issue 8, line 6: a server that hangs has most places while nobody else wants them, and others find room beside it; when it was silent all
// that wait for it are told, and then it has one place until it answers.
func TestSilentServerLeavesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, 16)
		const a, b = "a.example", "b.example"
		c.send(1, a, 0, Prompt)
		c.send(1, b, 0, Prompt)
		c.send(40, a, 10*time.Second, Silent)
		c.want("alone", map[string]int{a: 12})
		c.send(20, b, time.Second, Prompt)
		c.want("beside it", map[string]int{a: 12, b: 4})
		time.Sleep(9 * time.Second)
		synctest.Wait()
		c.want("a moment later", map[string]int{a: 12, b: 0})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if c.err[a] != 28 {
			t.Errorf("%d were told that %s is silent, want 28", c.err[a], a)
		}
		c.send(5, a, 10*time.Second, Prompt)
		c.want("in doubt", map[string]int{a: 1})
		time.Sleep(11 * time.Second)
		synctest.Wait()
		c.want("once it has answered", map[string]int{a: 4})
		c.all.Wait()
	})
}

// However many servers hang, or take their time, half of the places stay with those that answer; and one of those in doubt is tried even while the others
// could fill all.
func TestServersInDoubtShareHalf(t *testing.T) {
	for _, m := range []Manner{Silent, Slow} {
		synctest.Test(t, func(t *testing.T) {
			c := newCrowd(t, 16)
			const good = "good.example"
			c.send(1, good, 0, Prompt)
			for i := range 20 {
				c.send(3, fmt.Sprintf("bad%d.example", i), time.Minute, m)
			}
			in := 0
			c.mu.Lock()
			for host, n := range c.in {
				if host != good {
					in += n
				}
			}
			c.mu.Unlock()
			if in != 8 {
				t.Errorf("%d places are with unknown servers, want 8", in)
			}
			c.send(40, good, time.Second, Prompt)
			c.want("beside them", map[string]int{good: 8})
			time.Sleep(10 * time.Second)
			c.want("seconds later", map[string]int{good: 0})
			c.all.Wait()
			// Prompt ones that could fill all.
			for i := range 8 {
				host := fmt.Sprintf("good%d.example", i)
				c.send(1, host, 0, Prompt)
				c.send(100, host, time.Second, Prompt)
			}
			c.send(1, "new.example", time.Second, Prompt)
			time.Sleep(1500 * time.Millisecond)
			c.want("in the next second", map[string]int{"new.example": 1})
			c.all.Wait()
		})
	}
}

// While others wait, a server that answers has a quarter: who has much to send there does not come before who has little to send elsewhere.
func TestPlacesAreSharedWhileOthersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, 16)
		hosts := []string{"a.example", "b.example", "c.example", "d.example"}
		want := map[string]int{}
		for _, h := range hosts {
			c.send(1, h, 0, Prompt)
			want[h] = 4
		}
		for _, h := range hosts {
			c.send(50, h, time.Second, Prompt)
		}
		time.Sleep(1500 * time.Millisecond)
		c.want("in the second second", want)
		c.all.Wait()
	})
}

// One asker has a quarter, whatever names they think of; a server that takes its time is counted so while it does.
func TestOneAskerHasAQuarter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, 16)
		for i := range 10 {
			c.ask(fmt.Sprintf("h%d.example", i), "mallory", time.Minute, Silent)
		}
		synctest.Wait()
		c.gate.mu.Lock()
		held := c.gate.held
		c.gate.mu.Unlock()
		if held != 4 {
			t.Errorf("one asker has %d places, want 4", held)
		}
		c.all.Wait()

		g := NewGate(16)
		turn, err := g.Enter(t.Context(), "a.example", "x")
		if err != nil {
			t.Fatal(err)
		}
		turn.Leave(Prompt)
		turn.Leave(Silent) // is over
		turn, err = g.Enter(t.Context(), "a.example", "x")
		if err != nil || g.doubted != 0 {
			t.Fatalf("%d in doubt, %v", g.doubted, err)
		}
		turn.Linger()
		if g.doubted != 1 {
			t.Error("who lingers is not in doubt")
		}
		turn.Leave(Prompt)
		if g.doubted != 0 || g.held != 0 || len(g.askers) != 0 {
			t.Errorf("left behind: %+v", g)
		}
	})
}

// Who gives up leaves nothing behind, and what is remembered of servers is bounded.
func TestGateForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(4)
		turn, err := g.Enter(t.Context(), "a.example", "x")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := g.Enter(ctx, "a.example", "y"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Enter of a full site = %v", err)
		}
		turn.Leave(Unasked)
		if len(g.sites) != 0 || len(g.waiting) != 0 {
			t.Errorf("%d sites, %d waiting", len(g.sites), len(g.waiting))
		}
		for i := range 3 * knownSites {
			turn, err := g.Enter(t.Context(), fmt.Sprintf("h%d.example", i), "x")
			if err != nil {
				t.Fatal(err)
			}
			turn.Leave(Prompt)
		}
		if n := len(g.sites); n > knownSites+1 {
			t.Errorf("%d sites are remembered", n)
		}
	})
}

func TestSiteIsWhatOneOwnerCanMakeUp(t *testing.T) {
	for host, want := range map[string]string{
		"updates.push.services.mozilla.com": "mozilla.com", "A.Mallory.Example.": "mallory.example", "b.mallory.example": "mallory.example", "x.co.uk": "x.co.uk", "a.x.co.uk": "x.co.uk",
		"localhost": "localhost", "127.0.0.1": "127.0.0.1", "::ffff:127.0.0.1": "127.0.0.1", "[2001:db8:1:2:3::4]": "2001:db8:1:2::/64", "2001:db8:1:2::9": "2001:db8:1:2::/64", "": "",
	} {
		if got := Site(host); got != want {
			t.Errorf("Site(%q) = %q, want %q", host, got, want)
		}
	}
}
