package push

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"latchkey"
	"latchkey/imstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// X5: a browser that isn't ours reads what a call says, who signed it (RFC 8291, 8292), and as much of the message as the operator wants told.
func TestBrowserReadsItsCall(t *testing.T) {
	s := imstest.NewPushService(t)
	long := strings.Repeat("é", 5000)
	for _, c := range []struct {
		tells Telling
		event latchkey.Event
		want  map[string]string
	}{
		{Nothing, wrote(alice, "hush"), map[string]string{"account": string(bob)}},
		{Name, wrote(alice, "hush"), map[string]string{"account": string(bob), "uri": alice, "name": "Alice"}},
		{Text, wrote(carol, "come\nhome"), map[string]string{"account": string(bob), "uri": carol, "name": "Carol", "text": "come\nhome"}},
		{Text, wrote("sip:x@cc.com", long), map[string]string{"account": string(bob), "uri": "sip:x@cc.com", "text": long[:2*299] + "…"}},
		{Text, latchkey.Event{Account: bob, From: alice, File: &latchkey.EventFile{ID: "f", Name: "beach.jpg"}}, map[string]string{"account": string(bob), "uri": alice, "name": "Alice", "file": "beach.jpg"}},
	} {
		crier, _ := newCrier(t, s, Options{Tells: c.tells, Contact: "mailto:ops@example.com", TTL: time.Hour})
		b := s.Browser()
		subscribe(t, crier, b)
		n := len(s.Calls())
		crier.Tell(c.event)
		s.Wait(n + 1)
		got := s.Read(s.Calls()[n:])[0]
		if got.Browser != b || fmt.Sprint(got.Word) != fmt.Sprint(c.want) {
			t.Errorf("%s tells %v, want %v", c.tells, got.Word, c.want)
		}
		in := time.Until(time.Unix(got.Claims.Exp, 0))
		if got.Claims.Aud != s.URL || got.Claims.Sub != "mailto:ops@example.com" || got.Claims.Key != crier.Key() || in <= 0 || in > 24*time.Hour { // RFC 8292 §2
			t.Errorf("signed is %+v", got.Claims)
		}
		h := got.Header
		ttl, err := strconv.Atoi(h.Get("TTL"))
		if err != nil || ttl < 3500 || ttl > 3600 || h.Get("Urgency") != "normal" || h.Get("Content-Encoding") != "aes128gcm" || !regexp.MustCompile(`^[A-Za-z0-9_-]{32}$`).MatchString(h.Get("Topic")) {
			t.Errorf("headers %v", h)
		}
		if got.Size != 4096 {
			t.Errorf("a call of %d bytes tells how long the word is", got.Size)
		}
	}
	calls := s.Calls()
	if topics := []string{calls[0].Header.Get("Topic"), calls[1].Header.Get("Topic"), calls[2].Header.Get("Topic")}; topics[0] != topics[1] || topics[1] == topics[2] {
		t.Errorf("topics %q: one is one conversation", topics)
	}
}

// X5: while a call can't go, the newest word of each conversation waits, and only that one goes.
func TestNewestWordTakesThePlaceOfOlderOnes(t *testing.T) {
	s := imstest.NewPushService(t)
	s.Answer(imstest.PushAnswer{Status: 503, RetryAfter: "4"}) // so long newer words may take
	c, _ := newCrier(t, s, Options{Tells: Text})
	subscribe(t, c, s.Browser())
	c.Tell(wrote(alice, "one"))
	s.Wait(1)
	for _, text := range []string{"two", "three"} {
		c.Tell(wrote(alice, text))
	}
	imstest.Eventually(t, time.Minute, func() bool { return c.waiting(alice) == "three" })
	s.Wait(2)
	c.Tell(wrote(carol, "beside it"))
	got := s.Read(s.Wait(3))
	if len(got) != 3 || got[1].Word["text"] != "three" || got[2].Word["text"] != "beside it" {
		t.Errorf("calls %v, want one, three, and Carol's", got)
	}
}

// waiting is the text of the call that waits to be repeated, in a conversation of bob's only browser.
func (c *Crier) waiting(from string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for at, u := range c.calls {
		if at.topic == c.opt.Key.topic(subject{bob, from}) && len(c.news) == 0 {
			u.mu.Lock()
			defer u.mu.Unlock()
			if _, text, ok := strings.Cut(string(u.word.text), `"text":"`); ok {
				return strings.TrimSuffix(text, `"}`)
			}
		}
	}
	return ""
}

// X5: a browser that the push service does not know any more is forgotten; a refusal of another kind says nothing of the browser. No answer sends the
// gateway elsewhere (S13).
func TestBrowserThatIsGoneIsForgotten(t *testing.T) {
	s, other := imstest.NewPushService(t), imstest.NewPushService(t)
	log := &imstest.Log{}
	elsewhere := other.Browser()
	for status, stays := range map[int]int{404: 0, 410: 0, 400: 1, 401: 1, 403: 1, 413: 1, 301: 1, 307: 1, 201: 1, 204: 1} {
		c, store := newCrier(t, s, Options{Log: logged(log)})
		b := s.Browser()
		subscribe(t, c, b)
		n := len(s.Calls())
		s.Answer(imstest.PushAnswer{Status: status, Location: elsewhere.Endpoint})
		c.Tell(wrote(alice, "x"))
		s.Wait(n + 1)
		imstest.Eventually(t, time.Minute, func() bool { c.mu.Lock(); defer c.mu.Unlock(); return len(c.calls)+len(c.news) == 0 })
		if got := store.count(); got != stays {
			t.Errorf("after %d there are %d subscriptions, want %d", status, got, stays)
		}
		if len(s.Calls()) != n+1 {
			t.Errorf("%d is asked again", status)
		}
		if strings.Contains(log.String(), b.Auth) || strings.Contains(log.String(), strings.TrimPrefix(b.Endpoint, s.URL)) {
			t.Error("the log has a browser's secrets")
		}
	}
	if n := len(other.Calls()); n != 0 {
		t.Errorf("%d redirects were followed", n)
	}
}

// S13: an address inside is not asked, by whatever name it goes, and not again.
func TestPushServiceInsideIsNotAsked(t *testing.T) {
	s := imstest.NewPushService(t)
	log := &imstest.Log{}
	b := s.Browser()
	c, _ := newCrier(t, s, Options{Allows: func(a netip.Addr) bool { return !a.IsLoopback() }, Log: logged(log)})
	if _, _, err := c.Subscribe(t.Context(), bob, b.Endpoint, b.P256dh, b.Auth, time.Time{}); !latchkey.Is(err, latchkey.KindBadRequest) {
		t.Errorf("Subscribe(%s) = %v", b.Endpoint, err)
	}
	b.Endpoint = strings.Replace(b.Endpoint, "127.0.0.1", "localhost", 1)
	subscribe(t, c, b)
	c.Tell(wrote(alice, "x"))
	imstest.Eventually(t, time.Minute, func() bool { return strings.Contains(log.String(), "address is not allowed") })
	if n := len(s.Calls()); n != 0 || strings.Contains(log.String(), "called again") {
		t.Errorf("%d calls: %s", n, log)
	}
}

// X5: a push service that is busy or silent is asked again, later and later, as late as it wishes, and not for ever.
func TestCallsAreRepeatedLaterAndLater(t *testing.T) {
	for name, c := range map[string]struct {
		say  func(n int) (int, string)
		want string
	}{
		"busy for good":  {func(int) (int, string) { return 503, "" }, "0s 2s 6s 14s 30s 1m2s 2m6s 4m14s"},
		"as it wishes":   {func(n int) (int, string) { return map[bool]int{true: 429, false: 201}[n < 3], "90" }, "0s 1m30s 3m0s"},
		"never so long":  {func(n int) (int, string) { return map[bool]int{true: 429, false: 201}[n < 2], "999999999" }, "0s 1h0m0s"},
		"silent":         {func(n int) (int, string) { return map[bool]int{true: 0, false: 201}[n < 2], "" }, "0s 12s"},
		"refused":        {func(int) (int, string) { return 400, "" }, "0s"},
		"over":           {func(int) (int, string) { return 410, "" }, "0s"},
		"taken":          {func(int) (int, string) { return 202, "" }, "0s"},
		"nonsense in it": {func(n int) (int, string) { return map[bool]int{true: 500, false: 201}[n < 2], "soon" }, "0s 2s"},
		"a date far away": {func(n int) (int, string) {
			return map[bool]int{true: 500, false: 201}[n < 2], "Fri, 31 Dec 9999 23:59:59 GMT"
		}, "0s 1h0m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				service := &answers{say: c.say}
				crier, _ := onMadeTime(t, service, Options{})
				defer crier.Close()
				begun := time.Now()
				crier.Tell(wrote(alice, "x"))
				time.Sleep(5 * time.Hour) // of made time
				if got := strings.Join(service.times(begun), " "); got != c.want {
					t.Errorf("asked at %s, want %s", got, c.want)
				}
			})
		})
	}
}

// X5: who listens is not called, unless their stream is asleep: nobody has taken the message a moment later.
func TestOnlySleepersAreCalled(t *testing.T) {
	for _, c := range []struct {
		name        string
		here, heard bool
		want        string
	}{{"away", false, false, "0s"}, {"here", true, true, ""}, {"asleep", true, false, "10s"}, {"away, and another client has it", false, true, ""}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				service := &answers{say: func(int) (int, string) { return 201, "" }}
				crier, store := onMadeTime(t, service, Options{Here: func(latchkey.AccountID) bool { return c.here }})
				defer crier.Close()
				store.heard["x"] = c.heard
				begun := time.Now()
				crier.Tell(wrote(alice, "x"))
				time.Sleep(time.Hour) // of made time
				if got := strings.Join(service.times(begun), " "); got != c.want {
					t.Errorf("called at %q, want %q", got, c.want)
				}
			})
		})
	}
}

// F66: however much comes, so many calls wait and no more; once they are through, others go again. Close ends all of them.
func TestCallsThatWaitAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var answer atomic.Int64
		service := &answers{say: func(int) (int, string) { return int(answer.Load()), "" }}
		c, store := onMadeTime(t, service, Options{Busy: 8})
		defer c.Close()
		if _, _, err := c.Subscribe(t.Context(), bob, "https://push.example.org/1", "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4", "BTBZMqHH6r4Tts7J_aSIgg", time.Time{}); err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			from := fmt.Sprintf("sip:u%d@cc.com", i)
			c.Tell(wrote(from, from))
			synctest.Wait()
		}
		c.mu.Lock()
		under := len(c.calls) + len(c.news)
		c.mu.Unlock()
		if under != 8 || store.count() != 2 {
			t.Errorf("%d calls are under way, want 8", under)
		}
		answer.Store(201)
		time.Sleep(time.Hour) // of made time
		n := len(service.times(time.Now()))
		c.Tell(wrote(alice, "x"))
		synctest.Wait()
		if got := len(service.times(time.Now())); got != n+2 {
			t.Errorf("%d calls after it was quiet, want 2", got-n)
		}
		c.Close()
		c.Tell(wrote(alice, "y"))
		synctest.Wait()
		if got := len(service.times(time.Now())); got != n+2 {
			t.Error("called after Close")
		}
	})
}

// Keys as tools write them are taken, a seed gives one key for ever, and no log has either.
func TestKeys(t *testing.T) {
	k, err := ParseKey(" q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94\n") // RFC 8291 §5: the receiver's
	if err != nil || k.public != "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4" {
		t.Errorf("ParseKey = %s, %v", k.public, err)
	}
	for _, bad := range []string{"", "AAAA", strings.Repeat("A", 43), strings.Repeat("_", 43), "q1dXpw3UpT5VOmu/cf/v6ih07Aems3njxI+JWgLcM94"} {
		if _, err := ParseKey(bad); err == nil || bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("ParseKey(%q) = %v", bad, err)
		}
	}
	seeds := [][]byte{make([]byte, 32), slices.Repeat([]byte{0xff}, 32), []byte("0123456789abcdef0123456789abcdef")}
	for i, seed := range seeds {
		if a, b := MakeKey(seed), MakeKey(seed); a != b || len(a.public) != 87 || i > 0 && a == MakeKey(seeds[0]) {
			t.Errorf("MakeKey(%x) = %q, then %q", seed, a.public, b.public)
		}
	}
	if s := fmt.Sprintf("%v %+v %#v %s", k, k, k, k); strings.Contains(s, "q1dX") {
		t.Errorf("a log shows %s", s)
	}
}

// What a guest writes of a push service is read without harm, and what is taken can be asked.
func FuzzSubscription(f *testing.F) {
	const key, auth = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4", "BTBZMqHH6r4Tts7J_aSIgg=="
	for _, endpoint := range []string{"https://push.example.net/1", "https://[2001:db8::1]:8443/x?y=z", "https://push%2eexample/", "http://x/", "https://a@b/", "https:///x", "HTTPS://X/#y", "https://127.0.0.1/"} {
		f.Add(endpoint, key, auth)
	}
	f.Add("https://x/", strings.ToLower(key), auth)
	f.Add("https://x/", key, "AAAA")
	c := New(&rows{}, Options{Key: MakeKey(make([]byte, 32)), Allows: netip.Addr.IsGlobalUnicast})
	defer c.Close()
	f.Fuzz(func(t *testing.T, endpoint, p256dh, auth string) {
		p, err := c.subscription(endpoint, p256dh, auth)
		if err != nil {
			if !latchkey.Is(err, latchkey.KindBadRequest) {
				t.Fatal(err)
			}
			return
		}
		again, err := c.subscription(p.Endpoint.Reveal(), p.P256dh.Reveal(), p.Auth.Reveal())
		if err != nil || again != p || host(p) == "" || len(p.P256dh) != 87 || len(p.Auth) != 22 || !strings.HasPrefix(p.Endpoint.Reveal(), "https://") {
			t.Fatalf("%q is read as %q, and that as %q, %v", endpoint, p.Endpoint.Reveal(), again.Endpoint.Reveal(), err)
		}
	})
}
