package web_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"latchkey/web/webtest"
)

// X5: every screen can be read and used, on a phone as on a desk, by day and by night. Pictures of all of
// them are kept in artifacts/ for people to look at.
func TestEveryScreenIsLegible(t *testing.T) {
	t.Parallel()
	for _, size := range []webtest.Size{webtest.Desktop, webtest.Phone} {
		for _, scheme := range []string{"light", "dark"} {
			t.Run(size.Name+" "+scheme, func(t *testing.T) {
				t.Parallel()
				walk(t, webtest.Options{Size: size, Dark: scheme == "dark"}, size.Name+"-"+scheme)
			})
		}
	}
}

func walk(t *testing.T, opt webtest.Options, suffix string) {
	g := newGateway(t)
	tab := chromium.Open(t, opt)
	look := func(name string) {
		t.Helper()
		tab.Shot("guest-" + name + "-" + suffix)
		if flaws := tab.Flaws(); flaws != "" {
			t.Errorf("%s:\n%s", name, flaws)
		}
	}
	tab.Go(g.link("?"))
	tab.Await("#door-title", "You are invited to chat")
	look("invitation")
	g.refuse = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "60")
		problem(429, "too-many-requests", "Too many requests", "")(w, r)
	}
	tab.Click("#door-button")
	tab.Await("#door-error", "too many tries")
	look("too-many")
	g.do(func() { g.refuse = nil })

	day := time.Now().Add(-24 * time.Hour)
	g.talks[alice] = []message{
		{ID: "m1", From: alice, Text: "Hi, it’s Alice. Glad you got the link! This chat runs in your browser, nothing to install.", State: "displayed", Time: day},
		{ID: "m2", To: alice, Text: "That was easy.", State: "displayed", Time: day.Add(time.Minute)},
		{ID: "m3", From: alice, Text: "Dinner on Friday? https://example.com/menu/with/a/very/long/address/that/has/no/place/to/break/whatsoever", State: "displayed", Time: time.Now().Add(-3 * time.Minute)},
		{ID: "m4", To: alice, Text: "Yes 🎉", State: "delivered", Time: time.Now().Add(-2 * time.Minute)},
		{ID: "m5", To: alice, Text: "Shall I bring something?\nBread, or a salad?", State: "sent", Time: time.Now().Add(-100 * time.Second)},
		{ID: "m6", To: alice, Text: "And when?", State: "failed", Reason: "Alice’s phone did not answer.", Time: time.Now().Add(-90 * time.Second)},
	}
	g.talks[robin] = []message{{ID: "r1", From: robin, Text: "See you tomorrow then, and thank you for the photographs.", State: "delivered", Time: day}}
	tab.Click("#door-button")
	tab.Await("#list", "Robin")
	tab.Await(`[data-uri="sip:robin@cc.com"] .badge`, "1")
	if !opt.Size.Phone {
		tab.Click(`[data-uri="sip:alice@cc.com"]`)
	}
	tab.Await("#list", "You: And when?")
	look("list")
	if opt.Size.Phone {
		tab.Click(`[data-uri="sip:alice@cc.com"]`)
	}
	tab.AwaitCount("#log .message", 6)
	tab.Type("#text", "I’ll be there")
	tab.Click("#send")
	tab.Await("#log .mine[data-state=accepted]", "I’ll be there")
	g.post(event{Type: "composing", From: alice, State: "active"})
	tab.Await("#typing", "is typing")
	look("chat")
	g.post(event{Type: "composing", From: alice, State: "idle"})
	tab.Offline(true)
	tab.Await("#banner", "You are offline")
	tab.Type("#text", "Leaving now")
	tab.Click("#send")
	tab.Await("#log .mine[data-state=sending]", "Leaving now")
	tab.Type("#text", "A long one:"+strings.Repeat(" and so on and so forth", 8))
	look("offline")
	tab.Offline(false)
	tab.Await("#log .mine[data-state=accepted]", "Leaving now")
	if opt.Size.Phone {
		tab.Click("#back")
	}
	tab.Click("#leave")
	tab.Await("#leaving", "Leave chat?")
	look("leave")
	tab.Click("#stay")
	g.do(func() {
		g.inviters = g.inviters[:1]
		g.add(event{Type: "inviter", URI: robin, Name: "Robin", State: "removed", Reason: "inviter-left"})
	})
	tab.Click(`[data-uri="sip:robin@cc.com"]`)
	tab.Await("#over", "has signed off")
	look("inviter-left")
	g.post(event{Type: "session", State: "ended", Reason: "withdrawn"})
	tab.Await("#door-title", "The chat has ended")
	look("ended")

	g.do(func() { g.gone = true })
	for name, refuse := range map[string]http.HandlerFunc{
		"expired":    problem(410, "expired", "The invitation is no longer valid", ""),
		"wrong-link": problem(401, "unauthorized", "Wrong or missing credentials", ""),
	} {
		g.do(func() { g.refuse = refuse })
		tab.Go(g.link("?"))
		tab.Click("#door-button")
		tab.AwaitCount("#door-button", 0)
		look(name)
	}
	tab.Go(strings.Split(g.link("?"), "?")[0])
	tab.Await("#door-title", "Open the link")
	look("no-password")

	one := newGateway(t).alone()
	tab.Go(one.link("?"))
	tab.Click("#door-button")
	tab.Await("#empty", "Nothing written yet")
	look("empty")
	opt.NoScript = true
	tab = chromium.Open(t, opt)
	tab.Go(g.link("?"))
	tab.Await("noscript", "needs JavaScript")
	tab.Shot("guest-noscript-" + suffix) // without scripts there is no asking for flaws
}
