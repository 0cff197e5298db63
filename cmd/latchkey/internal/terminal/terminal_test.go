package terminal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
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
	client, err := guestclient.Open(g.Link(), guestclient.Options{FirstBack: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	r, w := io.Pipe()
	p := &pipe{t: t, gateway: g, in: w, ended: make(chan error, 1)}
	opt.In, opt.Out = r, p
	if opt.Settle == 0 {
		opt.Settle = 10 * time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(func() { cancel(); w.Close() })
	go func() { p.ended <- Run(ctx, client, opt) }()
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
	case <-time.After(20 * time.Second):
		p.t.Fatalf("the chat does not end; so far:\n%s", p.text())
		return nil
	}
}

// eventually waits until f holds.
func (p *pipe) eventually(what string, f func() bool) {
	p.t.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("%s: not within 10 s; so far:\n%s\nrequests: %q", what, p.text(), p.gateway.Requests())
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
	p.enter("/nonsense")
	p.shows("is not a command")
	p.enter("/help")
	p.shows("the link is dead afterwards")
	p.gateway.Post(`{"id":%d,"type":"status","uri":"sip:a@cc.com","status":"offline"}`)
	p.shows("Alice is offline.")
	p.enter("/logout")
	p.shows("You are logged out")
	if err := p.end(); err != nil {
		t.Errorf("Run = %v", err)
	}
	if !slices.Contains(p.gateway.Requests(), "DELETE /rcsgw/invitee/session/"+guestclienttest.Account) {
		t.Error("no logout at the gateway")
	}
}

func TestProgramsReadOneObjectALine(t *testing.T) {
	p := start(t, Options{JSON: true})
	p.gateway.Post(`{"id":%d,"type":"message","from":"sip:a@cc.com","message":{"id":"m1","text":"a\u009bb"}}`)
	p.shows(`"a\u009bb"`)
	p.enter("hello")
	p.delivered("hello", "sent")
	p.shows(`"state":"sent"`)
	p.enter("/status")
	p.shows(`"type":"status","time":"2030-01-02T03:04:05Z","uri":"sip:a@cc.com","status":"online"`)
	p.enter("/to x")
	p.enter("/quit")
	if err := p.end(); err != nil {
		t.Errorf("Run = %v", err)
	}
	var types []string
	for line := range strings.Lines(p.text()) {
		var object struct{ Type string }
		if err := json.Unmarshal([]byte(line), &object); err != nil || object.Type == "" {
			t.Errorf("line %q: %v", line, err)
		}
		types = append(types, object.Type)
	}
	for _, want := range []string{"login", "message", "accepted", "delivery", "status", "error"} {
		if !slices.Contains(types, want) {
			t.Errorf("types %q lack %q", types, want)
		}
	}
}

func TestWrongPasswordIsToldAtOnce(t *testing.T) {
	g := guestclienttest.NewGateway()
	defer g.Close()
	client := guestclient.New(g.URL(), guestclienttest.Account, "wrong", guestclient.Options{})
	defer client.Close()
	if err := Run(t.Context(), client, Options{In: strings.NewReader(""), Out: io.Discard}); !errors.Is(err, guestclient.ErrUnauthorized) {
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
