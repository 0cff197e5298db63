package main

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"latchkey/directory"
	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

// asLatchkey makes this test's binary run as latchkey, so that tests see whole processes.
const asLatchkey = "LATCHKEY_TEST_RUNS_MAIN=1"

func TestMain(m *testing.M) {
	if os.Getenv("LATCHKEY_TEST_RUNS_MAIN") == "1" {
		os.Exit(run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// runLatchkey runs the command to its end.
func runLatchkey(t *testing.T, input string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), asLatchkey)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &errs
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return code, out.String(), errs.String()
}

func serves(t *testing.T, p gatewaytest.Plan) *gatewaytest.World {
	t.Helper()
	p.Command, p.Env = []string{os.Args[0], "serve"}, []string{asLatchkey}
	return gatewaytest.New(t, p)
}

func TestExitCodesAndMessages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	users := filepath.Join(dir, "users.yaml")
	if err := os.WriteFile(users, []byte("users: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   string
		code   int
		stdout string // that must be in it
		stderr string // that must be in its one line; "": it must be empty
	}{
		{"", 2, "", "serve"},
		{"--help", 0, "latchkey COMMAND", ""},
		{"version", 0, "latchkey ", ""},
		{"--version", 0, "latchkey ", ""},
		{"sevre", 2, "", `"sevre" is not a command`},
		{"serve --help", 0, "--sip-core", ""},
		{"serve --domian x", 2, "", "--domian: is not an option; did you mean domain?"},
		{"serve --sip-listen quic:127.0.0.1:1 --directory file:x", 2, "", "--sip-listen:"},
		{"serve --directory file:" + dir + "/none.yaml --data " + dir + "/x.db", 1, "", "directory:"},
		{"serve --directory file:" + users + " --data /nonexistent/x.db", 1, "", "data"},
		{"check --domian x", 2, "", "--domian"},
		{"guest", 2, "", "give the one link"},
		{"guest https://cc.com/nothing?passwd=hush", 2, "", "not an invitation"},
		{"guest https://cc.com/rcsgw/invitee/session/sip:b@cc.com", 2, "", "has no passwd"},
		{"guest latchkey:ftp://cc.com/?passwd=hush", 2, "", "not an http"},
		{"guest https://cc.com/rcsgw/invitee/session/sip:b@cc.com?passwd=hush --events pigeon", 2, "", "--events"},
		{"guest /nonexistent/chat.latchkey", 2, "", "the file of the chat"},
		{"guest " + users + ".latchkey", 2, "", "the file of the chat"},
		{"guest --register https://cc.com", 2, "", "stand alone"},
		{"guest --register --unregister", 2, "", "stand alone"},
		{"guest --help", 0, "Exit codes", ""},
		{"guest @/nonexistent", 2, "", "the file of the link"},
		{"demo --colour", 2, "", "--colour"},
		{"hash-password hunter2", 2, "", "not given as an argument"},
	} {
		code, stdout, stderr := runLatchkey(t, "", strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) {
			t.Errorf("latchkey %s: exit %d, stdout %q, stderr %q; want %d, %q, %q", c.args, code, stdout, stderr, c.code, c.stdout, c.stderr)
		}
		if lines := strings.Count(strings.TrimSpace(stderr), "\n"); c.args != "" && lines > 0 || c.stderr == "" && stderr != "" || strings.Contains(stderr, "hush") {
			t.Errorf("latchkey %s: stderr %q, want one line without secrets", c.args, stderr)
		}
	}
}

func TestHashPasswordMakesWhatTheDirectoryTakes(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := runLatchkey(t, "correct horse\n", "hash-password")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	_, digest, _ := runLatchkey(t, "correct horse\n", "hash-password", "--digest", "sip:a@cc.com")
	path := filepath.Join(t.TempDir(), "users.yaml")
	if err := os.WriteFile(path, []byte("users:\n  - {uri: \"sip:a@cc.com\", uid: \"1\", name: A, level: 1, state: active, password: '"+strings.TrimSpace(stdout)+"', digest: '"+strings.TrimSpace(digest)+"'}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := directory.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Authenticate(t.Context(), "sip:a@cc.com", "correct horse"); err != nil {
		t.Errorf("Authenticate = %v", err)
	}
	if _, a1, err := d.Digest(t.Context(), "sip:a@cc.com", "MD5"); err != nil || a1 != fmt.Sprintf("%x", md5.Sum([]byte("sip:a@cc.com:latchkey:correct horse"))) {
		t.Errorf("Digest = %q, %v", a1, err)
	}
}

// F59, X4: killed without a word, the gateway goes on where it was: mail, message, login and registration.
func TestKilledGatewayGoesOn(t *testing.T) {
	t.Parallel()
	w := serves(t, gatewaytest.Plan{Core: func(o *imstest.CoreOptions) { o.MaxExpires = 20 * time.Second }})
	b := w.Guest()
	b.Login().Wants(200)
	sent := b.Send(gatewaytest.Alice, "before the crash") // Alice has no phone yet
	// Else the mail would come once more.
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return w.Count("SELECT count(*) FROM outbox WHERE state = 'sent'") == 1 })
	w.Mail.Refuse(451, 0)
	w.InviteAs(gatewaytest.Carol)
	w.Kill()
	// Of the minute and a half for which the claim of the dead holds, all but the last seconds pass at once.
	w.Change(fmt.Sprintf("UPDATE outbox SET due = due - %d WHERE state = 'queued'", (85 * time.Second).Microseconds()))

	w.Mail.Refuse(0, 0)
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	w.Core.Forget()
	w.Start()
	got, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1)
	if err != nil || got[0].ID != sent.ID || got[0].Text != "before the crash" {
		t.Fatalf("Alice got %+v, %v", got, err)
	}
	b.Delivery(sent.ID, "delivered")
	b.Login().Wants(200)
	// The mail that was refused for now is tried again later; a notice that was under way when the process died, too.
	if _, err := w.Mail.Wait(w.Within(3*time.Minute), gatewaytest.GuestMail, 2); err != nil {
		t.Error(err)
	}
	if n := len(w.Mail.Mails()); n != 2 {
		t.Errorf("%d mails, want 2", n)
	}
}

// F18, F59: killed while the core is asked, the gateway leaves nothing of the invitation after its next start, and the inviter's
// quota is as it was three minutes later.
func TestKillDuringAnInvitationCostsNothing(t *testing.T) {
	t.Parallel()
	w := serves(t, gatewaytest.Plan{Args: []string{"--quota-inviter=1/24h"}})
	w.Core.Fault("REGISTER", &imstest.Fault{}) // silence
	invited := make(chan struct{})
	go func() { // ends when the gateway is killed
		defer close(invited)
		req, err := http.NewRequest("POST", w.URL()+"/rcsgw/invitee/user", strings.NewReader(`{"email":"`+gatewaytest.GuestMail+`"}`))
		if err != nil {
			t.Error(err)
			return
		}
		req.SetBasicAuth(gatewaytest.Alice, gatewaytest.Password)
		req.Header.Set("Content-Type", "application/json")
		if res, err := http.DefaultClient.Do(req); err == nil {
			_ = res.Body.Close()
			t.Errorf("answer %d of a gateway that was killed", res.StatusCode)
		}
	}()
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return len(w.Core.Requests("REGISTER")) > 0 })
	w.Kill()
	<-invited
	if n := w.Rows("allowance"); n != 1 {
		t.Fatalf("%d allowances after the kill, want the one that ends by itself", n)
	}
	w.Change(`UPDATE allowance SET until = until - 180000000`) // three minutes pass
	w.Core.Fault("REGISTER", nil)
	w.Start()
	imstest.Eventually(t, 2*gatewaytest.Patience, func() bool { return w.Rows("registration")+w.Rows("guest")+w.Rows("allowance") == 0 })
	w.Nothing("killed")
	w.InviteAs(gatewaytest.Alice).Wants(201)
}

// X4: what was answered with 202 arrives, once, however often the process is killed in between.
func TestEachAcceptedMessageSurvivesKills(t *testing.T) {
	t.Parallel()
	w := serves(t, gatewaytest.Plan{})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	b := w.Guest()
	var want []string
	for range 3 {
		for range 5 {
			text := "message " + string(rune('A'+len(want)))
			b.Send(gatewaytest.Alice, text)
			want = append(want, text)
		}
		w.Kill() // while some of them are on their way
		w.Start()
	}
	got, err := a.Wait(w.Within(time.Minute), "message", len(want))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, e := range got {
		seen[e.Text]++
	}
	for _, text := range want {
		if seen[text] != 1 {
			t.Errorf("%s came %d times", text, seen[text])
		}
	}
}

// R32: the stand-alone client against a real gateway, in a pipe.
func TestGuestChatsThroughAPipe(t *testing.T) {
	t.Parallel()
	w := serves(t, gatewaytest.Plan{})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	a.OnEvent(func(e imstest.PhoneEvent) {
		if e.Type == "message" {
			go func() { // ends with its context
				_, _ = a.Send(w.Within(gatewaytest.Patience), e.Peer, "You wrote: "+e.Text)
			}()
		}
	})
	b := w.Guest()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.WriteFile(link, []byte(b.Link+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := runLatchkey(t, "Is anybody there?\n", "guest", "@"+link)
	if code != 0 || !strings.Contains(stdout, "you: Is anybody there?") {
		t.Errorf("exit %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	// Told to, it stays for the answer.
	waiting := exec.CommandContext(w.Within(2*gatewaytest.Patience), os.Args[0], "guest", "--wait", "1h", "@"+link)
	waiting.Env = append(os.Environ(), asLatchkey)
	said := &imstest.Log{}
	waiting.Stdin, waiting.Stdout, waiting.Stderr = strings.NewReader("The door is open.\n"), said, said
	if err := waiting.Start(); err != nil {
		t.Fatal(err)
	}
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return strings.Contains(said.String(), "You wrote: The door is open.") })
	if err := waiting.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := waiting.Wait(); err != nil {
		t.Errorf("%v\n%s", err, said)
	}
	if code, _, stderr := runLatchkey(t, "hello\n", "guest", strings.Replace(b.Link, "passwd=", "passwd=x", 1)); code != 1 || strings.Contains(stderr, b.Password) {
		t.Errorf("wrong password: exit %d, stderr %q", code, stderr)
	}
}

// SIGHUP takes a new directory file; a wrong one leaves the old one in force.
func TestHangupReadsTheDirectoryAgain(t *testing.T) {
	t.Parallel()
	w := serves(t, gatewaytest.Plan{})
	w.InviteAs("sip:new@cc.com").Wants(401)
	users, err := os.ReadFile(w.Users)
	if err != nil {
		t.Fatal(err)
	}
	hangUp := func(text, log string) {
		t.Helper()
		if err := os.WriteFile(w.Users, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := w.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		imstest.Eventually(t, gatewaytest.Patience, func() bool { return strings.Contains(w.Log.String(), log) })
	}
	hangUp("users: [", "configuration not reloaded")
	w.InviteAs(gatewaytest.Alice).Wants(201)
	hangUp(strings.Replace(string(users), `"sip:x@cc.com"`, `"sip:new@cc.com"`, 1), `msg="configuration reloaded"`)
	if a := w.InviteAs("sip:new@cc.com"); a.Status != 200 && a.Status != 201 {
		t.Errorf("answer %d %s", a.Status, a.Body)
	}
}
