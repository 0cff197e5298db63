package httpapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"latchkey"
	"latchkey/internal/limit"
)

// answerTime bounds writing an answer that is no stream, from its request on: longer than a
// long poll or a logout may take, and short enough that who reads nothing holds no place (F67).
const answerTime = 3 * time.Minute

// API is the facade as an http.Handler. Drain it when the server is about to stop, and Close it after that.
type API struct {
	ports Ports
	opt   Options

	attendance *attendance
	streams    *streams
	goodbyes   *goodbyes
	uploads    *uploading
	tally      *tally
	nonces     *nonces       // of Digest, for uploads
	places     *limit.Rate   // requests of client addresses
	people     *limit.Rate   // requests of inviters and guests
	held       *limit.Window // addresses of which the log has heard lately that they are held back

	open  context.Context // until Drain: streams end and their clients reconnect
	drain context.CancelFunc
}

// New makes the facade. Options must have passed Validate.
func New(ports Ports, opt Options) *API {
	opt = opt.withDefaults()
	a := &API{ports: ports, opt: opt, attendance: newAttendance(ports, opt), goodbyes: newGoodbyes(), nonces: newNonces(), uploads: &uploading{most: opt.MaxUploads, now: map[latchkey.AccountID]int{}}}
	a.places, a.people, a.held = limit.NewRate(opt.Rate, maxHeld), limit.NewRate(opt.Rate, maxHeld), limit.NewWindow(1, time.Minute, maxHeld)
	a.open, a.drain = context.WithCancel(context.Background())
	a.streams, a.tally = newStreams(a), newTally(a.attendance)
	return a
}

// Drain ends all event streams, so that their clients reconnect, elsewhere if need be, and refuses
// new ones. It is idempotent.
func (a *API) Drain() {
	a.drain()
	a.streams.drain()
}

// Close drains, stops what the facade does between requests, and waits for it and for the
// streams. It is idempotent.
func (a *API) Close() error {
	a.Drain()
	a.attendance.close()
	a.streams.crew.working.Wait()
	return nil
}

// ServeHTTP answers one request, logs it, and turns a panic into a 500.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := &recorder{ResponseWriter: w}
	done := a.logRequest(rec, r)
	defer done()
	defer a.tally.request(rec, r)
	defer func() {
		switch p := recover(); {
		case p == nil:
		case p == http.ErrAbortHandler: //nolint:errorlint // net/http compares so, too
			panic(p)
		default:
			a.opt.Log.Error("http handler panicked", "panic", p, "stack", stack())
			a.problem(rec, r, latchkey.Errorf(latchkey.KindInternal, ""))
		}
	}()
	// Each request sets it anew, since net/http leaves it to the next one on the connection.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTime))
	secureHeaders(rec.Header(), r)
	err := a.holdBack(r)
	if err == nil && !a.preflight(rec, r) {
		err = a.route(rec, r)
	}
	if err != nil {
		if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
			panic(http.ErrAbortHandler) // the client has gone, most likely; should it still read, an empty 200 would be a lie
		}
		a.problem(rec, r, err)
	}
}

// handler answers a request or says why not; the error becomes a problem in one place.
type handler func(w http.ResponseWriter, r *http.Request) error
