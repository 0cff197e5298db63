package guestclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"
)

// Event is one thing that happened. Which fields are set depends on Type: message,
// file, delivery, status, composing, inviter or session.
type Event struct {
	ID      int64     `json:"id,omitempty"` // 0 for what is told live only
	Type    string    `json:"type"`
	Time    time.Time `json:"time,omitzero"`
	From    string    `json:"from,omitempty"`
	URI     string    `json:"uri,omitempty"`
	Status  string    `json:"status,omitempty"`
	State   string    `json:"state,omitempty"`
	Reason  string    `json:"reason,omitempty"`
	Name    string    `json:"name,omitempty"`
	Message *Message  `json:"message,omitempty"`
	File    *File     `json:"file,omitempty"`
}

// Transport is a way to follow events.
type Transport string

// Transports. All of them yield the same.
const (
	Auto      Transport = ""          // SSE; Poll where a proxy keeps streams back or makes something else of them
	SSE       Transport = "sse"       // server-sent events
	Poll      Transport = "poll"      // requests that wait for the next event
	WebSocket Transport = "websocket" // RFC 6455
)

// pollWait is how long a long poll waits: less than most proxies do.
const pollWait = 25 * time.Second

// Events follows the guest's events after the one with the id after; 0 begins with the
// oldest that the gateway keeps. It reconnects by itself and yields each event once, in order.
// The loop ends when the caller leaves it or, after one last pair with the error, when ctx
// ends or the gateway refuses for good (ErrUnauthorized, ErrExpired).
//
// The gateway keeps events until they are acknowledged, so that a client that dies gets
// them again: call Ack when an event is safe. A reconnect, too, acknowledges what the loop's body has
// returned from.
func (c *Client) Events(ctx context.Context, after int64) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		f := &follower{c: c, last: after, way: c.way, pause: c.back, yield: yield}
		if f.way == Auto {
			f.way = SSE
		}
		for f.round(ctx) {
		}
	}
}

// follower is one loop over events.
type follower struct {
	c        *Client
	last     int64
	way      Transport
	pause    time.Duration
	barren   int   // streams in a row on which not a byte came
	up, told bool  // what Options.Connection heard last; told: it has heard something
	lost     error // why the last connection ended
	left     bool
	yield    func(Event, error) bool
}

// round follows one connection to its end, and waits. It reports false when the loop is over.
func (f *follower) round(ctx context.Context) bool {
	stood, got := false, false
	open := func() {
		stood, f.lost = true, nil
		f.tell(true, nil)
	}
	take := func(e Event) bool {
		got = true
		// A reconnect may repeat what came before; numbers only grow.
		if e.ID != 0 {
			if e.ID <= f.last {
				return true
			}
			f.last = e.ID
		}
		f.left = !f.yield(e, nil)
		return !f.left
	}
	var err error
	switch f.way {
	case Poll:
		err = f.c.poll(ctx, f.last, !f.told, open, take)
	case WebSocket:
		err = f.c.socket(ctx, f.last, open, take)
	default:
		err = f.c.stream(ctx, f.last, open, take)
	}
	switch {
	case f.left:
		return false
	case ctx.Err() != nil:
		f.yield(Event{}, ctx.Err())
		return false
	case errors.Is(err, errNotSSE), errors.Is(err, errBarren) && f.barren > 0:
		if f.c.way == Auto {
			f.way, stood, err = Poll, true, nil
		}
	case errors.Is(err, errBarren):
		f.barren++
	case final(err):
		f.yield(Event{}, err)
		return false
	}
	if got || f.way == Poll && err == nil {
		f.pause = f.c.back
	}
	if got || stood && !errors.Is(err, errBarren) {
		f.barren = 0
	}
	if f.way == Poll && err == nil {
		return true // at once: the wait is the gateway's
	}
	if !stood {
		// A stream that ends is no loss as long as the next one stands at once.
		f.tell(false, err)
	}
	if waitErr := sleep(ctx, max(jitter(f.pause), retryAfter(err))); waitErr != nil {
		f.yield(Event{}, waitErr)
		return false
	}
	f.pause = min(2*f.pause, maxBack)
	return true
}

func (f *follower) tell(up bool, why error) {
	if f.told && f.up == up {
		return
	}
	f.up, f.told = up, true
	if f.c.heard != nil {
		f.c.heard(up, why)
	}
}

// Ack tells the gateway that all events up to id are safe, so that it need not keep them.
// Inviters who asked for it learn now that their messages were delivered.
func (c *Client) Ack(ctx context.Context, id int64) error {
	path := eventsPath + "?wait=0&after=" + strconv.FormatInt(id, 10)
	return c.persist(ctx, func() error { return c.call(ctx, http.MethodGet, path, nil, nil) })
}

const eventsPath = "/rcsgw/invitee/events"

var (
	errNotSSE = errors.New("events: the gateway's answer is not an event stream")
	errBarren = errors.New("events: nothing came on the stream, not even a comment")
)

// final reports whether a reconnect is in vain.
func final(err error) bool {
	problem, ok := errors.AsType[*Problem](err)
	return ok && !passing(err) && problem.Status >= 400 && problem.Status < 500
}

// poll asks once for the events after a number; first: without waiting, so that the connection shows at once.
func (c *Client) poll(ctx context.Context, after int64, first bool, open func(), take func(Event) bool) error {
	wait := pollWait
	if first {
		wait = 0
	}
	ctx, cancel := context.WithTimeout(ctx, wait+c.quiet)
	defer cancel()
	var page struct {
		Events []Event `json:"events"`
	}
	q := url.Values{"after": {strconv.FormatInt(after, 10)}, "wait": {strconv.Itoa(int(wait.Seconds()))}}
	if err := c.call(ctx, http.MethodGet, eventsPath+"?"+q.Encode(), nil, &page); err != nil {
		return err
	}
	open()
	for _, e := range page.Events {
		if !take(e) {
			return nil
		}
	}
	return nil
}

// stream reads one event stream until it ends; the error says why.
func (c *Client) stream(ctx context.Context, after int64, open func(), take func(Event) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req, err := c.request(ctx, http.MethodGet, eventsPath, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream, application/problem+json;q=0.1")
	if after > 0 {
		req.Header.Set("Last-Event-ID", strconv.FormatInt(after, 10))
	}
	// A connection can die without a word; the gateway's comments tell it from silence.
	var silent, alive atomic.Bool
	watchdog := time.AfterFunc(c.quiet, func() { silent.Store(true); cancel() })
	defer watchdog.Stop()
	cut := func(err error) error {
		if silent.Load() && !alive.Load() {
			return errBarren
		}
		return err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return cut(err)
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusNotAcceptable {
		return errNotSSE
	}
	if res.StatusCode != http.StatusOK {
		return readProblem(res)
	}
	if kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); kind != "text/event-stream" {
		return fmt.Errorf("%w but %.40q", errNotSSE, kind)
	}
	open()
	parser := newParser(&awake{res.Body, func() { alive.Store(true); watchdog.Reset(c.quiet) }})
	for {
		data, err := parser.next()
		if err != nil {
			return cut(err)
		}
		var e Event
		if json.Unmarshal(data, &e) != nil {
			continue // not for us: a later gateway may say more
		}
		if !take(e) {
			return nil
		}
	}
}

// awake calls live for each read that brings something.
type awake struct {
	r    io.Reader
	live func()
}

func (a *awake) Read(p []byte) (int, error) {
	n, err := a.r.Read(p)
	if n > 0 {
		a.live()
	}
	return n, err
}
