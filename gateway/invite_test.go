package gateway_test

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

// F01, R1, R2, R5-R7, R12: one digest REGISTER at the core, then one at the interaction server, then the mail.
func TestInvitationRegistersAndThenMails(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{
		Core: func(o *imstest.CoreOptions) { o.Auth, o.Shared = true, "hush" },
		Args: []string{"--account-scheme=identifier", "--sip-auth=shared:hush"},
	})
	var got struct {
		Account, Notification string
		Invitee               struct{ Email string }
		Interactions          []string
		Created, Expires      time.Time
		Registered            bool
	}
	res := w.InviteAs(gatewaytest.Alice).Wants(http.StatusCreated)
	res.Into(&got)
	if got.Account != "sip:b@cc.com" || got.Invitee.Email != gatewaytest.GuestMail || !slices.Equal(got.Interactions, []string{"im"}) ||
		!got.Registered || got.Notification != "queued" || got.Expires.Sub(got.Created).Round(time.Minute) != 168*time.Hour {
		t.Errorf("answer %s", res.Body)
	}
	b := w.Invited(1)
	if b.Account != "sip:b@cc.com" || len(b.Password) < 22 || strings.Contains(string(res.Body), b.Password) {
		t.Errorf("link to %s with a password of %d characters; the answer must not have it", b.Account, len(b.Password))
	}
	core, im := w.Core.Requests("REGISTER"), w.IM.Requests("REGISTER")
	if len(core) != 2 || core[0].Status != 401 || core[1].Status != 200 || len(im) != 1 || im[0].Status != 200 {
		t.Fatalf("REGISTERs: core %v, interaction server %v; want 401, 200 and 200", statuses(core), statuses(im))
	}
	for _, seen := range append(core, im...) {
		for _, name := range []string{"To", "From"} {
			if v := seen.Request.Get(name); !strings.Contains(v, "<sip:b@cc.com>") {
				t.Errorf("%s: %s, want the account", name, v)
			}
		}
	}
	if mail := w.Mail.Mails()[0]; !core[1].Time.Before(im[0].Time) || !im[0].Time.Before(mail.Time) {
		t.Errorf("order: core %v, interaction server %v, mail %v", core[1].Time, im[0].Time, mail.Time)
	}
	if len(w.Core.Bindings("sip:b@cc.com")) != 1 || len(w.IM.Bindings("sip:b@cc.com")) != 1 {
		t.Error("the account is not bound at both servers")
	}
}

func statuses(all []imstest.Seen) []int {
	var codes []int
	for _, s := range all {
		codes = append(codes, s.Final)
	}
	return codes
}

// F04, R3: whom the policy does not allow causes nothing at all.
func TestPolicyComesBeforeAnythingElse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		policy, inviter string
		status          int
		problem         string
	}{
		{"any", "sip:nobody@cc.com", 401, "unauthorized"},
		{"valid", "sip:s@cc.com", 403, "not-allowed"},
		{"valid", "sip:l@cc.com", 403, "not-allowed"},
		{"level:3", "sip:d@cc.com", 403, "not-allowed"},
	} {
		t.Run(c.policy+" "+c.inviter, func(t *testing.T) {
			t.Parallel()
			w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--invite-policy=" + c.policy}})
			if a := w.InviteAs(c.inviter).Wants(c.status); a.Problem() != c.problem {
				t.Errorf("problem %s, want %s", a.Problem(), c.problem)
			}
			if n := len(w.Core.Requests("")) + len(w.IM.Requests("")); n != 0 {
				t.Errorf("%d SIP requests left", n)
			}
			w.Nothing("not allowed")
		})
	}
}

// F05, S4: a wrong password and an unknown inviter can't be told apart, and guessing is slowed down.
func TestWrongInviterCredentialsTellNothing(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	body := `{"email":"b@cc.com"}`
	wrong := w.Do("POST", "/rcsgw/invitee/user", gatewaytest.Alice, "wrong", body).Wants(401)
	unknown := w.Do("POST", "/rcsgw/invitee/user", "sip:nobody@cc.com", "wrong", body).Wants(401)
	if string(wrong.Body) != string(unknown.Body) || wrong.Header.Get("WWW-Authenticate") == "" ||
		wrong.Header.Get("WWW-Authenticate") != unknown.Header.Get("WWW-Authenticate") {
		t.Errorf("answers differ: %s %q and %s %q", wrong.Body, wrong.Header, unknown.Body, unknown.Header)
	}
	for range 8 {
		w.Do("POST", "/rcsgw/invitee/user", gatewaytest.Alice, "wrong", body).Wants(401)
	}
	eleventh := w.Do("POST", "/rcsgw/invitee/user", gatewaytest.Alice, "wrong", body).Wants(429)
	if after, err := strconv.Atoi(eleventh.Header.Get("Retry-After")); err != nil || after < 1 || after > 60 {
		t.Errorf("Retry-After %q, want seconds of at most a minute", eleventh.Header.Get("Retry-After"))
	}
	w.Nothing("wrong credentials")
}

// F06, R10: a registered user is not invited, and is told of.
func TestRegisteredUserIsNotInvited(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	for _, body := range []string{`{"email":"dora@mail.example"}`, `{"tel":"+8613800000004"}`} {
		a := w.Do("POST", "/rcsgw/invitee/user", gatewaytest.Alice, gatewaytest.Password, body).Wants(409)
		var p struct{ URI string }
		if a.Into(&p); a.Problem() != "already-registered" || p.URI != "sip:d@cc.com" {
			t.Errorf("%s: answer %s, want already-registered with sip:d@cc.com", body, a.Body)
		}
	}
	for path, want := range map[string]string{
		"/rcsgw/user/dora@mail.example": `"sip:d@cc.com"`, "/rcsgw/user/tel:+8613800000004": `"sip:d@cc.com"`, "/rcsgw/user/b@cc.com": `"registered":false`,
	} {
		if a := w.Do("GET", path, gatewaytest.Alice, gatewaytest.Password, "").Wants(200); !strings.Contains(string(a.Body), want) {
			t.Errorf("GET %s = %s, want %s", path, a.Body, want)
		}
	}
	if n := len(w.Core.Requests("")); n != 0 {
		t.Errorf("%d SIP requests left", n)
	}
	w.Nothing("registered user")
}

// F07, R11: another inviter of the same guest adds a relation and a mail, and neither an account nor a registration.
func TestSecondInviterSharesTheAccount(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	var first, second struct{ Account string }
	w.InviteAs(gatewaytest.Alice).Wants(201).Into(&first)
	w.Invited(1)
	registers := len(w.Core.Requests("REGISTER")) + len(w.IM.Requests("REGISTER"))
	a := w.InviteAs(gatewaytest.Carol)
	if a.Into(&second); a.Status != 200 && a.Status != 201 || second.Account != first.Account {
		t.Errorf("second invitation: %d %s, want the account %s", a.Status, a.Body, first.Account)
	}
	if n := len(w.Core.Requests("REGISTER")) + len(w.IM.Requests("REGISTER")); n != registers {
		t.Errorf("%d more REGISTERs", n-registers)
	}
	b := w.Invited(2)
	var l struct{ Inviters []struct{ URI string } }
	b.Login().Wants(200).Into(&l)
	if len(l.Inviters) != 2 || l.Inviters[0].URI != gatewaytest.Alice || l.Inviters[1].URI != gatewaytest.Carol {
		t.Errorf("inviters %+v, want Alice and Carol", l.Inviters)
	}
	if guests, relations := w.Rows("guest"), w.Rows("relation"); guests != 1 || relations != 2 {
		t.Errorf("%d guests and %d relations, want 1 and 2", guests, relations)
	}
}

// F08: the same invitation again, also many at once, gives one relation and one mail.
func TestSameInvitationAgainIsOneInvitation(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	var all sync.WaitGroup
	codes := make([]int, 8)
	for i := range codes {
		all.Go(func() { codes[i] = w.InviteAs(gatewaytest.Alice).Status })
	}
	all.Wait()
	slices.Sort(codes)
	if want := []int{200, 200, 200, 200, 200, 200, 200, 201}; !slices.Equal(codes, want) {
		t.Errorf("answers %v, want %v", codes, want)
	}
	w.Invited(1)
	if guests, relations := w.Rows("guest"), w.Rows("relation"); guests != 1 || relations != 1 {
		t.Errorf("%d guests and %d relations, want one each", guests, relations)
	}
	if n := w.Rows("outbox"); n != 1 {
		t.Errorf("%d notices, want one: the resend policy waits an hour", n)
	}
	if n := len(w.Core.Requests("REGISTER")); n != 1 {
		t.Errorf("%d REGISTERs at the core, want one", n)
	}
}

// F12: the core's word on a REGISTER is heeded.
func TestCoresAnswerToREGISTERIsHeeded(t *testing.T) {
	t.Parallel()
	t.Run("423 raises Expires", func(t *testing.T) {
		t.Parallel()
		w := gatewaytest.New(t, gatewaytest.Plan{Core: func(o *imstest.CoreOptions) { o.MinExpires = 30 * time.Minute }, Args: []string{"--sip-register-expires=60s"}})
		w.InviteAs(gatewaytest.Alice).Wants(201)
		seen := w.Core.Requests("REGISTER")
		if !slices.Equal(statuses(seen), []int{423, 200}) {
			t.Fatalf("answers %v, want 423 and 200", statuses(seen))
		}
		if n, err := strconv.Atoi(seen[1].Request.Get("Expires")); err != nil || n < 1800 {
			t.Errorf("second Expires %q, want at least 1800", seen[1].Request.Get("Expires"))
		}
	})
	t.Run("503 with Retry-After is left alone", func(t *testing.T) {
		t.Parallel()
		w := gatewaytest.New(t, gatewaytest.Plan{})
		w.Core.Fault("REGISTER", &imstest.Fault{Code: 503, Times: 1, Fields: []imstest.Field{{Name: "Retry-After", Value: "5"}}})
		begun := time.Now()
		if a := w.InviteAs(gatewaytest.Alice); a.Status < 500 {
			t.Errorf("answer %d, want a failure", a.Status)
		}
		w.Nothing("503")
		imstest.Eventually(t, gatewaytest.Patience, func() bool {
			again := w.InviteAs(gatewaytest.Alice)
			if time.Since(begun) < 5*time.Second && (again.Status < 500 || len(w.Core.Requests("REGISTER")) != 1) {
				t.Errorf("within 5 s: answer %d and %d REGISTERs, want a failure and no second REGISTER", again.Status, len(w.Core.Requests("REGISTER")))
			}
			return again.Status == 201
		})
		if wait := time.Since(begun); wait < 5*time.Second {
			t.Errorf("the core was asked again after %v", wait)
		}
	})
	t.Run("403 leaves nothing", func(t *testing.T) {
		t.Parallel()
		w := gatewaytest.New(t, gatewaytest.Plan{})
		w.Core.Fault("REGISTER", &imstest.Fault{Code: 403, Times: 1})
		if a := w.InviteAs(gatewaytest.Alice).Wants(502); a.Problem() != "registration-failed" {
			t.Errorf("problem %s", a.Problem())
		}
		w.Nothing("403")
		w.InviteAs(gatewaytest.Alice).Wants(201) // nothing stands in the way of another try
	})
	t.Run("silence leaves nothing", func(t *testing.T) {
		t.Parallel()
		w := gatewaytest.New(t, gatewaytest.Plan{})
		w.Core.Fault("REGISTER", &imstest.Fault{})
		if a := w.InviteAs(gatewaytest.Alice).Wants(504); a.Problem() != "core-timeout" {
			t.Errorf("problem %s", a.Problem())
		}
		for _, table := range []string{"guest", "relation", "secret", "outbox"} {
			if n := w.Rows(table); n != 0 {
				t.Errorf("%d rows in %s", n, table)
			}
		}
	})
}

// F13: an interaction server that is down does not keep the invitation from the guest.
func TestInvitationGoesOutWhileTheInteractionServerIsDown(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	w.IM.Fault("REGISTER", &imstest.Fault{Code: 500})
	w.InviteAs(gatewaytest.Alice).Wants(201)
	w.Invited(1)
	if len(w.Core.Bindings(gatewaytest.GuestURI)) != 1 || len(w.IM.Bindings(gatewaytest.GuestURI)) != 0 {
		t.Errorf("bindings: core %v, interaction server %v", w.Core.Bindings(gatewaytest.GuestURI), w.IM.Bindings(gatewaytest.GuestURI))
	}
}

// F14, B1.21: which challenge is answered, and how often.
func TestDigestAnswersTheFirstChallengeThatItKnows(t *testing.T) {
	t.Parallel()
	digest := func(algorithms ...string) func(*imstest.CoreOptions) {
		return func(o *imstest.CoreOptions) { o.Auth, o.Shared, o.Algorithms = true, "hush", algorithms }
	}
	algorithm := func(w *gatewaytest.World) string {
		seen := w.Core.Requests("REGISTER")
		v := seen[len(seen)-1].Request.Get("Authorization")
		_, v, _ = strings.Cut(v, "algorithm=")
		v, _, _ = strings.Cut(v, ",")
		return strings.Trim(v, `" `)
	}
	for _, c := range []struct {
		offered []string
		want    string
	}{{[]string{"SHA-256", "MD5"}, "SHA-256"}, {[]string{"MD5"}, "MD5"}, {[]string{"UNKNOWN-1", "SHA-256"}, "SHA-256"}} {
		t.Run(fmt.Sprint(c.offered), func(t *testing.T) {
			t.Parallel()
			w := gatewaytest.New(t, gatewaytest.Plan{Core: digest(c.offered...), Args: []string{"--sip-auth=shared:hush"}})
			w.InviteAs(gatewaytest.Alice).Wants(201)
			if got := algorithm(w); got != c.want {
				t.Errorf("answered %s, want %s", got, c.want)
			}
		})
	}
	t.Run("stale", func(t *testing.T) {
		t.Parallel()
		w := gatewaytest.New(t, gatewaytest.Plan{Core: digest("MD5"), Args: []string{"--sip-auth=shared:hush"}})
		b := w.Guest()
		w.Core.Forget()
		w.Core.ExpireNonces()
		b.Login().Wants(200)
		if got := statuses(w.Core.Requests("REGISTER")); !slices.Equal(got, []int{401, 200}) {
			t.Errorf("REGISTERs of a login: %v, want one 401 and 200", got)
		}
	})
	t.Run("ephemeral", func(t *testing.T) {
		t.Parallel()
		w := gatewaytest.New(t, gatewaytest.Plan{Core: func(o *imstest.CoreOptions) { o.Auth, o.Ephemeral = true, "of both" }, Args: []string{"--sip-auth=ephemeral:of both"}})
		w.InviteAs(gatewaytest.Alice).Wants(201)
	})
	t.Run("wrong password", func(t *testing.T) {
		t.Parallel()
		w := gatewaytest.New(t, gatewaytest.Plan{Core: digest("MD5"), Args: []string{"--sip-auth=shared:wrong"}})
		w.InviteAs(gatewaytest.Alice).Wants(502)
		if got := statuses(w.Core.Requests("REGISTER")); !slices.Equal(got, []int{401, 401}) {
			t.Errorf("REGISTERs: %v, want two 401 and then an end", got)
		}
		w.Nothing("wrong password")
	})
}

// F15, R5: a registration is refreshed in its dialog-like series, and the Service-Route is obeyed.
func TestRegistrationIsRefreshedAndItsServiceRouteObeyed(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{Core: func(o *imstest.CoreOptions) { o.MaxExpires, o.ServiceRoute = 6*time.Second, true }})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	b := w.Guest()
	var seen []imstest.Seen
	imstest.Eventually(t, gatewaytest.Patience, func() bool {
		seen = nil
		for _, s := range w.Core.Requests("REGISTER") {
			if strings.Contains(s.Request.Get("To"), "b_at_cc.com") {
				seen = append(seen, s)
			}
		}
		return len(seen) >= 3
	})
	for i, s := range seen[1:] {
		if gap := s.Time.Sub(seen[i].Time); gap >= 6*time.Second {
			t.Errorf("refresh after %v, the registration lived 6 s", gap)
		}
		before, _, _ := strings.Cut(seen[i].Request.Get("CSeq"), " ")
		now, _, _ := strings.Cut(s.Request.Get("CSeq"), " ")
		m, _ := strconv.Atoi(before)
		n, _ := strconv.Atoi(now)
		if s.Request.Get("Call-ID") != seen[i].Request.Get("Call-ID") || n != m+1 {
			t.Errorf("refresh with Call-ID %s and CSeq %d after %s and %d", s.Request.Get("Call-ID"), n, seen[i].Request.Get("Call-ID"), m)
		}
	}
	b.Send(gatewaytest.Alice, "hello")
	if _, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1); err != nil {
		t.Fatal(err)
	}
	invite := w.Core.Requests("INVITE")[0].Request
	if routes := invite.All("Route"); len(routes) != 2 || !strings.Contains(routes[1], "orig@") {
		t.Errorf("Route of the INVITE %q, want the core and then its Service-Route", routes)
	}
}

// B1.22: a core that has lost what it knew of an account says so in a 504 (TS 24.229 §5.1.2A.1.6): the account registers anew, from the beginning, and the call
// is tried again. What a stranger says so is not believed.
func TestLostAccountIsRegisteredAnew(t *testing.T) {
	for name, series := range map[string]int{"stranger": 1, "core": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := gatewaytest.New(t, gatewaytest.Plan{Core: func(o *imstest.CoreOptions) { o.ServiceRoute = true }})
			a := w.Phone(gatewaytest.Alice, imstest.Manner{})
			b := w.Guest()
			who := map[string]string{"stranger": "sip:stranger@192.0.2.1", "core": "sip:orig@" + w.Core.Addr()}[name]
			w.Core.Fault("INVITE", &imstest.Fault{
				Code: 504, Times: 1, Fields: []imstest.Field{{Name: "P-Asserted-Identity", Value: "<" + who + ">"}, {Name: "Content-Type", Value: "application/3gpp-ims+xml"}},
				Body: `<ims-3gpp version="1"><alternative-service><type>restoration</type><action>initial-registration</action><reason/></alternative-service></ims-3gpp>`,
			})
			b.Send(gatewaytest.Alice, "hello")
			if _, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1); err != nil {
				t.Fatal(err)
			}
			var callIDs []string
			for _, s := range w.Core.Requests("REGISTER") {
				if strings.Contains(s.Request.Get("To"), "b_at_cc.com") {
					callIDs = append(callIDs, s.Request.Get("Call-ID"))
				}
			}
			if got := slices.Compact(callIDs); len(got) != series {
				t.Errorf("after the word of %s the account has REGISTERs with Call-IDs %v, want %d", who, got, series)
			}
		})
	}
}

// X4, R5: a restart takes registrations up and sends neither mail nor link again.
func TestRestartResumesRegistrations(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{Core: func(o *imstest.CoreOptions) { o.MaxExpires = 4 * time.Second }})
	b := w.Guest()
	callID := w.Core.Requests("REGISTER")[0].Request.Get("Call-ID")
	w.Stop()
	for _, s := range w.Core.Requests("REGISTER") {
		if s.Request.Get("Expires") == "0" || strings.Contains(s.Request.Get("Contact"), "expires=0") {
			t.Fatal("a shutdown is not a logout: the binding must stay")
		}
	}
	w.Core.Forget()
	w.Start()
	seen, err := w.Core.WaitRequests(w.Within(gatewaytest.Patience), "REGISTER", 1)
	if err != nil || seen[0].Request.Get("Call-ID") != callID {
		t.Fatalf("REGISTERs after the restart: %v, %v; want one with the same Call-ID", seen, err)
	}
	b.Login().Wants(200)
	if n := len(w.Mail.Mails()); n != 1 {
		t.Errorf("%d mails, want one", n)
	}
}
