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
		connection := NewConnection()
		client, err := guestclient.Open(link, guestclient.Options{Connection: connection.Changed, FirstBack: 20 * time.Millisecond})
		if err != nil {
			return err
		}
		_, colours := Capable(os.Getenv)
		screen, err := OpenScreen(os.Stdin, os.Stdout, colours)
		if err != nil {
			return err
		}
		defer screen.Close()
		return Run(context.Background(), client, connection, Options{Screen: screen})
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
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if screen = m.run("capture-pane", "-p", "-J", "-t", "chat"); strings.Contains(screen, text) {
			return screen
		}
	}
	m.t.Fatalf("the screen does not show %q:\n%s", text, screen)
	return ""
}

// keys presses keys by their names; type types a text.
func (m tmux) keys(names ...string) { m.run(append([]string{"send-keys", "-t", "chat"}, names...)...) }
func (m tmux) types(text string)    { m.run("send-keys", "-t", "chat", "-l", text) }

// cursor is where the cursor stands.
func (m tmux) cursor() string {
	m.t.Helper()
	return strings.TrimSpace(m.run("display-message", "-p", "-t", "chat", "#{cursor_x},#{cursor_y}"))
}

// until waits for a condition, which says what is the case.
func (m tmux) until(condition func() (bool, string)) {
	m.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		ok, is := condition()
		if ok {
			return
		}
		if time.Now().After(end) {
			m.t.Fatalf("%s\n%s", is, m.run("capture-pane", "-p", "-t", "chat"))
		}
	}
}

// onTerminal begins a chat in a terminal of a size.
func onTerminal(t *testing.T, width, height string, env ...string) (tmux, *pipe) {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("tmux is missing; apt-get install tmux")
		}
		t.Skip("tmux is missing; apt-get install tmux")
	}
	g := guestclienttest.NewGateway()
	t.Cleanup(g.Close)
	m := tmux{t, filepath.Join(t.TempDir(), "s")}
	args := []string{"-f", "/dev/null", "new-session", "-d", "-s", "chat", "-x", width, "-y", height, "-e", "TERMINAL_TEST_LINK=" + g.Link(), "-e", "LC_ALL=C.UTF-8"}
	for _, e := range append([]string{"NO_COLOR="}, env...) {
		args = append(args, "-e", e)
	}
	m.run(append(args, os.Args[0]+"; exec sleep 600")...)
	t.Cleanup(func() { m.run("kill-server") })
	m.sees("Alice> ")
	return m, &pipe{t: t, gateway: g}
}

// R32: the chat in a real terminal: line editing, typing indication both ways, ticks that change in place, incoming text above the line.
func TestChatOnARealTerminal(t *testing.T) {
	m, p := onTerminal(t, "100", "40")
	g := p.gateway
	m.types("hello thera")
	m.keys("BSpace")
	m.types("e")
	m.sees("Alice> hello there")
	p.eventually("typing is told", func() bool {
		return slices.Contains(g.Requests(), "/rcsgw/invitee/composing map[state:active to:sip:a@cc.com]")
	})
	g.Post(`{"id":%d,"type":"composing","from":"sip:a@cc.com","state":"active"}`)
	m.sees("Alice is typing…\nAlice> hello there")
	g.Post(`{"id":%d,"type":"composing","from":"sip:d@cc.com","state":"active"}`)
	m.sees("Alice and Dora are typing…\nAlice> hello there")
	g.Post(`{"id":%d,"type":"message","time":"2030-01-02T03:04:05Z","from":"sip:a@cc.com","message":{"id":"m2","text":"are you \u001b[31mthere?\r\n\u001b]0;title\u0007yes"}}`)
	m.sees("Alice: are you \ufffd[31mthere?\n      \ufffd]0;title\ufffdyes\nDora is typing…\nAlice> hello there")
	m.keys("Enter")
	m.sees("you: hello there  …\n")
	p.delivered("hello there", "sent")
	m.sees("you: hello there  ✓ sent\n")
	g.Post(`{"id":%d,"type":"message","time":"2030-01-02T03:04:05Z","from":"sip:a@cc.com","message":{"id":"m3","text":"below"}}`)
	m.sees("Alice: below")
	p.delivered("hello there", "displayed")
	screen := m.sees("you: hello there  ✓✓ read\n")
	if strings.Count(screen, "hello there") != 1 || strings.Index(screen, "below") < strings.Index(screen, "hello there") {
		t.Errorf("the tick is not in its place:\n%s", screen)
	}
	if title := m.run("display-message", "-p", "-t", "chat", "#{pane_title}"); strings.Contains(title, "title") {
		t.Errorf("a message has set the window's title to %s", title)
	}
	// What the history has shown already comes as an event, too, as long as it isn't acknowledged.
	g.Post(`{"id":%d,"type":"message","time":"2030-01-02T03:04:05Z","from":"sip:a@cc.com","message":{"id":"m1","text":"hello"}}`)
	p.eventually("read", func() bool { return slices.Contains(g.Requests(), "/rcsgw/invitee/read map[id:m1]") })
	m.types("/le")
	m.keys("Tab", "Enter")
	m.sees("yes or no> ")
	m.types("no")
	m.keys("Enter")
	if screen := m.sees("You stay."); strings.Count(screen, "Alice: hello") != 1 {
		t.Errorf("a message of the history is there twice:\n%s", screen)
	}
	m.types("/quit")
	m.keys("Enter")
	m.sees("ended: <nil>")
	if got := g.Messages(); len(got) != 1 || got[0].Text != "hello there" {
		t.Errorf("messages %v", got)
	}
}

// R32: letters of two columns, marks and emoji are edited as what they are; a paste sends nothing; what was written comes back.
func TestEveryLetterCanBeEdited(t *testing.T) {
	m, p := onTerminal(t, "40", "12")
	at := func(want string) {
		t.Helper()
		m.until(func() (bool, string) {
			x, _, _ := strings.Cut(m.cursor(), ",")
			return x == want, "cursor in column " + x + ", want " + want
		})
	}
	m.types("你好世界")
	at("15") // "Alice> " and four times two
	m.keys("Left", "Left")
	at("11")
	m.types("e\u0301")
	at("12")
	m.keys("BSpace")
	at("11")
	m.types("😀")
	m.keys("End", "C-w")
	at("7")
	m.keys("C-y", "Home", "Right", "Right", "Delete", "Enter")
	m.sees("you: 你好世界")
	p.eventually("sent", func() bool { return len(p.gateway.Messages()) == 1 })
	m.run("set-buffer", "two lines:\n\tsecond\x07 line\n")
	m.run("paste-buffer", "-p", "-t", "chat")
	m.sees("Alice> two lines:\n second line\n")
	if n := len(p.gateway.Messages()); n != 1 {
		t.Errorf("a paste has sent %d messages", n-1)
	}
	m.keys("C-a")
	m.types("1 ")
	m.keys("Enter")
	m.sees("you: 1 two lines:\n       second line")
	m.keys("Up", "Up", "Down", "Up", "C-e")
	m.types("!")
	m.keys("M-Enter", "Enter")
	p.eventually("sent", func() bool { return len(p.gateway.Messages()) == 3 })
	var got []string
	for _, g := range p.gateway.Messages() {
		got = append(got, g.Text)
	}
	if want := []string{"你好世界", "1 two lines:\n second line\n", "你好世界!\n"}; !slices.Equal(got, want) {
		t.Errorf("messages %q, want %q", got, want)
	}
	m.types("nothing")
	m.keys("C-c", "C-d")
	m.sees("ended: <nil>")
}

// R32: a window that changes its size shows the chat again, each line once, and the line that is being written.
func TestWindowMayChangeItsSize(t *testing.T) {
	m, p := onTerminal(t, "90", "30")
	for i := range 12 {
		p.gateway.Post(`{"id":%d,"type":"message","time":"2030-01-02T03:04:05Z","from":"sip:a@cc.com","message":{"id":"n` + string(rune('a'+i)) + `","text":"line ` + string(rune('a'+i)) + ` has a few words that fill it and are to be wrapped"}}`)
	}
	m.sees("line l has")
	m.types("being written")
	for _, size := range [][2]string{{"34", "20"}, {"90", "10"}, {"20", "6"}, {"120", "30"}} {
		m.run("resize-window", "-t", "chat", "-x", size[0], "-y", size[1])
		m.until(func() (bool, string) {
			text := strings.ReplaceAll(m.run("capture-pane", "-p", "-t", "chat"), "\n", "")
			ok := strings.HasSuffix(text, "wrappedAlice> being written") && strings.Count(text, "line l has") == strings.Count(text, "line k has") && strings.Count(text, "being written") == 1
			return ok || size[1] == "6" && strings.HasSuffix(text, "be wrappedAlice> being written"), "at " + size[0] + "x" + size[1] + " the screen is not in order"
		})
	}
	m.types("!")
	p.gateway.Post(`{"id":%d,"type":"message","time":"2030-01-02T03:04:05Z","from":"sip:a@cc.com","message":{"id":"last","text":"the end"}}`)
	m.sees("Alice: the end\nAlice> being written!")
}

// R32, R33: a file that is sent shows how far it has come, in place, and its ticks.
func TestFileShowsItsProgress(t *testing.T) {
	m, p := onTerminal(t, "90", "30")
	path := filepath.Join(t.TempDir(), "holiday.mp4")
	if err := os.WriteFile(path, make([]byte, 40_000_000), 0o600); err != nil {
		t.Fatal(err)
	}
	release := p.gateway.HoldFiles()
	m.types("/send " + filepath.Dir(path) + "/hol")
	m.keys("Tab")
	m.sees("holiday.mp4")
	m.keys("Enter")
	m.sees("you: file 1: holiday.mp4 (40.0 MB)  [")
	m.types("meanwhile")
	m.keys("Enter")
	p.delivered("meanwhile", "sent") // a file holds up no message
	m.sees("you: meanwhile  ✓ sent")
	release()
	m.sees("holiday.mp4 (40.0 MB)  …")
	id := p.gateway.Files()[0].ID
	p.gateway.Post(`{"id":%d,"type":"delivery","file":{"id":"` + id + `","name":"holiday.mp4","size":40000000,"state":"accepted","sent":10000000}}`)
	m.sees("to the phone [█████░░░░░░░░░░░░░░░] 25 %")
	p.gateway.Post(`{"id":%d,"type":"delivery","file":{"id":"` + id + `","name":"holiday.mp4","size":40000000,"state":"failed","reason":"declined"}}`)
	if screen := m.sees("holiday.mp4 (40.0 MB)  ✗ not sent (declined)"); strings.Count(screen, "holiday.mp4") != 1 {
		t.Errorf("the file is there more than once:\n%s", screen)
	}
	p.gateway.AddFile("f1", "big.bin", "x/y", make([]byte, 5_000_000))
	release = p.gateway.HoldFiles()
	p.gateway.CutFiles(3_000_000)
	p.gateway.Post(`{"id":%d,"type":"file","from":"sip:a@cc.com","file":{"id":"f1","name":"big.bin","size":5000000,"type":"x/y"}}`)
	m.sees("Alice: file 2: big.bin (5.0 MB, x/y)")
	m.types("/save 2 " + filepath.Dir(path))
	m.keys("Enter")
	release()
	m.sees("· big.bin [████████████████████] 100 %")
	m.sees("· Saved as " + filepath.Dir(path))
	if info, err := os.Stat(filepath.Join(filepath.Dir(path), "big.bin")); err != nil || info.Size() != 5_000_000 {
		t.Errorf("saved %v, %v", info, err)
	}
}

// R32: a terminal shows that the gateway is lost; what is written meanwhile waits and goes once.
func TestTerminalShowsALostGateway(t *testing.T) {
	m, p := onTerminal(t, "90", "30")
	p.eventually("stream", func() bool { return len(p.gateway.Streams()) > 0 })
	p.gateway.Down(true)
	m.sees("No connection. Trying again; what you write waits.\nAlice> ")
	m.types("in the dark")
	m.keys("Enter")
	m.sees("you: in the dark  … sending")
	p.gateway.Down(false)
	m.sees("Connected again.")
	p.delivered("in the dark", "delivered")
	if screen := m.sees("you: in the dark  ✓✓ delivered"); strings.Contains(screen, "No connection") || len(p.gateway.Messages()) != 1 {
		t.Errorf("%d messages\n%s", len(p.gateway.Messages()), screen)
	}
}

// R32: colours where they are wanted (no-color.org).
func TestColoursCanBeTurnedOff(t *testing.T) {
	m, _ := onTerminal(t, "90", "30")
	m.until(func() (bool, string) {
		out := m.run("capture-pane", "-p", "-e", "-t", "chat")
		return strings.Contains(out, "\x1b[1m\x1b[36mAlice"), fmt.Sprintf("no colours: %q", out)
	})
	m, _ = onTerminal(t, "90", "30", "NO_COLOR=1")
	m.sees("Alice: hello")
	if out := m.run("capture-pane", "-p", "-e", "-t", "chat"); strings.Contains(out, "\x1b[") {
		t.Errorf("colours in spite of NO_COLOR:\n%q", out)
	}
}
