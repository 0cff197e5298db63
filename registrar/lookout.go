package registrar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey"
	"latchkey/internal/limit"
	"latchkey/internal/sipua"
)

// Sightings keeps what the core tells of its users.
type Sightings interface {
	SaveSighting(ctx context.Context, s latchkey.Sighting) error
	// Sighting is KindNotFound where nothing was ever told.
	Sighting(ctx context.Context, identity latchkey.InviterID) (latchkey.Sighting, error)
	LeavingSightings(ctx context.Context) ([]latchkey.InviterID, error)
	// LapsedSightings lists some who are seen, but whose third-party registration ended before t.
	LapsedSightings(ctx context.Context, t time.Time, limit int) ([]latchkey.Sighting, error)
	LatestSCSCF(ctx context.Context) (string, error)
	PurgeSightings(ctx context.Context, t time.Time) error
}

// RegEvent says when the lookout subscribes to reg-event.
type RegEvent string

// The ways to use reg-event. Confirm: where a third-party REGISTER says that an inviter is gone. Standing: for
// every inviter, and for the guests' own registrations. None: the core has no reg-event, and the third-party REGISTER
// is believed as it is.
const (
	Confirm  RegEvent = "confirm"
	Standing RegEvent = "standing"
	None     RegEvent = "none"
)

// Report is what the core told of a user at a time.
type Report struct {
	Online   bool
	Features string // parameters of the user's Contacts; "": not told
	Doubtful bool   // there may be another contact, so it is better to ask
	At       time.Time
}

// LookoutOptions are those of a Lookout. Core and Self are required.
type LookoutOptions struct {
	Core     string        // URI of the first hop into the core
	Self     string        // the gateway's own SIP URI, in whose name it subscribes
	RegEvent RegEvent      // default Confirm
	Expires  time.Duration // of subscriptions; default 3761 s (RFC 3680 §4.4)
	Grace    time.Duration // how long after its expiry a third-party registration still counts; default 120 s
	Timeout  time.Duration // how long the core may take to answer; default 10 s
	Rate     float64       // acts that Run begins per second; default 100
	Parallel int           // acts that Run has under way at once; default 32

	// Trusts reports whether the request came from a host of the trust domain (PROTOCOLS B1.05); nil: none did.
	Trusts func(*sip.Request) bool
	// Related reports whether the user has live relations; nil: nobody has.
	Related func(context.Context, latchkey.Address) (bool, error)
	// Gone is called when the user has surely left, until it returns nil; nil: nothing follows from it.
	Gone func(context.Context, latchkey.Address) error
	// Told is called for all that the core tells. It must not block; nil: nobody is.
	Told func(latchkey.Address, Report)
	// Lost is called when the core says that it threw out or shortened a guest's own contact, and in which way, or that it is there after all,
	// and for each who is no inviter when it says that they left; nil: nobody is.
	Lost func(context.Context, latchkey.AccountID, Loss)
	// Hop, ServiceRoute and Credentials are for subscriptions of guests; nil: none.
	Hop          func(context.Context, latchkey.AccountID) (string, error)
	ServiceRoute func(context.Context, latchkey.AccountID) ([]string, error)
	Credentials  func(latchkey.AccountID) sipua.Credentials

	Log *slog.Logger
}

// Lookout knows from the core which of its users are there: by third-party REGISTER (TS 24.229
// §5.7.1.1) and by reg-event (RFC 3680). The word that an inviter is gone is confirmed before anything
// follows from it (PROTOCOLS B1.04).
type Lookout struct {
	store Sightings
	wire  Wire
	opt   LookoutOptions
	log   *slog.Logger

	schedule *schedule[watching]
	turns    *limit.Turns[watching] // one act at a time for each subscription
	scscf    atomic.Pointer[string] // the S-CSCF heard of last

	mu      sync.Mutex
	subs    map[watching]*subscription
	dialogs map[string]*subscription // by Call-ID and our tag
	resting map[watching]bool        // their notifier has nothing more to say, until there is news by another way
}

// watching names one whose registration is watched: a user, by the gateway, or a guest's account, by itself.
type watching struct {
	identity string
	self     bool
}

func (w watching) inviter() latchkey.InviterID { return latchkey.InviterID(w.identity) }

// NewLookout makes a Lookout. Call Resume once and then Run.
func NewLookout(store Sightings, wire Wire, opt LookoutOptions) *Lookout {
	if opt.RegEvent == "" {
		opt.RegEvent = Confirm
	}
	if opt.Expires == 0 {
		opt.Expires = 3761 * time.Second
	}
	if opt.Grace == 0 {
		opt.Grace = 120 * time.Second
	}
	if opt.Timeout == 0 {
		opt.Timeout = 10 * time.Second
	}
	if opt.Rate == 0 {
		opt.Rate = 100
	}
	if opt.Parallel == 0 {
		opt.Parallel = 32
	}
	if opt.Trusts == nil {
		opt.Trusts = func(*sip.Request) bool { return false }
	}
	if opt.Related == nil {
		opt.Related = func(context.Context, latchkey.Address) (bool, error) { return false, nil }
	}
	if opt.Gone == nil {
		opt.Gone = func(context.Context, latchkey.Address) error { return nil }
	}
	if opt.Told == nil {
		opt.Told = func(latchkey.Address, Report) {}
	}
	if opt.Lost == nil {
		opt.Lost = func(context.Context, latchkey.AccountID, Loss) {}
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	return &Lookout{
		store: store, wire: wire, opt: opt, log: opt.Log, schedule: newSchedule[watching](), turns: limit.NewTurns[watching](1),
		subs: map[watching]*subscription{}, dialogs: map[string]*subscription{}, resting: map[watching]bool{},
	}
}

// Follow watches an inviter for as long as there are relations, where subscriptions are standing.
func (l *Lookout) Follow(inviter latchkey.InviterID) { l.look(watching{string(inviter), false}) }

// FollowGuest watches the registration of a guest's account, as the guest's user agent does (TS 24.229 §5.1.1.3
// (unverified)), where subscriptions are standing.
func (l *Lookout) FollowGuest(account latchkey.AccountID) {
	w := watching{string(account), true}
	if sub := l.find(w); sub != nil {
		sub.set(func() { sub.unwanted = false })
	}
	l.look(w)
}

// LeaveGuest ends what FollowGuest began.
func (l *Lookout) LeaveGuest(account latchkey.AccountID) {
	w := watching{string(account), true}
	if sub := l.find(w); sub != nil {
		sub.set(func() { sub.unwanted = true })
		l.schedule.set(w, time.Now())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.resting, w)
}

// look lets Run see to somebody who may be to be watched now, or no longer.
func (l *Lookout) look(w watching) {
	if l.opt.RegEvent == Standing || l.find(w) != nil {
		l.again(w)
	}
}

// again has somebody seen to at once, also if their notifier had nothing more to say.
func (l *Lookout) again(w watching) {
	l.mu.Lock()
	delete(l.resting, w)
	l.mu.Unlock()
	l.schedule.set(w, time.Now())
}

// rests reports whether nobody is to be asked about w for now.
func (l *Lookout) rests(w watching) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.resting[w]
}

// rest drops a subscription whose notifier has nothing more to say. Looks at it that wait for their turn are not to open another one.
func (l *Lookout) rest(sub *subscription) {
	l.drop(sub)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.resting[sub.of] = true
}

// SCSCF is the S-CSCF that serves the account, as far as a third-party REGISTER told, else the one heard of last; ""
// where none was (PROTOCOLS B1.09).
func (l *Lookout) SCSCF(ctx context.Context, account latchkey.AccountID) (string, error) {
	s, err := l.store.Sighting(ctx, latchkey.InviterID(account))
	switch {
	case err == nil && s.SCSCF != "":
		return s.SCSCF, nil
	case err != nil && !latchkey.Is(err, latchkey.KindNotFound):
		return "", err
	}
	if latest := l.scscf.Load(); latest != nil {
		return *latest, nil
	}
	return "", nil
}

// Resume takes up what a restart interrupted, and watches the inviters anew. Call it once, before Run.
func (l *Lookout) Resume(ctx context.Context, inviters []latchkey.InviterID) error {
	leaving, err := l.store.LeavingSightings(ctx)
	if err != nil {
		return fmt.Errorf("resume sightings: %w", err)
	}
	for _, identity := range leaving {
		l.schedule.set(watching{string(identity), false}, time.Now())
	}
	for _, inviter := range inviters {
		l.Follow(inviter)
	}
	latest, err := l.store.LatestSCSCF(ctx)
	if err != nil {
		return fmt.Errorf("resume sightings: %w", err)
	}
	if latest != "" {
		l.scscf.CompareAndSwap(nil, &latest)
	}
	return nil
}

// How Run spends its time.
const (
	lapseEvery  = 30 * time.Second
	lapseAtOnce = 500
	rememberFor = 24 * time.Hour // how long it is known that somebody is gone, so that a late REGISTER is known as one
)

// Run sees to subscriptions, to those whose leaving is to be confirmed, and to third-party registrations that
// ran out, until ctx ends. It returns nil.
func (l *Lookout) Run(ctx context.Context) error {
	var lapses sync.WaitGroup
	lapses.Go(func() { // ends with ctx
		for tick := time.NewTicker(lapseEvery); ; {
			if err := l.lapse(ctx); err != nil && ctx.Err() == nil {
				l.log.Error("sweep of sightings", latchkey.LogError, err)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				tick.Stop()
				return
			}
		}
	})
	l.schedule.run(ctx, l.opt.Rate, l.opt.Parallel, func(ctx context.Context, w watching) {
		if err := l.act(ctx, w); err != nil && ctx.Err() == nil {
			l.log.Warn("registration not watched", "identity", w.identity, latchkey.LogError, err)
		}
	})
	lapses.Wait()
	return nil
}

// lapse treats third-party registrations that were not renewed as taken back.
func (l *Lookout) lapse(ctx context.Context) error {
	now := time.Now()
	for {
		all, err := l.store.LapsedSightings(ctx, now.Add(-l.opt.Grace), lapseAtOnce)
		if err != nil {
			return err
		}
		for _, s := range all {
			if err := l.lapseOne(ctx, s.Identity, now); err != nil {
				return err
			}
		}
		if len(all) < lapseAtOnce {
			return l.store.PurgeSightings(ctx, now.Add(-rememberFor))
		}
	}
}

func (l *Lookout) lapseOne(ctx context.Context, identity latchkey.InviterID, now time.Time) error {
	w := watching{string(identity), false}
	release, err := l.turns.Take(ctx, w)
	if err != nil {
		return err
	}
	defer release()
	s, err := l.store.Sighting(ctx, identity) // it may have been renewed meanwhile
	if err != nil || s.State != latchkey.Seen || s.Expires.IsZero() || !s.Expires.Before(now.Add(-l.opt.Grace)) {
		return err
	}
	s.State, s.Changed, s.Expires = latchkey.Leaving, now, time.Time{}
	if err := l.store.SaveSighting(ctx, s); err != nil {
		return err
	}
	l.again(w)
	return nil
}

// act does what is due for one: what follows from a verdict first, then the subscription, as long as there
// is a reason for one.
func (l *Lookout) act(ctx context.Context, w watching) error {
	release, err := l.turns.Take(ctx, w)
	if err != nil {
		return err
	}
	defer release()
	sub := l.find(w)
	ended := sub != nil && sub.begin()
	var wanted bool
	if w.self {
		wanted, err = l.actForGuest(ctx, w, sub)
	} else {
		wanted, err = l.actForInviter(ctx, w, sub)
	}
	if err != nil {
		l.schedule.set(w, time.Now().Add(backoff(1))) // the store, or what follows from leaving
		return err
	}
	switch {
	case !wanted && sub == nil:
		l.mu.Lock()
		delete(l.resting, w)
		l.mu.Unlock()
	case ended:
		l.rest(sub)
	case wanted && sub == nil && l.rests(w):
	case wanted && sub == nil:
		return l.subscribe(ctx, l.open(w))
	case wanted:
		at, again := sub.next()
		if !again {
			l.schedule.set(w, at)
			return nil
		}
		if sub.silent() {
			return l.subscribeLater(sub, 0, errors.New("no NOTIFY came"))
		}
		return l.subscribe(ctx, sub)
	case sub != nil:
		return l.unsubscribe(ctx, sub)
	}
	return nil
}

// actForInviter reports whether a subscription is wanted.
func (l *Lookout) actForInviter(ctx context.Context, w watching, sub *subscription) (wanted bool, err error) {
	address, err := latchkey.ParseAddress(w.identity)
	if err != nil {
		return false, nil // nobody's
	}
	s, err := l.store.Sighting(ctx, w.inviter())
	if latchkey.Is(err, latchkey.KindNotFound) {
		s, err = latchkey.Sighting{Identity: w.inviter()}, nil
	}
	if err != nil {
		return false, err
	}
	was, v, came := s, undecided, false
	if sub != nil {
		came = sub.takeCame() // before the verdict: what comes in between is for the next look
		v = sub.said()
		defer func() {
			if err != nil && came {
				sub.set(func() { sub.came = true }) // the next look is to know it, too
			}
		}()
	}
	switch {
	case v == present && s.State != latchkey.Seen:
		s.State, s.Changed = latchkey.Seen, time.Now() // F57b: gone for us, but there by another contact
	case v == absent && (s.State == latchkey.Seen || came):
		s.State, s.Changed, s.Expires = latchkey.Leaving, time.Now(), time.Time{}
	}
	related, err := l.opt.Related(ctx, address)
	if err != nil {
		return false, err
	}
	if s.State == latchkey.Leaving && (v == absent || !related || l.opt.RegEvent == None) {
		if !related { // perhaps a guest's account, whose own contact the core took away without a reason
			l.opt.Lost(ctx, latchkey.AccountID(w.identity), Loss{Event: unexplained, Heard: s.Changed})
		} else {
			if s != was { // first the row, so that a crash in between repeats what follows
				if err := l.store.SaveSighting(ctx, s); err != nil {
					return false, err
				}
			}
			l.log.Info("inviter left the network", latchkey.LogInviter, w.identity)
			if err := l.opt.Gone(ctx, address); err != nil {
				return false, fmt.Errorf("what follows from the leaving of %s: %w", w.identity, err)
			}
			if related, err = l.opt.Related(ctx, address); err != nil {
				return false, err
			}
		}
		s.State, s.Changed = latchkey.Gone, time.Now()
	}
	if s != was {
		if err := l.store.SaveSighting(ctx, s); err != nil {
			return false, err
		}
	}
	switch l.opt.RegEvent {
	case None:
		return false, nil
	case Standing:
		return related, nil
	}
	// A subscription that began to confirm stays while it alone says that the user is there.
	return related && (s.State == latchkey.Leaving || s.State == latchkey.Seen && s.Expires.IsZero() && sub != nil), nil
}

func (l *Lookout) actForGuest(ctx context.Context, w watching, sub *subscription) (wanted bool, err error) {
	if l.opt.RegEvent != Standing {
		return false, nil
	}
	if sub == nil {
		return true, nil
	}
	if loss := sub.takeLoss(); loss != nil {
		l.opt.Lost(ctx, latchkey.AccountID(w.identity), *loss)
	}
	return !sub.isUnwanted(), nil
}

func (l *Lookout) find(w watching) *subscription {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.subs[w]
}

// unexplained is a way to lose a contact that RFC 3680 does not have: a third-party deregistration tells none.
const unexplained = "deregistered"

var errNoRegEvent = errors.New("the core has no reg-event for this")
