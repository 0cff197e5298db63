package push

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"latchkey"
)

// services are push services on made time, by host: those under hung.example don't answer until they are mended.
type services struct {
	mu     sync.Mutex
	mended bool
	asked  map[string]int
	last   map[string]time.Time // when one was asked last
}

func (s *services) RoundTrip(r *http.Request) (*http.Response, error) {
	site := strings.TrimPrefix(r.URL.Host, strings.SplitN(r.URL.Host, ".", 2)[0]+".")
	s.mu.Lock()
	s.asked[site]++
	s.last[site] = time.Now()
	mended := s.mended
	s.mu.Unlock()
	if site == "hung.example" && !mended {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return &http.Response{StatusCode: http.StatusCreated, Body: http.NoBody, Request: r}, nil
}

func (s *services) count(site string) (int, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[site], s.last[site]
}

// call has a message written to n guests whose browsers have a push service of a site.
func (s *services) call(t *testing.T, c *Crier, store *rows, site string, n int) {
	t.Helper()
	for i := range n {
		account := latchkey.AccountID(fmt.Sprintf("sip:g%d.%s@guest.example", i, site))
		if all, _ := store.PushSubscriptions(context.Background(), account, time.Now()); len(all) == 0 {
			_, _, err := c.Subscribe(t.Context(), account, fmt.Sprintf("https://h%d.%s/1", i, site), "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4", "BTBZMqHH6r4Tts7J_aSIgg", time.Time{})
			if err != nil {
				t.Fatal(err)
			}
		}
		c.Tell(latchkey.Event{Type: latchkey.MessageEvent, Account: account, From: alice, Message: &latchkey.EventMessage{ID: latchkey.MessageID(site), Type: "text/plain"}})
	}
	synctest.Wait()
}

// Issue 7, line 3: a push service that hangs keeps no call to another one waiting, not even when it had answered until now; nor do its calls
// take the room of the others'. Once it answers, what still waits goes out.
func TestPushServiceThatHangsHoldsUpNobodyElse(t *testing.T) {
	for name, busy := range map[string]int{"places": 1000, "room": 100} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &services{mended: true, asked: map[string]int{}, last: map[string]time.Time{}}
				c, store := onMadeTime(t, &answers{}, Options{Busy: busy})
				defer c.Close()
				c.client.Transport = s
				s.call(t, c, store, "hung.example", 200)
				s.mu.Lock()
				s.mended, s.asked = false, map[string]int{}
				s.mu.Unlock()
				s.call(t, c, store, "hung.example", 200)
				if n, _ := s.count("hung.example"); n > maxRequests*3/4 {
					t.Errorf("%d calls are with the service that hangs", n)
				}
				begun := time.Now()
				s.call(t, c, store, "quick.example", 40)
				if n, at := s.count("quick.example"); n != 40 || at.Sub(begun) > 0 {
					t.Errorf("%d of 40 calls went, the last after %v", n, at.Sub(begun))
				}
				c.mu.Lock()
				waits := c.sites["hung.example"]
				c.mu.Unlock()
				if want := min(200, busy/2); waits != want {
					t.Errorf("%d calls wait for the service that hangs, want %d", waits, want)
				}
				time.Sleep(30 * time.Second) // of made time
				tried, _ := s.count("hung.example")
				if tried > 20 {
					t.Errorf("a service that was silent is asked %d times in 30 s", tried)
				}
				s.mu.Lock()
				s.mended, s.asked = true, map[string]int{}
				s.mu.Unlock()
				time.Sleep(5 * time.Minute) // of made time
				if n, _ := s.count("hung.example"); n < waits {
					t.Errorf("%d of %d calls went once the service was back", n, waits)
				}
				c.mu.Lock()
				defer c.mu.Unlock()
				if len(c.calls)+len(c.news)+len(c.sites) != 0 {
					t.Errorf("%d calls and %d sites are left", len(c.calls), len(c.sites))
				}
			})
		})
	}
}
