package gateway_test

import (
	"strings"
	"testing"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
	"latchkey/web/webtest"
)

// S6: the page that tries the interface lists what the document says, sends what is filled in, and loads nothing from elsewhere. Alice invites by it, and the guest
// logs in, sends and listens.
func TestInterfaceIsTriedInABrowser(t *testing.T) {
	var chromium webtest.Browser
	t.Cleanup(chromium.Close)
	w := gatewaytest.New(t, gatewaytest.Plan{})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	operations := strings.Count(string(w.Do("GET", "/openapi.json", "", "", "").Wants(200).Body), `"operationId"`)
	if operations < 33 {
		t.Fatalf("the document has %d operations", operations)
	}
	for _, opt := range []webtest.Options{{Size: webtest.Phone, Dark: true}, {}} {
		tab := chromium.Open(t, opt)
		tab.Go(w.URL() + "/rcsgw/app/try")
		tab.AwaitCount("nav button[data-operation]", operations)
		tab.Click("[data-operation=explainProblem]")
		tab.Await("#title", "What a problem's type means")
		tab.Click("#form .buttons button")
		tab.Await("#status", "200")
		tab.Await("#body", "No invitation relates you to this person")
		if flaws := tab.Flaws(); flaws != "" {
			t.Errorf("the page: %s", flaws)
		}
		name := "try-desktop"
		if opt.Dark {
			name = "try-phone-dark"
		}
		tab.Shot(name)
	}
	tab := chromium.Open(t, webtest.Options{})
	tab.Go(w.URL() + "/rcsgw/app/try")
	operation := func(name, user, password string) {
		tab.Click("[data-operation=" + name + "]")
		webtest.Eval[string](tab, `document.querySelector("#user").value = document.querySelector("#password").value = ""`)
		tab.Type("#user", user)
		tab.Type("#password", password)
	}
	operation("invite", gatewaytest.Alice, gatewaytest.Password)
	tab.Click("#form .buttons button")
	tab.Await("#status", "201")
	tab.Await("#body", `"account": "`+gatewaytest.GuestURI+`"`)
	tab.Shot("try-invite")
	b := w.Invited(1)
	operation("send", b.Account, b.Password)
	tab.Click("#form .buttons button")
	tab.Await("#status", "202")
	if got, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1); err != nil || got[0].Text != "abcdefg" {
		t.Fatalf("the phone has %+v, %v", got, err)
	}
	// The phone has the message before its word is in the guest's stream.
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return w.Count(`SELECT count(*) FROM event WHERE body LIKE '%"type":"delivery"%'`) > 0 })
	operation("events", b.Account, b.Password)
	tab.Click("#form .buttons button")
	tab.Await("#status", "200")
	tab.Await("#body", `"type": "delivery"`)
	for _, r := range tab.Requests() {
		if strings.Contains(r, "://") && !strings.Contains(r, w.URL()) {
			t.Errorf("the page asked elsewhere: %s", r)
		}
	}
	if f := tab.Faults(); len(f) != 0 {
		t.Errorf("the browser complains: %q", f)
	}
}
