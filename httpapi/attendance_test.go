package httpapi

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey"
)

// states are the status events in a stream, as text.
func states(events []latchkey.Event) (all []string) {
	for _, e := range events {
		if e.Type == latchkey.StatusEvent {
			all = append(all, e.URI+" "+e.Status)
		}
	}
	return all
}

func wantStates(t *testing.T, w *world, want ...string) {
	t.Helper()
	synctest.Wait()
	if got := states(w.hall.all()); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("states %q, want %q", got, want)
	}
}

// F26c, R24: on, off and on are three events, however many streams and polls there are and however often the state is asked.
func TestListeningGuestIsToldChangesOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		defer w.api.Close()
		client, _ := w.pipe()
		first := openSSE(t, client, "http://gw"+eventsPath)
		openSSE(t, client, "http://gw"+eventsPath)
		wantStates(t, w, "sip:a@cc.com online")
		if n := w.board.watches(aliceURI); n != 1 {
			t.Errorf("two streams make %d watches, want 1", n)
		}
		w.board.turn(aliceURI, latchkey.StatusOnline) // chat comes or goes: nothing that a guest is told
		w.board.turn(aliceURI, latchkey.StatusOffline)
		w.board.turn(aliceURI, latchkey.StatusNotRCS) // in a guest's terms the same
		w.board.turn(aliceURI, latchkey.StatusOnline)
		for range 3 {
			w.do("GET", eventsPath+"?wait=0&after=1", "", asGuest).wants(200)
		}
		want := []string{"sip:a@cc.com online", "sip:a@cc.com offline", "sip:a@cc.com online"}
		wantStates(t, w, want...)
		// Whoever goes and comes back isn't told again what stands in the stream.
		first.close()
		w.board.turn(aliceURI, latchkey.StatusOnline)
		wantStates(t, w, want...)
		time.Sleep(time.Hour)
		openSSE(t, client, "http://gw"+eventsPath)
		wantStates(t, w, want...)
	})
}

// A guest who polls is here between polls, and for Options.Linger after the last.
func TestPollingGuestLingers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		defer w.api.Close()
		for range 5 {
			w.do("GET", eventsPath+"?wait=2&after=1", "", asGuest).wants(200)
			synctest.Wait()
			if w.hall.here() != 1 || w.board.watches(aliceURI) != 1 {
				t.Fatalf("here %d times, %d watches", w.hall.here(), w.board.watches(aliceURI))
			}
			time.Sleep(10*time.Second - time.Millisecond)
			synctest.Wait()
			if w.hall.here() != 1 {
				t.Fatal("left before Options.Linger")
			}
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if w.hall.here() != 0 || w.board.watches(aliceURI) != 0 {
			t.Errorf("after Options.Linger: here %d times, %d watches", w.hall.here(), w.board.watches(aliceURI))
		}
		// One stay, one word.
		wantStates(t, w, "sip:a@cc.com online")
	})
}

// A stream counts while it is open; a poll before it makes no difference once its time is over.
func TestStreamIsPresenceWhileItIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		defer w.api.Close()
		client, _ := w.pipe()
		w.do("GET", eventsPath+"?wait=0", "", asGuest).wants(200)
		time.Sleep(5 * time.Second)
		s := openSSE(t, client, "http://gw"+eventsPath)
		time.Sleep(2 * time.Second)
		s.close()
		synctest.Wait()
		if w.hall.here() != 1 {
			t.Error("the poll still counts")
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if w.hall.here() != 0 {
			t.Error("nothing counts any more")
		}
		s = openSSE(t, client, "http://gw"+eventsPath)
		go func() { _, _ = io.Copy(io.Discard, s.body) }() // a client that reads; ends with the stream
		time.Sleep(time.Hour)
		synctest.Wait()
		if w.hall.here() != 1 {
			t.Error("an open stream counts")
		}
		s.close()
		synctest.Wait()
		if w.hall.here() != 0 {
			t.Error("a closed stream counts")
		}
	})
}

// R24, R31: an inviter who is added while the guest listens is watched, too, and one who has left isn't any more.
func TestWatchesFollowTheInviters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		defer w.api.Close()
		client, _ := w.pipe()
		for range 2*eventBatch + 3 { // much to read before it is up to date
			w.hall.say("x")
		}
		go openSSE(t, client, "http://gw"+eventsPath).drain() // ends with the stream
		wantStates(t, w, "sip:a@cc.com online")
		w.desk.add(relation(carolURI, "Carol"))
		wantStates(t, w, "sip:a@cc.com online", "sip:c@cc.com offline")
		w.desk.remove(aliceURI)
		synctest.Wait()
		if a, c := w.board.watches(aliceURI), w.board.watches(carolURI); a != 0 || c != 1 {
			t.Errorf("%d watches of Alice and %d of Carol, want 0 and 1", a, c)
		}
		w.board.turn(aliceURI, latchkey.StatusOffline)
		w.board.turn(carolURI, latchkey.StatusOnline)
		want := []string{"sip:a@cc.com online", "sip:c@cc.com offline", "sip:c@cc.com online"}
		wantStates(t, w, want...)
		// Alice invites again: another relation, and a first word on it.
		w.desk.add(relation(aliceURI, "Alice"))
		wantStates(t, w, append(want, "sip:a@cc.com offline")...)
	})
}

// A room that fails for a moment doesn't end the watch.
func TestWatchSurvivesAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		defer w.api.Close()
		client, _ := w.pipe()
		s := openSSE(t, client, "http://gw"+eventsPath)
		go s.drain() // ends with the stream
		wantStates(t, w, "sip:a@cc.com online")
		w.desk.lose(errors.New("disk is busy"))
		w.desk.add(relation(carolURI, "Carol"))
		synctest.Wait()
		if log := w.log.String(); !strings.Contains(log, "inviters of a guest not followed") {
			t.Errorf("log: %s", log)
		}
		w.desk.lose(nil)
		time.Sleep(6 * time.Second)
		wantStates(t, w, "sip:a@cc.com online", "sip:c@cc.com offline")
	})
}

// A state that could not be written down has not been told: the next word counts, though it is the same.
func TestStateThatWasNotWrittenIsToldLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		defer w.api.Close()
		client, _ := w.pipe()
		w.hall.full = errors.New("disk is full")
		openSSE(t, client, "http://gw"+eventsPath)
		wantStates(t, w)
		if log := w.log.String(); !strings.Contains(log, "status not told") {
			t.Errorf("log: %s", log)
		}
		w.hall.mu.Lock()
		w.hall.full = nil
		w.hall.mu.Unlock()
		w.board.turn(aliceURI, latchkey.StatusOnline)
		wantStates(t, w, "sip:a@cc.com online")
	})
}

// S4: what is remembered of inviters is bounded.
func TestLastWordsAreBounded(t *testing.T) {
	a := newAttendance(Ports{}, Options{})
	for i := range maxTold + 10 {
		if !a.note(latchkey.RelationID(fmt.Sprint(i)), latchkey.StatusOnline) {
			t.Fatal("a first word is news")
		}
	}
	if a.note(latchkey.RelationID(fmt.Sprint(maxTold+9)), latchkey.StatusOnline) && a.note(latchkey.RelationID(fmt.Sprint(maxTold+8)), latchkey.StatusOnline) {
		t.Error("the latest words are forgotten")
	}
	if n := len(a.told); n > maxTold {
		t.Errorf("%d words are kept, want at most %d", n, maxTold)
	}
	a.close()
}
