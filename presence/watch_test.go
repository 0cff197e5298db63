package presence_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"latchkey"
	"latchkey/presence"
)

// watch is what a watcher is told, until ctx ends, which closes the channel.
func watch(ctx context.Context, b *presence.Board, from latchkey.AccountID) <-chan latchkey.Status {
	told := make(chan latchkey.Status, 99)
	stop := b.Watch(from, alice, func(s latchkey.Status) { told <- s })
	context.AfterFunc(ctx, func() {
		stop()
		close(told) // where anything were told after this, that would panic
	})
	return told
}

// collect reads all that comes until the channel closes.
func collect(c <-chan latchkey.Status) func() []latchkey.StatusState {
	var all []latchkey.StatusState
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := range c {
			all = append(all, s.State)
		}
	}()
	return func() []latchkey.StatusState { <-done; return all }
}

// R24, F26c: on, off, on is three changes, however often the gateway looked.
func TestWatcherHearsChangesOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{t: t}
		n.says(200, "Contact: "+rcsContact)
		b := newBoard(t, n, presence.Options{Period: 10 * time.Second})
		ctx, cancel := context.WithCancel(t.Context())
		heard := collect(watch(ctx, b, bob))
		time.Sleep(35 * time.Second)
		n.says(480)
		time.Sleep(30 * time.Second)
		n.says(200, "Contact: "+rcsContact)
		time.Sleep(30 * time.Second)
		cancel()
		want := []latchkey.StatusState{latchkey.StatusOnline, latchkey.StatusOffline, latchkey.StatusOnline}
		if got := heard(); !slices.Equal(got, want) {
			t.Errorf("heard %v, want %v", got, want)
		}
		if got := n.asked(); got != 10 {
			t.Errorf("%d OPTIONS in 95 s with a period of 10 s, want 10", got)
		}
		time.Sleep(time.Minute)
		if got := n.asked(); got != 10 {
			t.Errorf("%d OPTIONS after the last watcher left", got-10)
		}
	})
}

// F26c: a thousand watchers of one inviter cost one OPTIONS a period, asked by one who is there.
func TestManyWatchersShareTheQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{t: t}
		n.says(480)
		b := newBoard(t, n, presence.Options{Period: 10 * time.Second})
		first, leave := context.WithCancel(t.Context())
		ctx, cancel := context.WithCancel(t.Context())
		heard := []func() []latchkey.StatusState{collect(watch(first, b, bob))}
		for i := range 999 {
			heard = append(heard, collect(watch(ctx, b, latchkey.AccountID(fmt.Sprintf("sip:g%d@guest.example", i)))))
		}
		time.Sleep(5 * time.Second)
		leave()
		time.Sleep(10 * time.Second)
		late := collect(watch(ctx, b, bob)) // is told at once what is known
		n.says(404)
		time.Sleep(10 * time.Second)
		cancel()
		if got := heard[0](); !slices.Equal(got, []latchkey.StatusState{latchkey.StatusOffline}) {
			t.Errorf("the one who left heard %v", got)
		}
		for _, h := range append(heard[1:], late) {
			if got := h(); !slices.Equal(got, []latchkey.StatusState{latchkey.StatusOffline, latchkey.StatusNotRCS}) {
				t.Fatalf("heard %v, want offline, not-rcs", got)
			}
		}
		if got := n.asked(); got != 3 {
			t.Errorf("%d OPTIONS in 25 s, want 3", got)
		}
		if by := n.requests[1].From().Address.String(); by != "sip:g0@guest.example" {
			t.Errorf("asked by %s, who had left", by)
		}
	})
}

// R23, R24: what a guest asks for is news for those who watch, and the other way round.
func TestAskingAndWatchingShareWhatTheyLearn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{t: t}
		n.says(200)
		b := newBoard(t, n, presence.Options{Period: time.Hour})
		_, _ = b.Status(t.Context(), bob, alice)
		c := watch(t.Context(), b, bob)
		if s := <-c; s.State != latchkey.StatusOnline || n.asked() != 1 {
			t.Errorf("read %s after %d OPTIONS, want online after 1", s.State, n.asked())
		}
		n.says(480)
		time.Sleep(time.Second)
		_, _ = b.Status(t.Context(), bob, alice)
		if s := <-c; s.State != latchkey.StatusOffline {
			t.Errorf("read %s, want offline", s.State)
		}
	})
}

// R24: a watch may begin while an answer comes for somebody else; the race detector sees to it that they share nothing without a lock.
func TestWatchBeginsWhileAnAnswerComes(t *testing.T) {
	n := &network{t: t}
	n.says(200)
	for range 200 {
		b := newBoard(t, n, presence.Options{Period: time.Hour})
		asked := make(chan struct{})
		go func() {
			defer close(asked)
			_, _ = b.Status(t.Context(), bob, alice)
		}()
		if s := <-watch(t.Context(), b, bob); s.State != latchkey.StatusOnline {
			t.Fatalf("read %s, want online", s.State)
		}
		<-asked
	}
}
