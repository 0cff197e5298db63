package gateway_test

import (
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

// F20, R20-R22, B1.21: a login is a SIP authentication at the core and the interaction server, and tells who invited.
func TestLoginAuthenticatesBySIPAndTellsWhoInvited(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{
		Core: func(o *imstest.CoreOptions) { o.Auth, o.Shared = true, "hush" },
		IM:   func(o *imstest.CoreOptions) { o.Auth, o.Shared = true, "hush" },
		Args: []string{"--sip-auth=shared:hush"},
	})
	w.Phone(gatewaytest.Alice, imstest.Manner{})
	b := w.Guest()
	w.Core.Forget()
	w.IM.Forget()
	var l struct {
		Account  string
		Expires  time.Time
		Inviters []struct {
			URI, UID, Name, Status string
			Interactions           []string
		}
	}
	a := b.Login().Wants(200)
	a.Into(&l)
	if l.Account != gatewaytest.GuestURI || time.Until(l.Expires) < 167*time.Hour || len(l.Inviters) != 1 {
		t.Fatalf("login %s", a.Body)
	}
	if i := l.Inviters[0]; i.URI != gatewaytest.Alice || i.UID != "10001" || i.Name != "Alice" || i.Status != "online" || !slices.Equal(i.Interactions, []string{"im"}) {
		t.Errorf("inviter %+v", i)
	}
	for who, c := range map[string]*imstest.Core{"core": w.Core, "interaction server": w.IM} {
		if got := statuses(c.Requests("REGISTER")); len(got) == 0 || got[len(got)-1] != 200 {
			t.Errorf("%s saw REGISTERs %v, want an authentication that succeeds", who, got)
		}
	}
	// Either server's no is the login's no.
	w.IM.Fault("REGISTER", &imstest.Fault{Code: 403})
	b.Login().Wants(http.StatusBadGateway)
}

// F21, S4: what is wrong about a login isn't told, and no SIP leaves.
func TestWrongLoginsLookAlike(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	b := w.Guest()
	w.Core.Forget()
	w.IM.Forget()
	wrong := w.Do("POST", b.SessionPath(), b.Account, "wrong", "").Wants(401)
	unknown := w.Do("POST", "/rcsgw/invitee/session/sip:nobody@guest.example", "sip:nobody@guest.example", "wrong", "").Wants(401)
	if string(wrong.Body) != string(unknown.Body) {
		t.Errorf("a wrong password gives %s, an unknown account %s", wrong.Body, unknown.Body)
	}
	if n := len(w.Core.Requests("")) + len(w.IM.Requests("")); n != 0 {
		t.Errorf("%d SIP requests left", n)
	}
}

// F22, S1: scanners fetch links. Only the button logs in.
func TestLinkChangesNothingUntilSomebodyLogsIn(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	b := w.Guest()
	w.Core.Forget()
	link, err := url.Parse(b.Link)
	if err != nil {
		t.Fatal(err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar}
	for _, agent := range []string{"Mozilla/5.0", "Barracuda Sentinel", "facebookexternalhit/1.1", "Slackbot-LinkExpanding 1.0", "curl/8"} {
		for _, method := range []string{"GET", "HEAD"} {
			req, err := http.NewRequest(method, b.Link, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("User-Agent", agent)
			res, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if res.StatusCode != 200 || len(jar.Cookies(link)) != 0 || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") {
				t.Errorf("%s by %s: %d, cookies %v, %s", method, agent, res.StatusCode, jar.Cookies(link), res.Header.Get("Content-Type"))
			}
		}
	}
	if n, logins := len(w.Core.Requests("")), w.Rows("login"); n != 0 || logins != 0 {
		t.Errorf("scanners caused %d SIP requests and %d logins", n, logins)
	}
	b.Login().Wants(200)
	if logins := w.Rows("login"); logins != 1 {
		t.Errorf("%d logins, want 1", logins)
	}
}

// F23, S2: the password is in no log, at any level.
func TestPasswordsAreInNoLog(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	b := w.Guest()
	get(t, b.Link)
	b.Login().Wants(200)
	b.Send(gatewaytest.Alice, "between you and me")
	if _, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1); err != nil {
		t.Fatal(err)
	}
	w.Do("POST", b.SessionPath(), b.Account, "wrong-"+b.Password, "").Wants(401)
	w.Stop()
	log := w.Log.String()
	if !strings.Contains(log, "level=DEBUG") {
		t.Fatal("the log has no debug lines; the test would see nothing")
	}
	for what, secret := range map[string]string{"the guest's password": b.Password, "the inviter's password": gatewaytest.Password, "the message": "between you and me"} {
		if strings.Contains(log, secret) {
			t.Errorf("the log has %s", what)
		}
	}
}

// F56, R29: the BYE and both deregistrations come before the answer, and then everything is gone.
func TestLogoutHangsUpDeregistersAndForgets(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	b := w.Guest()
	b.Login().Wants(200)
	b.Send(gatewaytest.Alice, "hello")
	if _, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1); err != nil {
		t.Fatal(err)
	}
	b.Do("DELETE", b.SessionPath(), "").Wants(204)
	if n := len(a.Requests("BYE")); n != 1 {
		t.Errorf("%d BYEs before the answer, want one", n)
	}
	for who, c := range map[string]*imstest.Core{"core": w.Core, "interaction server": w.IM} {
		seen := c.Requests("REGISTER")
		if last := seen[len(seen)-1]; last.Request.Get("Expires") != "0" && !strings.Contains(last.Request.Get("Contact"), "expires=0") || last.Final != 200 {
			t.Errorf("%s: the last REGISTER is %v %d, want Expires 0 and 200", who, last.Request.Fields, last.Final)
		}
		if got := c.Bindings(gatewaytest.GuestURI); len(got) != 0 {
			t.Errorf("%s: bindings %v are left", who, got)
		}
	}
	for _, table := range []string{"guest", "relation", "secret", "login", "outbox", "registration", "message"} {
		if n := w.Rows(table); n != 0 {
			t.Errorf("%d rows in %s after the logout", n, table)
		}
	}
	if again := b.Do("DELETE", b.SessionPath(), ""); again.Status != 204 && again.Status != 404 {
		t.Errorf("second logout: %d, want 204 or 404", again.Status)
	}
	b.Login().Wants(401)
	if err := a.Page(w.Within(gatewaytest.Patience), gatewaytest.GuestURI, "text/plain", []byte("still there?")); err == nil {
		t.Error("the account can still be reached")
	}
}

// F57 (HTTP half), R30: the inviter logs out; one who has another inviter stays.
func TestInviterWhoLeavesTakesTheirRelationsAlong(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	w.Guest()
	w.InviteAs(gatewaytest.Carol)
	b := w.Invited(2)
	b.Login().Wants(200)
	w.Do("DELETE", "/rcsgw/invitee/user", gatewaytest.Alice, gatewaytest.Password, "").Wants(204)
	b.Events(func(e gatewaytest.Event) bool {
		return e.Type == "inviter" && e.URI == gatewaytest.Alice && e.State == "removed"
	})
	b.Do("POST", "/rcsgw/invitee/message", `{"to":"sip:a@cc.com","message":"hello?"}`).Wants(403)
	if len(w.Core.Bindings(gatewaytest.GuestURI)) != 1 {
		t.Error("the account must stay while Carol's relation does")
	}
	w.Do("DELETE", "/rcsgw/invitee/user/"+gatewaytest.GuestURI, gatewaytest.Carol, gatewaytest.Password, "").Wants(204)
	if len(w.Core.Bindings(gatewaytest.GuestURI)) != 0 || w.Rows("guest") != 0 {
		t.Error("with the last relation the account must go")
	}
	b.Login().Wants(401)
}

// F58, F21: the sweeper ends what is over; the right password then learns why.
func TestExpiryEndsTheRelation(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--account-lifetime=1m"}})
	b := w.Guest()
	b.Login().Wants(200)
	w.Stop()
	w.Change("UPDATE relation SET expires = 1")
	w.Start()
	imstest.Eventually(t, 90*time.Second, func() bool { return len(w.Core.Bindings(gatewaytest.GuestURI)) == 0 && w.Rows("relation") == 0 })
	if a := b.Login().Wants(410); a.Problem() != "expired" {
		t.Errorf("problem %s", a.Problem())
	}
	w.Do("POST", b.SessionPath(), b.Account, "wrong", "").Wants(401)
}

func get(t *testing.T, url string) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
}
