package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	netmail "net/mail"
	"net/smtp"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

// optOutLink is the one of a mail's List-Unsubscribe, on the world's own address.
func optOutLink(t *testing.T, m imstest.Mail) (path string, header netmail.Header) {
	t.Helper()
	msg, err := netmail.ReadMessage(strings.NewReader(string(m.Raw)))
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(strings.Trim(msg.Header.Get("List-Unsubscribe"), "<>"))
	if err != nil || !strings.HasPrefix(u.Path, "/rcsgw/invitee/optout/") {
		t.Fatalf("List-Unsubscribe: %s, %v", msg.Header.Get("List-Unsubscribe"), err)
	}
	return u.RequestURI(), msg.Header
}

// post sends a form.
func post(t *testing.T, w *gatewaytest.World, path, form, accept string) (status int) {
	t.Helper()
	req, err := http.NewRequestWithContext(w.Within(gatewaytest.Patience), "POST", w.URL()+path, strings.NewReader(form))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", accept)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	return res.StatusCode
}

// F18, X8, R13, S10: one click in the mail program, and nobody writes to that person any more; those who try are told what they were
// told before. Looking at the link does nothing, and the token lets the person back in.
func TestOneClickStopsAllInvitations(t *testing.T) {
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--public-url=https://chat.example.com"}})
	first := w.InviteAs(gatewaytest.Alice).Wants(http.StatusCreated)
	w.InviteAs(gatewaytest.Carol).Wants(http.StatusCreated)
	b := w.Invited(2)
	path, header := optOutLink(t, w.Mail.Mails()[0])
	if header.Get("List-Unsubscribe-Post") != "List-Unsubscribe=One-Click" {
		t.Errorf("header %q", header)
	}
	for _, m := range w.Mail.Mails() {
		for body, name := range map[string]string{m.Text: "text", strings.ReplaceAll(m.HTML, "&amp;", "&"): "HTML"} {
			if !strings.Contains(body, "https://chat.example.com"+path) {
				t.Errorf("the %s has no way to stop invitations:\n%s", name, body)
			}
		}
	}
	for range 2 {
		if a := w.Do("GET", path, "", "", ""); a.Status != http.StatusNotAcceptable && a.Status != http.StatusOK {
			t.Errorf("GET = %d", a.Status)
		}
	}
	b.Login().Wants(http.StatusOK)
	if status := post(t, w, path, "List-Unsubscribe=One-Click", "*/*"); status != http.StatusNoContent {
		t.Fatalf("one click: %d, want 204", status)
	}
	b.Login().Wants(http.StatusGone) // as if it had expired
	if n := len(w.Core.Bindings(gatewaytest.GuestURI)); n != 0 {
		t.Errorf("%d bindings are left in the core", n)
	}
	var list struct {
		Invitations []struct{ Notification string }
	}
	w.Do("GET", "/rcsgw/invitee/user", gatewaytest.Alice, gatewaytest.Password, "").Wants(200).Into(&list)
	if len(list.Invitations) != 0 {
		t.Errorf("Alice sees %+v, want nothing, as of one who left", list)
	}
	again := w.InviteAs(gatewaytest.Alice).Wants(http.StatusCreated)
	var was, is map[string]any
	first.Into(&was)
	again.Into(&is)
	for _, name := range []string{"created", "expires"} {
		delete(was, name)
		delete(is, name)
	}
	if fmt.Sprint(was) != fmt.Sprint(is) {
		t.Errorf("Alice is told %v, and before %v", is, was)
	}
	w.Do("GET", "/rcsgw/invitee/user", gatewaytest.Alice, gatewaytest.Password, "").Wants(200).Into(&list)
	if len(list.Invitations) != 1 || list.Invitations[0].Notification != "sent" {
		t.Errorf("Alice sees %+v, want one that was sent", list)
	}
	// Another person's invitation comes later, so that nothing can be on its way any more.
	other := func(nth int) {
		t.Helper()
		w.Do("POST", "/rcsgw/invitee/user", gatewaytest.Alice, gatewaytest.Password, fmt.Sprintf(`{"email":"o%d@cc.com"}`, nth)).Wants(http.StatusCreated)
		if _, err := w.Mail.Wait(w.Within(gatewaytest.Patience), fmt.Sprintf("o%d@cc.com", nth), 1); err != nil {
			t.Fatal(err)
		}
	}
	other(1)
	if n := len(w.Mail.Mails()); n != 3 {
		t.Fatalf("%d mails, want 3: none to who opted out", n)
	}
	w.Stop()
	w.Start()
	w.InviteAs(gatewaytest.Carol).Wants(http.StatusCreated)
	other(2)
	if n := len(w.Mail.Mails()); n != 4 {
		t.Fatalf("%d mails after a restart, want 4", n)
	}
	if status := post(t, w, strings.Replace(path, "/optout/", "/optin/", 1), "", "text/html"); status != http.StatusOK {
		t.Fatalf("opt in: %d, want the page", status)
	}
	w.Do("DELETE", "/rcsgw/invitee/user", gatewaytest.Carol, gatewaytest.Password, "").Wants(204)
	w.InviteAs(gatewaytest.Carol).Wants(http.StatusCreated)
	w.Invited(3)
}

// F18: the operator chose that inviters are refused; the password of the link opts out, too.
func TestInvitingWhoOptedOutIsRefused(t *testing.T) {
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--opted-out=refuse"}})
	b := w.Guest()
	out := "/rcsgw/invitee/optout/" + b.Account
	w.Do("POST", out, "", "", `{"passwd":"wrong"}`).Wants(http.StatusUnauthorized)
	for range 2 {
		w.Do("POST", out, "", "", `{"passwd":"`+b.Password+`"}`).Wants(http.StatusNoContent)
	}
	if a := w.InviteAs(gatewaytest.Carol).Wants(http.StatusForbidden); a.Problem() != "not-allowed" {
		t.Errorf("problem %s", a.Problem())
	}
	w.Do("POST", strings.Replace(out, "/optout/", "/optin/", 1), "", "", `{"passwd":"`+b.Password+`"}`).Wants(http.StatusNoContent)
	w.InviteAs(gatewaytest.Carol).Wants(http.StatusCreated)
}

// F18, S10: who is over the quota is told when to come again; other inviters are unaffected, until the limit of all is reached. Some people may not be invited at all.
func TestQuotasAndTargetsOfTheOperator(t *testing.T) {
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--quota-inviter=2/1h", "--quota-total=3/24h", "--invite-deny=+86,*.evil.example"}})
	invite := func(who, email string) gatewaytest.Answer {
		return w.Do("POST", "/rcsgw/invitee/user", who, gatewaytest.Password, `{"email":"`+email+`"}`)
	}
	if a := invite(gatewaytest.Alice, "b@x.evil.example").Wants(http.StatusForbidden); a.Problem() != "not-allowed" {
		t.Errorf("problem %s", a.Problem())
	}
	w.Nothing("denied")
	invite(gatewaytest.Alice, "b1@cc.com").Wants(201)
	invite(gatewaytest.Alice, "b2@cc.com").Wants(201)
	over := func(a gatewaytest.Answer, least, most int) {
		t.Helper()
		a.Wants(http.StatusTooManyRequests)
		if wait, err := strconv.Atoi(a.Header.Get("Retry-After")); err != nil || a.Problem() != "quota" || wait < least || wait > most {
			t.Errorf("%s with Retry-After %q, want quota and %d to %d s", a.Problem(), a.Header.Get("Retry-After"), least, most)
		}
	}
	over(invite(gatewaytest.Alice, "b3@cc.com"), 3500, 3600)
	invite(gatewaytest.Carol, "b3@cc.com").Wants(201)
	over(invite(gatewaytest.Carol, "b4@cc.com"), 86000, 86400)
}

// S10, R8: two who invite the same person within the time write one mail that names both.
func TestOneMailNamesAllInviters(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--notice-merge=5s"}})
	w.Do("POST", "/rcsgw/invitee/user", gatewaytest.Alice, gatewaytest.Password, `{"email":"b@cc.com","note":"Lunch?","language":"de"}`).Wants(201)
	w.InviteAs(gatewaytest.Carol).Wants(201)
	b := w.Invited(1)
	m := w.Mail.Mails()[0]
	if m.Subject != "Alice und Carol laden Sie zu einem Chat ein" || !strings.Contains(m.Text, "> Lunch?") {
		t.Errorf("mail %q:\n%s", m.Subject, m.Text)
	}
	for _, who := range []string{gatewaytest.Alice, gatewaytest.Carol} {
		notified(t, w, who, "sent")
	}
	var l struct{ Inviters []struct{ URI string } }
	b.Login().Wants(200).Into(&l)
	w.Do("DELETE", "/rcsgw/invitee/user", gatewaytest.Alice, gatewaytest.Password, "").Wants(204)
	b.Login().Wants(200)
	if len(l.Inviters) != 2 || len(w.Mail.Mails()) != 1 {
		t.Errorf("%d inviters, %d mails, want 2 and 1", len(l.Inviters), len(w.Mail.Mails()))
	}
}

const report = "From: MAILER-DAEMON@mx.example\r\nTo: x\r\nSubject: report\r\nMIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n" +
	"--b\r\n\r\nSorry.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example\r\n\r\nFinal-Recipient: rfc822; b@cc.com\r\nAction: %s\r\nStatus: %s\r\n\r\n--b--\r\n"

// F19, S10: a report on a mail comes to an address of its own, and its inviter sees what became of the invitation. What is late may still
// arrive; who can't be reached is left alone for a while; nobody else's reports count.
func TestReportsMoveTheirInvitation(t *testing.T) {
	for _, network := range []string{"smtp", "lmtp"} {
		t.Run(network, func(t *testing.T) {
			listen := gatewaytest.FreePort(t)
			w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--mail-bounce=" + network + ":" + listen, "--mail-bounce-domain=bounce.example"}})
			send := func(to, action, status string) error {
				if network == "lmtp" {
					return lmtp(listen, to, fmt.Sprintf(report, action, status))
				}
				return smtp.SendMail(listen, nil, "", []string{to}, []byte(fmt.Sprintf(report, action, status)))
			}
			invite := func(email string) gatewaytest.Answer {
				return w.Do("POST", "/rcsgw/invitee/user", gatewaytest.Alice, gatewaytest.Password, `{"email":"`+email+`"}`)
			}
			from := map[string]string{}
			for _, email := range []string{"b@cc.com", "c@cc.com"} {
				invite(email).Wants(201)
				m, err := w.Mail.Wait(w.Within(gatewaytest.Patience), email, 1)
				if err != nil {
					t.Fatal(err)
				}
				from[email] = m.From
				if !strings.HasPrefix(m.From, "b-") || !strings.HasSuffix(m.From, "@bounce.example") {
					t.Fatalf("the envelope's sender is %s", m.From)
				}
			}
			want := func(all ...string) {
				t.Helper()
				imstest.Eventually(t, gatewaytest.Patience, func() bool { return slices.Equal(mailStates(w), all) })
			}
			want("b@cc.com sent", "c@cc.com sent")
			swapped := strings.Replace(from["b@cc.com"], "b-", "b-x", 1)
			for _, wrong := range []string{"postmaster@bounce.example", swapped, strings.Replace(from["b@cc.com"], "bounce.example", "cc.com", 1), "invitations@latchkey.example"} {
				if err := send(wrong, "failed", "5.1.1"); err == nil || !strings.Contains(err.Error(), "550") {
					t.Errorf("a report to %s: %v, want it refused", wrong, err)
				}
			}
			for _, c := range []struct{ email, action, status string }{{"b@cc.com", "delayed", "4.4.1"}, {"c@cc.com", "relayed", "2.0.0"}, {"b@cc.com", "failed", "5.1.1"}, {"c@cc.com", "delivered", "2.0.0"}} {
				if err := send(strings.ToUpper(from[c.email]), c.action, c.status); err != nil {
					t.Fatalf("report %v: %v", c, err)
				}
				if states := mailStates(w); c.action == "delayed" && !slices.Contains(states, "b@cc.com sent") {
					t.Errorf("states %v after a delay", states)
				}
			}
			want("b@cc.com failed there is no such mailbox (5.1.1)", "c@cc.com delivered")
			if a := invite("b@cc.com").Wants(http.StatusTooManyRequests); a.Problem() != "quota" {
				t.Errorf("problem %s", a.Problem())
			}
		})
	}
}

// R13: operators see what invitations look like, in each language, and their own texts take the place of ours.
func TestTextsAreShownAndReplaced(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "eo.words", esperanto)
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--templates=" + dir}})
	get := func(path string) string {
		t.Helper()
		res, err := http.Get("http://" + w.Admin() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.Status + res.Header.Get("Content-Security-Policy") + string(body)
	}
	for path, words := range map[string][]string{
		"/templates": {"200", "invites you to a chat", ">ar<", ">eo<"}, "/templates?language=ar&sample=1": {"200", "يدعونك", "王芳"},
		"/templates/mail?language=ar": {"200", `dir="rtl"`, "sandbox"}, "/templates/mail?language=eo": {"200", "Saluton Robin!"}, "/templates?sample=99": {"200"},
	} {
		for _, word := range words {
			if got := get(path); !strings.Contains(got, word) {
				t.Errorf("%s doesn't have %q", path, word)
			}
		}
	}
	w.Do("POST", "/rcsgw/invitee/user", gatewaytest.Alice, gatewaytest.Password, `{"email":"b@cc.com","language":"eo"}`).Wants(201)
	w.Invited(1)
	if m := w.Mail.Mails()[0]; m.Subject != "Alice invitas vin" || !strings.HasPrefix(m.Text, "Saluton !") {
		t.Errorf("mail %q:\n%s", m.Subject, m.Text)
	}
}
