package conversation_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"latchkey"
	"latchkey/conversation"
)

// abandoned leaves n relations with a message each that nobody has got, as a crash does, and starts anew.
func (w *world) abandoned(n int) {
	w.t.Helper()
	w.phone.answer = func(context.Context, int) error { return &conversation.CallRefused{Code: 480} }
	own := w.rel
	for i := range n {
		w.rel = w.relate(latchkey.InviterID(fmt.Sprintf("sip:i%d@cc.com", i)), bob)
		w.send(fmt.Sprint("of ", i))
	}
	w.rel = own
	synctest.Wait()
	w.stop()
	w.start()
}

// most counts calls that are under way at once.
type most struct {
	mu           sync.Mutex
	now, highest int
}

func (m *most) during(f func() error) error {
	m.mu.Lock()
	m.now++
	m.highest = max(m.highest, m.now)
	m.mu.Unlock()
	defer func() { m.mu.Lock(); defer m.mu.Unlock(); m.now-- }()
	return f()
}

func (m *most) seen() int { m.mu.Lock(); defer m.mu.Unlock(); return m.highest }

// X4, F59: after a restart not everybody is called at once, everybody is called, and who writes now waits for nobody.
func TestRestartCallsAFewAtATime(t *testing.T) {
	bubble(t, conversation.Options{ResumeAtOnce: 5}, func(t *testing.T, w *world) {
		const n = 40
		w.abandoned(n)
		calls := &most{}
		w.phone.answer = func(context.Context, int) error {
			return calls.during(func() error { time.Sleep(time.Second); return nil })
		}
		begun := time.Now()
		if err := w.hall.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begun); d != 0 {
			t.Errorf("Resume took %v; a start must not wait for calls", d)
		}
		synctest.Wait()
		if got := calls.seen(); got != 5 {
			t.Errorf("%d calls at once, want 5", got)
		}
		w.send("new")
		time.Sleep(time.Second)
		synctest.Wait()
		if texts := w.phone.texts(); len(texts) != 6 {
			t.Errorf("after a second: %q, want those of five and the new one", texts)
		}
		time.Sleep((n/5 + 1) * (time.Second + 100*time.Millisecond))
		synctest.Wait()
		if texts := w.phone.texts(); len(texts) != n+1 {
			t.Errorf("%d messages arrived, want %d", len(texts), n+1)
		}
		if got := calls.seen(); got > 6 { // five of Resume's and the new one
			t.Errorf("%d calls at once", got)
		}
	})
}

// Phones that ring for long, and inviters who are away, keep the others waiting for a moment only.
func TestRestartIsNotHeldUpByWhoDoesNotAnswer(t *testing.T) {
	for name, answer := range map[string]func(context.Context, int) error{
		"ringing": func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() },
		"away":    func(context.Context, int) error { return &conversation.CallRefused{Code: 480} },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, conversation.Options{ResumeAtOnce: 2}, func(t *testing.T, w *world) {
				const n = 10
				w.abandoned(n)
				before := w.phone.called()
				w.phone.answer = answer
				if err := w.hall.Resume(t.Context()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(n / 2 * (4*time.Second + 100*time.Millisecond))
				synctest.Wait()
				if got := w.phone.called() - before; got < n {
					t.Errorf("%d of %d were called", got, n)
				}
			})
		})
	}
}

// Shutdown ends a Resume in the middle.
func TestShutdownEndsTheRestartsCalls(t *testing.T) {
	bubble(t, conversation.Options{ResumeAtOnce: 1}, func(t *testing.T, w *world) {
		w.abandoned(10)
		w.phone.answer = func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }
		before := w.phone.called()
		if err := w.hall.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		w.stop() // goleak looks at what is left
		if got := w.phone.called() - before; got != 1 {
			t.Errorf("%d calls, want the one", got)
		}
	})
}
