package push

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"latchkey"
	"latchkey/imstest"
)

const (
	alice = "sip:a@cc.com"
	carol = "sip:c@cc.com"
	bob   = latchkey.AccountID("sip:b_at_cc.com@guest.example")
)

// rows are a store in memory.
type rows struct {
	mu    sync.Mutex
	all   []latchkey.PushSubscription
	heard map[latchkey.MessageID]bool
}

func (r *rows) AddPush(_ context.Context, p latchkey.PushSubscription, _ int) (latchkey.PushSubscription, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, p)
	return p, false, nil
}

func (r *rows) PushSubscriptions(_ context.Context, account latchkey.AccountID, _ time.Time) (all []latchkey.PushSubscription, _ error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.all {
		if p.Account == account {
			all = append(all, p)
		}
	}
	return all, nil
}

func (r *rows) DropPush(_ context.Context, _ latchkey.AccountID, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = slices.DeleteFunc(r.all, func(p latchkey.PushSubscription) bool { return p.ID == id })
	return nil
}

func (r *rows) Relations(_ context.Context, account latchkey.AccountID) ([]latchkey.Relation, error) {
	return []latchkey.Relation{{Account: account, Inviter: alice, InviterName: "Alice"}, {Account: account, Inviter: carol, InviterName: "Carol"}}, nil
}

func (r *rows) Unheard(_ context.Context, e latchkey.Event) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return e.Message == nil || !r.heard[e.Message.ID], nil
}

func (r *rows) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.all)
}

// wrote is an event that an inviter's message makes.
func wrote(from, text string) latchkey.Event {
	return latchkey.Event{Type: latchkey.MessageEvent, Account: bob, From: from, Message: &latchkey.EventMessage{ID: latchkey.MessageID(text), Text: text, Type: "text/plain"}}
}

func loopback(a netip.Addr) bool { return a.IsLoopback() }

// newCrier calls the browsers of a service on this machine.
func newCrier(t *testing.T, s *imstest.PushService, opt Options) (*Crier, *rows) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.CA)
	opt.Key, opt.TLS = MakeKey([]byte("0123456789abcdef0123456789abcdef")), &tls.Config{RootCAs: roots}
	if opt.Allows == nil {
		opt.Allows = loopback
	}
	store := &rows{heard: map[latchkey.MessageID]bool{}}
	c := New(store, opt)
	t.Cleanup(c.Close)
	return c, store
}

func subscribe(t *testing.T, c *Crier, b *imstest.PushBrowser) {
	t.Helper()
	if _, _, err := c.Subscribe(t.Context(), bob, b.Endpoint, b.P256dh, b.Auth, time.Time{}); err != nil {
		t.Fatal(err)
	}
}

// logged is a logger to a text.
func logged(log *imstest.Log) *slog.Logger {
	return slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// answers is a push service on made time: it says what it is told to and notes when it was asked.
type answers struct {
	mu    sync.Mutex
	asked []time.Time
	say   func(n int) (status int, retryAfter string)
}

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	a.mu.Lock()
	a.asked = append(a.asked, time.Now())
	n := len(a.asked)
	a.mu.Unlock()
	status, after := a.say(n)
	if status == 0 {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return &http.Response{StatusCode: status, Header: http.Header{"Retry-After": {after}}, Body: io.NopCloser(http.NoBody), Request: r}, nil
}

// times are when it was asked, counted from a moment.
func (a *answers) times(from time.Time) (all []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, t := range a.asked {
		all = append(all, fmt.Sprint(t.Sub(from).Round(time.Second)))
	}
	return all
}

// onMadeTime is a crier with one browser, whose push service is service.
func onMadeTime(t *testing.T, service *answers, opt Options) (*Crier, *rows) {
	t.Helper()
	opt.Key = MakeKey(make([]byte, 32))
	store := &rows{heard: map[latchkey.MessageID]bool{}}
	c := New(store, opt)
	c.client.Transport = service
	if _, _, err := c.Subscribe(t.Context(), bob, "https://push.example.net/1", "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4", "BTBZMqHH6r4Tts7J_aSIgg", time.Time{}); err != nil {
		t.Fatal(err)
	}
	return c, store
}
