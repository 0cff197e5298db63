package web_test

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey/web/webtest"
)

var chromium webtest.Browser

// TestMain lets more tests run at once than there are processors, unless -parallel says how many: they wait for pages more than they compute.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("4")
	}
	code := m.Run()
	chromium.Close()
	os.Exit(code)
}

// enter opens the link and presses the button.
func enter(t *testing.T, g *gateway, opt webtest.Options) *webtest.Tab {
	t.Helper()
	tab := chromium.Open(t, opt)
	tab.Go(g.link("?"))
	tab.Click("#door-button")
	tab.Await("#people, #talk", "Alice")
	return tab
}

// F22, S2: programs that look at links run scripts, too; only the button changes something. And nothing
// is asked of another host, ever (S6).
func TestLoadingTheLinkChangesNothing(t *testing.T) {
	t.Parallel()
	for _, noScript := range []bool{false, true} {
		t.Run(fmt.Sprintf("noscript %v", noScript), func(t *testing.T) {
			g := newGateway(t)
			tab := chromium.Open(t, webtest.Options{NoScript: noScript})
			tab.Go(g.link("?"))
			if noScript {
				tab.Await("noscript", "needs JavaScript")
			} else {
				tab.Await("#door-title", "You are invited to chat")
			}
			g.do(func() {
				for _, r := range g.requests {
					if method, _, _ := strings.Cut(r, " "); method != http.MethodGet || strings.Contains(r, "events") || strings.Contains(r, "passwd") {
						t.Errorf("loading the page asks %s", r)
					}
				}
				if g.cookie != "" {
					t.Error("loading the page logs in")
				}
			})
			requests := tab.Requests()
			if len(requests) < 2 {
				t.Fatalf("only %q was asked", requests)
			}
			for i, r := range requests {
				if !strings.HasPrefix(r, "GET "+g.URL+"/rcsgw/") || i > 0 && strings.Contains(r, "passwd") {
					t.Errorf("the page asks %s", r)
				}
			}
			if !noScript {
				tab.Click("#door-button")
				tab.Await("#talk-name", "Alice")
				if !slices.Contains(tab.Requests(), "POST "+g.URL+"/rcsgw/invitee/session/"+"sip%3Ab_at_cc.com%40guest.example") {
					t.Errorf("the button didn't log in: %q", tab.Requests())
				}
			}
		})
	}
}

// F23, S2: the password leaves the address bar, for both styles of link, and still opens the chat.
func TestPasswordLeavesTheAddressBar(t *testing.T) {
	t.Parallel()
	for _, sep := range []string{"?", "#", "?utm=1&", "?x#"} {
		t.Run(sep, func(t *testing.T) {
			g := newGateway(t)
			tab := chromium.Open(t, webtest.Options{})
			tab.Go(g.link(sep))
			tab.Await("#door-button:enabled", "Open chat")
			if address := webtest.Read[string](tab, "location.href"); address != g.URL+"/rcsgw/invitee/session/sip:b_at_cc.com@guest.example" {
				t.Errorf("the address bar shows %s", address)
			}
			if left := webtest.Read[string](tab, `String(window.passwd) + JSON.stringify(history.state) + JSON.stringify(localStorage) + JSON.stringify(sessionStorage) + document.cookie`); left != "undefinednull{}{}" {
				t.Errorf("the password may be left in %s", left)
			}
			tab.Click("#door-button")
			tab.Await("#talk-name", "Alice")
		})
	}
}

// R32, F23: a link of the fragment style that is opened again in the same tab begins anew.
func TestLinkOpenedAgainInTheSameTab(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	tab := chromium.Open(t, webtest.Options{})
	tab.Go(strings.Split(g.link("#"), "#")[0])
	tab.Await("#door-title", "Open the link in your invitation")
	webtest.Eval[any](tab, fmt.Sprintf("void (location.href = %q)", g.link("#")))
	tab.Await("#door-button:enabled", "Open chat")
	if address := webtest.Read[string](tab, "location.href"); strings.Contains(address, "passwd") {
		t.Errorf("the address bar shows %s", address)
	}
	tab.Click("#door-button")
	tab.Await("#talk-name", "Alice")
}

// R22: the login tells who invited and whether they are there; the conversation so far is shown.
func TestGuestSeesWhoInvitedAndWhatWasSaid(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	at := time.Now().Add(-48 * time.Hour)
	g.talks[alice] = []message{
		{ID: "m1", From: alice, Text: "hello there", State: "displayed", Time: at},
		{ID: "m2", To: alice, Text: "hello Alice", State: "displayed", Time: at.Add(time.Minute)},
		{ID: "m3", To: alice, Text: "too long", State: "failed", Reason: "The message was refused.", Time: at.Add(2 * time.Minute)},
	}
	tab := enter(t, g, webtest.Options{})
	tab.Await(`[data-uri="sip:alice@cc.com"]`, "online")
	tab.Await(`[data-uri="sip:robin@cc.com"]`, "offline")
	tab.Await(`[data-uri="sip:robin@cc.com"]`, "robin@cc.com")
	tab.Await("#talk-address", "alice@cc.com")
	tab.AwaitCount("#log .message", 3)
	tab.Await("#log .message:not(.mine)", "hello there")
	tab.Await("#log .mine[data-state=displayed]", "✓✓ Seen")
	tab.Await("#log .mine[data-state=failed]", "Not delivered: The message was refused.")
	tab.AwaitCount("#older", 0)
	tab.Click(`[data-uri="sip:robin@cc.com"]`)
	tab.Await("#talk-name", "Robin")
	tab.AwaitCount("#log .message", 0)
	tab.Await("#empty", "Nothing written yet")
	tab.Await("#valid", "valid until")
	tab.Await("#valid", "2030")
}

// R26: a message's way is shown step by step; a failure says why and can be sent again.
func TestMessageShowsHowFarItHasCome(t *testing.T) {
	t.Parallel()
	g := newGateway(t).alone()
	tab := enter(t, g, webtest.Options{})
	tab.Type("#text", "abcdefg\n")
	tab.Await("#log .mine[data-state=accepted] .state", "Waiting")
	for _, step := range [][2]string{{"sent", "✓ Sent"}, {"delivered", "✓✓ Delivered"}, {"displayed", "✓✓ Seen"}} {
		g.move(alice, step[0], "")
		tab.Await("#log .mine[data-state="+step[0]+"] .state", step[1])
	}
	g.move(alice, "sent", "") // late, and no step back
	g.say(alice, "in-1", "after it")
	tab.Await("#log", "after it")
	tab.Await("#log .mine .state", "✓✓ Seen")

	tab.Type("#text", "second\n")
	tab.Await("#log .mine[data-state=accepted]", "second")
	g.move(alice, "failed", "Alice can’t take messages.")
	tab.Await("#log .mine[data-state=failed]", "Not delivered: Alice can’t take messages.")
	tab.Click("#log .mine[data-state=failed] button")
	tab.Await("#log .mine[data-state=accepted]", "second")
	if sent := g.sent(alice); !slices.Equal(sent, []string{"abcdefg", "second", "second"}) {
		t.Errorf("the gateway has %q", sent)
	}
	g.do(func() { g.refusing = problem(413, "too-large", "Too large", "message: is longer than 100000 octets") })
	tab.Type("#text", "third\n")
	tab.Await("#log .mine[data-state=failed]", "Not delivered: message: is longer than 100000 octets")
}

// X4: a message is repeated under its id until the gateway has it, so it is neither lost nor doubled.
func TestMessageIsSentOnceThoughAnswersGetLost(t *testing.T) {
	t.Parallel()
	g := newGateway(t).alone()
	g.loses = 4
	tab := enter(t, g, webtest.Options{})
	tab.Type("#text", "first\n")
	tab.Type("#text", "second\n")
	tab.AwaitCount("#log .mine[data-state=accepted]", 2)
	if sent := g.sent(alice); !slices.Equal(sent, []string{"first", "second"}) {
		t.Errorf("the gateway has %q, want each once and in order", sent)
	}
	g.is("repeats under the same id", func() bool { return g.repeats == 4 })
	tab.AwaitCount("#log .mine", 2)
}

// R27: what an inviter writes is there at once, is acknowledged, and is read when it was seen.
func TestInviterIsHeardAtOnce(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	tab := enter(t, g, webtest.Options{})
	g.post(event{Type: "composing", From: alice, State: "active"})
	tab.Await("#typing", "Alice is typing…")
	g.post(event{Type: "composing", From: alice, State: "idle"})
	tab.Until(func() (bool, string) { s := tab.Shown("#typing"); return s == "", s })
	g.post(event{Type: "composing", From: alice, State: "active"})
	tab.Await("#typing", "Alice is typing…")
	g.say(alice, "in-1", "knock knock")
	tab.Await("#log .message:not(.mine)", "knock knock")
	tab.Until(func() (bool, string) { s := tab.Shown("#typing"); return s == "", s })
	g.is("the message acknowledged", func() bool { return g.acked == 4 })
	g.is("the message read", func() bool { return slices.Equal(g.read, []string{"in-1"}) })

	// One whose conversation is not on the screen is unread.
	g.say(robin, "in-2", "psst")
	tab.Await(`[data-uri="sip:robin@cc.com"] .badge`, "1")
	tab.Await(`[data-uri="sip:robin@cc.com"] .line`, "psst")
	g.is("the other message acknowledged", func() bool { return g.acked == 5 })
	tab.Until(func() (bool, string) {
		title := webtest.Read[string](tab, "document.title")
		return title == "(1) Chat with Alice", title
	})
	g.post(event{Type: "status", URI: robin, Status: "online"})
	tab.Await(`[data-uri="sip:robin@cc.com"] .status`, "online")
	g.do(func() {
		if len(g.read) != 1 {
			t.Errorf("read are %q, though nobody saw Robin's message", g.read)
		}
	})
	tab.Click(`[data-uri="sip:robin@cc.com"]`)
	g.is("Robin's message read", func() bool { return slices.Equal(g.read, []string{"in-1", "in-2"}) })
	tab.AwaitCount(`.badge`, 0)
}

// F39: the inviter learns that the guest writes, and not at every key.
func TestTypingIsTold(t *testing.T) {
	t.Parallel()
	g := newGateway(t).alone()
	tab := chromium.Open(t, webtest.Options{})
	tab.Before(webtest.Unhurried) // a pause ends the typing, too
	tab.Go(g.link("?"))
	tab.Click("#door-button")
	tab.Await("#talk-name", "Alice")
	tab.Type("#text", "hello")
	g.is("one active", func() bool { return slices.Equal(g.composed, []string{"active"}) })
	tab.Type("#text", "\b\b\b\b\b")
	g.is("idle when the text is gone", func() bool { return slices.Equal(g.composed, []string{"active", "idle"}) })
	tab.Type("#text", "hi\n")
	tab.Await("#log .mine[data-state=accepted]", "hi")
	g.is("active again, and no idle after sending", func() bool { return slices.Equal(g.composed, []string{"active", "idle", "active"}) })
}

// X4: a stream that is cut goes on where it was, and a reload goes straight to the chat.
func TestCutsAndReloadsLoseNothing(t *testing.T) {
	t.Parallel()
	g := newGateway(t).alone()
	tab := enter(t, g, webtest.Options{})
	g.say(alice, "in-1", "one")
	tab.Await("#log", "one")
	g.CloseClientConnections()
	g.say(alice, "in-2", "two")
	tab.Await("#log", "two")
	g.is("Last-Event-ID at the reconnect", func() bool { return len(g.streams) == 2 && g.streams[0] == "" && g.streams[1] == "1" })
	tab.AwaitCount("#log .message", 2)

	tab.Type("#text", "mine\n")
	tab.Await("#log .mine[data-state=accepted]", "mine")
	tab.Reload() // all events come again
	tab.Await("#log .mine", "mine")
	tab.AwaitCount("#log .message", 3)
	g.say(alice, "in-3", "three")
	tab.Await("#log", "three")
	tab.AwaitCount("#log .message", 4)
	g.do(func() { g.down = true })
	tab.Reload()
	tab.Await("#door-title", "The chat can’t be reached")
	g.do(func() { g.down = false })
	tab.Click("#door-button")
	tab.Await("#log", "three")
	logins := 0
	g.do(func() {
		for _, r := range g.requests {
			if strings.HasPrefix(r, "POST /rcsgw/invitee/session/") {
				logins++
			}
		}
	})
	if logins != 1 {
		t.Errorf("logged in %d times, want once", logins)
	}
}

// X4: without a network the page says so, keeps what is written, and sends it when it can.
func TestOfflineMessagesWait(t *testing.T) {
	t.Parallel()
	g := newGateway(t).alone()
	tab := enter(t, g, webtest.Options{})
	tab.Offline(true)
	tab.Await("#banner", "You are offline")
	tab.Type("#text", "from the tunnel\n")
	tab.Await("#log .mine[data-state=sending] .state", "Sending…")
	tab.Offline(false)
	tab.Await("#log .mine[data-state=accepted]", "from the tunnel")
	tab.AwaitCount("#banner:not(:empty)", 0)
	g.say(alice, "in-1", "welcome back")
	tab.Await("#log", "welcome back")
	if sent := g.sent(alice); len(sent) != 1 {
		t.Errorf("the gateway has %q", sent)
	}
}

// F21, F58: each refusal says what to do next, and those that pass keep the button.
func TestRefusedLoginSaysWhatToDo(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	for _, c := range []struct {
		name   string
		refuse http.HandlerFunc
		shown  string
		again  bool
	}{
		{"410", problem(410, "expired", "The invitation is no longer valid", ""), "This invitation has expired", false},
		{"401", problem(401, "unauthorized", "Wrong or missing credentials", ""), "This link doesn’t work", false},
		{"429", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "37")
			problem(429, "too-many-requests", "Too many requests", "")(w, r)
		}, "Wait 37 seconds", true},
		{"502", problem(502, "registration-failed", "The network refused the registration", ""), "your link is still good", true},
		{"504", problem(504, "core-timeout", "The network did not answer", ""), "doesn’t answer just now", true},
		{"no network", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "There is no connection", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			g.do(func() { g.refuse = c.refuse })
			tab := chromium.Open(t, webtest.Options{})
			tab.Go(g.link("?"))
			tab.Click("#door-button")
			tab.Await("#door", c.shown)
			if !c.again {
				tab.AwaitCount("#door-button", 0)
				return
			}
			tab.Await("#door-button", "Try again")
			g.do(func() { g.refuse = nil })
			tab.Click("#door-button")
			tab.Await("#talk-name", "Alice")
		})
	}
}

// R29: leaving says what gets deleted, asks once more, and then the page shows nothing any more.
func TestLeaving(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	g.talks[alice] = []message{{ID: "m1", From: alice, Text: "between us", State: "displayed", Time: time.Now()}}
	tab := enter(t, g, webtest.Options{})
	tab.Await("#log", "between us")
	tab.Click("#leave")
	tab.Await("#leaving", "Your messages, your files and your account are deleted")
	tab.Await("#leaving", "Alice and Robin Hofmann-Überlang")
	tab.Click("#stay")
	tab.AwaitCount("#leaving", 0)
	g.do(func() {
		if g.gone {
			t.Error("Stay leaves")
		}
	})
	tab.Click("#leave")
	tab.Click("#go")
	tab.Await("#door-title", "The chat has ended")
	tab.Await("#door-text", "You have left this chat")
	tab.AwaitCount("#chat", 0)
	if text := webtest.Read[string](tab, "document.body.textContent"); strings.Contains(text, "between us") {
		t.Error("the messages are still on the page")
	}
	g.is("the session ended", func() bool { return g.gone })
	tab.Reload()
	tab.Await("#door-title", "Open the link in your invitation")
}

// R30, F57: an end that comes from elsewhere is told plainly.
func TestEndsAreTold(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	tab := enter(t, g, webtest.Options{})
	g.do(func() {
		g.inviters = g.inviters[1:]
		g.add(event{Type: "inviter", URI: alice, Name: "Alice", State: "removed", Reason: "withdrawn"})
	})
	tab.Await("#over", "Alice has ended this chat")
	tab.AwaitCount("#composer", 0)
	tab.Await(`[data-uri="sip:alice@cc.com"] .status`, "ended")
	tab.Click(`[data-uri="sip:robin@cc.com"]`)
	tab.AwaitCount("#composer", 1)

	g.do(func() {
		g.inviters = append(g.inviters, inviter{"tel:+8613800000001", "10003", "", nil, "unknown"})
		g.add(event{Type: "inviter", URI: "tel:+8613800000001", State: "added"})
	})
	tab.Await(`[data-uri="tel:+8613800000001"]`, "+8613800000001")

	g.post(event{Type: "session", State: "ended", Reason: "expired"})
	tab.Await("#door-title", "The chat has ended")
	tab.Await("#door-text", "The invitation has expired")
}

// A login that ended while the page slept is found out by the stream.
func TestLoginThatIsGoneIsNoticed(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	tab := enter(t, g, webtest.Options{})
	g.do(func() { g.gone = true })
	g.CloseClientConnections()
	tab.Await("#door-title", "The chat has ended")
}

// F43, X8: what strangers write is text: no markup, no link, nothing is loaded because of it.
func TestHostileTextStaysText(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	g.inviters[0].Name = `<b id="bold">Alice</b>`
	const evil = `<img src="http://127.0.0.1:9/x" onerror="document.title='owned'"><script>document.title='owned'</script> https://example.com/ &amp; ` + "\u202egnp.exe"
	g.talks[alice] = []message{{ID: "m1", From: alice, Text: evil, State: "displayed", Time: time.Now()}}
	tab := enter(t, g, webtest.Options{})
	g.say(alice, "in-1", evil+" again")
	tab.AwaitCount("#log .message", 2)
	if text := webtest.Read[string](tab, `document.querySelector("#log .text").textContent`); text != evil {
		t.Errorf("shown is %q, want %q", text, evil)
	}
	if n := webtest.Read[int](tab, `document.querySelectorAll("#log a:not(.text a), #log img, #chat script, #bold").length`); n != 0 {
		t.Errorf("text became %d elements", n)
	}
	// Addresses can be pressed, and what opens learns nothing; the override of direction is no part of one.
	links := webtest.Read[string](tab, `[...document.querySelectorAll("#log .text")].map((e) => [...e.querySelectorAll("a")].map((a) => [a.href, a.textContent, a.rel, a.target].join(" ")).join()).join("\n")`)
	if want := "http://127.0.0.1:9/x http://127.0.0.1:9/x noopener noreferrer _blank,https://example.com/ https://example.com/ noopener noreferrer _blank"; links != want+"\n"+want {
		t.Errorf("links are %q, want twice %q", links, want)
	}
	for _, r := range tab.Requests() {
		if !strings.Contains(r, g.URL+"/rcsgw/") {
			t.Errorf("the page asks %s", r)
		}
	}
}

// X5: everything can be done with the keyboard alone, and what happens is announced.
func TestKeyboardAndScreenReader(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	tab := chromium.Open(t, webtest.Options{})
	tab.Go(g.link("?"))
	tab.Await("#door-button:enabled", "Open chat")
	tab.Press("\t")
	tab.Press("\n")
	tab.Await("#talk-name", "Alice")
	tab.Press("typed blind\n") // the focus is in the field
	tab.Await("#log .mine", "typed blind")
	if unnamed := webtest.Eval[string](tab, `[...document.querySelectorAll("button, textarea, [role=log], nav, section, dialog")].filter((e) => {
		const by = (a) => (e.getAttribute(a) || "").split(" ").filter(Boolean).map((i) => document.getElementById(i)?.textContent || "").join("");
		return !(e.getAttribute("aria-label") || by("aria-labelledby") || e.labels?.length || e.textContent.trim() || e.id === "door");
	}).map((e) => e.outerHTML).join("\n")`); unnamed != "" {
		t.Errorf("without a name: %s", unnamed)
	}
	focused := func() string {
		return webtest.Eval[string](tab, "document.activeElement.id || document.activeElement.dataset.uri || ''")
	}
	seen := map[string]bool{}
	for range 12 {
		tab.Press("\t")
		seen[focused()] = true
	}
	for _, id := range []string{"leave", alice, robin, "text", "send"} {
		if !seen[id] {
			t.Errorf("Tab never comes to %s; only %v", id, seen)
		}
	}
	for focused() != "leave" {
		tab.Press("\t")
	}
	tab.Press("\n")
	tab.Await("#leaving", "Leave chat?")
	if at := focused(); at != "stay" {
		t.Errorf("the question's focus is on %s, want the harmless answer", at)
	}
	tab.Press("\u001b") // Escape
	tab.AwaitCount("#leaving", 0)
	if at := focused(); at != "leave" {
		t.Errorf("after the question the focus is on %q", at)
	}
}

// X5: on a phone the list and the conversation are two screens, and the phone's own Back works.
func TestPhoneGoesBackToTheList(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	tab := enter(t, g, webtest.Options{Size: webtest.Phone})
	tab.AwaitCount("#talk", 0)
	tab.Click(`[data-uri="sip:alice@cc.com"]`)
	tab.AwaitCount("#people", 0)
	tab.Await("#talk-name", "Alice")
	webtest.Eval[any](tab, "void history.back()")
	tab.AwaitCount("#talk", 0)
	tab.Click(`[data-uri="sip:robin@cc.com"]`)
	tab.Await("#talk-name", "Robin")
	tab.Click("#back")
	tab.AwaitCount("#talk", 0)
}

// A long conversation is loaded piece by piece, and what is being read stays where it is.
func TestEarlierMessages(t *testing.T) {
	t.Parallel()
	g := newGateway(t).alone()
	for i := range 120 {
		g.talks[alice] = append(g.talks[alice], message{ID: fmt.Sprint("m", i), From: alice, Text: fmt.Sprintf("line %d.", i), State: "displayed", Time: time.Now().Add(time.Duration(i-200) * time.Minute)})
	}
	tab := enter(t, g, webtest.Options{})
	tab.Await("#log", "line 119.")
	tab.AwaitCount("#log .message", 50)
	top := func() float64 {
		return webtest.Eval[float64](tab, `[...document.querySelectorAll("#log .message")].find((e) => e.textContent.includes("line 70.")).getBoundingClientRect().top`)
	}
	webtest.Eval[any](tab, `void (document.querySelector("#scroll").scrollTop = 0)`)
	was := top()
	tab.Click("#older")
	tab.AwaitCount("#log .message", 100)
	if now := top(); now < was-80 || now > was+80 {
		t.Errorf("line 70 moved from %v to %v", was, now)
	}
	// What comes while somebody reads further up doesn't pull them away, and is not read yet.
	g.say(alice, "in-1", "news")
	tab.Await("#newest", "New messages")
	g.do(func() {
		if len(g.read) != 0 {
			t.Errorf("read are %q", g.read)
		}
	})
	tab.Click("#newest")
	g.is("the news read", func() bool { return slices.Equal(g.read, []string{"in-1"}) })
	webtest.Eval[any](tab, `void (document.querySelector("#scroll").scrollTop = 0)`)
	tab.Click("#older")
	tab.AwaitCount("#log .message", 121)
	tab.AwaitCount("#older", 0)
}

// A stream tells once more what was told before. That is no news: not of messages that stand further up, and
// not of somebody who was away in between.
func TestOldEventsAreNoNews(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	for i := range 70 {
		id, text := fmt.Sprint("m", i), fmt.Sprintf("line %d.", i)
		at := time.Now().Add(time.Duration(i-100) * time.Minute)
		m := message{ID: id, To: robin, Text: text, State: "displayed", Time: at}
		if i%2 == 0 {
			m.From, m.To = robin, account
			g.add(event{Type: "message", From: robin, Message: &message{ID: id, Text: text}})
			g.events[len(g.events)-1].Time = at
		}
		g.talks[robin] = append(g.talks[robin], m)
	}
	g.add(event{Type: "inviter", URI: robin, State: "removed", Reason: "withdrawn"})
	g.add(event{Type: "inviter", URI: robin, State: "added"})
	tab := enter(t, g, webtest.Options{})
	g.is("all events acknowledged", func() bool { return g.acked == len(g.events) })
	tab.AwaitCount(".badge", 0)
	tab.Click(`[data-uri="sip:robin@cc.com"]`)
	tab.AwaitCount("#log .message", 50)
	tab.AwaitCount("#over", 0)
	tab.Click("#older")
	tab.AwaitCount("#log .message", 70)
	if first := webtest.Eval[string](tab, `[...document.querySelectorAll("#log .text")].map((e) => e.textContent).slice(0, 3).join(" ")`); first != "line 0. line 1. line 2." {
		t.Errorf("the conversation begins with %q", first)
	}
}
