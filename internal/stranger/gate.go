package stranger

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"golang.org/x/net/publicsuffix"
)

// Gate shares out how many requests to servers of strangers may be under way at once, so that no server that hangs, and nobody who names such servers,
// keeps the others waiting. A server that has answered in time may have most places while nobody else wants them, and a quarter while somebody
// does. One that is slow, and one that nobody knows, has a quarter at most, and one that was silent lately a single place;
// all of these together have half. So the other half passes between servers that answer.
type Gate struct {
	most  int // places
	share int // of one site while others wait, and of one asker

	mu      sync.Mutex // guards the fields below
	sites   map[string]*site
	askers  map[string]int // places held
	held    int
	doubted int     // of these by sites that are not prompt
	waiting []*Turn // in the order in which they came
}

// Manner is how a server answered a request.
type Manner int

// The manners.
const (
	Unasked Manner = iota // it was not asked in the end; nothing is known that was not before
	Prompt                // soon enough
	Slow                  // but late
	Silent                // not at all
)

// ErrSilent says that the server is given up for now: another request to it got no answer meanwhile.
var ErrSilent = errors.New("server is silent")

// knownSites is how many are remembered though nothing of theirs is under way.
const knownSites = 1024

// site is all servers under one name that somebody registered.
type site struct {
	name    string
	manner  Manner // the last; Unasked: nobody knows it
	held    int    // places
	waiting int
}

// Turn is a place, or the wait for one. Leave it in the end; a second time is none.
type Turn struct {
	gate  *Gate
	site  *site
	asker string
	in    chan error // of one: nil once it has a place
	held  bool
}

// NewGate makes a Gate with so many places.
func NewGate(most int) *Gate {
	return &Gate{most: most, share: max(1, most/4), sites: map[string]*site{}, askers: map[string]int{}}
}

// Enter waits for a place for a request that asker, a name that means something to the caller alone, wants sent to host. It ends with ctx, or with
// ErrSilent.
func (g *Gate) Enter(ctx context.Context, host, asker string) (*Turn, error) {
	t := &Turn{gate: g, asker: asker, in: make(chan error, 1)}
	g.mu.Lock()
	t.site = g.site(Site(host))
	t.site.waiting++
	g.waiting = append(g.waiting, t)
	g.admit()
	g.mu.Unlock()
	select {
	case err := <-t.in:
		if err != nil {
			return nil, err
		}
		return t, nil
	case <-ctx.Done():
		g.mu.Lock()
		defer g.mu.Unlock()
		g.remove(t)
		g.admit()
		return nil, ctx.Err()
	}
}

// Linger says that the request takes its time: from now on its server counts as slow.
func (t *Turn) Linger() {
	t.gate.mu.Lock()
	defer t.gate.mu.Unlock()
	if t.held {
		t.gate.judge(t.site, Slow)
	}
}

// Leave gives the place back and says how the server answered. Where it was silent all that wait for it are told so.
func (t *Turn) Leave(m Manner) {
	g := t.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	if !t.held {
		return
	}
	if m == Silent {
		for _, w := range slices.Clone(g.waiting) {
			if w.site == t.site {
				g.remove(w)
				w.in <- ErrSilent
			}
		}
	}
	g.judge(t.site, m)
	g.remove(t)
	g.admit()
}

// site finds what is known of a site. g.mu is held, as in all that follow.
func (g *Gate) site(name string) *site {
	s := g.sites[name]
	if s == nil {
		s = &site{name: name}
		g.sites[name] = s
	}
	return s
}

func (g *Gate) judge(s *site, m Manner) {
	if m == Unasked {
		return
	}
	if s.manner != Prompt {
		g.doubted -= s.held
	}
	if s.manner = m; m != Prompt {
		g.doubted += s.held
	}
}

// admit gives places to those whose turn it is.
func (g *Gate) admit() {
	for t := g.next(); t != nil; t = g.next() {
		g.waiting = slices.DeleteFunc(g.waiting, func(w *Turn) bool { return w == t })
		t.site.waiting--
		t.site.held++
		g.askers[t.asker]++
		g.held++
		if t.site.manner != Prompt {
			g.doubted++
		}
		t.held = true
		t.in <- nil
	}
}

// next is who has the next place: first those whose server answers and has not had its share, then those whose server is in doubt, then
// the others. Within each of these whoever came first. One in doubt is always tried, or it would never get out of it.
func (g *Gate) next() *Turn {
	if g.held == g.most {
		return nil
	}
	var prompt, doubtful, more *Turn
	for _, t := range g.waiting {
		s := t.site
		switch {
		case g.askers[t.asker] >= g.share:
		case s.manner != Prompt:
			if doubtful == nil && s.held < g.inDoubt(s) && g.doubted < max(1, g.most/2) {
				doubtful = t
			}
		case prompt == nil && s.held < g.share:
			prompt = t
		case more == nil && s.held < g.most-g.share:
			more = t
		}
	}
	switch {
	case doubtful != nil && (prompt == nil || g.doubted == 0):
		return doubtful
	case prompt != nil:
		return prompt
	}
	return more
}

// inDoubt is how many places a site may have that is not prompt.
func (g *Gate) inDoubt(s *site) int {
	if s.manner == Silent {
		return 1
	}
	return g.share
}

// remove ends a turn, and forgets of its site what needs no memory.
func (g *Gate) remove(t *Turn) {
	s := t.site
	if t.held {
		t.held = false
		s.held--
		g.held--
		if s.manner != Prompt {
			g.doubted--
		}
		if g.askers[t.asker]--; g.askers[t.asker] == 0 {
			delete(g.askers, t.asker)
		}
	} else if i := slices.Index(g.waiting, t); i >= 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
		s.waiting--
	}
	if s.held+s.waiting == 0 && s.manner == Unasked && g.sites[s.name] == s {
		delete(g.sites, s.name)
	}
	for name, old := range g.sites { // any of those that are quiet
		if len(g.sites) <= knownSites {
			return
		}
		if old.held+old.waiting == 0 {
			delete(g.sites, name)
		}
	}
}

// Site is what stands for all servers that one owner can make up names or addresses for: the name under a public suffix, a network of
// IPv6, an address of IPv4.
func Site(host string) string {
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		if a = a.Unmap().WithZone(""); a.Is4() {
			return a.String()
		}
		return netip.PrefixFrom(a, 64).Masked().String()
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if name, err := publicsuffix.EffectiveTLDPlusOne(host); err == nil {
		return name
	}
	return host
}
