package scenarios

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"latchkey/imstest"
)

// mailbox is a Mailpit that the test started: a mail server whose mails are read over HTTP.
type mailbox struct {
	t    *testing.T
	smtp string // host:port
	http string
}

// mail is one mail as Mailpit has understood it.
type mail struct {
	From    struct{ Address string }
	To      []struct{ Address string }
	Subject string
	Text    string
	HTML    string
}

func startMailbox(t *testing.T) *mailbox {
	t.Helper()
	program := need(t, "mailpit", "GOBIN=~/.cache/latchkey/tools go install github.com/axllent/mailpit@v1.27.11 (./test.sh does it)")
	m := &mailbox{t: t, smtp: fmt.Sprintf("127.0.0.1:%d", freePort(t)), http: fmt.Sprintf("127.0.0.1:%d", freePort(t))}
	log := &output{}
	cmd := exec.Command(program, "--smtp", m.smtp, "--listen", m.http, "--database", filepath.Join(t.TempDir(), "mail.db"),
		"--smtp-disable-rdns", "--disable-version-check", "--quiet")
	cmd.Env = []string{"HOME=" + t.TempDir()} // no MP_ settings of whoever runs the test
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start mailpit: %v", err)
	}
	exited := make(chan struct{})
	go func() { // ends with the process, which the cleanup ends
		_ = cmd.Wait()
		close(exited)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case <-exited:
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			<-exited
		}
	})
	imstest.Eventually(t, patience, func() bool {
		select {
		case <-exited:
			t.Fatalf("mailpit ended:\n%s", log)
		default:
		}
		return m.get("/readyz", nil) == nil
	})
	return m
}

func (m *mailbox) get(path string, into any) error {
	client := http.Client{Timeout: patience}
	defer client.CloseIdleConnections()
	res, err := client.Get("http://" + m.http + path)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, res.Status)
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(res.Body).Decode(into)
}

// mails lists what has come, newest first.
func (m *mailbox) mails() []mail {
	m.t.Helper()
	var list struct{ Messages []struct{ ID string } }
	if err := m.get("/api/v1/messages", &list); err != nil {
		m.t.Fatalf("mailpit: %v", err)
	}
	all := make([]mail, len(list.Messages))
	for i, x := range list.Messages {
		if err := m.get("/api/v1/message/"+x.ID, &all[i]); err != nil {
			m.t.Fatalf("mailpit: %v", err)
		}
	}
	return all
}

// wait waits for the only mail.
func (m *mailbox) wait() mail {
	m.t.Helper()
	var all []mail
	imstest.Eventually(m.t, patience, func() bool {
		all = m.mails()
		return len(all) > 0
	})
	if len(all) != 1 {
		m.t.Fatalf("%d mails, want 1", len(all))
	}
	return all[0]
}
