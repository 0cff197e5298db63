// Package conversation owns one guest's talk with one inviter: what is sent, what arrives,
// receipts, composing, and the guest's stream of events.
//
// Everything that a guest or an inviter was promised is a row before it is promised. What
// lives with a channel (which one is open, what waits, who is composing) belongs to one loop per
// relation (room.go), which starts on first use and leaves when idle. The package knows CPIM,
// IMDN and is-composing (RFC 3862, 5438, 3994); SIP and MSRP stand behind the Dialer port.
package conversation

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"latchkey"
)

// Options of a Hall.
type Options struct {
	RequireOnline bool          // R25: guests may send only while the inviter is online
	MaxText       int           // octets of one message; default 100,000
	IdleTimeout   time.Duration // a channel without messages is closed after it; default 5 min (PROTOCOLS B3.07)
	LeaveAfter    time.Duration // a loop with nothing to do ends after it; default 1 min
	ResumeAtOnce  int           // relations that Resume has calling at once; default 64
	Retry         time.Duration // first wait after an inviter could not be reached; doubles to 64 times; default 5 s
	Porter        Porter        // of files; nil: none are carried
	FileWays      []FileWay     // by which files go, the preferred one first; default ByMSRP, ByHTTP
	FilesEarly    bool          // Porter can carry files while they come
	Log           *slog.Logger

	// Unwanted is told of a relation whose inviter, or their network, does not want to hear from the guest (607, 608). It must
	// not wait for the hall; nil: only the message fails.
	Unwanted func(latchkey.Relation)
	// News is told of a message or file of an inviter's that is on disk for the guest. It must not wait; nil: nobody is told.
	News func(latchkey.Event)
}

// Hall is where all conversations take place.
type Hall struct {
	store     Store
	dialer    Dialer
	registrar Registrar
	presence  Presence
	opt       Options
	log       *slog.Logger

	mu      sync.Mutex // guards the fields below
	rooms   map[latchkey.RelationID]*room
	streams map[latchkey.AccountID]*audience
	closed  bool

	running  sync.WaitGroup  // rooms' loops and what they started
	draining chan struct{}   // closed by Shutdown: nothing new begins
	ctx      context.Context // of all that is in flight
	stop     context.CancelFunc
}

// New makes a hall. Nothing runs until it is used; Resume takes up what waits in the store.
func New(store Store, dialer Dialer, registrar Registrar, presence Presence, opt Options) *Hall {
	if opt.MaxText <= 0 {
		opt.MaxText = 100_000
	}
	if opt.IdleTimeout <= 0 {
		opt.IdleTimeout = 5 * time.Minute
	}
	if opt.LeaveAfter <= 0 {
		opt.LeaveAfter = time.Minute
	}
	if opt.Retry <= 0 {
		opt.Retry = 5 * time.Second
	}
	if opt.ResumeAtOnce <= 0 {
		opt.ResumeAtOnce = 64
	}
	if len(opt.FileWays) == 0 {
		opt.FileWays = []FileWay{ByMSRP, ByHTTP}
	}
	if opt.News == nil {
		opt.News = func(latchkey.Event) {}
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	ctx, stop := context.WithCancel(context.Background())
	return &Hall{
		store: store, dialer: dialer, registrar: registrar, presence: presence, opt: opt, log: opt.Log,
		rooms: map[latchkey.RelationID]*room{}, streams: map[latchkey.AccountID]*audience{},
		draining: make(chan struct{}), ctx: ctx, stop: stop,
	}
}

// room finds a relation's room, whose loop is started if need be. It needs h.mu.
func (h *Hall) room(rel latchkey.Relation) (*room, error) {
	if h.closed {
		return nil, errRestarting()
	}
	r := h.rooms[rel.ID]
	if r == nil {
		r = newRoom(h, rel)
		h.rooms[rel.ID] = r
		h.running.Go(r.loop) // ends when idle, when the relation ends, or with Shutdown
	}
	return r, nil
}

func errRestarting() error {
	return latchkey.Errorf(latchkey.KindUnavailable, "The service is restarting.")
}

// post hands work to a relation's loop, which does it in any case once post has returned without an error. A
// full mailbox is KindBusy; the caller never waits for the loop.
func (h *Hall) post(rel latchkey.Relation, f func(*room)) (*room, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r, err := h.room(rel)
	if err == nil {
		err = r.offer(f)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// visit is post where a loop isn't worth starting: without one, nothing happens.
func (h *Hall) visit(rel latchkey.Relation, f func(*room)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r := h.rooms[rel.ID]; r != nil && !h.closed {
		return r.offer(f)
	}
	return nil
}

func (r *room) offer(f func(*room)) error {
	select {
	case r.inbox <- f:
		return nil
	default:
		return latchkey.Errorf(latchkey.KindBusy, "Too much at once; try again in a moment.")
	}
}

// nudge lets a room look at the store, however full its mailbox is.
func (h *Hall) nudge(rel latchkey.Relation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r, err := h.room(rel); err == nil { // else what waits is taken up after the restart
		r.look()
	}
}

// look tells the loop that something waits in the store.
func (r *room) look() {
	select {
	case r.more <- struct{}{}:
	default: // one look is as good as many
	}
}

// leave takes a room that nobody has written to off the list. False: there is more to do.
func (h *Hall) leave(r *room) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(r.inbox) > 0 || len(r.more) > 0 && !r.ending {
		return false
	}
	if h.rooms[r.rel.ID] == r {
		delete(h.rooms, r.rel.ID)
	}
	return true
}

// Open tells the guest's stream that an inviter was added.
func (h *Hall) Open(ctx context.Context, rel latchkey.Relation) error {
	return h.Post(ctx, latchkey.Event{
		Type: latchkey.InviterEvent, Account: rel.Account, URI: string(rel.Inviter), Name: rel.InviterName, State: "added",
	})
}

// Close ends a relation's conversation: BYE, what is undelivered is dropped, and the guest is told. It
// returns when the channel is closed. Calling it again does no harm.
func (h *Hall) Close(ctx context.Context, rel latchkey.Relation, cause latchkey.Cause) error {
	for {
		h.mu.Lock()
		r := h.rooms[rel.ID]
		h.mu.Unlock()
		if r == nil {
			break
		}
		select { // waits for a full mailbox: nothing may be left open
		case r.inbox <- (*room).end:
		case <-r.left:
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case <-r.left:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	err := h.store.EndConversation(ctx, rel, latchkey.Event{
		Type: latchkey.InviterEvent, Time: time.Now().UTC(), Account: rel.Account, URI: string(rel.Inviter), Name: rel.InviterName, State: "removed", Reason: string(cause),
	})
	h.wakeStreams(rel.Account)
	return err
}

// drainGrace is how long Shutdown lets messages that are being sent finish.
const drainGrace = 5 * time.Second

// Shutdown closes all channels and waits for the loops. Messages that are being sent may finish, for a moment and
// while ctx lasts. It is not a logout: what waits stays in the store.
func (h *Hall) Shutdown(ctx context.Context) error {
	h.mu.Lock()
	if !h.closed {
		h.closed = true
		close(h.draining)
	}
	h.mu.Unlock()
	h.dismiss()
	defer h.stop()
	defer time.AfterFunc(drainGrace, h.stop).Stop()
	done := make(chan struct{})
	go func() { // ends with the loops
		h.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
