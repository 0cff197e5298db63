package web_test

import (
	"fmt"
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
				// Those that look alike are looked at once with all that can happen, and once in passing.
				walk(t, webtest.Options{Size: size, Dark: scheme == "dark"}, size.Name+"-"+scheme, size.Phone == (scheme == "dark"))
			})
		}
	}
}

// X5: in every other language, too, and mirrored in Arabic; nothing on any screen is in another language than the rest.
func TestEveryScreenSpeaksOneLanguage(t *testing.T) {
	t.Parallel()
	for lang, opt := range map[string]webtest.Options{
		"ar": {Size: webtest.Phone}, "zh": {Size: webtest.Desktop}, "de": {Size: webtest.Phone, Dark: true}, "fr": {Size: webtest.Desktop, Dark: true}, "es": {Size: webtest.Phone},
	} {
		t.Run(lang, func(t *testing.T) {
			t.Parallel()
			opt.Lang = lang
			walk(t, opt, opt.Size.Name+"-"+lang, lang == "ar")
		})
	}
	t.Run("ar desktop", func(t *testing.T) {
		t.Parallel()
		walk(t, webtest.Options{Size: webtest.Desktop, Dark: true, Lang: "ar-EG"}, "desktop-ar", false)
	})
}

func walk(t *testing.T, opt webtest.Options, suffix string, whole bool) {
	g := newGateway(t)
	tab := chromium.Open(t, opt)
	lang, _, _ := strings.Cut(opt.Lang, "-")
	if lang == "" {
		lang = "en"
	}
	words, english := dictionary(t, lang), dictionary(t, "en")
	say := func(key string, values ...string) string { // as the page does it
		text := words[key]
		for i := 0; i < len(values); i += 2 {
			value := values[i+1]
			if words["dir"] == "rtl" {
				value = "\u2068" + value + "\u2069"
			}
			text = strings.ReplaceAll(text, "{"+values[i]+"}", value)
		}
		return text
	}
	look := func(name string) {
		t.Helper()
		tab.Shot("guest-" + name + "-" + suffix)
		if flaws := tab.Flaws(); flaws != "" {
			t.Errorf("%s:\n%s", name, flaws)
		}
		if !whole && (lang != "en" || name != "chat" && name != "leave") {
			// axe-core takes its time.
		} else if found, err := tab.Axe(); err != nil {
			t.Log(err)
		} else if found != "" {
			t.Errorf("%s: axe-core says\n%s", name, found)
		}
		if dir := webtest.Read[string](tab, `getComputedStyle(document.body).direction + " " + document.documentElement.lang`); dir != words["dir"]+" "+lang {
			t.Errorf("%s: direction and language are %s", name, dir)
		}
		if lang == "en" {
			return
		}
		shown := webtest.Read[string](tab, `document.title + "\n" + document.body.innerText + "\n" + [...document.querySelectorAll("[aria-label], [placeholder]")].map((e) => (e.ariaLabel || "") + "\n" + (e.placeholder || "")).join("\n")`)
		for key, text := range english {
			if len(text) > 12 && !strings.Contains(text, "{") && words[key] != text && strings.Contains(shown, text) {
				t.Errorf("%s says %q in English", name, text)
			}
		}
	}
	tab.Go(g.link("?"))
	tab.Await("#door-button:enabled", say("open"))
	tab.Await("#door-title", say("invited"))
	look("invitation")
	if whole && !opt.Size.Phone {
		tab.Click("#have-app")
		tab.Click("#app-file")
		tab.Await("#app-note", say("app-file-how"))
		look("app")
	}
	tab.Click("#not-me")
	tab.Await("#stopping", say("stop"))
	look("not-me")
	tab.Click("#stop-not")
	g.do(func() {
		g.refuse = func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "60")
			problem(429, "too-many-requests", "Too many requests", "")(w, r)
		}
	})
	tab.Click("#door-button")
	_, rest, _ := strings.Cut(say("too-many"), "{time}")
	tab.Await("#door-error", rest)
	look("too-many")
	g.do(func() { g.refuse = nil })

	day := time.Now().Add(-24 * time.Hour)
	g.talks[alice] = []message{
		{ID: "m1", From: alice, Text: "Hi, it’s Alice. Glad you got the link! This chat runs in your browser, nothing to install.", State: "displayed", Time: day},
		{ID: "m2", To: alice, Text: "That was easy.", State: "displayed", Time: day.Add(time.Minute)},
		{ID: "m3", From: alice, Text: "Dinner on Friday? https://example.com/menu/with/a/very/long/address/that/has/no/place/to/break/whatsoever", State: "displayed", Time: time.Now().Add(-3 * time.Minute)},
		{ID: "m4", To: alice, Text: "🎉", State: "delivered", Time: time.Now().Add(-2 * time.Minute)},
		{ID: "m5", To: alice, Text: "Shall I bring something?\nBread, or a salad?", State: "sent", Time: time.Now().Add(-100 * time.Second)},
		{ID: "m6", To: alice, Text: "And when?", State: "failed", Reason: "Alice’s phone did not answer.", Time: time.Now().Add(-90 * time.Second)},
	}
	g.talks[robin] = []message{
		{ID: "r1", From: robin, Text: "See you tomorrow then, and thank you for the photographs.", State: "displayed", Time: day},
		{ID: "r2", From: robin, Text: "مرحبا! هل وصلتك الصور؟", State: "delivered", Time: day.Add(time.Hour)},
	}
	g.files[alice] = []*file{
		{ID: "f1", From: alice, Name: "the view from the terrace.png", Type: "image/png", Preview: true, Size: 2_345_678, State: "displayed", Time: time.Now().Add(-60 * time.Second), body: picture(t, 240)},
		{ID: "f2", From: alice, Name: "Menu.pdf", Type: "application/pdf", Size: 45_678, State: "displayed", Time: time.Now().Add(-50 * time.Second), body: []byte("%PDF")},
	}
	tab.Click("#door-button")
	tab.Await("#list", "Robin")
	tab.AwaitCount(`[data-uri="sip:robin@cc.com"] .badge`, 1)
	chat := func() {
		t.Helper()
		tab.Click(`[data-uri="sip:alice@cc.com"]`)
		tab.AwaitCount("#log .message", 8)
		tab.Until(func() (bool, string) {
			w := webtest.Read[int](tab, `document.querySelector("#log .picture img")?.naturalWidth || 0`)
			return w == 240, fmt.Sprintf("the preview is %d wide", w)
		})
	}
	if !opt.Size.Phone {
		chat()
	}
	tab.Await(`[data-uri="sip:alice@cc.com"] .line`, "Menu.pdf")
	look("list")
	if opt.Size.Phone {
		chat()
	}
	tab.Type("#text", "I’ll be there")
	tab.Click("#send")
	tab.Await("#log .mine[data-state=accepted]", "I’ll be there")
	g.post(event{Type: "composing", From: alice, State: "active"})
	tab.Await("#typing", say("typing", "name", "Alice"))
	look("chat")
	g.post(event{Type: "composing", From: alice, State: "idle"})
	if whole {
		webtest.Eval[any](tab, `void (document.querySelector("#scroll").scrollTop = 0)`)
		look("chat-above")
		tab.Click("#log .picture")
		tab.AwaitCount("#viewer", 1)
		look("picture")
		tab.Click("#picture-close")

		// Files: in the tray, and on their way.
		dir := onDisk(t, map[string][]byte{"holiday.png": picture(t, 400), "A report with quite a long name, final version 2.pdf": noise(800_000)})
		tab.Choose("#files", dir+"/holiday.png", dir+"/A report with quite a long name, final version 2.pdf")
		tab.AwaitCount("#tray canvas", 1)
		look("tray")
		g.do(func() { g.slow = make(chan struct{}) })
		tab.Click("#send")
		tab.AwaitCount("#log progress", 2)
		tab.AwaitCount("#log canvas", 1)
		look("sending")
		g.do(func() { close(g.slow); g.slow = nil })
		tab.AwaitCount("#log progress", 0)
	}
	tab.Offline(true)
	tab.Await("#banner", say("you-offline"))
	tab.Type("#text", "Leaving now")
	tab.Click("#send")
	tab.Await("#log .mine[data-state=sending]", "Leaving now")
	tab.Insert("#text", "A long one:"+strings.Repeat(" and so on and so forth", 8))
	look("offline")
	tab.Offline(false)
	tab.Await("#log .mine[data-state=accepted]", "Leaving now")
	if opt.Size.Phone {
		tab.Click("#back")
	}
	tab.Click(`[data-uri="sip:robin@cc.com"]`)
	tab.Await("#log .news", say("newest"))
	look("unread")
	if opt.Size.Phone {
		tab.Click("#back")
	}
	tab.Click("#leave")
	tab.Await("#leaving", say("leaving"))
	look("leave")
	if !whole {
		return
	}
	tab.Click("#stay")
	g.do(func() {
		g.inviters = g.inviters[:1]
		g.add(event{Type: "inviter", URI: robin, Name: "Robin", State: "removed", Reason: "inviter-left"})
	})
	tab.Click(`[data-uri="sip:robin@cc.com"]`)
	tab.Await("#over", say("over"))
	look("inviter-left")
	g.post(event{Type: "session", State: "ended", Reason: "withdrawn"})
	tab.Await("#door-title", say("ended"))
	look("ended")

	g.do(func() { g.gone = true })
	end := func(name, title string, refuse http.HandlerFunc) {
		t.Helper()
		g.do(func() { g.refuse = refuse })
		tab.Go(g.link("?"))
		tab.Click("#door-button")
		tab.Await("#door-title", title)
		look(name)
	}
	expired, wrong := problem(410, "expired", "The invitation is no longer valid", ""), problem(401, "unauthorized", "Wrong or missing credentials", "")
	end("withdrawn", say("withdrawn"), expired)
	webtest.Eval[any](tab, `localStorage.clear()`)
	end("expired", say("expired"), expired)
	end("wrong-link", say("wrong"), wrong)
	webtest.Eval[any](tab, fmt.Sprintf(`localStorage.setItem("latchkey %s", "guest-left")`, account))
	end("used", say("used"), wrong)
	webtest.Eval[any](tab, `localStorage.clear()`)
	tab.Go(strings.Split(g.link("?"), "?")[0])
	tab.Await("#door-title", say("no-link"))
	look("no-password")
	tab.Go(g.link("?"))
	tab.Click("#not-me:enabled")
	tab.Click("#stop-go")
	tab.Await("#door-title", say("stopped"))
	look("stopped")

	one := newGateway(t).alone()
	tab.Go(one.link("?"))
	tab.Click("#door-button")
	tab.Await("#empty", say("empty", "name", "Alice"))
	look("empty")
	opt.NoScript = true
	tab = chromium.Open(t, opt)
	tab.Go(g.link("?"))
	tab.Await("noscript", say("no-script"))
	tab.Shot("guest-noscript-" + suffix) // without scripts there is no asking for flaws
}
