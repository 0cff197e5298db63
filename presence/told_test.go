package presence_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"latchkey"
	"latchkey/presence"
)

func online(chat bool) latchkey.Status {
	return latchkey.Status{State: latchkey.StatusOnline, Chat: chat, Checked: time.Now()}
}

func offline() latchkey.Status {
	return latchkey.Status{State: latchkey.StatusOffline, Checked: time.Now()}
}

// F26c, B5.02: news ends the period early. All watchers hear it at once, without a question; the next one is a period later.
func TestNewsReachesAllWatchersAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{t: t, code: 480}
		b := newBoard(t, n, presence.Options{Period: time.Minute})
		var all []<-chan latchkey.Status
		for range 1000 {
			all = append(all, watch(t.Context(), b, bob))
		}
		hear := func(what string, state latchkey.StatusState, chat bool) {
			t.Helper()
			synctest.Wait()
			for i, ch := range all {
				if len(ch) == 0 {
					t.Fatalf("%s: watcher %d hears nothing", what, i)
				}
				var s latchkey.Status
				for len(ch) > 0 { // the last word counts
					s = <-ch
				}
				if s.State != state || s.Chat != chat {
					t.Fatalf("%s: watcher %d hears %+v, want %s, chat %v", what, i, s, state, chat)
				}
			}
		}
		hear("at first", latchkey.StatusOffline, false)
		time.Sleep(50 * time.Second)
		n.says(200, "Contact: "+rcsContact)
		b.Told(alice, online(true), true)
		hear("told", latchkey.StatusOnline, true)
		if n.asked() != 1 {
			t.Errorf("%d OPTIONS, want one before the news", n.asked())
		}
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if n.asked() != 1 {
			t.Errorf("%d OPTIONS, want the period to begin with the news", n.asked())
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n.asked() != 2 {
			t.Errorf("%d OPTIONS a period later, want 2", n.asked())
		}
		// Who is told to have come, but not with what, is asked; who left is not.
		n.says(480)
		b.Told(alice, offline(), false)
		hear("left", latchkey.StatusOffline, false)
		n.says(200, "Contact: "+rcsContact)
		b.Told(alice, online(false), false)
		hear("came with an unknown phone", latchkey.StatusOnline, true)
		if n.asked() != 3 {
			t.Errorf("%d OPTIONS for 1000 watchers, want 3", n.asked())
		}
		b.Ask(alice)
		synctest.Wait()
		if n.asked() != 4 {
			t.Errorf("%d OPTIONS after a doubt, want 4", n.asked())
		}
	})
}

// B5.02: the newest word counts. An answer is as old as its question, and old news is none.
func TestNewestWordCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{t: t, code: 200, headers: []string{"Contact: " + rcsContact}, delay: 2 * time.Second}
		b := newBoard(t, n, presence.Options{Cache: time.Minute})
		old := offline()
		status := func() latchkey.Status {
			s, err := b.Status(context.Background(), bob, alice)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		time.AfterFunc(time.Second, func() { b.Told(alice, offline(), false) })
		if s := status(); s.State != latchkey.StatusOffline {
			t.Errorf("an answer to an older question wins over the news: %+v", s)
		}
		time.Sleep(2 * time.Minute)
		if s := status(); s.State != latchkey.StatusOnline || !s.Chat {
			t.Errorf("old news wins over an answer: %+v", s)
		}
		b.Told(alice, old, false)
		if s := status(); s.State != latchkey.StatusOnline {
			t.Errorf("news from before the answer wins: %+v", s)
		}
		if n.asked() != 2 {
			t.Errorf("%d OPTIONS, want 2", n.asked())
		}
	})
}
