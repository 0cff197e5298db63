package limit

import (
	"net/netip"
	"time"

	"latchkey"
)

// Guard limits attempts to log in (S4). Only failures count: an account may fail so often
// from one place, a place so often for all accounts together, and an account so often from all
// places together. Whoever logged in before from where they are now is held to the first
// limit only, so that an attacker neither locks a person out nor a whole house.
type Guard struct {
	pair, place, account *Window
	known                *Window // pairs that succeeded lately
}

// Limits of a Guard. Zero values take the defaults.
type Limits struct {
	Pair    int           // failures of an account from one address; default 10
	Place   int           // failures from one address (IPv6: one /64); default 10
	Account int           // failures of an account; default 100
	Window  time.Duration // in which these count; default a minute
	Known   time.Duration // how long a success is remembered; default a day
	Keys    int           // entries of each table; default 100,000
}

// NewGuard makes a Guard.
func NewGuard(l Limits) *Guard {
	if l.Pair <= 0 {
		l.Pair = 10
	}
	if l.Place <= 0 {
		l.Place = 10
	}
	if l.Account <= 0 {
		l.Account = 100
	}
	if l.Window <= 0 {
		l.Window = time.Minute
	}
	if l.Known <= 0 {
		l.Known = 24 * time.Hour
	}
	if l.Keys <= 0 {
		l.Keys = 100_000
	}
	return &Guard{
		pair:    NewWindow(l.Pair, l.Window, l.Keys),
		place:   NewWindow(l.Place, l.Window, l.Keys),
		account: NewWindow(l.Account, l.Window, l.Keys),
		known:   NewWindow(1, l.Known, l.Keys),
	}
}

// Try runs check and counts its failure. Over the limit, check doesn't run and the error
// is a KindTooManyRequests with the time to wait. A failed check is KindUnauthorized;
// any other error of check is returned and doesn't count.
//
// An attempt counts while it is under way, too: parallel guesses are no way around.
func (g *Guard) Try(who string, from netip.Addr, check func() (bool, error)) error {
	place := Place(from)
	key := place + " " + who
	type charge struct {
		w   *Window
		key string
	}
	charges := []charge{{g.pair, key}}
	known := g.known.Wait(key) > 0
	if known {
		// One who is known may ask many times at once; only failures are held against them.
		if wait := g.pair.Wait(key); wait > 0 {
			return refuse(wait)
		}
		charges = nil
	} else {
		charges = append(charges, charge{g.place, place}, charge{g.account, who})
	}
	for i, c := range charges {
		if wait, ok := c.w.Take(c.key); !ok {
			for _, taken := range charges[:i] {
				taken.w.Return(taken.key)
			}
			return refuse(wait)
		}
	}
	ok, err := check()
	if ok || err != nil {
		for _, c := range charges {
			c.w.Return(c.key)
		}
	}
	if err != nil {
		return err
	}
	if !ok {
		if known {
			g.pair.Take(key)
		}
		return latchkey.Errorf(latchkey.KindUnauthorized, "")
	}
	if !known {
		g.known.Take(key)
	}
	return nil
}

// Place is the part of an address that one party controls: the whole of IPv4, a /64 of IPv6.
func Place(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.String()
}

func refuse(wait time.Duration) error {
	e := latchkey.Errorf(latchkey.KindTooManyRequests, "too many failed attempts; wait a minute")
	e.RetryAfter = max(wait, time.Second)
	return e
}
