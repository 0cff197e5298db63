package conversation_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"latchkey"
	"latchkey/conversation"
	"latchkey/imstest"
)

func eventually(t *testing.T, f func() bool) { t.Helper(); imstest.Eventually(t, time.Minute, f) }

// begin takes the step that guest takes before it closes a conversation.
func (w *world) begin() {
	w.t.Helper()
	if _, err := w.db.BeginEnding(w.t.Context(), []latchkey.RelationID{w.rel.ID}, latchkey.GuestLeft); err != nil {
		w.t.Fatal(err)
	}
}

// closes ends the conversation and looks that nothing of it is left.
func (w *world) closes() {
	w.t.Helper()
	if err := w.hall.Close(w.t.Context(), w.rel, latchkey.GuestLeft); err != nil {
		w.t.Fatalf("Close = %v", err)
	}
	if n := w.phone.standing(); n != 0 {
		w.t.Errorf("%d channels stand after Close", n)
	}
	if n := w.hall.Rooms(); n != 0 {
		w.t.Errorf("%d rooms after Close", n)
	}
	if messages, receipts, err := w.db.Waiting(w.t.Context(), w.rel.ID); err != nil || len(messages)+len(receipts) != 0 {
		w.t.Errorf("waiting after Close: %v, %v, %v", messages, receipts, err)
	}
}

func (w *world) removed() (n int) {
	for _, e := range w.events() {
		if e.Type == latchkey.InviterEvent && e.State == "removed" {
			n++
		}
	}
	return n
}

// F56: the conversation is over when Close returns: BYE, messages gone, the guest told once, however often it is called.
func TestCloseEndsTheConversationOnce(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		ch := w.channelTo()
		if err := ch.says(t.Context(), "r1", "positive-delivery", "hi"); err != nil {
			t.Fatal(err)
		}
		w.begin()
		for range 3 {
			w.closes()
		}
		if n := w.removed(); n != 1 {
			t.Errorf("told %d times, want 1", n)
		}
		if n := len(w.messages()); n != 0 {
			t.Errorf("%d messages can still be read", n)
		}
		if err := ch.says(t.Context(), "r2", "", "too late"); !latchkey.Is(err, latchkey.KindNoRelation) {
			t.Errorf("message after the end = %v, want no relation", err)
		}
		if _, _, err := w.hall.Send(t.Context(), w.rel, conversation.Outgoing{Text: "too late"}); !latchkey.Is(err, latchkey.KindNoRelation) {
			t.Errorf("Send after the end = %v, want no relation", err)
		}
		// R29: not even the Conversation-ID comes back.
		if _, err := w.db.ConversationID(t.Context(), w.rel.ID); !latchkey.Is(err, latchkey.KindNoRelation) {
			t.Errorf("ConversationID = %v, want no relation", err)
		}
	})
}

// F42: Close while our call rings cancels it and waits for it; a 200 that crosses is hung up.
func TestCloseDuringOurCall(t *testing.T) {
	for _, answered := range []bool{false, true} {
		bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
			w.phone.answer = func(ctx context.Context, _ int) error {
				<-ctx.Done()
				time.Sleep(time.Second)
				if answered {
					return nil
				}
				return ctx.Err()
			}
			w.send("hi")
			synctest.Wait()
			w.begin()
			w.closes()
			equal(t, "texts", w.phone.texts())
		})
	}
}

// R29: Close while the inviter's call is being taken ends that call, too.
func TestCloseDuringTheInvitersCall(t *testing.T) {
	bubble(t, conversation.Options{LeaveAfter: time.Second}, func(t *testing.T, w *world) {
		r := &ring{phone: w.phone, ctx: t.Context(), onAccept: func(ctx context.Context) error {
			<-ctx.Done()
			return nil // it was up already
		}}
		var serving sync.WaitGroup
		serving.Go(func() { w.hall.ServeCall(t.Context(), w.rel, r) })
		time.Sleep(20 * time.Second) // longer than an idle loop stays
		synctest.Wait()
		w.begin()
		w.closes()
		serving.Wait()
	})
}

// R31: a call that was let in just before the relation ended is refused.
func TestCallAfterTheEndIsRefused(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		w.begin()
		w.closes()
		r := &ring{phone: w.phone, ctx: t.Context()}
		w.hall.ServeCall(t.Context(), w.rel, r)
		if code, ch := r.result(); code != 404 || ch != nil {
			t.Errorf("answered %d, want 404", code)
		}
	})
}

// Close during a send does not wait for it.
func TestCloseDuringASend(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		w.phone.onSend = func(ctx context.Context, s sent) error {
			select {
			case <-w.phone.channel(0).Done():
				return errBroken
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		w.send("hi")
		synctest.Wait()
		w.begin()
		begin := time.Now()
		w.closes()
		if d := time.Since(begin); d > time.Second {
			t.Errorf("took %v", d)
		}
	})
}

// A full mailbox is Busy to who posts, and loses nothing: what is stored is found, and Close gets through.
func TestFullMailboxIsBusyAndLosesNothing(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		ch := w.channelTo()
		release := make(chan struct{})
		if err := w.hall.Block(w.rel, release); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n, err := w.hall.Fill(w.rel); !latchkey.Is(err, latchkey.KindBusy) || n == 0 {
			t.Fatalf("Fill = %d, %v, want busy", n, err)
		}
		w.send("under pressure")
		if err := ch.says(t.Context(), "r1", "", "and back"); err != nil {
			t.Errorf("Receive = %v", err)
		}
		if err := w.hall.Composing(t.Context(), w.rel, true); !latchkey.Is(err, latchkey.KindBusy) {
			t.Errorf("Composing = %v, want busy", err)
		}
		r := &ring{phone: w.phone, ctx: t.Context()}
		w.hall.ServeCall(t.Context(), w.rel, r)
		if code, _ := r.result(); code != 480 {
			t.Errorf("call answered %d, want 480", code)
		}
		close(release)
		synctest.Wait()
		equal(t, "texts", w.phone.texts(), "hello", "under pressure")
		if n := len(w.messages()); n != 1 {
			t.Errorf("%d messages for the guest", n)
		}
	})
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		w.channelTo()
		release := make(chan struct{})
		if err := w.hall.Block(w.rel, release); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		_, _ = w.hall.Fill(w.rel)
		w.begin()
		time.AfterFunc(time.Second, func() { close(release) })
		w.closes()
	})
}

// Loops of quiet conversations leave, and come back when they are needed.
func TestQuietLoopsLeave(t *testing.T) {
	bubble(t, conversation.Options{IdleTimeout: time.Minute, LeaveAfter: time.Minute}, func(t *testing.T, w *world) {
		w.channelTo()
		if n := w.hall.Rooms(); n != 1 {
			t.Fatalf("%d rooms, want 1", n)
		}
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if n := w.hall.Rooms(); n != 0 {
			t.Errorf("%d rooms when idle", n)
		}
		w.send("back")
		synctest.Wait()
		equal(t, "texts", w.phone.texts(), "hello", "back")
	})
}

// X4: Shutdown is no logout. What waits is sent by the next process, under the same ids and the same
// Conversation-ID, and each once.
func TestWaitingMessagesOutliveAShutdown(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		ch := w.channelTo()
		if err := ch.says(t.Context(), "r1", "positive-delivery", "hi"); err != nil {
			t.Fatal(err)
		}
		_ = ch.Close(t.Context(), "")
		w.phone.answer = func(context.Context, int) error { return &conversation.CallRefused{Code: 480} }
		one, two := w.send("one"), w.send("two")
		if err := w.hall.Ack(t.Context(), bob, 100); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		w.stop()
		w.phone.answer = nil
		w.start()
		if err := w.hall.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		equal(t, "texts", w.phone.texts(), "hello", "one", "two")
		equal(t, "receipts", w.phone.receipts(), "r1 delivered")
		got := w.phone.received()
		ids := []string{got[len(got)-2].id, got[len(got)-1].id}
		equal(t, "ids", ids, string(one.ID), string(two.ID))
		if a, b := w.phone.calls[0], w.phone.calls[len(w.phone.calls)-1]; a.ConversationID != b.ConversationID {
			t.Errorf("Conversation-ID %s and %s", a.ConversationID, b.ConversationID)
		}
	})
}

// A message that is being sent when Shutdown begins may finish; the next one is left to the next process.
func TestShutdownLetsTheMessageAtHandFinish(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		w.phone.onSend = func(ctx context.Context, s sent) error {
			select {
			case <-time.After(time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		one, two := w.send("one"), w.send("two")
		synctest.Wait()
		w.stop()
		equal(t, "texts", w.phone.texts(), "one")
		if n := w.phone.standing(); n != 0 {
			t.Errorf("%d channels stand after Shutdown", n)
		}
		w.start()
		equal(t, "states of one", w.states(one.ID), "sent")
		equal(t, "states of two", w.states(two.ID))
		if err := w.hall.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		equal(t, "texts", w.phone.texts(), "one", "two")
	})
}

// Shutdown in the middle of anything leaves no channel and no goroutine (goleak looks at the end), within its time.
func TestShutdownInTheMiddleOfCalls(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		w.phone.answer = func(ctx context.Context, n int) error {
			<-ctx.Done()
			if n == 1 {
				return nil // a 200 that crosses the CANCEL
			}
			return ctx.Err()
		}
		w.send("hi")
		own := w.rel
		w.rel = w.relate("sip:a2@cc.com", bob)
		w.send("hi")
		w.rel = own
		third := w.relate("sip:a3@cc.com", bob)
		var serving sync.WaitGroup
		serving.Go(func() {
			w.hall.ServeCall(t.Context(), third, &ring{phone: w.phone, ctx: t.Context(), onAccept: func(ctx context.Context) error { <-ctx.Done(); return nil }})
		})
		waited := make(chan error, 1)
		go func() { waited <- w.hall.Wait(t.Context(), bob, 1000) }()
		synctest.Wait()
		begin := time.Now()
		if err := w.hall.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown = %v", err)
		}
		if d := time.Since(begin); d > time.Second {
			t.Errorf("took %v", d)
		}
		serving.Wait()
		if n := w.phone.standing(); n != 0 {
			t.Errorf("%d channels stand", n)
		}
		if err := <-waited; !latchkey.Is(err, latchkey.KindUnavailable) {
			t.Errorf("Wait = %v, want unavailable", err)
		}
		if _, _, err := w.hall.Send(t.Context(), w.rel, conversation.Outgoing{Text: "late"}); err != nil {
			t.Errorf("Send during the drain = %v, want it stored", err)
		}
		r := &ring{phone: w.phone, ctx: t.Context()}
		w.hall.ServeCall(t.Context(), w.rel, r)
		if code, _ := r.result(); code != 503 {
			t.Errorf("call answered %d, want 503", code)
		}
		if err := w.hall.Shutdown(t.Context()); err != nil {
			t.Errorf("second Shutdown = %v", err)
		}
	})
}

// A phone that never answers does not hold Shutdown beyond its context.
func TestShutdownEndsWithItsContext(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		hold := make(chan struct{})
		w.phone.onSend = func(context.Context, sent) error { <-hold; return errBroken }
		w.send("hi")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if err := w.hall.Shutdown(ctx); err == nil {
			t.Error("Shutdown has no error")
		}
		close(hold)
	})
}

// F30, X4: 200 streams of one guest all wake for one event, and those of another guest don't.
func TestAllStreamsWake(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var mu sync.Mutex
		var woken, others []error
		var all sync.WaitGroup
		for range 200 {
			all.Go(func() {
				err := w.hall.Wait(ctx, bob, 0)
				mu.Lock()
				defer mu.Unlock()
				woken = append(woken, err)
			})
			all.Go(func() {
				err := w.hall.Wait(ctx, "sip:c@guest.example", 0)
				mu.Lock()
				defer mu.Unlock()
				others = append(others, err)
			})
		}
		synctest.Wait()
		if err := w.hall.Post(t.Context(), latchkey.Event{Type: latchkey.StatusEvent, Account: bob, Status: "online"}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		mu.Lock()
		if len(woken) != 200 || len(others) != 0 || slices.ContainsFunc(woken, func(err error) bool { return err != nil }) {
			t.Errorf("%d woken, %d of others", len(woken), len(others))
		}
		mu.Unlock()
		if err := w.hall.Wait(ctx, bob, 0); err != nil {
			t.Errorf("Wait with an event there = %v", err)
		}
		cancel()
		all.Wait()
		if n := w.hall.Audiences(); n != 0 {
			t.Errorf("%d audiences are remembered", n)
		}
	})
}

func TestGuestIsOnlineWhileAStreamIsAttached(t *testing.T) {
	w := newWorld(t, conversation.Options{})
	for i, want := range []bool{true, true, true, false} {
		w.hall.Present(bob, []int{1, 1, -1, -1}[i])
		if got := w.hall.Online(bob); got != want {
			t.Errorf("step %d: online %v, want %v", i, got, want)
		}
	}
	if n := w.hall.Audiences(); n != 0 {
		t.Errorf("%d audiences are remembered", n)
	}
}

// Open tells the guest's stream of an inviter.
func TestNewInviterIsTold(t *testing.T) {
	w := newWorld(t, conversation.Options{})
	if err := w.hall.Open(t.Context(), w.rel); err != nil {
		t.Fatal(err)
	}
	e := w.events()
	if len(e) != 1 || e[0].Type != latchkey.InviterEvent || e[0].State != "added" || e[0].URI != string(alice) || e[0].Name != "Alice" || e[0].Time.IsZero() {
		t.Errorf("events %+v", e)
	}
}

// Sends, calls of both sides, hang-ups and ends at random, on real time and under the race detector: whatever
// happens, no channel outlives its conversation.
func TestNothingOutlivesTheConversation(t *testing.T) {
	w := newWorld(t, conversation.Options{Retry: time.Millisecond, IdleTimeout: 2 * time.Millisecond, LeaveAfter: time.Millisecond})
	var all sync.WaitGroup
	for i := range 20 {
		rel := w.relate(latchkey.InviterID(fmt.Sprintf("sip:a%d@cc.com", i)), bob)
		all.Go(func() {
			var busy sync.WaitGroup
			for range 5 {
				busy.Go(func() { _, _, _ = w.hall.Send(t.Context(), rel, conversation.Outgoing{Text: "x"}) })
				busy.Go(func() { w.hall.ServeCall(t.Context(), rel, &ring{phone: w.phone, ctx: t.Context()}) })
				busy.Go(func() { _ = w.hall.Composing(t.Context(), rel, true) })
			}
			if i%2 == 0 {
				busy.Wait()
			}
			if _, err := w.db.BeginEnding(t.Context(), []latchkey.RelationID{rel.ID}, latchkey.GuestLeft); err != nil {
				t.Error(err)
			}
			if err := w.hall.Close(t.Context(), rel, latchkey.GuestLeft); err != nil {
				t.Errorf("Close = %v", err)
			}
			busy.Wait()
		})
	}
	all.Wait()
	eventually(t, func() bool { return w.phone.standing() == 0 && w.hall.Rooms() == 0 })
}

// X4, F59: what the disk holds when the process dies in mid-send goes out once more under its id, with all that
// was accepted behind it.
func TestAcceptedMessagesOutliveACrash(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		ch := w.channelTo()
		if err := ch.says(t.Context(), "r1", "positive-delivery", "hi"); err != nil {
			t.Fatal(err)
		}
		hold := make(chan struct{})
		w.phone.onSend = func(context.Context, sent) error { <-hold; return errBroken }
		one, two := w.send("one"), w.send("two")
		if err := w.hall.Ack(t.Context(), bob, 100); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		crashed := filepath.Join(t.TempDir(), "crashed.db")
		for _, suffix := range []string{"", "-wal"} { // what a dead process leaves
			data, err := os.ReadFile(w.path + suffix)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(crashed+suffix, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		close(hold)
		w.stop()
		w.path, w.phone.onSend = crashed, nil
		before := len(w.phone.received())
		w.start()
		if err := w.hall.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		var ids []string
		for _, s := range w.phone.received()[before:] {
			ids = append(ids, s.id)
		}
		equal(t, "ids", ids[1:], string(one.ID), string(two.ID)) // the receipt goes first
		equal(t, "receipts", w.phone.receipts()[len(w.phone.receipts())-1:], "r1 delivered")
		if n := len(w.messages()); n != 1 {
			t.Errorf("%d messages for the guest, want 1", n)
		}
	})
}
