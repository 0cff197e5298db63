package directory

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"latchkey"
)

// counts is a Watcher.
type counts struct {
	mu    sync.Mutex
	asked map[string]int
	took  time.Duration // of the last one
}

func (c *counts) Asked(request string, o Outcome, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked[request+" "+string(o)]++
	c.took = took
}

func (c *counts) Remembered(request string) { c.Asked(request, "remembered", 0) }

// X7: each request is told once, as what it was, with the time that it took; what needed none is told as that; and while the directory is left
// alone, that shows.
func TestRequestsAreWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &counts{asked: map[string]int{}}
		status, header, body, fails := 200, http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"max-age=60"}}, aliceJSON, error(nil)
		d := from(t, func(*http.Request) (int, http.Header, string, error) {
			time.Sleep(70 * time.Millisecond)
			return status, header, body, fails
		}, HTTPOptions{Watch: w})
		want := map[string]int{}
		n := 0
		expect := func(what string) {
			t.Helper()
			w.mu.Lock()
			defer w.mu.Unlock()
			if want[what]++; !maps.Equal(w.asked, want) {
				t.Fatalf("told %v, want %v", w.asked, want)
			}
		}
		find := func(what string) {
			t.Helper()
			n++
			_, _ = d.Find(t.Context(), latchkey.Identifier{Kind: latchkey.Mail, Value: fmt.Sprint(n, "@cc.com")})
			expect(what)
		}
		find("users yes")
		if w.took != 70*time.Millisecond {
			t.Errorf("took %v, want 70ms", w.took)
		}
		n--
		find("users remembered")
		_, _ = d.Authenticate(t.Context(), "sip:a@cc.com", "x")
		expect("authenticate yes")
		_, _ = d.Authenticate(t.Context(), "sip:a@cc.com", "x")
		expect("authenticate remembered")
		status = 404
		find("users no")
		header = http.Header{"Content-Type": {"text/html"}}
		find("users odd")
		status = 401
		_, _ = d.Authenticate(t.Context(), "sip:a@cc.com", "y")
		expect("authenticate no")
		find("users odd") // our own credentials are wrong
		status = 429
		_, _ = d.Authenticate(t.Context(), "sip:a@cc.com", "z")
		expect("authenticate limited")
		status, body = 201, `{"account":"sip:g1@guest.example","password":"p"}`
		_, _, _ = d.Allot(t.Context(), mailOfAlice)
		expect("accounts yes")
		fails = context.DeadlineExceeded
		find("users timeout")
		fails = errors.New("connection refused")
		for range tripAfter - 2 {
			find("users failed")
		}
		if d.Resting() {
			t.Error("it rests before it has failed often enough")
		}
		status, fails = 500, nil
		find("users failed")
		if !d.Resting() {
			t.Error("it does not rest")
		}
		find("users left-alone")
		status = 404
		time.Sleep(2 * firstRest)
		find("users odd")
		if d.Resting() {
			t.Error("it rests, though it has answered")
		}
	})
}
