package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
	"latchkey/web/webtest"
)

// X5: all of the way of a notification: the guest says yes on the page and closes it, the inviter's phone writes, the gateway calls the browser's push
// service, and the browser wakes the page's worker with what it decrypts, which says who wrote; a press opens the conversation. In between
// stands what this machine has no Internet for: the push service, and the browser's link to it.
func TestGuestIsToldWhileThePageIsClosed(t *testing.T) {
	t.Parallel()
	s := imstest.NewPushService(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, s.CA, 0o600); err != nil {
		t.Fatal(err)
	}
	w := serves(t, gatewaytest.Plan{Args: []string{"--push-ca=" + ca, "--push-peers=127.0.0.0/8", "--push=text"}})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{Tags: imstest.ChatTags})
	b := w.Guest()
	browser := s.Browser()

	var chromium webtest.Browser
	t.Cleanup(chromium.Close)
	tab := chromium.Open(t, webtest.Options{Size: webtest.Phone})
	tab.Allow("notifications", true)
	tab.Before(webtest.Unhurried + fmt.Sprintf(`Object.defineProperty(Notification, "permission", { get: () => "default" });
		PushManager.prototype.getSubscription = async () => null;
		PushManager.prototype.subscribe = async (o) => { window.key = o.applicationServerKey; return { toJSON: () => ({ endpoint: %q, expirationTime: null, keys: { p256dh: %q, auth: %q } }) }; };
		Notification.requestPermission = async () => { Object.defineProperty(Notification, "permission", { get: () => "granted" }); return "granted"; };`, browser.Endpoint, browser.P256dh, browser.Auth))
	tab.Go(b.Link)
	tab.Click("#door-button")
	tab.Await("#talk-name", "Alice")
	tab.Click("#bell-here")
	tab.Await("#toast", "also while this page is closed")
	key := webtest.Read[string](tab, "window.key")
	page := webtest.Read[string](tab, "location.href")
	tab.Go("about:blank")

	if _, err := a.Send(w.Within(gatewaytest.Patience), b.Account, "Are you up?"); err != nil {
		t.Fatal(err)
	}
	call := s.Read(s.Wait(1))[0]
	if call.Browser != browser || call.Claims.Key != key {
		t.Errorf("called is %s, signed by %s, want %s", call.Browser.Endpoint, call.Claims.Key, key)
	}
	word, err := json.Marshal(call.Word)
	if err != nil {
		t.Fatal(err)
	}
	webtest.InWorker[any](tab, w.URL(), `void (self.show = ServiceWorkerRegistration.prototype.showNotification, ServiceWorkerRegistration.prototype.showNotification = async function (title, o) {
		await show.call(this, title, o); self.shown = { title, ...o }; }, clients.openWindow = async (u) => { self.opened = String(u); })`) // which a person's press allows alone
	tab.Push(w.URL(), string(word))
	tab.Until(func() (bool, string) {
		shown := webtest.InWorker[string](tab, w.URL(), `(self.shown?.title || "") + ": " + (self.shown?.body || "")`)
		return shown == "Alice: Are you up?", "shown is " + shown
	})
	webtest.InWorker[any](tab, w.URL(), `void dispatchEvent(Object.assign(new ExtendableEvent("notificationclick"), { notification: { ...shown, close() {} } }))`)
	tab.Until(func() (bool, string) {
		opened := webtest.InWorker[string](tab, w.URL(), `self.opened || ""`)
		return opened != "", "nothing is opened"
	})
	opened := webtest.InWorker[string](tab, w.URL(), "self.opened")
	if !strings.HasPrefix(opened, w.URL()+"/rcsgw/invitee/session/") || strings.Contains(opened, "passwd") {
		t.Fatalf("a press opens %s", opened)
	}
	tab.Go(opened)
	tab.Await("#log", "Are you up?")
	tab.Await("#talk-name", "Alice")
	if at := webtest.Read[string](tab, "decodeURIComponent(location.href)"); at != page {
		t.Errorf("the address bar shows %s, want %s", at, page)
	}
	// Read on the page, so Alice's phone has both receipts.
	if got, err := a.Wait(w.Within(gatewaytest.Patience), "receipt", 2); err != nil || got[1].Status != "displayed" {
		t.Errorf("Alice's receipts %+v, %v", got, err)
	}
}
