package limit

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// F66, S4: ten seconds' worth at once, then so many a second, and each key for itself.
func TestRateAllowsABurstAndThenSoManyASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRate(2, 100)
		take := func(key string) (n int) {
			for {
				if _, ok := r.Take(key); !ok {
					return n
				}
				n++
			}
		}
		if a, b := take("a"), take("b"); a != 20 || b != 20 {
			t.Errorf("at once: %d and %d, want 20 each", a, b)
		}
		if wait, ok := r.Take("a"); ok || wait != 500*time.Millisecond {
			t.Errorf("Take = %v, %v, want to wait half a second", wait, ok)
		}
		time.Sleep(3 * time.Second)
		if n := take("a"); n != 6 {
			t.Errorf("after 3 s: %d, want 6", n)
		}
		time.Sleep(time.Hour)
		if n := take("a"); n != 20 {
			t.Errorf("after an hour: %d, want 20", n)
		}
	})
}

func TestRateOfNothingIsNoLimit(t *testing.T) {
	r := NewRate(0, 1)
	for range 1000 {
		if _, ok := r.Take("a"); !ok {
			t.Fatal("refused")
		}
	}
}

// F66: memory stays bounded whatever is thrown at it, and who is held back stays so while there is room.
func TestRateForgetsThoseWithAllTheirAllowanceFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRate(1, 50)
		for _, ok := r.Take("busy"); ok; _, ok = r.Take("busy") {
		}
		for i := range 10_000 {
			r.Take(fmt.Sprint(i))
			if i%40 == 0 {
				time.Sleep(2 * time.Second)
				for _, ok := r.Take("busy"); ok; _, ok = r.Take("busy") {
				}
			}
			if n := len(r.left); n > 50 {
				t.Fatalf("%d keys", n)
			}
		}
		if _, ok := r.Take("busy"); ok {
			t.Error("the busy one was forgotten")
		}
	})
}
