package gateway_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

// F04, F05, F06, R2, R3, R10: with the directory over HTTP, a program of its own, invitations are judged as with a file.
func TestHTTPDirectoryJudgesInvitations(t *testing.T) {
	t.Parallel()
	d := gatewaytest.NewDirectory(t, "-token=of ours")
	of := strings.Replace(d.URL, "//", "//:of%20ours@", 1)
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--directory=" + of, "--invite-policy=level:2"}})
	for _, who := range []string{"sip:s@cc.com", "sip:l@cc.com", "sip:d@cc.com"} {
		if a := w.InviteAs(who).Wants(403); a.Problem() != "not-allowed" {
			t.Errorf("%s: problem %s", who, a.Problem())
		}
	}
	body := `{"email":"b@cc.com"}`
	wrong := w.Do("POST", "/rcsgw/invitee/user", gatewaytest.Alice, "wrong", body).Wants(401)
	unknown := w.Do("POST", "/rcsgw/invitee/user", "sip:nobody@cc.com", "wrong", body).Wants(401)
	if string(wrong.Body) != string(unknown.Body) || wrong.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("answers differ: %s and %s", wrong.Body, unknown.Body)
	}
	for _, body := range []string{`{"email":"dora@mail.example"}`, `{"tel":"+8613800000004"}`} {
		var p struct{ URI string }
		if a := w.Do("POST", "/rcsgw/invitee/user", gatewaytest.Alice, gatewaytest.Password, body).Wants(409); a.Problem() != "already-registered" {
			t.Errorf("%s: %s", body, a.Body)
		} else if a.Into(&p); p.URI != "sip:d@cc.com" {
			t.Errorf("%s: %s", body, a.Body)
		}
	}
	if n := len(w.Core.Requests("")) + len(w.IM.Requests("")); n != 0 {
		t.Errorf("%d SIP requests left", n)
	}
	w.Nothing("not allowed")
	w.Guest().Login().Wants(200)
}

// A directory that is gone or silent makes 502 and 504 and nothing else; nobody is invited who may be registered.
func TestDirectoryThatFailsLetsNobodyThrough(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		how    func(*gatewaytest.Directory)
		status int
		want   string
	}{
		"gone":   {(*gatewaytest.Directory).Kill, http.StatusBadGateway, "directory-failed"},
		"silent": {(*gatewaytest.Directory).Silence, http.StatusGatewayTimeout, "directory-timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := gatewaytest.NewDirectory(t)
			w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--directory=" + d.URL}})
			w.Do("GET", "/rcsgw/user/c@cc.com", gatewaytest.Alice, gatewaytest.Password, "").Wants(200) // Alice is known from now on
			c.how(d)
			if a := w.Do("POST", "/rcsgw/invitee/user", gatewaytest.Alice, gatewaytest.Password, `{"email":"b@cc.com"}`).Wants(c.status); a.Problem() != c.want {
				t.Errorf("problem %s", a.Problem())
			}
			w.Do("GET", "/rcsgw/invitee/user", gatewaytest.Carol, gatewaytest.Password, "").Wants(c.status)
			w.Nothing(name)
		})
	}
}

// F10, R4, R9, R21: the directory allots account and SIP password; digest goes with that, the interaction server is left
// out where the operator said so, and the guest's own password is still the link's.
func TestDirectoryAllotsAccountAndSIPPassword(t *testing.T) {
	t.Parallel()
	for _, skip := range []bool{true, false} {
		t.Run(fmt.Sprint("skip ", skip), func(t *testing.T) {
			t.Parallel()
			d := gatewaytest.NewDirectory(t, "-account-secret=hush")
			// What the home subscriber server knows of the account, made here anew.
			sum := func(of string) string {
				mac := hmac.New(sha256.New, []byte("hush"))
				mac.Write([]byte(of))
				return hex.EncodeToString(mac.Sum(nil))
			}
			account := "sip:x" + sum("account b@cc.com")[:16] + "@guest.example"
			digest := func(o *imstest.CoreOptions) {
				o.Auth, o.Shared = true, "nobody's"
				if o.Users == nil {
					o.Users = map[string]imstest.Account{}
				}
				o.Users[account] = imstest.Account{Password: sum("password " + account)}
			}
			w := gatewaytest.New(t, gatewaytest.Plan{Core: digest, IM: digest, Args: []string{"--directory=" + d.URL, "--account-scheme=directory", "--sip-auth=directory", fmt.Sprint("--interaction-skip=", skip)}})
			a := w.Phone(gatewaytest.Alice, imstest.Manner{})
			b := w.Guest()
			if b.Account != account || b.Password == sum("password "+account) {
				t.Errorf("link to %s, want %s with a password of ours", b.Account, account)
			}
			if n := len(w.IM.Requests("REGISTER")); (n == 0) != skip {
				t.Errorf("%d REGISTERs at the interaction server", n)
			}
			b.Login().Wants(200)
			w.Do("POST", b.SessionPath(), b.Account, sum("password "+account), "").Wants(401)
			sent := b.Send(gatewaytest.Alice, "abcdefg")
			if got, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1); err != nil || got[0].Text != "abcdefg" || got[0].Peer != account {
				t.Fatalf("Alice got %+v, %v", got, err)
			}
			b.Delivery(sent.ID, "delivered")
			w.Stop()
			w.Core.Forget()
			w.Start() // the password is there after a restart, too
			b.Login().Wants(200)
			b.Do("DELETE", b.SessionPath(), "").Wants(204)
			if len(w.Core.Bindings(account)) != 0 || w.Rows("sip_password") != 0 {
				t.Errorf("after the logout: bindings %v, %d SIP passwords", w.Core.Bindings(account), w.Rows("sip_password"))
			}
			if strings.Contains(w.Log.String(), sum("password "+account)) {
				t.Error("the log has the SIP password")
			}
		})
	}
}

// R2: a proxy in http-trusted names the inviter; whoever else tries is asked for a password.
func TestAssertedIdentityInvites(t *testing.T) {
	t.Parallel()
	invite := func(w *gatewaytest.World, identity string) int {
		req, err := http.NewRequest("POST", w.URL()+"/rcsgw/invitee/user", strings.NewReader(`{"email":"b@cc.com"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-3GPP-Asserted-Identity", identity)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return res.StatusCode
	}
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--http-trusted=127.0.0.0/8"}})
	if code := invite(w, `"sip:s@cc.com"`); code != 403 { // F04: the policy holds all the same
		t.Errorf("a suspended inviter: %d", code)
	}
	if code := invite(w, `"tel:+8613800000001"`); code != 201 {
		t.Errorf("Alice: %d", code)
	}
	w.Invited(1)
	open := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--http-trusted=192.0.2.0/24"}})
	if code := invite(open, `"sip:a@cc.com"`); code != 401 {
		t.Errorf("from an address that isn't trusted: %d", code)
	}
	open.Nothing("not trusted")
}

// F11: serial accounts of many invitations at once are all different, and none is lost.
func TestSerialAccountsOfManyInvitations(t *testing.T) {
	t.Parallel()
	const n = 60
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--account-scheme=serial", "--log-level=warn"}})
	// Passwords that nobody has proven yet are taken a few at a time (S4).
	w.Do("GET", "/rcsgw/invitee/user", gatewaytest.Alice, gatewaytest.Password, "").Wants(200)
	accounts := make([]string, n)
	turns := make(chan struct{}, 32) // connections of the test, not of the gateway
	var all sync.WaitGroup
	for i := range accounts {
		all.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			var v struct{ Account string }
			a := w.Do("POST", "/rcsgw/invitee/user", gatewaytest.Alice, gatewaytest.Password, fmt.Sprintf(`{"email":"b%d@cc.com"}`, i))
			if a.Status != http.StatusCreated {
				t.Errorf("invitation %d: %d %s", i, a.Status, a.Body)
			}
			a.Into(&v)
			accounts[i] = v.Account
		})
	}
	if all.Wait(); t.Failed() {
		return
	}
	slices.Sort(accounts)
	if got := slices.Compact(accounts); len(got) != n || got[0] == "" {
		t.Errorf("%d different accounts, want %d; the first is %q", len(got), n, got[0])
	}
	imstest.Eventually(t, 2*time.Minute, func() bool { return len(w.Mail.Mails()) == n })
	if guests, relations := w.Rows("guest"), w.Rows("relation"); guests != n || relations != n {
		t.Errorf("%d guests and %d relations, want %d each", guests, relations, n)
	}
}
