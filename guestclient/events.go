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
	"strconv"
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

// Events follows the guest's events after the one with the id after; 0 begins with the
// oldest that the gateway keeps. It reconnects by itself and yields each event once, in order.
// The loop ends when the caller leaves it or, after one last pair with the error, when ctx
// ends or the gateway refuses for good (ErrUnauthorized, ErrExpired).
//
// The gateway keeps events until they are acknowledged, so that a client that dies gets
// them again: call Ack when an event is safe.
func (c *Client) Events(ctx context.Context, after int64) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		last := after
		pause := c.back
		for {
			got := false
			more := true
			err := c.stream(ctx, last, func(e Event) bool {
				got = true
				// A reconnect may repeat what came before; numbers only grow.
				if e.ID != 0 {
					if e.ID <= last {
						return true
					}
					last = e.ID
				}
				more = yield(e, nil)
				return more
			})
			switch {
			case !more:
				return
			case ctx.Err() != nil:
				yield(Event{}, ctx.Err())
				return
			case final(err):
				yield(Event{}, err)
				return
			case got:
				pause = c.back
			}
			if waitErr := sleep(ctx, max(jitter(pause), retryAfter(err))); waitErr != nil {
				yield(Event{}, waitErr)
				return
			}
			pause = min(2*pause, maxBack)
		}
	}
}

// Ack tells the gateway that all events up to id are safe, so that it need not keep them.
// Inviters who asked for it learn now that their messages were delivered.
func (c *Client) Ack(ctx context.Context, id int64) error {
	path := "/rcsgw/invitee/events?wait=0&after=" + strconv.FormatInt(id, 10)
	return c.persist(ctx, func() error { return c.call(ctx, http.MethodGet, path, nil, nil) })
}

// final reports whether a reconnect is in vain.
func final(err error) bool {
	problem, ok := errors.AsType[*Problem](err)
	return ok && !passing(err) && problem.Status >= 400 && problem.Status < 500
}

// stream reads one event stream until it ends; the error says why.
func (c *Client) stream(ctx context.Context, after int64, take func(Event) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req, err := c.request(ctx, http.MethodGet, "/rcsgw/invitee/events", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream, application/problem+json;q=0.1")
	if after > 0 {
		req.Header.Set("Last-Event-ID", strconv.FormatInt(after, 10))
	}
	// A connection can die without a word; the gateway's comments tell it from silence.
	watchdog := time.AfterFunc(c.quiet, cancel)
	defer watchdog.Stop()
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return readProblem(res)
	}
	if kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); kind != "text/event-stream" {
		return fmt.Errorf("events: the gateway answers with %q", kind)
	}
	parser := newParser(&awake{res.Body, func() { watchdog.Reset(c.quiet) }})
	for {
		data, err := parser.next()
		if err != nil {
			return err
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
