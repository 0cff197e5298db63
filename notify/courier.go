// Package notify brings invitations to guests. Its Courier takes notices out of the durable outbox, hands
// them to the channel that each is for, tries again what failed for a while, and ticks off what is done.
// It writes nothing into the outbox itself and decides nothing about relations. The wires of the channels
// live in rooms of their own: notify/mail, notify/smpp, notify/mm7. Start with New.
package notify

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"latchkey"
)

// Store is the outbox. *storage.DB is one, and says in full what each method promises.
type Store interface {
	// ClaimNotices takes up to limit notices that are due at now. They are due anew at again, in case
	// that the claimer dies.
	ClaimNotices(ctx context.Context, channel latchkey.Channel, now, again time.Time, limit int) ([]latchkey.Notice, error)
	NextNotice(ctx context.Context, channel latchkey.Channel) (time.Time, error)
	RetryNotice(ctx context.Context, id string, due time.Time, reason string) error
	EndNotice(ctx context.Context, id string, state latchkey.NotificationState, reason string) error
	// NoticesWaiting is how many are queued, and since when the oldest is: for metrics.
	NoticesWaiting(ctx context.Context, channel latchkey.Channel) (n int, oldest time.Time, err error)
}

// Hastener is an ability of a Store in which notices wait long while the server of their channel is away.
type Hastener interface {
	// HastenNotices leaves one part in share of the wait of what waits for a reason and isn't due by after.
	HastenNotices(ctx context.Context, channel latchkey.Channel, reason string, now, after time.Time, share int) error
	// NoticesWait reports whether a notice waits for a reason.
	NoticesWait(ctx context.Context, channel latchkey.Channel, reason string) (bool, error)
}

// Channel is a way to reach guests.
type Channel interface {
	// Deliver returns nil once somebody else has taken responsibility for the notice. An error is a
	// *Failure where the channel knows more than that it didn't work. A notice that comes a second time
	// is to have the same id towards the world, made from Notice.ID.
	Deliver(ctx context.Context, n latchkey.Notice) error
}

// Width is an ability of a Channel that has room for another number of deliveries at once than Options.Workers.
type Width interface {
	Width() int
}

// Absence is an ability of a Channel whose failures are Away for one Reason: what waits for it tells a process that has just started of an outage
// that another one saw.
type Absence interface {
	Absent() (reason string)
}

// Failure says why a notice was not delivered. Reason is in words for the inviter, without hosts or
// secrets; Err is for the log. Whatever is not Permanent is tried again. Away says that the channel's server could not be reached, which says
// nothing about this notice: once it takes another one, those that failed for the same Reason are tried soon.
type Failure struct {
	Reason    string
	Permanent bool
	Away      bool
	Err       error
}

// Error is the text for logs.
func (f *Failure) Error() string {
	if f.Err == nil {
		return f.Reason
	}
	return f.Reason + ": " + f.Err.Error()
}

// Unwrap gives the hidden cause.
func (f *Failure) Unwrap() error { return f.Err }

// Options of a Courier. Zero values take the defaults.
type Options struct {
	// Workers is how many notices of one channel are under way at once, and so how many are in memory. Default 8.
	Workers int
	// Timeout is how long one delivery may take. Default a minute: RFC 5321 §4.5.3.2 would wait ten for a
	// server's last word, but whoever takes invitations is a neighbour that queues.
	Timeout time.Duration
	// GiveUp is how long a notice is tried. Default a day.
	GiveUp time.Duration
	// FirstWait is how long to wait after the first failure; each later one doubles it, up to LastWait. Defaults 5 s and an hour.
	FirstWait, LastWait time.Duration
	// Poll is how often the outbox is looked into though nobody said that something is there. Default 30 s.
	Poll time.Duration
	// Grace is how long deliveries may go on when Run is to end. Default 5 s.
	Grace time.Duration
	Log   *slog.Logger
}

// lease is how long a claim holds. A delivery is over before it ends, and its outcome is written down.
func (o Options) lease() time.Duration { return o.Timeout + o.Timeout/2 }

// Courier takes notices from the outbox to their channels.
type Courier struct {
	store  Store
	opt    Options
	log    *slog.Logger
	routes []*route
	meter  meter
}

// route is one channel with its workers. A channel that is slow holds up nobody else's.
type route struct {
	name    latchkey.Channel
	channel Channel
	wake    chan struct{} // of one; never closed
	slots   chan struct{} // a place for each worker, taken while it works; never closed

	mu       sync.Mutex
	underway map[string]bool // notices by id
	outage   outage
}

// New makes a Courier for the channels that are set up. Run runs it.
func New(store Store, channels map[latchkey.Channel]Channel, opt Options) *Courier {
	if opt.Workers <= 0 {
		opt.Workers = 8
	}
	if opt.Timeout <= 0 {
		opt.Timeout = time.Minute
	}
	if opt.GiveUp <= 0 {
		opt.GiveUp = 24 * time.Hour
	}
	if opt.FirstWait <= 0 {
		opt.FirstWait = firstWait
	}
	if opt.LastWait <= 0 {
		opt.LastWait = lastWait
	}
	if opt.Poll <= 0 {
		opt.Poll = 30 * time.Second
	}
	if opt.Grace <= 0 {
		opt.Grace = 5 * time.Second
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	c := &Courier{store: store, opt: opt, log: opt.Log, meter: newMeter()}
	for name, channel := range channels {
		workers := opt.Workers
		if w, ok := channel.(Width); ok {
			workers = max(w.Width(), 1)
		}
		c.meter.begin(name)
		c.routes = append(c.routes, &route{
			name: name, channel: channel, wake: make(chan struct{}, 1), slots: make(chan struct{}, workers), underway: map[string]bool{},
		})
	}
	return c
}

// Wake tells the courier that a notice was queued. It never waits.
func (c *Courier) Wake() {
	for _, r := range c.routes {
		r.rouse()
	}
}

// Run delivers until ctx ends. Then deliveries that are under way have Options.Grace to finish; one that
// doesn't stays claimed, and the next Run repeats it when the claim is over.
func (c *Courier) Run(ctx context.Context) error {
	var routes sync.WaitGroup
	for _, r := range c.routes {
		routes.Go(func() { c.serve(ctx, r) }) // ends with ctx
	}
	routes.Wait()
	return nil
}
