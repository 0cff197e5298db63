package mail

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	netmail "net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"latchkey"
	"latchkey/imstest"
	"latchkey/notify"
)

// mailpit is a real mail server that shows what it took.
type mailpit struct {
	smtp, api string
}

// need finds a program among the Go tools or in PATH.
func need(t *testing.T, name, how string) string {
	t.Helper()
	tools := os.Getenv("LATCHKEY_TOOLS")
	if cache, err := os.UserCacheDir(); tools == "" && err == nil {
		tools = filepath.Join(cache, "latchkey", "tools")
	}
	path := filepath.Join(tools, name)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing; get it by: %s", name, how)
	}
	t.Skipf("%s is missing; get it by: %s", name, how)
	return ""
}

// startMailpit runs mailpit on free ports until the test ends.
func startMailpit(t *testing.T, args ...string) mailpit {
	t.Helper()
	program := need(t, "mailpit", "./test.sh ./notify/...")
	// Somebody else may take a port between its choice and its use.
	for attempt := 1; ; attempt++ {
		m, database := mailpit{smtp: imstest.FreePort(t), api: imstest.FreePort(t)}, filepath.Join(t.TempDir(), "mailpit.db")
		cmd := exec.Command(program, append([]string{"--smtp", m.smtp, "--listen", m.api, "--database", database,
			"--disable-version-check", "--smtp-disable-rdns", "--quiet"}, args...)...)
		var log bytes.Buffer
		cmd.Stdout, cmd.Stderr = &log, &log
		if err := cmd.Start(); err != nil {
			t.Fatalf("start mailpit: %v", err)
		}
		over := make(chan error, 1)
		go func() { over <- cmd.Wait() }() // ends with the process
		ready := false
		imstest.Eventually(t, time.Minute, func() bool {
			select {
			case err := <-over:
				over <- err
				return true
			default:
			}
			var info struct{ Database string }
			ready = m.get("/api/v1/info", &info) == nil && info.Database == database && m.listens() // it is this one, and nobody else's
			return ready
		})
		if ready {
			t.Cleanup(func() { _ = cmd.Process.Kill(); <-over })
			return m
		}
		if attempt == 3 {
			t.Fatalf("mailpit ended:\n%s", log.String())
		}
	}
}

func (m mailpit) listens() bool {
	conn, err := net.DialTimeout("tcp", m.smtp, time.Second)
	if err == nil {
		conn.Close()
	}
	return err == nil
}

// get asks the HTTP API; into is nil, a *[]byte or what JSON is read into.
func (m mailpit) get(path string, into any) error {
	client := http.Client{Timeout: 30 * time.Second}
	res, err := client.Get("http://" + m.api + path)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", path, res.Status)
	}
	switch raw, ok := into.(*[]byte); {
	case err != nil || into == nil:
		return err
	case ok:
		*raw = body
		return nil
	}
	return json.Unmarshal(body, into)
}

// taken is a mail as mailpit tells it.
type taken struct {
	ID, MessageID, Subject, Text, HTML string
	From                               netmail.Address
	To                                 []netmail.Address
	raw                                []byte
}

func (m mailpit) mails(t *testing.T) []taken {
	t.Helper()
	var list struct{ Messages []struct{ ID string } }
	if err := m.get("/api/v1/messages", &list); err != nil {
		t.Fatal(err)
	}
	all := make([]taken, len(list.Messages))
	for i, e := range list.Messages {
		if err := m.get("/api/v1/message/"+e.ID, &all[i]); err != nil {
			t.Fatal(err)
		}
		if err := m.get("/api/v1/message/"+e.ID+"/raw", &all[i].raw); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// chaos makes mailpit refuse at a stage: Sender, Recipient or Authentication. Code 0 ends it.
func (m mailpit) chaos(t *testing.T, stage string, code int) {
	t.Helper()
	triggers := map[string]any{}
	if code != 0 {
		triggers[stage] = map[string]int{"ErrorCode": code, "Probability": 100}
	}
	body, err := json.Marshal(triggers)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest("PUT", "http://"+m.api+"/api/v1/chaos", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("chaos: %s", res.Status)
	}
}

// R7, R8, R13: a real mail server takes the invitation, and a real mail reader finds in it what went in.
func TestMailpitReadsTheInvitation(t *testing.T) {
	m := startMailpit(t)
	n := notice()
	n.InviterName, n.GuestName = "Zoë Müller", "李小龙"
	n.Note = "Grüße = äöü\n.\nsee http://evil.example/ there"
	start := time.Now()
	if err := deliver(t, Options{Server: m.smtp}, n); err != nil {
		t.Fatalf("Deliver = %v", err)
	}
	t.Logf("taken after %v", time.Since(start))
	all := m.mails(t)
	if len(all) != 1 {
		t.Fatalf("mailpit has %d mails, want one", len(all))
	}
	got := all[0]
	if got.MessageID != "n0tice@example.com" || got.Subject != "Zoë Müller invites you to a chat" ||
		got.From != (netmail.Address{Name: "Zoë Müller via Latchkey", Address: "invitations@example.com"}) ||
		len(got.To) != 1 || got.To[0] != (netmail.Address{Name: "李小龙", Address: "b@cc.com"}) {
		t.Errorf("mailpit reads %s, %q, from %v to %v", got.MessageID, got.Subject, got.From, got.To)
	}
	text := strings.ReplaceAll(got.Text, "\r\n", "\n")
	if !strings.Contains(text, "\n"+link+"\n") || !strings.Contains(text, "\n> Grüße = äöü\n> .\n> see") {
		t.Errorf("the text is damaged:\n%s", text)
	}
	if !strings.Contains(got.HTML, `href="`+strings.ReplaceAll(link, "+", "&#43;")+`"`) && !strings.Contains(got.HTML, `href="`+link+`"`) {
		t.Errorf("the link in the HTML is damaged:\n%s", got.HTML)
	}
	msg, err := netmail.ReadMessage(bytes.NewReader(got.raw))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"Auto-Submitted": "auto-generated", "Mime-Version": "1.0", "Date": "Sun, 01 Mar 2026 09:30:00 +0000", "Return-Path": "<invitations@example.com>"} {
		if h := msg.Header.Get(name); h != want {
			t.Errorf("%s: %q, want %q", name, h, want)
		}
	}
	if h := msg.Header.Get("Content-Type"); !strings.HasPrefix(h, "multipart/alternative") {
		t.Errorf("Content-Type: %s", h)
	}
	if u := msg.Header.Get("List-Unsubscribe") + msg.Header.Get("User-Agent") + msg.Header.Get("X-Mailer"); u != "" {
		t.Errorf("the header promises or tells %q", u)
	}
}

// STARTTLS and a login with a server that wants both.
func TestMailpitWantsTLSAndLogin(t *testing.T) {
	cert, key := pemFiles(t, certificate(t))
	users := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(users, []byte("me:hush\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{"smtp": {"--smtp-require-starttls"}, "smtps": {"--smtp-require-tls"}} {
		t.Run(name, func(t *testing.T) {
			m := startMailpit(t, append(args, "--smtp-tls-cert", cert, "--smtp-tls-key", key, "--smtp-auth-file", users)...)
			opt := Options{Server: m.smtp, TLS: name == "smtps", User: "me", Password: "hush"}
			if err := deliver(t, opt, notice()); err != nil {
				t.Fatalf("Deliver = %v", err)
			}
			opt.Password = "wrong"
			if f := failure(t, deliver(t, opt, notice())); f.Permanent || f.Reason != "the mail server does not let the gateway in" {
				t.Errorf("with a wrong password: %v", f)
			}
			opt.User = ""
			if f := failure(t, deliver(t, opt, notice())); f.Permanent {
				t.Errorf("without login: %v", f)
			}
			if all := m.mails(t); len(all) != 1 {
				t.Errorf("mailpit has %d mails, want one", len(all))
			}
		})
	}
}

// F19: with a real server that refuses for a while the courier keeps the invitation queued and delivers it later,
// and what is refused for good has its reason.
func TestMailpitRefusesAndThenTakes(t *testing.T) {
	m := startMailpit(t, "--enable-chaos")
	for _, c := range []struct {
		stage     string
		code      int
		permanent bool
	}{{"Sender", 451, false}, {"Recipient", 451, false}, {"Recipient", 550, true}, {"Sender", 553, true}} {
		m.chaos(t, c.stage, c.code)
		if f := failure(t, deliver(t, Options{Server: m.smtp}, notice())); f.Permanent != c.permanent || !strings.Contains(f.Reason, fmt.Sprint(c.code)) {
			t.Errorf("%s %d: %v", c.stage, c.code, f)
		}
	}
	m.chaos(t, "", 0)
	box := &row{n: notice(), due: time.Now()}
	box.n.Created, box.n.Expires, box.n.Attempts = time.Now(), time.Now().Add(time.Hour), 0
	m.chaos(t, "Recipient", 450)
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan struct{})
	defer func() { cancel(); <-over }()
	go func() { // ends with ctx
		defer close(over)
		_ = notify.New(box, map[latchkey.Channel]notify.Channel{latchkey.ByMail: New(Options{Server: m.smtp, From: "invitations@example.com"})}, notify.Options{}).Run(ctx)
	}()
	imstest.Eventually(t, time.Minute, func() bool { state, reason := box.now(); return state == latchkey.NotificationQueued && reason != "" })
	m.chaos(t, "", 0)
	imstest.Eventually(t, time.Minute, func() bool { state, _ := box.now(); return state == latchkey.NotificationSent })
	if all := m.mails(t); len(all) != 1 || all[0].MessageID != "n0tice@example.com" {
		t.Errorf("mailpit has %v, want one mail", all)
	}
}
