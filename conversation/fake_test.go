package conversation_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"latchkey"
	"latchkey/conversation"
	"latchkey/storage"
	"latchkey/storage/storagetest"
)

var _ conversation.Store = (*storage.DB)(nil)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// phone is an inviter's phone with memory. It plays the core, too: Dial is a call that reaches it.
type phone struct {
	mu       sync.Mutex
	calls    []conversation.CallOptions
	channels []*channel
	sends    []sent

	answer func(ctx context.Context, call int) error // of each call; nil: take it
	onSend func(ctx context.Context, s sent) error   // before a message counts as received
	onPage func(n int) error                         // of each page; nil: take it
	pages  int
	types  []string // wrapped types that it accepts; nil: all
	max    int64
}

type sent struct {
	channel         int
	id, contentType string
	body            string
	refused         error
}

func (p *phone) Dial(ctx context.Context, rel latchkey.Relation, opt conversation.CallOptions, to conversation.Receiver) (conversation.Channel, error) {
	p.mu.Lock()
	p.calls = append(p.calls, opt)
	n, answer := len(p.calls), p.answer
	p.mu.Unlock()
	if answer != nil {
		if err := answer(ctx, n); err != nil {
			return nil, err
		}
	}
	return p.open(to), nil
}

// Page is a SIP MESSAGE; it counts as sent on channel 0.
func (p *phone) Page(_ context.Context, _ latchkey.Relation, contentType string, body []byte) error {
	p.mu.Lock()
	p.pages++
	n, onPage := p.pages, p.onPage
	p.mu.Unlock()
	s := sent{contentType: contentType, body: string(body)}
	if onPage != nil {
		s.refused = onPage(n)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sends = append(p.sends, s)
	return s.refused
}

// paged counts the pages that came, refused ones too.
func (p *phone) paged() int { p.mu.Lock(); defer p.mu.Unlock(); return p.pages }

func (p *phone) open(to conversation.Receiver) *channel {
	p.mu.Lock()
	defer p.mu.Unlock()
	ch := &channel{phone: p, number: len(p.channels) + 1, to: to, done: make(chan struct{})}
	p.channels = append(p.channels, ch)
	return ch
}

// standing counts the channels that are open.
func (p *phone) standing() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, ch := range p.channels {
		if !ch.closed() {
			n++
		}
	}
	return n
}

func (p *phone) called() int { p.mu.Lock(); defer p.mu.Unlock(); return len(p.calls) }

func (p *phone) channel(i int) *channel { p.mu.Lock(); defer p.mu.Unlock(); return p.channels[i] }

func (p *phone) received() []sent { p.mu.Lock(); defer p.mu.Unlock(); return slices.Clone(p.sends) }

// texts are the guest's messages as the phone shows them: what comes again under an id is one message.
func (p *phone) texts() (all []string) {
	seen := map[string]bool{}
	for _, s := range p.received() {
		if s.refused == nil && strings.Contains(s.body, "Content-Type: text/plain") && !seen[s.id] {
			seen[s.id] = true
			_, text, _ := strings.Cut(s.body[strings.Index(s.body, "\r\n\r\n")+4:], "\r\n\r\n")
			all = append(all, text)
		}
	}
	return all
}

var (
	imdnAbout  = regexp.MustCompile(`<message-id>([^<]*)</message-id>`)
	imdnStatus = regexp.MustCompile(`<status><([a-z]+)/></status>`)
	stateOf    = regexp.MustCompile(`<state>([a-z]+)</state>`)
)

// receipts are the IMDNs that came, as "remote-id status".
func (p *phone) receipts() (all []string) {
	for _, s := range p.received() {
		if s.refused == nil && strings.Contains(s.body, "Content-Type: message/imdn+xml") {
			all = append(all, imdnAbout.FindStringSubmatch(s.body)[1]+" "+imdnStatus.FindStringSubmatch(s.body)[1])
		}
	}
	return all
}

// composing are the states of the guest that came.
func (p *phone) composing() (all []string) {
	for _, s := range p.received() {
		if m := stateOf.FindStringSubmatch(s.body); m != nil {
			all = append(all, m[1])
		}
	}
	return all
}

type channel struct {
	phone  *phone
	number int
	to     conversation.Receiver
	once   sync.Once
	done   chan struct{}
	reason string
}

var errBroken = errors.New("connection reset")

func (c *channel) Send(ctx context.Context, id, contentType string, body []byte) error {
	if c.closed() {
		return errBroken
	}
	s := sent{channel: c.number, id: id, contentType: contentType, body: string(body)}
	c.phone.mu.Lock()
	onSend := c.phone.onSend
	c.phone.mu.Unlock()
	if onSend != nil {
		s.refused = onSend(ctx, s)
	}
	c.phone.mu.Lock()
	defer c.phone.mu.Unlock()
	c.phone.sends = append(c.phone.sends, s)
	if s.refused == nil && c.closed() {
		return errBroken // the phone has it, and its 200 is lost
	}
	return s.refused
}

func (c *channel) Close(_ context.Context, reason string) error {
	c.once.Do(func() { c.reason = reason; close(c.done) })
	return nil
}

func (c *channel) closed() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

func (c *channel) Done() <-chan struct{} { return c.done }
func (c *channel) MaxSize() int64        { return c.phone.max }
func (c *channel) AcceptsWrapped(t string) bool {
	return c.phone.types == nil || slices.Contains(c.phone.types, t)
}

// says sends the guest a text on the channel. remoteID may be empty.
func (c *channel) says(ctx context.Context, remoteID, disposition, text string) error {
	return c.to.Receive(ctx, c, "message/cpim", cpimOf(remoteID, disposition, "text/plain;charset=UTF-8", text))
}

// notifies sends an IMDN about one of the guest's messages.
func (c *channel) notifies(ctx context.Context, id latchkey.MessageID, kind, status string) error {
	return c.to.Receive(ctx, c, "message/cpim", cpimOf("n"+string(id), "", "message/imdn+xml", fmt.Sprintf(
		`<?xml version="1.0"?><imdn xmlns="urn:ietf:params:xml:ns:imdn"><message-id>%s</message-id><datetime>2026-01-01T00:00:00Z</datetime><%s-notification><status><%s/></status></%s-notification></imdn>`,
		id, kind, status, kind)))
}

func (c *channel) types(ctx context.Context, state, refresh string) error {
	if refresh != "" {
		refresh = "<refresh>" + refresh + "</refresh>"
	}
	return c.to.Receive(ctx, c, "application/im-iscomposing+xml", []byte(
		`<?xml version="1.0"?><isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing"><state>`+state+`</state>`+refresh+`</isComposing>`))
}

func cpimOf(id, disposition, contentType, body string) []byte {
	head := "From: <sip:anonymous@anonymous.invalid>\r\nTo: <sip:anonymous@anonymous.invalid>\r\nDateTime: 2026-01-01T00:00:00Z\r\nNS: imdn <urn:ietf:params:imdn>\r\n"
	if id != "" {
		head += "imdn.Message-ID: " + id + "\r\n"
	}
	if disposition != "" {
		head += "imdn.Disposition-Notification: " + disposition + "\r\n"
	}
	return []byte(head + "\r\nContent-Type: " + contentType + "\r\n\r\n" + body)
}

// ring is the phone's own INVITE.
type ring struct {
	phone    *phone
	ctx      context.Context
	firstCT  string
	first    []byte
	onAccept func(ctx context.Context) error

	mu      sync.Mutex
	refused int
	taken   *channel
}

func (r *ring) Context() context.Context       { return r.ctx }
func (r *ring) CallID() string                 { return "ring" }
func (r *ring) FirstMessage() (string, []byte) { return r.firstCT, r.first }
func (r *ring) Refuse(code int, _ string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused = code
	return nil
}
func (r *ring) result() (int, *channel) { r.mu.Lock(); defer r.mu.Unlock(); return r.refused, r.taken }
func (r *ring) Accept(ctx context.Context, to conversation.Receiver) (conversation.Channel, error) {
	if r.onAccept != nil {
		if err := r.onAccept(ctx); err != nil {
			return nil, err
		}
	}
	ch := r.phone.open(to)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken = ch
	return ch, nil
}

// late counts late registrations.
type late struct {
	mu    sync.Mutex
	calls []string
	err   error
	phone *phone
}

func (l *late) Ensure(_ context.Context, account latchkey.AccountID, i latchkey.Interaction) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, fmt.Sprintf("%s %s after %d calls", account, i, l.phone.called()))
	return l.err
}

type presence struct {
	state      latchkey.StatusState
	msrp, http bool // how the phone takes files
}

// board tells a presence that a test may change.
type board struct {
	mu   sync.Mutex
	now  presence
	icon bool // it takes small pictures
}

func (b *board) is(p presence) { b.mu.Lock(); defer b.mu.Unlock(); b.now = p }

func (b *board) Status(context.Context, latchkey.AccountID, latchkey.Address) (latchkey.Status, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.now
	return latchkey.Status{State: p.state, File: p.msrp || p.http, FileMSRP: p.msrp, FileHTTP: p.http, FileIcon: b.icon}, nil
}

// world is a hall on a real store with one relation in it.
type world struct {
	t         *testing.T
	path      string
	db        *storage.DB
	hall      *conversation.Hall
	phone     *phone
	registrar *late
	presence  *board
	rel       latchkey.Relation
	opt       conversation.Options
	shut      bool
}

const (
	alice = latchkey.InviterID("sip:a@cc.com")
	bob   = latchkey.AccountID("sip:b_at_cc.com@guest.example")
)

func newWorld(t *testing.T, opt conversation.Options) *world {
	t.Helper()
	w := &world{t: t, path: filepath.Join(t.TempDir(), "latchkey.db"), phone: &phone{}, presence: &board{now: presence{state: latchkey.StatusOnline}}, opt: opt}
	w.registrar = &late{phone: w.phone}
	w.opt.Log = slog.New(slog.DiscardHandler)
	storagetest.Blank(t, w.path)
	w.start()
	w.rel = w.relate(alice, bob)
	t.Cleanup(w.stop)
	return w
}

func (w *world) start() {
	w.t.Helper()
	db, err := storage.Open(w.t.Context(), w.path, storage.Options{Readers: 2})
	if err != nil {
		w.t.Fatal(err)
	}
	w.db, w.shut = db, false
	w.hall = conversation.New(db, w.phone, w.registrar, w.presence, w.opt)
}

func (w *world) stop() {
	if w.shut {
		return
	}
	w.shut = true
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := w.hall.Shutdown(ctx); err != nil {
		w.t.Errorf("Shutdown = %v", err)
	}
	if err := w.db.Close(); err != nil {
		w.t.Errorf("Close = %v", err)
	}
}

// relate makes a live relation.
func (w *world) relate(inviter latchkey.InviterID, account latchkey.AccountID) latchkey.Relation {
	w.t.Helper()
	now := time.Now()
	rel := latchkey.Relation{
		ID: latchkey.NewRelationID(), Account: account, Inviter: inviter, InviterName: "Alice", Interactions: []latchkey.Interaction{latchkey.IM},
		Created: now, Expires: now.Add(time.Hour), State: latchkey.Live,
	}
	g := latchkey.Guest{Account: account, Identifier: latchkey.Identifier{Kind: latchkey.Mail, Value: string(account)}, Created: now}
	_, rel2, err := w.db.Ask(w.t.Context(), g, rel)
	if err != nil {
		w.t.Fatal(err)
	}
	rel.ID = rel2.ID
	if err := w.db.Settle(w.t.Context(), rel, "salt", "hash", latchkey.Notice{ID: latchkey.NewToken(), Relation: rel.ID, Created: now, Expires: rel.Expires}); err != nil {
		w.t.Fatal(err)
	}
	return rel
}

func (w *world) send(text string) latchkey.Message {
	w.t.Helper()
	m, _, err := w.hall.Send(w.t.Context(), w.rel, conversation.Outgoing{Text: latchkey.Text(text)})
	if err != nil {
		w.t.Fatalf("Send(%.20q) = %v", text, err)
	}
	return m
}

func (w *world) events() []latchkey.Event {
	w.t.Helper()
	all, err := w.hall.Events(w.t.Context(), bob, 0, 10_000)
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// states are the delivery events of a message, in order.
func (w *world) states(id latchkey.MessageID) (all []string) {
	for _, e := range w.events() {
		if e.Type == latchkey.DeliveryEvent && e.Message.ID == id {
			all = append(all, string(e.Message.State))
		}
	}
	return all
}

// composing are the inviter's states as the guest reads them now.
func (w *world) composing() (all []string) {
	for _, e := range w.events() {
		if e.Type == latchkey.ComposingEvent {
			all = append(all, e.State)
		}
	}
	return all
}
