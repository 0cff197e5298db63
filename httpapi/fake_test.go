package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"latchkey"
	"latchkey/conversation"
	"latchkey/guest"
)

// The people of the tests.
const (
	aliceURI    = "sip:a@cc.com"
	carolURI    = "sip:c@cc.com"
	aliceTel    = "+8613800000001"
	account     = "sip:b_at_cc.com@guest.example"
	password    = "the-guests-password"
	optOutToken = "the-token"
	alicePwd    = "the-inviters-password"
)

// then is when everything happens that golden files show.
var then = time.Date(2030, 1, 2, 3, 4, 5, 123_456_789, time.UTC)

func relation(inviter, name string) latchkey.Relation {
	rel := latchkey.Relation{
		ID: latchkey.NewRelationID(), Account: account, Inviter: latchkey.InviterID(inviter), InviterUID: "uid of " + name, InviterName: name,
		Interactions: []latchkey.Interaction{latchkey.IM}, Created: then, Expires: then.Add(168 * time.Hour), State: latchkey.Live,
	}
	if inviter == aliceURI {
		rel.InviterTel = aliceTel
	}
	return rel
}

// desk is a guest.Desk in memory, for one guest. Each call with an effect, and each look into
// relations, is noted.
type desk struct {
	hall *hall

	mu        sync.Mutex
	relations []latchkey.Relation
	invited   map[latchkey.Identifier]guest.Invited
	b         map[latchkey.Identifier]latchkey.Subscriber // registered users
	tokens    map[string]bool
	untold    int // relations that are over, which the stream does not say yet
	overs     int // calls of the hall's Over
	calls     []string
	failure   error // of Invite, Login and Logout
	denial    error // of Authenticate
	lost      error // of Relations
}

func (d *desk) note(format string, args ...any) {
	d.calls = append(d.calls, fmt.Sprintf(format, args...))
}

func (d *desk) noted() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.calls)
}

func (d *desk) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failure = err
}

func (d *desk) lose(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lost = err
}

func (d *desk) deny(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.denial = err
}

func (d *desk) Invite(_ context.Context, req guest.InviteRequest) (guest.Invited, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failure != nil {
		return guest.Invited{}, d.failure
	}
	d.note("invite %s by %s for %v %q %q %q", req.Identifier, req.Inviter.ID(), req.Interactions, req.Channel, req.Name, req.Note)
	if req.Language != "" {
		d.note("in %s", req.Language)
	}
	if b, ok := d.b[req.Identifier]; ok {
		return guest.Invited{}, &latchkey.Error{Kind: latchkey.KindAlreadyRegistered, URI: b.URI.String()}
	}
	v, ok := d.invited[req.Identifier]
	v.Created = !ok
	if !ok {
		v = guest.Invited{
			Relation: relation(string(req.Inviter.ID()), "Alice"), Identifier: req.Identifier, Created: true, Registered: true,
			Notification: latchkey.NotificationQueued, GuestState: latchkey.GuestInvited,
		}
		d.invited[req.Identifier] = v
	}
	return v, nil
}

func (d *desk) Invitations(_ context.Context, inviter latchkey.InviterID) ([]guest.Invited, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []guest.Invited
	for _, v := range d.invited {
		if v.Inviter == inviter {
			v.Created = false
			all = append(all, v)
		}
	}
	slices.SortFunc(all, func(a, b guest.Invited) int { return strings.Compare(a.Identifier.Value, b.Identifier.Value) })
	return all, nil
}

func (d *desk) Registered(_ context.Context, id latchkey.Identifier) (latchkey.Subscriber, bool, error) {
	b, ok := d.b[id]
	return b, ok, nil
}

func (d *desk) RegisteredURI(_ context.Context, a latchkey.Address) (latchkey.Subscriber, bool, error) {
	for _, b := range d.b {
		if b.URI.SameIdentity(a) {
			return b, true, nil
		}
	}
	return latchkey.Subscriber{}, false, nil
}

func (d *desk) Withdraw(_ context.Context, inviter latchkey.InviterID, account latchkey.AccountID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.note("withdraw %s by %s", account, inviter)
	for id, v := range d.invited {
		if v.Inviter == inviter && v.Account == account {
			delete(d.invited, id)
			return nil
		}
	}
	return latchkey.Errorf(latchkey.KindNotFound, "you have not invited this account")
}

func (d *desk) WithdrawAll(_ context.Context, inviter latchkey.InviterID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.note("withdraw all by %s", inviter)
	clear(d.invited)
	return nil
}

func (d *desk) Authenticate(_ context.Context, who, pw string, _ netip.Addr) (latchkey.Guest, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.denial != nil {
		return latchkey.Guest{}, d.denial
	}
	if known, err := address(who); err != nil || known.Identity() != account || pw != password || len(d.relations) == 0 {
		return latchkey.Guest{}, latchkey.Errorf(latchkey.KindUnauthorized, "")
	}
	return latchkey.Guest{Account: account}, nil
}

func (d *desk) Login(ctx context.Context, who, pw string, from netip.Addr) (guest.Login, error) {
	g, err := d.Authenticate(ctx, who, pw, from)
	if err != nil {
		return guest.Login{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failure != nil {
		return guest.Login{}, d.failure
	}
	token := latchkey.NewToken()
	d.tokens[token] = true
	d.note("login %s", g.Account)
	return guest.Login{Guest: g, Relations: slices.Clone(d.relations), Token: latchkey.Secret(token), Expires: then.Add(168 * time.Hour)}, nil
}

func (d *desk) ByToken(_ context.Context, token string) (latchkey.Guest, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.tokens[token] {
		return latchkey.Guest{}, latchkey.Errorf(latchkey.KindUnauthorized, "")
	}
	return latchkey.Guest{Account: account}, nil
}

func (d *desk) Relations(_ context.Context, of latchkey.AccountID) ([]latchkey.Relation, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lost != nil {
		return nil, d.lost
	}
	if of != account {
		return nil, nil
	}
	return slices.Clone(d.relations), nil
}

func (d *desk) Authorize(_ context.Context, of latchkey.AccountID, peer latchkey.Address) (latchkey.Relation, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.relations {
		if r.Account == of && r.Names(peer) {
			return r, nil
		}
	}
	return latchkey.Relation{}, latchkey.Errorf(latchkey.KindNoRelation, "")
}

func (d *desk) Logout(_ context.Context, of latchkey.AccountID) error {
	d.mu.Lock()
	d.note("logout %s", of)
	err := d.failure
	d.mu.Unlock()
	if err != nil {
		return err
	}
	for _, e := range d.beginEnding() {
		d.tell(e)
	}
	return nil
}

// beginEnding ends all relations but for the telling, for which it returns the events.
func (d *desk) beginEnding() (untold []latchkey.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, rel := range d.relations {
		untold = append(untold, latchkey.Event{Type: latchkey.InviterEvent, URI: string(rel.Inviter), State: "removed", Reason: string(latchkey.GuestLeft)})
	}
	d.relations, d.untold = nil, d.untold+len(untold)
	clear(d.tokens)
	return untold
}

func (d *desk) OptOutByToken(_ context.Context, who, token string) error {
	return d.wish("opt out", who, token == optOutToken)
}

func (d *desk) OptOutByPassword(_ context.Context, who, pw string, _ netip.Addr) error {
	return d.wish("opt out", who, pw == password)
}

func (d *desk) OptInByToken(_ context.Context, who, token string) error {
	return d.wish("opt in", who, token == optOutToken)
}

func (d *desk) OptInByPassword(_ context.Context, who, pw string, _ netip.Addr) error {
	return d.wish("opt in", who, pw == password)
}

func (d *desk) wish(what, who string, proven bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if known, err := address(who); err != nil || known.Identity() != account || !proven {
		return latchkey.Errorf(latchkey.KindUnauthorized, "")
	}
	d.note("%s %s", what, account)
	return d.failure
}

// add relates the guest with one more inviter and tells the stream, and remove takes one away.
func (d *desk) add(rel latchkey.Relation) {
	d.mu.Lock()
	d.relations = append(d.relations, rel)
	d.mu.Unlock()
	d.hall.post(latchkey.Event{Type: latchkey.InviterEvent, URI: string(rel.Inviter), Name: rel.InviterName, State: "added"})
}

func (d *desk) remove(inviter latchkey.InviterID) {
	d.mu.Lock()
	d.relations = slices.DeleteFunc(d.relations, func(r latchkey.Relation) bool { return r.Inviter == inviter })
	d.untold++
	d.mu.Unlock()
	d.tell(latchkey.Event{Type: latchkey.InviterEvent, URI: string(inviter), State: "removed", Reason: string(latchkey.InviterLeft)})
}

// tell posts that a relation is over. It is in the stream before it counts as told.
func (d *desk) tell(e latchkey.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hall.post(e)
	d.untold--
}

func (d *desk) over() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.overs++
	return len(d.relations) == 0 && d.untold == 0
}

// hall is a conversation.Hall in memory, for one guest.
type hall struct {
	desk *desk // knows what is over

	mu       sync.Mutex
	events   []latchkey.Event
	more     chan struct{}
	closed   bool
	acked    int64
	messages []latchkey.Message
	present  int
	calls    []string
	failure  error         // of Events
	panics   bool          // Events does
	full     error         // of Post
	gate     chan struct{} // Events wait for it to be closed; nil: they don't

	told      int // calls of Listen
	listeners map[int]func(error)
}

func newHall() *hall { return &hall{more: make(chan struct{}), listeners: map[int]func(error){}} }

func (h *hall) Send(_ context.Context, rel latchkey.Relation, out conversation.Outgoing) (latchkey.Message, bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.messages {
		if out.ClientID != "" && m.ClientID == out.ClientID {
			if m.Text != out.Text {
				return m, false, latchkey.Errorf(latchkey.KindConflict, "id: was used for another message")
			}
			m.Time = m.Time.Truncate(time.Microsecond) // as a row gives it back
			m.State = latchkey.MessageSent
			return m, true, nil
		}
	}
	m := latchkey.Message{
		ID: latchkey.MessageID(fmt.Sprint("m", len(h.messages)+1)), Account: rel.Account, Inviter: rel.Inviter, Direction: latchkey.ToInviter,
		ContentType: "text/plain", Text: out.Text, State: latchkey.MessageAccepted, ClientID: out.ClientID, Time: then,
	}
	h.messages = append(h.messages, m)
	return m, false, nil
}

func (h *hall) note(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, fmt.Sprintf(format, args...))
}

func (h *hall) noted() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.calls)
}

func (h *hall) Composing(_ context.Context, rel latchkey.Relation, active bool) error {
	h.note("composing to %s %v", rel.Inviter, active)
	return nil
}

func (h *hall) MaySendFile(_ context.Context, rel latchkey.Relation) error {
	if !rel.Allows(latchkey.File) {
		return latchkey.Errorf(latchkey.KindNoRelation, "the invitation is not for files")
	}
	return nil
}

func (h *hall) FileComing(rel latchkey.Relation, f latchkey.StoredFile) {
	h.note("file %s of %d is coming to %s: %s", f.ID, f.Size, rel.Inviter, f.SHA1)
}

func (h *hall) SendFile(_ context.Context, rel latchkey.Relation, f latchkey.StoredFile) error {
	h.note("file %s to %s", f.ID, rel.Inviter)
	return nil
}

func (h *hall) CancelFile(_ context.Context, rel latchkey.Relation, f latchkey.StoredFile) error {
	h.note("cancel %s to %s", f.ID, rel.Inviter)
	return nil
}

func (h *hall) Read(_ context.Context, account latchkey.AccountID, id latchkey.MessageID) error {
	if id == "nowhere" {
		return latchkey.Errorf(latchkey.KindNotFound, "")
	}
	h.note("read %s by %s", id, account)
	return nil
}

func (h *hall) History(_ context.Context, _ latchkey.AccountID, with latchkey.InviterID, before latchkey.MessageID, limit int) ([]latchkey.Message, error) {
	h.note("history with %s before %q limit %d", with, before, limit)
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []latchkey.Message
	for _, m := range h.messages {
		if m.ID == before {
			break
		}
		if m.Inviter == with {
			all = append(all, m)
		}
	}
	return all[max(0, len(all)-limit):], nil
}

func (h *hall) Events(_ context.Context, _ latchkey.AccountID, after int64, limit int) ([]latchkey.Event, error) {
	if h.gate != nil {
		<-h.gate
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failure != nil {
		return nil, h.failure
	}
	if h.panics {
		panic("the room is on fire")
	}
	from := int(min(after, int64(len(h.events))))
	return slices.Clone(h.events[from:min(len(h.events), from+limit)]), nil
}

func (h *hall) Over(_ context.Context, _ latchkey.AccountID) (bool, error) { return h.desk.over(), nil }

func (h *hall) Wait(ctx context.Context, _ latchkey.AccountID, after int64) error {
	h.mu.Lock()
	more, closed := h.more, h.closed
	there := int64(len(h.events)) > after
	h.mu.Unlock()
	switch {
	case there:
		return nil
	case closed:
		return latchkey.Errorf(latchkey.KindUnavailable, "The service is restarting.")
	}
	select {
	case <-more:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *hall) Listen(_ latchkey.AccountID, news func(error)) (stop func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, latchkey.Errorf(latchkey.KindUnavailable, "The service is restarting.")
	}
	h.told++
	number := h.told
	h.listeners[number] = news
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.listeners, number)
	}, nil
}

// close tells all who wait that the hall closes.
func (h *hall) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	close(h.more)
	h.more = make(chan struct{})
	for _, news := range h.listeners {
		news(latchkey.Errorf(latchkey.KindUnavailable, "The service is restarting."))
	}
}

func (h *hall) Ack(_ context.Context, _ latchkey.AccountID, upTo int64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.acked = max(h.acked, upTo)
	return nil
}

func (h *hall) ackedTo() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.acked
}

func (h *hall) Post(ctx context.Context, e latchkey.Event) error {
	h.mu.Lock()
	full := h.full
	h.mu.Unlock()
	if err := errors.Join(ctx.Err(), full); err != nil {
		return err
	}
	h.post(e)
	return nil
}

// post numbers an event and wakes who waits.
func (h *hall) post(e latchkey.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e.ID, e.Account = int64(len(h.events))+1, account
	if e.Time.IsZero() {
		e.Time = then
	}
	h.events = append(h.events, e)
	h.wake()
}

// wake needs h.mu.
func (h *hall) wake() {
	close(h.more)
	h.more = make(chan struct{})
	for _, news := range h.listeners {
		news(nil)
	}
}

// stir wakes the streams for nothing, as happens where they were faster than their wake.
func (h *hall) stir() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wake()
}

// say posts a message of Alice's.
func (h *hall) say(text string) {
	h.post(latchkey.Event{Type: latchkey.MessageEvent, From: aliceURI, Message: &latchkey.EventMessage{ID: "in", Text: text, Type: "text/plain"}})
}

func (h *hall) all() []latchkey.Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.events)
}

func (h *hall) Present(_ latchkey.AccountID, delta int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.present += delta
}

func (h *hall) here() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.present
}

// board is a presence.Board in memory.
type board struct {
	mu       sync.Mutex
	states   map[string]latchkey.StatusState
	mute     map[string]bool // whose state nobody learns in time
	asked    []string
	watchers map[string][]*func(latchkey.Status)
}

func newBoard() *board {
	return &board{states: map[string]latchkey.StatusState{aliceURI: latchkey.StatusOnline}, mute: map[string]bool{}, watchers: map[string][]*func(latchkey.Status){}}
}

func (b *board) Status(ctx context.Context, from latchkey.AccountID, of latchkey.Address) (latchkey.Status, error) {
	name := of.String()
	b.mu.Lock()
	b.asked = append(b.asked, fmt.Sprint(from, " of ", name))
	s, mute := b.state(name), b.mute[name]
	b.mu.Unlock()
	if mute {
		<-ctx.Done()
		return latchkey.Status{State: latchkey.StatusUnknown}, ctx.Err()
	}
	return s, nil
}

func (b *board) state(name string) latchkey.Status {
	s, ok := b.states[name]
	if !ok {
		s = latchkey.StatusOffline
	}
	return latchkey.Status{State: s, Chat: s == latchkey.StatusOnline, Checked: then}
}

func (b *board) Watch(_ latchkey.AccountID, of latchkey.Address, news func(latchkey.Status)) (stop func()) {
	name, me := of.String(), &news
	b.mu.Lock()
	defer b.mu.Unlock()
	b.watchers[name] = append(b.watchers[name], me)
	news(b.state(name))
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.watchers[name] = slices.DeleteFunc(b.watchers[name], func(other *func(latchkey.Status)) bool { return other == me })
	}
}

// turn changes somebody's state and tells who watches.
func (b *board) turn(name string, s latchkey.StatusState) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.states[name] = s
	for _, news := range b.watchers[name] {
		(*news)(b.state(name))
	}
}

// watches counts the watches of somebody.
func (b *board) watches(name string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.watchers[name])
}

func (b *board) questions() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.asked)
}

// directory knows Alice and Carol, who have the same password.
type directory struct{ broken error }

func (d *directory) Authenticate(_ context.Context, user, pw string) (latchkey.Subscriber, error) {
	if d.broken != nil {
		return latchkey.Subscriber{}, d.broken
	}
	known, err := address(user)
	if err != nil || known.Identity() != aliceURI && known.Identity() != carolURI || pw != alicePwd {
		return latchkey.Subscriber{}, latchkey.Errorf(latchkey.KindUnauthorized, "")
	}
	return latchkey.Subscriber{URI: known, Name: "Alice", State: latchkey.Active}, nil
}
