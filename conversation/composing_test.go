package conversation_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"latchkey"
	"latchkey/conversation"
)

// F39: the inviter's typing is told and lapses by itself after its refresh, or 120 s where none is said (RFC 3994 §3.3).
// A phone that claims a day is not believed.
func TestInvitersTypingIsToldAndLapses(t *testing.T) {
	for refresh, lapse := range map[string]time.Duration{"60": 60 * time.Second, "": 120 * time.Second, "100000": 10 * time.Minute} {
		bubble(t, conversation.Options{IdleTimeout: time.Hour}, func(t *testing.T, w *world) {
			ch := w.channelTo()
			if err := ch.types(t.Context(), "active", refresh); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			equal(t, "states", w.composing(), "active")
			time.Sleep(lapse - time.Second)
			synctest.Wait()
			equal(t, "states before the lapse", w.composing(), "active")
			time.Sleep(2 * time.Second)
			synctest.Wait()
			equal(t, "states after it", w.composing(), "idle") // who comes now does not see the typing
		})
	}
}

// F39: only changes are told, in their order; a message ends the typing.
func TestTypingEndsWithTheMessage(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		ch := w.channelTo()
		for _, state := range []string{"idle", "active", "active", "idle", "idle", "active"} {
			if err := ch.types(t.Context(), state, "60"); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if err := ch.says(t.Context(), "r1", "", "done"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		equal(t, "states", w.composing(), "active", "idle", "active", "idle")
	})
}

// Active and idle in quick succession must not overtake each other on their way to the store.
func TestTypingStatesStayInOrder(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		ch := w.channelTo()
		for range 20 {
			for _, state := range []string{"active", "idle"} {
				if err := ch.types(t.Context(), state, "60"); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
			if all := w.composing(); len(all) > 0 && all[len(all)-1] != "idle" {
				t.Fatalf("states %v, want idle at last", all)
			}
		}
	})
}

// F39: an inviter whose channel is gone is not typing.
func TestTypingEndsWithTheChannel(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		ch := w.channelTo()
		if err := ch.types(t.Context(), "active", "600"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		_ = ch.Close(t.Context(), "")
		synctest.Wait()
		equal(t, "states", w.composing(), "active", "idle")
	})
}

// Typing that is told without a channel lapses, too, before the loop leaves.
func TestTypingWithoutAChannelLapses(t *testing.T) {
	bubble(t, conversation.Options{LeaveAfter: time.Second}, func(t *testing.T, w *world) {
		ch := w.channelTo()
		_ = ch.Close(t.Context(), "")
		if err := ch.types(t.Context(), "active", "60"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		equal(t, "states", w.composing(), "idle")
		if n := w.hall.Rooms(); n != 0 {
			t.Errorf("%d rooms", n)
		}
	})
}

// A guest who returns does not see typing of an hour ago, even where its end was never told (a crash).
func TestReturningGuestSeesNoStaleTyping(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		ch := w.channelTo()
		if err := ch.types(t.Context(), "active", "60"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		w.stop() // nobody is left to tell the end
		w.start()
		time.Sleep(61 * time.Second)
		equal(t, "states", w.composing())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		last := w.events()[len(w.events())-1].ID
		if err := w.hall.Wait(ctx, bob, last); err == nil {
			t.Error("Wait returned for an event that has lapsed")
		}
	})
}

// F39: the guest's typing is sent on an open channel as a change, repeated at most every half refresh, and ends
// by itself 120 s after the last word of it.
func TestGuestsTypingIsSent(t *testing.T) {
	bubble(t, conversation.Options{IdleTimeout: time.Hour}, func(t *testing.T, w *world) {
		typing := func(active bool) {
			t.Helper()
			if err := w.hall.Composing(t.Context(), w.rel, active); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		typing(true)
		if n := w.phone.called(); n != 0 {
			t.Fatal("typing opened a channel")
		}
		w.channelTo()
		typing(true)
		typing(true)
		equal(t, "states", w.phone.composing(), "active")
		time.Sleep(31 * time.Second)
		typing(true)
		equal(t, "states", w.phone.composing(), "active", "active")
		time.Sleep(119 * time.Second)
		synctest.Wait()
		equal(t, "states", w.phone.composing(), "active", "active")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		equal(t, "states", w.phone.composing(), "active", "active", "idle")
		// A message ends it for both sides; typing after it is news.
		typing(true)
		w.send("done")
		synctest.Wait()
		typing(true)
		equal(t, "states", w.phone.composing(), "active", "active", "idle", "active", "active")
		for _, s := range w.phone.received() {
			if s.contentType != "message/cpim" {
				t.Errorf("sent as %s, want wrapped", s.contentType)
			}
		}
	})
}

// B3.11: a phone that doesn't understand it is not told again on this channel.
func TestTypingStopsWhereItIsNotUnderstood(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		w.phone.types = []string{"text/plain"}
		ch := w.channelTo()
		w.phone.onSend = func(_ context.Context, s sent) error {
			if s.contentType != "application/im-iscomposing+xml" {
				t.Errorf("sent as %s, want unwrapped", s.contentType)
			}
			return &conversation.MSRPRefused{Code: 415}
		}
		for i := range 6 {
			if err := w.hall.Composing(t.Context(), w.rel, i%2 == 0); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		equal(t, "states", w.phone.composing(), "active")
		if ch.closed() {
			t.Error("the channel was closed for it")
		}
	})
}

// Typing of a stranger's relation starts no loop.
func TestTypingStartsNoLoop(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		if err := w.hall.Composing(t.Context(), latchkey.Relation{ID: "none"}, true); err != nil {
			t.Fatal(err)
		}
		if n := w.hall.Rooms(); n != 0 {
			t.Errorf("%d rooms", n)
		}
	})
}
