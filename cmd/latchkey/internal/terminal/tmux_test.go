package terminal

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey/guestclient"
	"latchkey/guestclient/guestclienttest"
)

// TestMain makes this binary a chat on the terminal that it runs in, for the test below.
func TestMain(m *testing.M) {
	link := os.Getenv("TERMINAL_TEST_LINK")
	if link == "" {
		os.Exit(m.Run())
	}
	err := func() error {
		client, err := guestclient.Open(link, guestclient.Options{})
		if err != nil {
			return err
		}
		screen, err := OpenScreen(os.Stdin, os.Stdout)
		if err != nil {
			return err
		}
		defer screen.Close()
		return Run(context.Background(), client, Options{Screen: screen})
	}()
	fmt.Printf("ended: %v\n", err)
}

// tmux is a real terminal that the test types into and looks at.
type tmux struct {
	t      *testing.T
	socket string
}

func (m tmux) run(args ...string) string {
	m.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-S", m.socket}, args...)...).CombinedOutput()
	if err != nil {
		m.t.Fatalf("tmux %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// sees waits until the screen shows the text. Lines that wrap are joined.
func (m tmux) sees(text string) string {
	m.t.Helper()
	screen := ""
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if screen = m.run("capture-pane", "-p", "-J", "-t", "chat"); strings.Contains(screen, text) {
			return screen
		}
	}
	m.t.Fatalf("the screen does not show %q:\n%s", text, screen)
	return ""
}

// R32: the chat in a real terminal: line editing, typing indication, ticks, incoming text above the line.
func TestChatOnARealTerminal(t *testing.T) {
	if _, err := exec.LookPath("tmux"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("tmux is missing; apt-get install tmux")
		}
		t.Skip("tmux is missing; apt-get install tmux")
	}
	g := guestclienttest.NewGateway()
	defer g.Close()
	m := tmux{t, filepath.Join(t.TempDir(), "s")}
	m.run("-f", "/dev/null", "new-session", "-d", "-s", "chat", "-x", "100", "-y", "40", "-e", "TERMINAL_TEST_LINK="+g.Link(), "-e", "LC_ALL=C.UTF-8", os.Args[0]+"; exec sleep 60")
	defer m.run("kill-server")

	m.sees("Alice> ")
	m.run("send-keys", "-t", "chat", "-l", "hello thera")
	m.run("send-keys", "-t", "chat", "BSpace", "e")
	m.sees("Alice> hello there")
	p := &pipe{t: t, gateway: g}
	p.eventually("typing is told", func() bool {
		return slices.Contains(g.Requests(), "/rcsgw/invitee/composing map[state:active to:sip:a@cc.com]")
	})
	g.Post(`{"id":%d,"type":"composing","from":"sip:a@cc.com","state":"active"}`)
	m.sees("Alice is typing…> hello there")
	g.Post(`{"id":%d,"type":"message","time":"2030-01-02T03:04:05Z","from":"sip:a@cc.com","message":{"id":"m1","text":"are you \u001b[31mthere?"}}`)
	screen := m.sees("Alice: are you \ufffd[31mthere?")
	if !strings.Contains(m.sees("Alice> hello there"), "Alice> hello there") || strings.Index(screen, "are you") > strings.LastIndex(screen, "hello there") {
		t.Errorf("the line being edited is not below what came in:\n%s", screen)
	}
	m.run("send-keys", "-t", "chat", "Enter")
	p.delivered("hello there", "sent")
	m.sees("✓ sent: hello there")
	p.delivered("hello there", "displayed")
	m.sees("✓✓ read: hello there")
	m.run("send-keys", "-t", "chat", "-l", "/quit")
	m.run("send-keys", "-t", "chat", "Enter")
	m.sees("ended: <nil>")
	if got := g.Messages(); len(got) != 1 || got[0].Text != "hello there" {
		t.Errorf("messages %v", got)
	}
}
