package httpapi

import (
	"context"
	"sync"
	"time"

	"latchkey"
)

// maxTold bounds how many last words on inviters are remembered.
const maxTold = 100_000

// attendance knows which guests are here: those with an open stream, and for a while those who poll. While a guest is
// here the states of the inviters are watched, once for all of the guest's streams, and each change
// becomes an event (R24, F26c).
type attendance struct {
	ports Ports
	opt   Options
	ctx   context.Context
	stop  context.CancelFunc

	mu     sync.Mutex // guards the fields below and those of attendees
	here   map[latchkey.AccountID]*attendee
	told   map[latchkey.RelationID]latchkey.StatusState // last word that stands in the guest's stream
	closed bool

	requests sync.WaitGroup // that are between enter and leave
	watching sync.WaitGroup // what follows the inviters of guests who are here
}

// attendee is one guest who is here.
type attendee struct {
	streams int       // requests that may not be too many
	open    int       // all requests
	until   time.Time // how long a poll makes them stay
	lapse   *time.Timer
	ctx     context.Context                            // until the guest leaves
	leave   context.CancelFunc                         // ends what follows the inviters
	stale   bool                                       // the inviters may be others than those in watched
	looking bool                                       // refresh is under way
	watched map[latchkey.RelationID]context.CancelFunc // refresh's own
}

func newAttendance(ports Ports, opt Options) *attendance {
	t := &attendance{ports: ports, opt: opt, here: map[latchkey.AccountID]*attendee{}, told: map[latchkey.RelationID]latchkey.StatusState{}}
	t.ctx, t.stop = context.WithCancel(context.Background())
	return t
}

// enter notes a request of a guest. lingers: the guest stays for a while after it. counts: it
// is one of those that Options.MaxStreams limits. leave must be called once.
func (t *attendance) enter(account latchkey.AccountID, lingers, counts bool) (leave func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, latchkey.Errorf(latchkey.KindUnavailable, "the service is restarting")
	}
	g := t.here[account]
	if g != nil && counts && g.streams >= t.opt.MaxStreams {
		return nil, &latchkey.Error{Kind: latchkey.KindTooManyRequests, Public: "too many event streams are open", RetryAfter: 5 * time.Second}
	}
	if g == nil {
		g = &attendee{watched: map[latchkey.RelationID]context.CancelFunc{}}
		g.ctx, g.leave = context.WithCancel(t.ctx)
		t.here[account] = g
		t.ports.Hall.Present(account, 1)
		t.look(account, g)
	}
	if g.lapse != nil {
		g.lapse.Stop()
	}
	g.open++
	if counts {
		g.streams++
	}
	t.requests.Add(1)
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		g.open--
		if counts {
			g.streams--
		}
		if lingers {
			g.until = time.Now().Add(t.opt.Linger)
		}
		t.settle(account, g)
		t.requests.Done()
	}, nil
}

// settle sees a guest off who has no request open and need not be waited for. t.mu is held.
func (t *attendance) settle(account latchkey.AccountID, g *attendee) {
	if g.open > 0 || t.here[account] != g {
		return
	}
	if d := time.Until(g.until); d > 0 {
		g.lapse = time.AfterFunc(d, func() {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.settle(account, g)
		})
		return
	}
	delete(t.here, account)
	g.leave()
	t.ports.Hall.Present(account, -1)
}

// close sees everybody off and waits for requests and watches.
func (t *attendance) close() {
	t.mu.Lock()
	t.closed = true
	for account, g := range t.here {
		if g.lapse != nil {
			g.lapse.Stop()
		}
		g.until = time.Time{}
		t.settle(account, g)
	}
	t.mu.Unlock()
	t.requests.Wait()
	t.stop()
	t.watching.Wait()
}

// changed says that a guest's inviters may have changed: one of the guest's requests has read so in the stream.
func (t *attendance) changed(account latchkey.AccountID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if g := t.here[account]; g != nil {
		t.look(account, g)
	}
}

// look has a guest's inviters looked up anew. t.mu is held.
func (t *attendance) look(account latchkey.AccountID, g *attendee) {
	g.stale = true
	if !g.looking {
		g.looking = true
		t.watching.Go(func() { t.refresh(account, g) }) // ends when all is up to date, or the guest leaves
	}
}

// refresh follows the inviters of a guest who are there now.
func (t *attendance) refresh(account latchkey.AccountID, g *attendee) {
	for {
		t.mu.Lock()
		if !g.stale || g.ctx.Err() != nil {
			g.looking = false
			t.mu.Unlock()
			return
		}
		g.stale = false
		t.mu.Unlock()
		relations, err := t.ports.Desk.Relations(g.ctx, account)
		if err == nil {
			t.follow(g.ctx, relations, g.watched)
			continue
		}
		if g.ctx.Err() == nil && !latchkey.Is(err, latchkey.KindUnavailable) { // the gateway is about to stop
			t.opt.Log.Warn("inviters of a guest not followed", latchkey.LogGuest, account, latchkey.LogError, err)
		}
		select {
		case <-time.After(5 * time.Second):
		case <-g.ctx.Done():
		}
		t.mu.Lock()
		g.stale = true
		t.mu.Unlock()
	}
}

// follow begins the watches that are new and ends those whose relation is over.
func (t *attendance) follow(ctx context.Context, relations []latchkey.Relation, watched map[latchkey.RelationID]context.CancelFunc) {
	over := make(map[latchkey.RelationID]bool, len(watched))
	for id := range watched {
		over[id] = true
	}
	for _, rel := range relations {
		delete(over, rel.ID)
		if watched[rel.ID] != nil {
			continue
		}
		watching, cancel := context.WithCancel(ctx)
		watched[rel.ID] = cancel
		t.watching.Go(func() { // ends with watching
			defer cancel()
			for s := range t.ports.Presence.Watch(watching, rel.Account, rel.Inviter.Address()) {
				_, _ = aside(func() (_ struct{}, _ error) {
					t.tell(watching, rel, seen(s.State))
					return
				})
			}
		})
	}
	for id := range over {
		watched[id]()
		delete(watched, id)
	}
}

// tell adds a status event, unless the last one in the stream said the same.
func (t *attendance) tell(ctx context.Context, rel latchkey.Relation, s latchkey.StatusState) {
	if ctx.Err() != nil || !t.note(rel.ID, s) {
		return
	}
	err := t.ports.Hall.Post(ctx, latchkey.Event{Type: latchkey.StatusEvent, Account: rel.Account, URI: string(rel.Inviter), Status: string(s)})
	if err == nil {
		return
	}
	t.mu.Lock()
	delete(t.told, rel.ID) // so that the next word counts, whatever it is
	t.mu.Unlock()
	if ctx.Err() == nil {
		t.opt.Log.Error("status not told", latchkey.LogRelation, rel.ID, latchkey.LogError, err)
	}
}

// note remembers the last word on an inviter; false where it is the same as before.
func (t *attendance) note(id latchkey.RelationID, s latchkey.StatusState) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	last, known := t.told[id]
	if known && last == s {
		return false
	}
	if !known && len(t.told) >= maxTold {
		for any := range t.told { // whose memory goes hears the same word twice, no more
			delete(t.told, any)
			break
		}
	}
	t.told[id] = s
	return true
}
