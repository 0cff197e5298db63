package web_test

import (
	"fmt"
	"strings"
	"testing"

	"latchkey/web/webtest"
)

// The key of RFC 8291 §5's application server.
const pushKey = "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8"

// pushService stands for the browser's own, which is not of this machine: it notes what the page does with it.
const pushService = `
	window.asked = [];
	const keep = (s) => { if (s) localStorage.setItem("subscribed", JSON.stringify(s)); else localStorage.removeItem("subscribed"); };
	const made = (s) => s && { options: { applicationServerKey: Uint8Array.from(atob(s.key.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0)).buffer },
		toJSON: () => ({ endpoint: s.endpoint, expirationTime: s.expires, keys: { p256dh: "the key", auth: "the secret" } }),
		unsubscribe: async () => { asked.push("unsubscribe"); keep(null); return true; } };
	PushManager.prototype.getSubscription = async () => made(JSON.parse(localStorage.getItem("subscribed")));
	PushManager.prototype.subscribe = async (o) => {
		asked.push("subscribe " + o.userVisibleOnly + " " + o.applicationServerKey);
		if (window.noPush) throw new DOMException("no push service", "AbortError");
		const s = { key: o.applicationServerKey, endpoint: "https://push.example.net/1", expires: 1893553445000 };
		keep(s);
		return made(s);
	};
	Notification.requestPermission = async () => { localStorage.setItem("said", "granted"); return "granted"; };
	Object.defineProperty(Notification, "permission", { get: () => localStorage.getItem("said") || "default" });`

// X5: after a yes to notifications the gateway gets the browser's address, once more at each visit; another key of the gateway's is subscribed
// for anew, and nothing is left when the guest goes.
func TestPageSubscribesAfterAYes(t *testing.T) {
	t.Parallel()
	g := newGateway(t).alone()
	g.key = pushKey
	tab := chromium.Open(t, webtest.Options{})
	tab.Before(webtest.Unhurried + pushService)
	tab.Go(g.link("?"))
	tab.Click("#door-button")
	tab.Await("#talk-name", "Alice")
	webtest.Eval[any](tab, "navigator.serviceWorker.ready.then(() => {})")
	if asked := webtest.Eval[string](tab, "asked.join()"); asked != "" || len(g.pushes) != 0 {
		t.Errorf("before a yes: %s", asked)
	}
	tab.Click("#bell")
	tab.Await("#toast", "also while this page is closed")
	want := map[string]string{"endpoint": "https://push.example.net/1", "p256dh": "the key", "auth": "the secret", "expires": "2030-01-02T03:04:05.000Z"}
	noted := func(n int) {
		t.Helper()
		g.is("the subscription", func() bool { return len(g.pushes) == n })
		g.do(func() {
			if got := g.pushes[n-1]; fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("the gateway is told %v", got)
			}
		})
	}
	noted(1)
	asked := func(want ...string) {
		t.Helper()
		if got := webtest.Read[string](tab, "asked.join()"); got != strings.Join(want, ",") {
			t.Errorf("the browser is asked for %q, want %q", got, want)
		}
	}
	asked("subscribe true " + pushKey)
	tab.Reload()
	tab.Await("#talk-name", "Alice")
	noted(2)
	asked()
	other := strings.Replace(pushKey, "BP4", "BQ4", 1)
	g.do(func() { g.key = other })
	tab.Reload()
	tab.Await("#talk-name", "Alice")
	noted(3)
	asked("unsubscribe", "subscribe true "+other)
	tab.Click("#leave")
	tab.Click("#go")
	tab.Await("#door-title", "The chat has ended")
	tab.Until(func() (bool, string) {
		got := webtest.Read[string](tab, "asked.join()")
		return strings.HasSuffix(got, "unsubscribe"), "asked " + got
	})
	if left := webtest.Read[string](tab, `localStorage.getItem("subscribed") || ""`); left != "" {
		t.Errorf("left is %s", left)
	}
}

// X5: where the gateway calls nobody, or the browser has no push service, notifications come while the page is open, and the page says that.
func TestPageDoesWithoutPush(t *testing.T) {
	t.Parallel()
	for key, opt := range map[string]webtest.Options{"": {Size: webtest.Desktop}, pushKey: {Size: webtest.Phone, Dark: true}} {
		g := newGateway(t).alone()
		g.key = key
		tab := chromium.Open(t, opt)
		tab.Before(webtest.Unhurried + pushService + "; window.noPush = true;")
		tab.Go(g.link("?"))
		tab.Click("#door-button")
		tab.Await("#empty", "Nothing written yet")
		tab.Shot("guest-bell-" + opt.Size.Name)
		if flaws := tab.Flaws(); flaws != "" {
			t.Error(flaws)
		}
		tab.AwaitCount("#bell, #bell-here", 1)
		tab.Click(map[bool]string{true: "#bell-here", false: "#bell"}[opt.Size.Phone]) // a phone shows no list of one
		tab.Await("#toast", "while this page is open")
		tab.AwaitCount("#bell, #bell-here", 0)
		tab.Shot("guest-notified-" + opt.Size.Name)
		if len(g.pushes) != 0 {
			t.Errorf("the gateway is told %v", g.pushes)
		}
	}
}

// screen notes what the browser takes as a notification, since on a machine without a desktop they go after a while; those with one tag take each other's
// place. It also stands for what only a person's press allows: opening a page, and bringing one to the front.
const screen = `void (self.shown = new Map(), self.show = ServiceWorkerRegistration.prototype.showNotification,
	ServiceWorkerRegistration.prototype.showNotification = async function (title, o) { await show.call(this, title, o); shown.set(o.tag, { title, ...o }); },
	self.opened = [], clients.openWindow = async (u) => { opened.push(String(u)); }, WindowClient.prototype.focus = async function () { opened.push("focus"); return this; })`

// notifications are what it shows.
const notifications = `[...shown.values()].map((n) => [n.title, n.body, n.tag, n.lang, n.dir, n.data.account, n.data.uri].join("|")).sort().join("\n")`

// X5: the worker says what a call says, in the page's language; a press opens the conversation, or brings its page to the front.
func TestWorkerShowsCallsWhileThePageIsClosed(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	tab := chromium.Open(t, webtest.Options{Lang: "de"})
	tab.Allow("notifications", true)
	tab.Go(g.link("?"))
	tab.Click("#door-button")
	tab.Await("#talk-name", "Alice")
	webtest.Eval[any](tab, "navigator.serviceWorker.ready.then(() => {})")
	tab.Go("about:blank") // the page is closed
	webtest.InWorker[any](tab, g.URL, screen)
	for _, c := range [][2]string{
		{`{"account":"sip:b_at_cc.com@guest.example"}`, "Chat|Neue Nachricht|" + account + "|de|ltr|" + account + "|"},
		{`{"account":"sip:b_at_cc.com@guest.example","uri":"sip:alice@cc.com","name":"<b>Alice</b>"}`, "<b>Alice</b>|Neue Nachricht|" + alice + "|de|ltr|" + account + "|" + alice},
		{`{"account":"sip:b_at_cc.com@guest.example","uri":"sip:robin@cc.com","name":"Robin","text":"Kommst du?"}`, "Robin|Kommst du?|" + robin + "|de|ltr|" + account + "|" + robin},
		{`{"account":"sip:b_at_cc.com@guest.example","uri":"sip:robin@cc.com","name":"Robin","file":"Strand.png"}`, "Robin|Datei: Strand.png|" + robin + "|de|ltr|" + account + "|" + robin},
		{`nonsense`, "Chat|Neue Nachricht|chat|de|ltr||"},
	} {
		tab.Push(g.URL, c[0])
		tab.Until(func() (bool, string) {
			shown := webtest.InWorker[string](tab, g.URL, notifications)
			return strings.Contains("\n"+shown+"\n", "\n"+c[1]+"\n"), fmt.Sprintf("%s is shown as %q, want %q", c[0], shown, c[1])
		})
	}
	if shown := webtest.InWorker[string](tab, g.URL, notifications); strings.Count(shown, "\n") != 3 { // one of each conversation, and two without
		t.Errorf("shown are %s", shown)
	}

	// A press. What the worker may open by itself only a press of a person allows, so that is looked at from beside it.
	press := func(uri string) {
		t.Helper()
		webtest.InWorker[any](tab, g.URL, `void dispatchEvent(Object.assign(new ExtendableEvent("notificationclick"), { notification: { ...shown.get("`+uri+`"), close: () => shown.delete("`+uri+`") } }))`)
	}
	opened := func(want string) {
		t.Helper()
		tab.Until(func() (bool, string) {
			got := webtest.InWorker[string](tab, g.URL, "self.opened.join()")
			return got == want, fmt.Sprintf("opened is %q, want %q", got, want)
		})
	}
	press(robin)
	address := g.URL + "/rcsgw/invitee/session/sip%3Ab_at_cc.com%40guest.example#talk=sip%3Arobin%40cc.com"
	opened(address)
	tab.Go(address)
	tab.Await("#talk-name", "Robin")
	if at := webtest.Read[string](tab, "location.href"); strings.Contains(at, "#") {
		t.Errorf("the address bar shows %s", at)
	}
	press(alice)
	opened(address + ",focus")
	tab.Await("#talk-name", "Alice")
	tab.Push(g.URL, `{"account":"sip:b_at_cc.com@guest.example","uri":"sip:robin@cc.com","name":"Robin","text":"You see this"}`)
	tab.Push(g.URL, `{"account":"sip:other@guest.example","uri":"sip:o@cc.com","name":"Other"}`)
	tab.Until(func() (bool, string) {
		shown := webtest.InWorker[string](tab, g.URL, notifications)
		return strings.Contains(shown, "Other"), shown
	})
	if shown := webtest.InWorker[string](tab, g.URL, notifications); strings.Contains(shown, "You see this") || strings.Contains(shown, alice+"|de") {
		t.Errorf("told to who looks, or pressed: %s", shown)
	}
	// A page in the background, which sleeps on phones, is nobody who looks.
	webtest.InWorker[any](tab, g.URL, `void Object.defineProperty(WindowClient.prototype, "focused", { get: () => false })`)
	tab.Push(g.URL, `{"account":"sip:b_at_cc.com@guest.example","uri":"sip:robin@cc.com","name":"Robin","text":"You don’t see this"}`)
	tab.Until(func() (bool, string) {
		shown := webtest.InWorker[string](tab, g.URL, notifications)
		return strings.Contains(shown, "You don’t see this"), shown
	})
}

// X5: a browser whose address changes says so by itself, while the page is closed.
func TestWorkerTellsOfANewAddress(t *testing.T) {
	t.Parallel()
	g := newGateway(t).alone()
	g.key = pushKey
	tab := enter(t, g, webtest.Options{})
	webtest.Eval[any](tab, "navigator.serviceWorker.ready.then(() => {})")
	tab.Go("about:blank")
	webtest.InWorker[any](tab, g.URL, `(() => {
		const e = new ExtendableEvent("pushsubscriptionchange");
		Object.defineProperty(registration.pushManager, "subscribe", { value: async (o) => ({ toJSON: () => ({ endpoint: "https://push.example.net/2", expirationTime: null, keys: { p256dh: o.userVisibleOnly + " " + o.applicationServerKey, auth: "a" } }) }) });
		dispatchEvent(e);
	})()`)
	g.is("the new address", func() bool { return len(g.pushes) == 1 })
	if got, want := fmt.Sprint(g.pushes[0]), "map[auth:a endpoint:https://push.example.net/2 expires: p256dh:true "+pushKey+"]"; got != want {
		t.Errorf("the gateway is told %s, want %s", got, want)
	}
}
