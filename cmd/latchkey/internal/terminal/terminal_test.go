package terminal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey/guestclient"
	"latchkey/guestclient/guestclienttest"
)

// pipe is a chat between two pipes.
type pipe struct {
	t       *testing.T
	gateway *guestclienttest.Gateway
	in      *io.PipeWriter
	ended   chan error

	mu  sync.Mutex
	out bytes.Buffer
}

func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *pipe) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

func start(t *testing.T, opt Options) *pipe {
	t.Helper()
	g := guestclienttest.NewGateway()
	t.Cleanup(g.Close)
	connection := NewConnection()
	client, err := guestclient.Open(g.Link(), guestclient.Options{FirstBack: time.Millisecond, Connection: connection.Changed})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	r, w := io.Pipe()
	p := &pipe{t: t, gateway: g, in: w, ended: make(chan error, 1)}
	opt.In, opt.Out = r, p
	if opt.Settle == 0 {
		opt.Settle = time.Minute
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(func() { cancel(); w.Close() })
	go func() { p.ended <- Run(ctx, client, connection, opt) }()
	return p
}

func (p *pipe) enter(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pipe) end() error {
	p.in.Close()
	select {
	case err := <-p.ended:
		return err
	case <-time.After(time.Minute):
		p.t.Fatalf("the chat does not end; so far:\n%s", p.text())
		return nil
	}
}

// eventually waits until f holds.
func (p *pipe) eventually(what string, f func() bool) {
	p.t.Helper()
	for end := time.Now().Add(time.Minute); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("%s: not within a minute; so far:\n%s\nrequests: %q", what, p.text(), p.gateway.Requests())
		}
	}
}

func (p *pipe) shows(text string) {
	p.t.Helper()
	p.eventually("shows "+text, func() bool { return strings.Contains(p.text(), text) })
}

// delivered posts how far the message with the text has come, once the gateway has it.
func (p *pipe) delivered(text, state string) {
	p.t.Helper()
	p.eventually("gateway has "+text, func() bool {
		return slices.ContainsFunc(p.gateway.Messages(), func(m guestclienttest.Message) bool { return m.Text == text })
	})
	for _, m := range p.gateway.Messages() {
		if m.Text == text {
			p.gateway.Post(`{"id":%d,"type":"delivery","time":"2030-01-02T03:04:05Z","message":{"id":"gw-` + m.ID + `","state":"` + state + `"}}`)
		}
	}
}

// R32, R26: a pipe ends well once all lines have reached the inviter's side.
func TestPipeEndsWhenAllIsSent(t *testing.T) {
	p := start(t, Options{})
	p.shows("Alice")
	p.enter("hello")
	p.enter("//not a command")
	p.enter("/to 2")
	p.enter("to the other")
	p.in.Close()
	p.delivered("hello", "sent")
	p.delivered("/not a command", "delivered")
	p.delivered("to the other", "sent")
	if err := p.end(); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	var got []string
	for _, m := range p.gateway.Messages() {
		got = append(got, m.To+" "+m.Text)
	}
	if want := []string{"sip:a@cc.com hello", "sip:a@cc.com /not a command", "sip:d@cc.com to the other"}; !slices.Equal(got, want) {
		t.Errorf("messages %q, want %q", got, want)
	}
	for _, want := range []string{"you: hello", "✓ sent: hello", "✓✓ delivered: /not a command"} {
		if !strings.Contains(p.text(), want) {
			t.Errorf("output lacks %q:\n%s", want, p.text())
		}
	}
}

func TestPipeFailsWhenSomethingIsNotSent(t *testing.T) {
	for _, c := range []struct {
		name string
		act  func(p *pipe)
	}{
		{"failed later", func(p *pipe) { p.enter("hello"); p.delivered("hello", "failed") }},
		{"refused", func(p *pipe) {
			p.eventually("stream", func() bool { return len(p.gateway.Streams()) == 1 })
			p.gateway.Fail(guestclienttest.Problem(http.StatusConflict, "offline", "The inviter is offline"))
			p.enter("hello")
			p.shows("The inviter is offline")
		}},
		{"never heard of", func(p *pipe) { p.enter("hello") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := start(t, Options{Settle: 200 * time.Millisecond})
			c.act(p)
			if err := p.end(); !errors.Is(err, ErrUnsent) {
				t.Errorf("Run = %v, want ErrUnsent", err)
			}
		})
	}
}

// R27: what the inviter writes is shown, acknowledged and reported as read, and can't
// play with the terminal.
func TestMessagesAreShownSafeAndAcknowledged(t *testing.T) {
	p := start(t, Options{})
	p.gateway.Post(`{"id":%d,"type":"message","time":"2030-01-02T03:04:05Z","from":"sip:a@cc.com","message":{"id":"m1","text":"hi\u001b]0;pwned\u0007\u009b2J\r\nsecond \u202eline","type":"text/plain"}}`)
	p.shows("second")
	if text := p.text(); strings.ContainsAny(text, "\x1b\a\r\u009b\u202e") || !strings.Contains(text, "Alice: hi\ufffd]0;pwned") {
		t.Errorf("output %q", text)
	}
	p.eventually("acknowledged", func() bool { return slices.Contains(p.gateway.Requests(), "GET /rcsgw/invitee/events?wait=0&after=1") })
	p.eventually("read", func() bool { return slices.Contains(p.gateway.Requests(), "/rcsgw/invitee/read map[id:m1]") })
	if err := p.end(); err != nil {
		t.Errorf("Run = %v", err)
	}
}

func TestCommandsAnswer(t *testing.T) {
	p := start(t, Options{})
	p.enter("/status")
	p.shows("Alice is online.")
	p.enter("/who")
	p.shows("* 1  Alice  sip:a@cc.com  online")
	p.enter("/to 7")
	p.shows("/who lists them")
	p.enter("/to do")
	p.shows("Writing to Dora.")
	p.enter("/to Alice")
	p.enter("/nonsense")
	p.shows("is not a command")
	p.enter("/help")
	p.shows("the link is dead afterwards")
	p.gateway.AddFile("f9", "plan.pdf", "application/pdf", []byte("plan"))
	p.enter("/history")
	p.shows("Alice: hello")
	p.shows("you: plan.pdf (4 bytes)")
	p.gateway.Post(`{"id":%d,"type":"status","uri":"sip:a@cc.com","status":"offline"}`)
	p.shows("Alice is offline.")
	p.enter("/leave")
	p.shows("Leave for good?")
	p.enter("no")
	p.shows("You stay.")
	if slices.ContainsFunc(p.gateway.Requests(), func(r string) bool { return strings.HasPrefix(r, "DELETE ") }) {
		t.Error("left without a yes")
	}
	p.enter("/leave")
	p.enter("yes")
	p.shows("You are logged out")
	if err := p.end(); err != nil {
		t.Errorf("Run = %v", err)
	}
	if !slices.Contains(p.gateway.Requests(), "DELETE /rcsgw/invitee/session/"+guestclienttest.Account) {
		t.Error("no logout at the gateway")
	}
}

// R32: programs write and read one JSON object a line, and find the answer to each by its ref.
func TestProgramsSpeakOneObjectALine(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "Grüße.txt")
	if err := os.WriteFile(path, []byte("greetings"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, Options{JSON: true})
	p.gateway.Post(`{"id":%d,"type":"message","from":"sip:a@cc.com","message":{"id":"m1","text":"a\u009bb"}}`)
	p.shows(`"a\u009bb"`)
	p.gateway.AddFile("f1", "plan.txt", "text/plain", []byte("Meet at nine."))
	p.enter(`{"command":"send","ref":1,"id":"mine","text":"hello"}`)
	p.delivered("hello", "sent")
	p.shows(`"state":"sent"`)
	p.enter(`{"command":"send","ref":1,"id":"mine","text":"hello"}`)
	p.eventually("the repeat", func() bool { return p.gateway.Repeats() == 1 })
	p.delivered("hello", "sent")
	p.enter(`{"command":"send","to":"sip:d@cc.com","text":"to the other"}`)
	p.enter(`{"command":"status","ref":"s"}`)
	p.shows(`{"type":"status","ref":"s","time":"2030-01-02T03:04:05Z","uri":"sip:a@cc.com","status":"online"}`)
	p.enter(`{"command":"read","id":"m1","ref":{"any":["thing"]}}`)
	p.shows(`{"type":"done","ref":{"any":["thing"]}}`)
	p.enter(`{"command":"composing","state":"active","ref":3}`)
	p.enter(`{"command":"file","path":"` + path + `","ref":4}`)
	p.shows(`"ref":4,"file":{"id":"gw-`)
	p.enter(`{"command":"save","id":"f1","path":"` + filepath.Join(dir, "saved.txt") + `","ref":5}`)
	p.shows(`{"type":"saved","ref":5,"id":"f1","path":"` + filepath.Join(dir, "saved.txt") + `","bytes":13}`)
	p.enter(`{"command":"history","ref":6}`)
	p.shows(`{"type":"history","ref":6,"with":"sip:a@cc.com","messages":[{"id":"m1"`)
	p.enter(`{"command":"who","ref":7}`)
	p.enter(`hello`)
	p.enter(`{"command":"sing","ref":8}`)
	p.enter(`{"command":"send","txt":"hello"}`)
	p.shows(`"ref":8,"what":"input","problem":"bad-command"`)
	p.delivered("to the other", "sent")
	p.gateway.Post(`{"id":%d,"type":"delivery","file":{"id":"` + p.gateway.Files()[1].ID + `","state":"sent"}}`)
	p.enter(`{"command":"quit"}`)
	if err := p.end(); !errors.Is(err, ErrUnsent) { // because of the lines that were not understood
		t.Errorf("Run = %v, want ErrUnsent", err)
	}
	count := map[string]int{}
	for line := range strings.Lines(p.text()) {
		var object struct{ Type string }
		if err := json.Unmarshal([]byte(line), &object); err != nil || object.Type == "" {
			t.Errorf("line %q: %v", line, err)
		}
		count[object.Type]++
	}
	for kind, want := range map[string]int{"login": 1, "connection": 1, "message": 1, "accepted": 4, "done": 2, "saved": 1, "history": 1, "inviters": 1, "error": 3} {
		if count[kind] != want {
			t.Errorf("%d objects of type %s, want %d:\n%s", count[kind], kind, want, p.text())
		}
	}
	if !strings.HasPrefix(p.text(), `{"type":"login","version":1,`) {
		t.Errorf("the first line does not tell the version:\n%s", p.text())
	}
	if got := p.gateway.Messages(); len(got) != 2 || got[0].ID != "mine" || got[1].To != "sip:d@cc.com" || p.gateway.Repeats() != 1 {
		t.Errorf("messages %v, %d repeats", got, p.gateway.Repeats())
	}
	if f := p.gateway.Files(); len(f) != 2 || f[1].Name != "Grüße.txt" || f[1].Type != "text/plain" || string(f[1].Body) != "greetings" {
		t.Errorf("files %+v", f)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "saved.txt")); err != nil || string(b) != "Meet at nine." {
		t.Errorf("saved %q, %v", b, err)
	}
	for _, want := range []string{"/rcsgw/invitee/read map[id:m1]", "/rcsgw/invitee/composing map[state:active to:sip:a@cc.com]"} {
		if n := len(slices.DeleteFunc(p.gateway.Requests(), func(r string) bool { return r != want })); n != 1 {
			t.Errorf("%d times %s, want once: a program says itself what was read", n, want)
		}
	}
}

// R32, X3: a file of the inviter is saved whole, behind what an earlier try left, under a name that does no harm and replaces nothing.
func TestFilesAreSavedWithoutHarm(t *testing.T) {
	t.Chdir(t.TempDir())
	write := func(name, text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("_etc_passwd", "precious")
	write(".f1.part", "first half, ")
	if err := os.Mkdir("folder", 0o700); err != nil {
		t.Fatal(err)
	}
	p := start(t, Options{})
	p.gateway.AddFile("f1", "../etc/passwd", "text/plain", []byte("first half, second half"))
	p.gateway.AddFile("f2", "\u202egpj.exe", "text/plain", []byte("two"))
	p.gateway.CutFiles(5)
	p.gateway.Post(`{"id":%d,"type":"file","time":"2030-01-02T03:04:05Z","from":"sip:a@cc.com","file":{"id":"f1","name":"../etc/passwd","size":23,"type":"text/plain"}}`)
	p.gateway.Post(`{"id":%d,"type":"file","time":"2030-01-02T03:04:05Z","from":"sip:a@cc.com","file":{"id":"f2","name":"\u202egpj.exe","size":3,"type":"text/\u001bplain"}}`)
	p.gateway.Post(`{"id":%d,"type":"file","from":"sip:a@cc.com","file":{"id":"f3","name":"gone.txt","state":"failed","reason":"too large"}}`)
	p.shows("Alice: file 1: ../etc/passwd (23 bytes, text/plain)  /save 1")
	p.shows("file 2: \ufffdgpj.exe (3 bytes, text/\ufffdplain)")
	p.shows("gone.txt, which could not be had: too large")
	p.enter("/save 1")
	p.shows("Saved as _etc_passwd (1) (23 bytes).")
	p.enter("/save 2 folder")
	p.shows("Saved as folder/\ufffdgpj.exe")
	p.enter("/save 2 _etc_passwd")
	p.shows("_etc_passwd is there already")
	p.enter("/save 9")
	p.shows("/save: say which file")
	p.enter("/save 2 nowhere/x")
	p.shows("nowhere/ is not a folder")
	p.enter("/save 2 renamed.txt")
	p.shows("Saved as renamed.txt")
	if err := p.end(); err != nil {
		t.Errorf("Run = %v", err)
	}
	for name, want := range map[string]string{"_etc_passwd": "precious", "_etc_passwd (1)": "first half, second half", "folder/\ufffdgpj.exe": "two", "renamed.txt": "two"} {
		if b, err := os.ReadFile(name); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v, want %q", name, b, err, want)
		}
	}
	if left, err := filepath.Glob(".*.part"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
	if !slices.Contains(p.gateway.Requests(), "/rcsgw/invitee/read map[id:f1]") {
		t.Error("the saved file was not reported as read")
	}
}

// R33, F55: files go in a pipe, and what is cancelled in the middle is taken back.
func TestFilesGoAndAreCancelled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b.bin")
	if err := os.WriteFile(path, bytes.Repeat([]byte{1, 2}, 500_000), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, Options{})
	release := p.gateway.HoldFiles()
	p.enter("/send " + path)
	p.eventually("the file begins", func() bool { return len(p.gateway.Files()) == 1 })
	p.enter("/cancel")
	p.eventually("the file is taken back", func() bool { return p.gateway.Files()[0].Cancelled })
	release()
	p.enter("/send '" + path + "'")
	p.shows("you: file 2: a b.bin (1.0 MB)")
	p.enter("/send /nonexistent")
	p.shows("! /send: open /nonexistent: no such file or directory")
	p.enter("/send " + filepath.Dir(path))
	p.shows("is not a file")
	f := p.gateway.Files()[1]
	if f.Type != "application/octet-stream" || len(f.Body) != 1_000_000 {
		t.Errorf("file %s, %d bytes", f.Type, len(f.Body))
	}
	p.gateway.Post(`{"id":%d,"type":"delivery","time":"2030-01-02T03:04:05Z","file":{"id":"` + f.ID + `","name":"a b.bin","state":"sent"}}`)
	p.shows("✓ sent: a b.bin")
	if err := p.end(); !errors.Is(err, ErrUnsent) {
		t.Errorf("Run = %v, want ErrUnsent: two of the files were none", err)
	}
}

// R32: a gateway that goes is told, and what was written meanwhile is sent once when it is back.
func TestLostGatewayIsShownAndNothingLost(t *testing.T) {
	p := start(t, Options{})
	p.eventually("stream", func() bool { return len(p.gateway.Streams()) > 0 })
	p.gateway.Down(true)
	p.shows("The gateway can't be reached. Trying again.")
	p.enter("written in the dark")
	p.gateway.Down(false)
	p.shows("Connected again.")
	p.gateway.Post(`{"id":%d,"type":"message","from":"sip:a@cc.com","message":{"id":"m2","text":"welcome back"}}`)
	p.shows("welcome back")
	p.delivered("written in the dark", "sent")
	if err := p.end(); err != nil {
		t.Errorf("Run = %v", err)
	}
	if n := len(p.gateway.Messages()); n != 1 || strings.Count(p.text(), "welcome back") != 1 {
		t.Errorf("%d messages:\n%s", n, p.text())
	}
}

// R32: who was told that the gateway is lost is told that it is there again, though it never was before.
func TestGatewayThatComesLateIsTold(t *testing.T) {
	var out bytes.Buffer
	c := &chat{out: output{w: &out}, typing: map[string]bool{}}
	c.connection(true, nil)
	if out.Len() > 0 {
		t.Errorf("a gateway that is there as it should be is told: %q", &out)
	}
	late := &chat{out: output{w: &out}, typing: map[string]bool{}}
	late.connection(false, errors.New("refused"))
	late.connection(true, nil)
	if said := out.String(); !strings.Contains(said, "can't be reached") || !strings.Contains(said, "Connected again.") {
		t.Errorf("said is %q", said)
	}
}

func TestWrongPasswordIsToldAtOnce(t *testing.T) {
	g := guestclienttest.NewGateway()
	defer g.Close()
	client := guestclient.New(g.URL(), guestclienttest.Account, "wrong", guestclient.Options{})
	defer client.Close()
	if err := Run(t.Context(), client, nil, Options{In: strings.NewReader(""), Out: io.Discard}); !errors.Is(err, guestclient.ErrUnauthorized) {
		t.Errorf("Run = %v, want ErrUnauthorized", err)
	}
}

func FuzzClean(f *testing.F) {
	for _, s := range []string{"plain\ntext", "\x1b[2J", "\u009b0m", "\u202egnp.exe", "\r\nx\r", "\xff\xfe", "é 😀"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := Clean(s)
		if strings.ContainsFunc(got, func(r rune) bool { return r != '\n' && (r < ' ' || r >= 0x7f && r < 0xa0) }) {
			t.Fatalf("Clean(%q) = %q", s, got)
		}
		if again := Clean(got); again != got {
			t.Fatalf("Clean(%q) = %q, and cleaned again %q", s, got, again)
		}
	})
}
