package httpapi

import (
	"context"
	"slices"
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
	by     [ways]int // requests that are between enter and leave

	saying sync.Mutex // guards what vigils say; nothing else is locked under it, for presence calls while it holds its own lock

	requests sync.WaitGroup // that are between enter and leave
	watching sync.WaitGroup // what looks up the inviters of guests who are here
	tellers  crew           // of changes
}

// way is how a request reads events.
type way int

const (
	read   way = iota // what is there
	byPoll            // waits for the next ones
	bySSE
	bySocket
	ways
)

// tellersAtOnce bounds how many changes are written down at a time; they share commits.
const tellersAtOnce = 256

// attendee is one guest who is here.
type attendee struct {
	streams int       // requests that may not be too many
	open    int       // all requests
	until   time.Time // how long a poll makes them stay
	lapse   *time.Timer
	ctx     context.Context    // until the guest leaves
	leave   context.CancelFunc // ends what looks up the inviters
	stale   bool               // the inviters may be others than those in watched
	looking bool               // refresh is under way
	watched []*vigil
}

// vigil follows one inviter of a guest who is here.
type vigil struct {
	relation latchkey.RelationID
	account  latchkey.AccountID
	inviter  latchkey.InviterID
	stop     func()

	// Guarded by attendance.saying.
	over  bool
	words []latchkey.StatusState // that are not told yet; there is a teller for them
}

// maxWords bounds a vigil's words. Of more, those in the middle are over before anybody hears them.
const maxWords = 8

func newAttendance(ports Ports, opt Options) *attendance {
	t := &attendance{ports: ports, opt: opt, here: map[latchkey.AccountID]*attendee{}, told: map[latchkey.RelationID]latchkey.StatusState{}, tellers: crew{most: tellersAtOnce}}
	t.ctx, t.stop = context.WithCancel(context.Background())
	return t
}

// enter notes a request of a guest. Who reads or polls stays for a while after it; all but those who only read are
// limited by Options.MaxStreams. leave must be called once.
func (t *attendance) enter(account latchkey.AccountID, by way) (leave func(), err error) {
	lingers, counts := by == read || by == byPoll, by != read
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, latchkey.Errorf(latchkey.KindUnavailable, "the service is restarting")
	}
	g := t.here[account]
	if g != nil && counts && g.streams >= t.opt.MaxStreams {
		return nil, &latchkey.Error{Kind: latchkey.KindTooManyRequests, Public: "too many event streams are open", RetryAfter: 5 * time.Second, Err: errCrowded}
	}
	if g == nil {
		g = &attendee{}
		g.ctx, g.leave = context.WithCancel(t.ctx)
		t.here[account] = g
		t.ports.Hall.Present(account, 1)
		t.look(account, g)
	}
	if g.lapse != nil {
		g.lapse.Stop()
	}
	g.open++
	t.by[by]++
	if counts {
		g.streams++
	}
	t.requests.Add(1)
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		g.open--
		t.by[by]--
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
	for _, v := range g.watched {
		t.end(v)
	}
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
	t.tellers.working.Wait()
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
			t.follow(g, relations)
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

// follow begins the vigils that are new and ends those whose relation is over.
func (t *attendance) follow(g *attendee, relations []latchkey.Relation) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if g.ctx.Err() != nil {
		return
	}
	before := g.watched
	g.watched = make([]*vigil, 0, len(relations))
	for _, rel := range relations {
		if i := slices.IndexFunc(before, func(v *vigil) bool { return v.relation == rel.ID }); i >= 0 {
			g.watched = append(g.watched, before[i])
			before = slices.Delete(before, i, i+1)
			continue
		}
		v := &vigil{relation: rel.ID, account: rel.Account, inviter: rel.Inviter}
		g.watched = append(g.watched, v)
		v.stop = t.ports.Presence.Watch(v.account, v.inviter.Address(), func(s latchkey.Status) { t.hear(v, seen(s.State)) })
	}
	for _, v := range before {
		t.end(v)
	}
}

// end ends a vigil: no teller begins any more.
func (t *attendance) end(v *vigil) {
	v.stop()
	t.saying.Lock()
	defer t.saying.Unlock()
	v.over = true
}

// hear takes a word on an inviter, which a teller writes down.
func (t *attendance) hear(v *vigil, s latchkey.StatusState) {
	t.saying.Lock()
	defer t.saying.Unlock()
	switch n := len(v.words); {
	case n == maxWords:
		v.words[n-1] = s
		return
	case n == 0:
		t.tellers.do(func(func()) { t.tell(v) })
	}
	v.words = append(v.words, s)
}

// tell writes down what a vigil has heard, in its order.
func (t *attendance) tell(v *vigil) {
	for s, ok := t.word(v, false); ok; s, ok = t.word(v, true) {
		t.write(v, s)
	}
}

// word is the first of a vigil's words, which stays there until it is said, so that no other teller begins.
func (t *attendance) word(v *vigil, said bool) (latchkey.StatusState, bool) {
	t.saying.Lock()
	defer t.saying.Unlock()
	if said {
		v.words = v.words[1:]
	}
	if v.over || len(v.words) == 0 {
		v.words = nil
		return "", false
	}
	return v.words[0], true
}

// write adds a status event, unless the last one in the stream said the same.
func (t *attendance) write(v *vigil, s latchkey.StatusState) {
	if t.ctx.Err() != nil || !t.note(v.relation, s) {
		return
	}
	err := t.ports.Hall.Post(t.ctx, latchkey.Event{Type: latchkey.StatusEvent, Account: v.account, URI: string(v.inviter), Status: string(s)})
	if err == nil {
		return
	}
	t.mu.Lock()
	delete(t.told, v.relation) // so that the next word counts, whatever it is
	t.mu.Unlock()
	if t.ctx.Err() == nil {
		t.opt.Log.Error("status not told", latchkey.LogRelation, v.relation, latchkey.LogError, err)
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
