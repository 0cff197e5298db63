package demo

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/smtp"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"latchkey/web/webtest"
)

var chromium webtest.Browser

func TestMain(m *testing.M) {
	code := m.Run()
	chromium.Close()
	os.Exit(code)
}

// patience is how long anything may take that happens at once on a quiet machine.
const patience = time.Minute

// start builds a demo on free ports.
func start(t *testing.T) *World {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	w, err := Start(ctx, Options{HTTPListen: "127.0.0.1:0", Listen: "127.0.0.1:0", Slow: time.Second, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

const guestAccount = "sip:b_at_cc.com@" + guestDomain

// link waits for the newest invitation from somebody and gives its link.
func link(t *testing.T, w *World, from string) string {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		mails := w.mail.Mails()
		for _, m := range slices.Backward(mails) {
			if i := strings.Index(m.Text, w.gateway.URL()+"/rcsgw/invitee/session/"); i >= 0 && strings.Contains(m.Text, from) {
				return strings.Fields(m.Text[i:])[0]
			}
		}
	}
	t.Fatalf("no mail with a link from %s among %d", from, len(w.mail.Mails()))
	return ""
}

// R13: what invitations say can be looked at, the HTML of mails in a frame that runs nothing and fetches nothing.
func TestDemoShowsWhatInvitationsSay(t *testing.T) {
	w := start(t)
	for _, opt := range []webtest.Options{{Size: webtest.Desktop}, {Size: webtest.Phone, Dark: true}} {
		tab := chromium.Open(t, opt)
		tab.Go(w.url + "/templates")
		tab.Await("h1", "What invitations say")
		tab.Click(`nav a[href*="language=ar"]`)
		tab.Await("pre", "يدعوك")
		shown := webtest.InSandbox[string](tab, `document.readyState === "complete" && document.body.innerText.includes("يدعوك") ? document.documentElement.dir + " " + document.querySelectorAll("script, img, link[rel=stylesheet]").length + " " + self.origin : null`)
		if shown != "rtl 0 null" {
			t.Errorf("direction, what could be fetched, and origin of the frame: %s", shown)
		}
		tab.Shot("demo-templates-" + opt.Size.Name)
		if flaws := tab.Flaws(); flaws != "" {
			t.Error(flaws)
		}
	}
}

// write types a message and presses Send, since Enter means a new line on a phone.
func write(tab *webtest.Tab, text string) {
	tab.Type("#text", text)
	tab.Click("#send")
}

// The method's figures 2 and 5 by clicks alone, on a desk and on a phone: F01, F20, F26, F28, F29, F30, F39, F56, R7, R22, R32, X9.
func TestNewcomerClicksThroughTheDemo(t *testing.T) {
	for _, size := range []webtest.Size{webtest.Desktop, webtest.Phone} {
		t.Run(size.Name, func(t *testing.T) {
			w := start(t)
			opt := webtest.Options{Size: size, Dark: size.Phone}
			look := func(tab *webtest.Tab, name string) {
				t.Helper()
				tab.Shot("demo-" + name + "-" + size.Name)
				if flaws := tab.Flaws(); flaws != "" {
					t.Errorf("%s:\n%s", name, flaws)
				}
			}
			phonePage, mailbox, _ := w.Links()
			door := chromium.Open(t, opt)
			door.Go(strings.TrimSuffix(phonePage, "/phone"))
			door.Await("h1", "Latchkey demo")
			look(door, "door")

			// A invites B by a click.
			alice := chromium.Open(t, opt)
			alice.Before(webtest.Unhurried) // she goes on typing
			alice.Go(phonePage)
			alice.Await("#thread", "Invite somebody")
			look(alice, "phone-empty")
			alice.Click("#invite-button")
			alice.Await("#done", "b@cc.com gets a mail.")
			alice.Await("#chats", "b@cc.com")

			// B's mailbox has the link; it opens the page in a tab of its own.
			mail := chromium.Open(t, opt)
			mail.Go(mailbox)
			mail.Await("#mails", "Alice")
			look(mail, "mailbox")
			guest := mail.Follow("a.invitation-link", opt)
			guest.Await("#door-title", "You are invited to chat")
			if address := webtest.Read[string](guest, "location.href"); strings.Contains(address, "passwd") || !strings.Contains(address, "/rcsgw/invitee/session/") {
				t.Errorf("the guest's address bar shows %s", address)
			}
			look(guest, "invitation")
			guest.Click("#door-button")
			guest.Await("#talk-name", "Alice")
			guest.Await("#talk-status", "online")
			if bindings := w.core.Bindings(guestAccount); len(bindings) != 1 {
				t.Errorf("the core has %d bindings of the guest, want 1", len(bindings))
			}

			// B writes, and A's phone has it.
			write(guest, "abcdefg")
			alice.Await("#thread .bubble:not(.mine)", "abcdefg")
			guest.Await("#log .mine[data-state=displayed]", "abcdefg")

			// A answers; both sides see that the other is typing.
			alice.Type("#text", "Hello")
			guest.Await("#typing", "Alice is typing…")
			look(guest, "guest-typing")
			write(alice, ", guest!")
			guest.Await("#log .message:not(.mine)", "Hello, guest!")
			guest.Until(func() (bool, string) { s := guest.Shown("#typing"); return s == "", s })
			alice.Await("#thread .mine", "✓✓ Seen")
			guest.Type("#text", "So this is it")
			alice.Await("#typing", "b@cc.com is typing…")
			look(alice, "phone-typing")
			guest.Click("#send")
			alice.Await("#thread", "So this is it")
			look(alice, "phone-chat")
			look(guest, "guest-chat")
			if n := len(w.alice.phone.Invites()); n != 1 {
				t.Errorf("Alice's phone got %d INVITEs for two messages, want one session", n)
			}

			// The second inviter answers by himself.
			if err := w.Invite(t.Context(), "robin", "b@cc.com"); err != nil {
				t.Fatal(err)
			}
			if size.Phone {
				guest.Click("#back")
			}
			guest.Await("#list", "Robin")
			look(guest, "guest-list")
			guest.Click(`[data-uri="` + "sip:robin@cc.com" + `"]`)
			guest.Await("#talk-name", "Robin")
			write(guest, "Are you there?")
			guest.Await("#log .message:not(.mine)", "Robin here, by myself. You wrote: Are you there?")
			guest.Await("#log .mine[data-state=displayed]", "Are you there?")
			look(guest, "guest-robin")

			// A reload loses nothing and asks for nothing.
			guest.Reload()
			guest.Await("#list, #talk-name", "Alice")
			guest.Click(`[data-uri="` + aliceURI + `"]`)
			guest.AwaitCount("#log .message", 3)
			guest.AwaitCount("#log .mine[data-state=displayed]", 2)

			// B leaves: the account is gone from the core, the link is dead.
			if size.Phone {
				guest.Click("#back")
			}
			guest.Click("#leave")
			guest.Await("#leaving", "Alice and Robin")
			guest.Click("#go")
			guest.Await("#door-title", "The chat has ended")
			look(guest, "guest-left")
			guest.Until(func() (bool, string) { // the stream tells the end before the core has heard of it
				bindings := w.core.Bindings(guestAccount)
				return len(bindings) == 0, "after leaving the core still has " + strings.Join(bindings, " ")
			})
			again := mail.Follow("a.invitation-link", opt)
			again.Click("#door-button")
			again.Await("#door-title", "This link was used up")
			look(again, "link-dead")
		})
	}
}

// F22, S2: a scanner with a whole browser, with scripts and without, changes nothing at the gateway and leaves no trace
// in the core; the link still works after it.
func TestScannersOpenNothing(t *testing.T) {
	w := start(t)
	if err := w.Invite(t.Context(), "robin", "b@cc.com"); err != nil {
		t.Fatal(err)
	}
	invitation := link(t, w, "Robin")
	before := len(w.core.Requests(""))
	for _, noScript := range []bool{false, true, false} {
		tab := chromium.Open(t, webtest.Options{NoScript: noScript})
		tab.Go(invitation)
		if noScript {
			tab.Await("noscript", "needs JavaScript")
		} else {
			tab.Await("#door-button", "Open chat")
		}
		for _, r := range tab.Requests() {
			if !strings.HasPrefix(r, "GET "+w.gateway.URL()+"/rcsgw/") {
				t.Errorf("noscript %v: the page asks %s", noScript, r)
			}
		}
		if cookies := tab.Cookies(); len(cookies) != 0 {
			t.Errorf("noscript %v: the browser has the cookies %q", noScript, cookies)
		}
	}
	if now := len(w.core.Requests("")); now != before {
		t.Errorf("looking at the link made %d SIP requests", now-before)
	}
	tab := chromium.Open(t, webtest.Options{})
	tab.Go(invitation)
	tab.Click("#door-button")
	tab.Await("#talk-name", "Robin")
	if cookies := tab.Cookies(); len(cookies) != 1 {
		t.Errorf("after the login the browser has the cookies %q", cookies)
	}
}

// X9, issue 7: the start page lets people invite, and both sides stand in one window, on a desk and on a phone.
func TestBothSidesStandInOneWindow(t *testing.T) {
	for _, size := range []webtest.Size{webtest.Desktop, webtest.Phone} {
		t.Run(size.Name, func(t *testing.T) {
			w := start(t)
			opt := webtest.Options{Size: size}
			phonePage, _, _ := w.Links()
			base := strings.TrimSuffix(phonePage, "/phone")
			door := chromium.Open(t, opt)
			door.Go(base)
			for _, p := range w.people {
				door.Await("#"+p.Key, p.Sees)
			}
			door.Click("[data-person=bert]")
			door.Await("#bert [role=status]", "Invited.")
			webtest.Eval[bool](door, `(document.getElementById("bert").scrollIntoView({block: "center"}), true)`)
			door.Shot("demo-people-" + size.Name)
			if flaws := door.Flaws(); flaws != "" {
				t.Error(flaws)
			}

			both := chromium.Open(t, opt)
			both.Go(base + "/beside")
			both.ClickInFrame(phonePage, "#invite-button")
			both.AwaitInFrame(base+"/mail", "#mails", "Alice")
			both.ClickInFrame(base+"/mail", "a.invitation-link")
			both.ClickInFrame(w.besideURL, "#door-button")
			both.AwaitInFrame(w.besideURL, "#list, #talk-name", "Bert")
			say := func(to, text string) {
				both.ClickInFrame(w.besideURL, `[data-uri="`+to+`"]`)
				webtest.InFrame[bool](both, w.besideURL, `((t) => { t.value = "`+text+`"; t.dispatchEvent(new Event("input", {bubbles: true})); return true; })(document.querySelector("#text"))`)
				both.ClickInFrame(w.besideURL, "#send")
			}
			say("sip:bert@cc.com", "Got a minute?")
			both.AwaitInFrame(w.besideURL, "#log", "busy")
			both.Shot("demo-busy-" + size.Name)
			if webtest.InFrame[bool](both, w.besideURL, `document.querySelector("#back")?.checkVisibility() || false`) {
				both.ClickInFrame(w.besideURL, "#back")
			}
			say(aliceURI, "Hello, Alice, from beside you")
			both.AwaitInFrame(phonePage, "#thread", "Hello, Alice, from beside you")
			both.Shot("demo-beside-" + size.Name)
		})
	}
}

// X9, F02, F03: a number gets an SMS or an MMS of the demo's centres, and the mailbox shows them with their links.
func TestMailboxShowsSMSAndMMS(t *testing.T) {
	w := start(t)
	phonePage, mailbox, _ := w.Links()
	alice := chromium.Open(t, webtest.Options{Size: webtest.Phone})
	alice.Go(phonePage)
	invite := func(number, channel, says string) {
		t.Helper()
		webtest.Eval[string](alice, `document.querySelector("#identifier").value = ""`)
		alice.Type("#identifier", number)
		alice.Click("[name=channel][value=" + channel + "]")
		alice.Click("#invite-button")
		alice.Await("#done", number+" gets "+says)
	}
	invite("+86 139 0000 0001", "sms", "an SMS.")
	invite("+8613900000002", "mms", "an MMS.")
	alice.Shot("demo-numbers-phone")
	mail := chromium.Open(t, webtest.Options{Size: webtest.Phone})
	mail.Go(mailbox)
	mail.Await(".sms", "+8613900000001")
	mail.Await(".mms", "+8613900000002")
	mail.AwaitCount(".mms img", 1)
	mail.Shot("demo-mailbox-sms-phone")
	if flaws := mail.Flaws(); flaws != "" {
		t.Error(flaws)
	}
	guest := mail.Follow(".sms a.invitation-link", webtest.Options{Size: webtest.Phone})
	guest.Click("#door-button")
	guest.Await("#talk-name", "Alice")
	// A picture of Alice's phone comes to the guest.
	alice.Click("#chats button:first-child")
	alice.Click("#picture")
	alice.Await("#thread .mine", "Sent")
	guest.Await("#log", "sunset.png")
	guest.Shot("demo-picture-phone")
}

// R13, S6: the mailbox shows a mail's HTML as a careful mail program does: no script of it runs, nothing is fetched for it, it leads nowhere by itself, and
// a press on its button opens the guest's page in a tab of its own.
func TestMailIsShownInASandbox(t *testing.T) {
	w := start(t)
	var fetched atomic.Int64
	remote := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { fetched.Add(1) }))
	t.Cleanup(remote.Close)
	hostile := strings.ReplaceAll("From: x@cc.com\r\nTo: b@cc.com\r\nSubject: A bad one\r\nMIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n"+
		"--b\r\nContent-Type: text/plain\r\n\r\nplain words\r\n--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"+
		`<meta http-equiv="refresh" content="0;url=URL/refresh"><base href="URL/"><link rel="stylesheet" href="style.css"><style>@import "URL/import.css"; body { background: url(URL/background.png) } @font-face { font-family: f; src: url(URL/font) } p { font-family: f }</style>`+
		`<body onload="top.document.title='owned'"><p>Colourful words</p><img src="URL/pixel.png" onerror="parent.document.title='owned'"><video src="URL/video" autoplay></video><iframe src="URL/frame"></iframe>`+
		`<script>top.document.title='owned'; fetch("URL/fetch"); top.location="URL/top"</script><form action="URL/form"><button autofocus>Win</button></form></body>`+
		"\r\n--b--\r\n", "URL", remote.URL)
	if err := smtp.SendMail(w.mail.Addr(), nil, "x@cc.com", []string{"b@cc.com"}, []byte(hostile)); err != nil {
		t.Fatal(err)
	}
	_, mailbox, _ := w.Links()
	for i, size := range []webtest.Size{webtest.Desktop, webtest.Phone} {
		tab := chromium.Open(t, webtest.Options{Size: size, Dark: size.Phone})
		tab.Go(mailbox)
		tab.Await("#mails", "A bad one")
		webtest.InSandbox[bool](tab, `document.readyState === "complete" && document.body.innerText.includes("Colourful words") || null`)
		if title := webtest.Read[string](tab, "document.title + location.pathname"); title != "Mailbox/mail" || fetched.Load() != 0 {
			t.Errorf("the page has become %s, and %d things were fetched", title, fetched.Load())
		}
		if err := w.Invite(t.Context(), []string{"robin", "bert"}[i], "b@cc.com"); err != nil {
			t.Fatal(err)
		}
		tab.AwaitCount("iframe", 2+i)
		button := `[...document.querySelectorAll("a")].find((a) => a.href.includes("passwd=")) || null`
		at := webtest.InSandbox[[]float64](tab, `(() => { const r = (`+button+`)?.getBoundingClientRect(); return r ? [r.x + r.width / 2, r.y + r.height / 2] : null; })()`)
		frame := webtest.Read[[]float64](tab, `(() => { const f = document.querySelector("iframe"); f.scrollIntoView({ block: "center" }); const r = f.getBoundingClientRect(); return [r.x, r.y]; })()`)
		tab.Shot("demo-mail-html-" + size.Name)
		if flaws := tab.Flaws(); flaws != "" {
			t.Error(flaws)
		}
		guest := tab.FollowAt(frame[0]+at[0], frame[1]+at[1], webtest.Options{Size: size})
		guest.Await("#door-title", "You are invited to chat")
		if n := fetched.Load(); n != 0 {
			t.Errorf("%d things were fetched", n)
		}
	}
}
