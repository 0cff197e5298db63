package limit

import (
	"context"
	"errors"
	"testing"
	"time"
)

// So many flows have a name's turn and no more; who gives up and who gives it on leave nothing behind.
func TestTurnsAreGivenOn(t *testing.T) {
	turns := NewTurns[string](2)
	within := func(d time.Duration) context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		t.Cleanup(cancel)
		return ctx
	}
	var release []func()
	for range 2 {
		r, err := turns.Take(within(time.Minute), "a")
		if err != nil {
			t.Fatal(err)
		}
		release = append(release, r)
	}
	if _, err := turns.Take(within(time.Millisecond), "a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a third turn: %v", err)
	}
	other, err := turns.Take(within(time.Minute), "b")
	if err != nil {
		t.Fatal(err)
	}
	other()
	release[0]()
	third, err := turns.Take(within(time.Minute), "a")
	if err != nil {
		t.Fatal(err)
	}
	third()
	release[1]()
	if len(turns.taken) != 0 {
		t.Errorf("%d names are left", len(turns.taken))
	}
}
