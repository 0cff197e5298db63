package httpapi

import (
	"context"
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"latchkey"
)

const (
	// eventBatch is how many events are read, and answered to a poll, at once.
	eventBatch = 100
	// pollWait is how long a poll waits that doesn't say.
	pollWait = 30 * time.Second
)

// events is GET /rcsgw/invitee/events: the guest's numbered events by server-sent events, long poll or WebSocket
// (R27, F30). Reading after n acknowledges all up to n.
func (a *API) events(w http.ResponseWriter, r *http.Request) error {
	g, err := a.guest(r)
	if err != nil {
		return err
	}
	socket, err := wantsSocket(r)
	if err != nil {
		return err
	}
	f := jsonFormat
	if !socket {
		if f, err = negotiate(r, jsonFormat, xmlFormat, sseFormat); err != nil {
			return err
		}
	}
	after, err := position(r)
	if err != nil {
		return err
	}
	wait, err := a.waitOf(r)
	if err != nil {
		return err
	}
	by := read
	switch {
	case socket:
		by = bySocket
	case f == sseFormat:
		by = bySSE
	case wait > 0:
		by = byPoll
	}
	if err := a.open.Err(); err != nil {
		return latchkey.Wrap(latchkey.KindUnavailable, err, "the service is restarting")
	}
	if after > 0 {
		if err := a.ports.Hall.Ack(r.Context(), g.Account, after); err != nil {
			return err
		}
	}
	leave, err := a.attendance.enter(g.Account, by)
	if err != nil {
		if latchkey.Is(err, latchkey.KindTooManyRequests) {
			a.tally.hit(maxStreams)
		}
		return err
	}
	if by == bySSE {
		streamHeaders(w.Header())
		if conn := detach(w, r); conn != nil {
			a.streams.begin(conn, w.Header().Clone(), g.Account, after, leave)
			return nil
		}
	}
	defer leave()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(a.open, cancel)()
	switch by {
	case bySocket:
		return a.socket(ctx, w, r, g.Account, after)
	case bySSE:
		return a.stream(ctx, w, g.Account, after)
	}
	return a.poll(ctx, w, r, f, g.Account, after, wait)
}

// position is the number of the last event that the client has. Last-Event-ID is the newer word: a browser
// that reconnects repeats the URL as it was.
func position(r *http.Request) (int64, error) {
	for _, from := range []struct{ name, value string }{{"Last-Event-ID", r.Header.Get("Last-Event-ID")}, {"after", query(r)["after"]}} {
		if from.value == "" {
			continue
		}
		n, err := strconv.ParseInt(from.value, 10, 64)
		if err != nil || n < 0 {
			return 0, latchkey.Errorf(latchkey.KindBadRequest, "%s: must be the number of an event", from.name)
		}
		return n, nil
	}
	return 0, nil
}

// waitOf is how long a poll may wait.
func (a *API) waitOf(r *http.Request) (time.Duration, error) {
	s := query(r)["wait"]
	if s == "" {
		return min(pollWait, a.opt.MaxWait), nil
	}
	seconds, err := strconv.ParseFloat(s, 64)
	if err != nil || seconds < 0 || math.IsNaN(seconds) {
		return 0, latchkey.Errorf(latchkey.KindBadRequest, "wait: must be a number of seconds")
	}
	return time.Duration(min(seconds, a.opt.MaxWait.Seconds()) * float64(time.Second)), nil
}

// poll answers with the events after a number, as soon as there are any.
func (a *API) poll(ctx context.Context, w http.ResponseWriter, r *http.Request, f format, account latchkey.AccountID, after int64, wait time.Duration) error {
	page := struct {
		Events []latchkey.Event `json:"events"`
		Last   int64            `json:"last"`
	}{[]latchkey.Event{}, after}
	for end, woken := time.Now().Add(wait), false; ; {
		events, _, err := a.since(ctx, account, after, woken)
		if err == nil && len(events) == 0 {
			woken, err = a.await(ctx, account, after, time.Until(end))
		}
		if err != nil && !parting(ctx, err) {
			return err
		}
		page.Events = append(page.Events, events...)
		if len(events) > 0 || !woken || err != nil {
			break
		}
	}
	for _, e := range page.Events {
		page.Last = max(page.Last, e.ID)
	}
	return answer(w, r, f, http.StatusOK, "events", page)
}

// outlet is where follow puts events.
type outlet interface {
	event(e latchkey.Event) error
	flush() error // after some events
	idle() error  // when there was nothing for Options.KeepAlive
}

// errGone says that the client takes no more, or too slowly. That is nobody's failure.
var errGone = errors.New("the client has gone")

// follow puts the events after a number out, in order and each once, until the guest's last relation has ended. An error
// is errGone, or says why the events can't be had any more.
func (a *API) follow(ctx context.Context, account latchkey.AccountID, after int64, out outlet) error {
	for woken := false; ; {
		over := false
		events, err := aside(func() (events []latchkey.Event, err error) {
			events, over, err = a.since(ctx, account, after, woken)
			return events, err
		})
		if err != nil {
			return err
		}
		for _, e := range events {
			if err := out.event(e); err != nil {
				return errors.Join(errGone, err)
			}
			after = max(after, e.ID)
		}
		if len(events) > 0 {
			if err := out.flush(); err != nil {
				return errors.Join(errGone, err)
			}
		}
		switch {
		case over:
			return nil
		case len(events) == eventBatch:
			woken = true // what follows may be nothing, and this have been the last
			continue
		}
		if woken, err = a.await(ctx, account, after, a.opt.KeepAlive); err != nil {
			return err
		}
		if !woken {
			if err := out.idle(); err != nil {
				return errors.Join(errGone, err)
			}
		}
	}
}

// since reads the events after a number. When the guest's last relation has ended, the last of them says so: over. woken: there
// was a reason to look.
func (a *API) since(ctx context.Context, account latchkey.AccountID, after int64, woken bool) (events []latchkey.Event, over bool, err error) {
	events, err = a.ports.Hall.Events(ctx, account, after, eventBatch)
	if slices.ContainsFunc(events, func(e latchkey.Event) bool { return e.Type == latchkey.InviterEvent }) {
		a.attendance.changed(account)
	}
	if err != nil || len(events) == eventBatch {
		return events, false, err
	}
	suspect, reason := woken && len(events) == 0, ""
	for _, e := range events {
		if e.Type == latchkey.InviterEvent && e.State == "removed" {
			suspect, reason = true, e.Reason
		}
	}
	if !suspect {
		return events, false, nil
	}
	relations, err := a.ports.Desk.Relations(ctx, account)
	if err != nil || len(relations) > 0 {
		return events, false, err
	}
	if reason == "" { // it may have ended since the events were read
		if events, err = a.ports.Hall.Events(ctx, account, after, eventBatch); err != nil || len(events) == eventBatch {
			return events, false, err
		}
		for _, e := range events {
			if e.Type == latchkey.InviterEvent && e.State == "removed" {
				reason = e.Reason
			}
		}
	}
	// Told live only, so without a number: nobody can come back and ask for it.
	end := latchkey.Event{Type: latchkey.SessionEvent, Time: time.Now().UTC(), Account: account, State: "ended", Reason: reason}
	return append(events, end), true, nil
}

// await returns when there may be events after a number, or with false after d.
func (a *API) await(ctx context.Context, account latchkey.AccountID, after int64, d time.Duration) (woken bool, err error) {
	if d <= 0 {
		return false, nil
	}
	waiting, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	err = a.ports.Hall.Wait(waiting, account, after)
	if err != nil && waiting.Err() != nil && ctx.Err() == nil {
		return false, nil
	}
	return err == nil, err
}

// parting reports whether err comes of the client's or the gateway's leaving, which clients that reconnect
// need not be told.
func parting(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, errGone) || latchkey.Is(err, latchkey.KindUnavailable)
}
