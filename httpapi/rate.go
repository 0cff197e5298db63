package httpapi

import (
	"errors"
	"net/http"
	"time"

	"latchkey"
	"latchkey/internal/limit"
)

// maxHeld is how many addresses, and how many people, are remembered by their rates.
const maxHeld = 100_000

// errHeld is the cause of a refusal by rate. The log tells of each address once a minute: a flood must not become one of the log.
var errHeld = errors.New("over the rate of requests")

// errCrowded is the cause of a refusal of what one guest does too much of at a time.
var errCrowded = errors.New("too many at a time")

// holdBack refuses a request of an address that makes too many, before anything is done for it (S4, F66).
func (a *API) holdBack(r *http.Request) error {
	if a.places == nil {
		return nil
	}
	place := limit.Place(a.remote(r))
	wait, ok := a.places.Take(place)
	if ok {
		return nil
	}
	if _, news := a.held.Take(place); news {
		a.opt.Log.Info("client is held back", "from", place, "rate", a.opt.Rate)
	}
	a.tally.hit(addressRate)
	return tooFast(wait)
}

// paced refuses a request of an inviter or guest who makes too many, from wherever (S4).
func (a *API) paced(who string) error {
	if wait, ok := a.people.Take(who); !ok {
		a.tally.hit(personRate)
		return tooFast(wait)
	}
	return nil
}

func tooFast(wait time.Duration) error {
	e := latchkey.Wrap(latchkey.KindTooManyRequests, errHeld, "slow down")
	e.RetryAfter = max(wait, time.Second)
	return e
}
