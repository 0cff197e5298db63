// Package push calls guests who are away: their browsers have a push service that wakes the page's worker (Web Push, RFC 8030),
// which takes a short word, encrypted for the browser (RFC 8291) and signed by the gateway (RFC 8292).
//
// It owns the calls and what is told in them, and no conversation: it hears what came, and nothing is lost where nobody could be called, since the
// message waits in the guest's stream. Calls are not kept over a restart. A push service is a stranger's address that a stranger
// gave, so the gateway asks public addresses alone, by HTTPS, and follows no redirect (S13). Start with Crier.
package push

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"latchkey"
	"latchkey/internal/stranger"
)

// Store keeps the subscriptions of guests.
type Store interface {
	// AddPush keeps a subscription; known: the account had one of that endpoint. Above most the oldest make room.
	AddPush(ctx context.Context, p latchkey.PushSubscription, most int) (stored latchkey.PushSubscription, known bool, err error)
	PushSubscriptions(ctx context.Context, account latchkey.AccountID, now time.Time) ([]latchkey.PushSubscription, error)
	// DropPush forgets one; KindNotFound where there is none.
	DropPush(ctx context.Context, account latchkey.AccountID, id string) error
	// Relations are the live ones of an account: they know what an inviter is called.
	Relations(ctx context.Context, account latchkey.AccountID) ([]latchkey.Relation, error)
	// Unheard reports whether no client of the guest has acknowledged a message or file.
	Unheard(ctx context.Context, e latchkey.Event) (bool, error)
}

// Telling is how much a call says.
type Telling string

// What a call says: that there is something; who wrote; and what they wrote.
const (
	Nothing Telling = "nothing"
	Name    Telling = "name"
	Text    Telling = "text"
)

// Options of a Crier. Key is required.
type Options struct {
	Key     Key                                   // the gateway's own
	Contact string                                // mailto: or https: URL of who runs the gateway, for push services (RFC 8292 §2.1)
	Tells   Telling                               // default Name
	Here    func(account latchkey.AccountID) bool // whether a guest has a stream open; nil: never
	Allows  func(netip.Addr) bool                 // whether a push service may stand at an address; nil: nowhere
	TLS     *tls.Config                           // default: the system's authorities
	Most    int                                   // subscriptions of one guest; default 5
	TTL     time.Duration                         // how long a push service keeps a call for a browser that can't be reached; default 168 h
	Doze    time.Duration                         // a stream that says nothing for so long is asleep; default 10 s
	Busy    int                                   // calls under way or waiting, one push service's half of them at most; what comes above is not told; default 1000
	Log     *slog.Logger
}

// Crier calls guests who are away. Close it after use.
type Crier struct {
	store  Store
	opt    Options
	log    *slog.Logger
	client *http.Client
	gate   *stranger.Gate // for requests
	meter  meter

	ctx     context.Context // until Close
	stop    context.CancelFunc
	calling sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	closed bool
	news   map[subject]latchkey.Event // what waits to be told of, the newest of each
	calls  map[target]*call
	sites  map[string]int // calls by the site of their push service
}

// subject is what one call is about: the newest word of an inviter takes the place of older ones.
type subject struct {
	account latchkey.AccountID
	from    string
}

// Limits of what is asked of a stranger's server.
const (
	maxRequests   = 16 // at a time
	maxTTL        = 28 * 24 * time.Hour
	attemptTime   = 10 * time.Second
	promptly      = 2 * time.Second // a push service that takes longer counts as slow
	attempts      = 8
	firstPause    = 2 * time.Second // doubles, up to maxPause
	maxPause      = 10 * time.Minute
	maxRetryAfter = time.Hour
	maxAnswer     = 4 << 10
)

// New makes a Crier. Close ends it.
func New(store Store, opt Options) *Crier {
	if opt.Tells == "" {
		opt.Tells = Name
	}
	if opt.Here == nil {
		opt.Here = func(latchkey.AccountID) bool { return false }
	}
	if opt.Allows == nil {
		opt.Allows = func(netip.Addr) bool { return false }
	}
	if opt.Most <= 0 {
		opt.Most = 5
	}
	if opt.TTL <= 0 {
		opt.TTL = 168 * time.Hour
	}
	opt.TTL = min(opt.TTL, maxTTL)
	if opt.Doze <= 0 {
		opt.Doze = 10 * time.Second
	}
	if opt.Busy <= 0 {
		opt.Busy = 1000
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	c := &Crier{store: store, opt: opt, log: opt.Log, gate: stranger.NewGate(maxRequests), news: map[subject]latchkey.Event{}, calls: map[target]*call{}, sites: map[string]int{}}
	c.meter = newMeter(c)
	c.ctx, c.stop = context.WithCancel(context.Background())
	c.client = &http.Client{
		Timeout: attemptTime,
		Transport: &http.Transport{
			DialContext: stranger.Dial(opt.Allows), TLSClientConfig: opt.TLS, MaxResponseHeaderBytes: 32 << 10,
			DisableCompression: true, MaxIdleConns: 32, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true,
			HTTP2: &http.HTTP2Config{SendPingTimeout: attemptTime, PingTimeout: attemptTime / 2}, // or a dead connection takes all that comes after it
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c
}

// Close gives up what is under way. It is idempotent.
func (c *Crier) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.stop()
	c.calling.Wait()
	c.client.CloseIdleConnections()
}

// Key is the gateway's public key, which browsers ask for when they subscribe (RFC 8292 §3.2), in base64url.
func (c *Crier) Key() string { return c.opt.Key.public }

// Subscribe notes that a guest wants to be called by a browser. Its address and keys are those of the browser's PushSubscription. known: it was
// noted before, for the same guest.
func (c *Crier) Subscribe(ctx context.Context, account latchkey.AccountID, endpoint, p256dh, auth string, expires time.Time) (p latchkey.PushSubscription, known bool, err error) {
	if p, err = c.subscription(endpoint, p256dh, auth); err != nil {
		return p, false, err
	}
	p.ID, p.Account, p.Created, p.Expires = latchkey.NewToken(), account, time.Now().UTC(), expires
	return c.store.AddPush(ctx, p, c.opt.Most)
}

// Unsubscribe notes that a guest no longer wants to be called by a browser.
func (c *Crier) Unsubscribe(ctx context.Context, account latchkey.AccountID, id string) error {
	return c.store.DropPush(ctx, account, id)
}

// begin runs f beside the caller, if there is room. c.mu is held.
func (c *Crier) begin(f func()) bool {
	if c.closed || len(c.news)+len(c.calls) >= c.opt.Busy {
		return false
	}
	c.calling.Go(f) // ends with what it tells, or with Close
	return true
}
