package conversation

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"latchkey"
)

// carriage is what a worker of files comes back with.
type carriage struct {
	byHTTP  []latchkey.StoredFile
	carried bool // one is through, or has failed for good
	moved   bool // the way broke in the middle
	err     error
	wait    time.Duration // what the peer asked for
}

// carry looks for files that wait and carries them beside the loop.
func (r *room) carry() {
	f := &r.freight
	switch {
	case r.ending || r.hall.opt.Porter == nil || !r.rel.Allows(latchkey.File):
	case f.carrying != nil:
		f.again = true
	case time.Now().Before(f.earliest):
		f.retry.Reset(time.Until(f.earliest))
	default:
		f.retry.Stop()
		f.again = false
		ctx, cancel := context.WithCancel(r.hall.ctx)
		f.carrying = cancel
		led := f.led
		r.hall.running.Go(func() { // ends with its files, or with cancel
			defer cancel()
			c := r.carryAll(ctx, led)
			r.back(func(r *room) { r.carried(c) })
		})
	}
}

func (r *room) carried(c carriage) {
	f := &r.freight
	f.carrying, f.stop, f.id = nil, nil, ""
	if r.ending {
		return
	}
	if c.carried {
		f.retries = 0
	}
	for _, file := range c.byHTTP {
		same := func(g latchkey.StoredFile) bool { return g.ID == file.ID }
		if !slices.ContainsFunc(f.byHTTP, same) && !slices.ContainsFunc(f.handed, same) {
			f.byHTTP = append(f.byHTTP, file)
		}
	}
	if len(f.byHTTP) > 0 {
		r.wake()
	}
	if c.err != nil {
		r.hall.log.Info("file not delivered yet", latchkey.LogRelation, r.rel.ID, latchkey.LogError, c.err)
	}
	switch {
	case c.moved && f.retries == 0: // a way that broke says little about the next one: the first repeat does not wait (F38)
		f.retries++
		r.carry()
	case c.err != nil:
		r.postpone(c.wait)
	case f.again:
		r.carry()
	default:
		f.retries = 0
	}
}

// postpone sets the next attempt at a file: doubling waits, or what the peer asked for if that is longer.
func (r *room) postpone(atLeast time.Duration) {
	f := &r.freight
	f.retry.Reset(max(r.hall.opt.Retry<<min(f.retries, 6), atLeast))
	f.earliest = time.Now().Add(max(r.hall.opt.Retry, atLeast))
	f.retries++
}

// carryAll carries what waits, one file after the other. It runs beside the loop. before is how many were carried while they came when it began.
func (r *room) carryAll(ctx context.Context, before int) (c carriage) {
	tried := map[latchkey.FileID]bool{}
	for {
		files, err := r.waitingFiles(ctx)
		if err != nil {
			c.err = err
			return c
		}
		fresh := false
		for _, f := range files {
			if tried[f.ID] {
				continue
			}
			ahead, led := r.goesAhead()
			if ahead == f.ID || led != before {
				return c // those behind it wait for it; or it may be with the inviter by now, and the loop looks again
			}
			tried[f.ID], fresh = true, true
			way, icon, err := r.wayOf(ctx)
			switch {
			case err != nil:
			case way == ByHTTP:
				c.byHTTP = append(c.byHTTP, f)
				continue
			case way == "":
				err = r.failFile(f, "The inviter's phone can't take files.")
			default:
				err = r.carryOne(ctx, f, icon, ahead != "")
			}
			if err != nil {
				c.err, c.wait = err, waitOf(err)
				_, c.moved = errors.AsType[*cutOff](err)
				return c
			}
			c.carried = true
		}
		if !fresh {
			return c
		}
	}
}

// waitOf is what the peer asked for.
func waitOf(err error) time.Duration {
	if refused, ok := errors.AsType[*CallRefused](err); ok {
		return refused.RetryAfter
	}
	return latchkey.RetryAfter(err)
}

func (r *room) waitingFiles(ctx context.Context) ([]latchkey.StoredFile, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return r.hall.store.WaitingFiles(ctx, r.rel.ID)
}

// wayOf is how the inviter takes a file now: what their phone can, in the operator's order. "": it can't. icon: with a small picture. An
// error: nobody is there.
func (r *room) wayOf(ctx context.Context) (way FileWay, icon bool, err error) {
	s, err := r.status(ctx)
	if err != nil {
		return "", false, err
	}
	switch s.State {
	case latchkey.StatusOffline:
		return "", false, latchkey.Errorf(latchkey.KindOffline, "the inviter is offline")
	case latchkey.StatusOnline:
		return r.wayTo(s), s.FileIcon, nil
	case latchkey.StatusNotRCS:
		return "", false, nil
	}
	return r.hall.opt.FileWays[0], false, nil // the call itself will tell
}

// wayTo is the first way that a phone knows.
func (r *room) wayTo(s latchkey.Status) FileWay {
	for _, way := range r.hall.opt.FileWays {
		if way == ByMSRP && s.FileMSRP || way == ByHTTP && s.FileHTTP {
			return way
		}
	}
	return ""
}

func (r *room) status(ctx context.Context) (latchkey.Status, error) {
	if r.hall.presence == nil {
		return latchkey.Status{State: latchkey.StatusUnknown}, nil
	}
	return r.hall.presence.Status(ctx, r.rel.Account, r.rel.Inviter.Address())
}

// carryOne carries one file to its end. nil: it is with the inviter, or has failed for good. beside: another one is under way, for which the
// phone may be too busy.
func (r *room) carryOne(outer context.Context, f latchkey.StoredFile, icon, beside bool) error {
	ctx, stop := context.WithCancel(outer)
	defer stop()
	at := make(chan int64, 1)
	r.back(func(r *room) { // where it goes on, and how it is stopped
		r.freight.id, r.freight.stop = f.ID, stop
		at <- r.freight.had[f.ID]
	})
	from := <-at
	had, err := r.carryFrom(ctx, f, from, icon)
	if from > 0 && refusesRange(err) {
		had, err = r.carryFrom(ctx, f, 0, icon) // RFC 5547 §8.3.1: who does not take a part refuses it
	}
	reason, final := fileVerdict(err)
	if refused, ok := errors.AsType[*CallRefused](err); ok && beside && (refused.Code == 486 || refused.Code == 600) {
		final = false
	}
	r.back(func(r *room) {
		r.freight.id, r.freight.stop = "", nil
		delete(r.freight.had, f.ID)
		if err != nil && !final && had > 0 {
			r.freight.had[f.ID] = had
		}
	})
	switch {
	case err == nil:
		return r.sentFile(f)
	case final:
		return r.refusedFile(f, reason, err)
	case ctx.Err() != nil && outer.Err() == nil:
		return nil // the guest stopped it
	case had > from:
		return &cutOff{err}
	}
	return err
}

// cutOff is a way that broke in the middle of a file.
type cutOff struct{ err error }

func (c *cutOff) Error() string { return c.err.Error() }
func (c *cutOff) Unwrap() error { return c.err }

// carryFrom makes one call for a file, and tells how far it came.
func (r *room) carryFrom(ctx context.Context, f latchkey.StoredFile, from int64, icon bool) (had int64, err error) {
	if r.hall.registrar != nil { // R9, F09: the file server must know the account
		if err := r.hall.registrar.Ensure(ctx, r.rel.Account, latchkey.File); err != nil {
			return from, err
		}
	}
	name, err := r.hall.store.ConversationID(ctx, r.rel.ID)
	if err != nil {
		return from, err
	}
	var reached atomic.Int64
	reached.Store(from)
	moved := make(chan struct{}, 1)
	done := make(chan struct{})
	var telling sync.WaitGroup
	telling.Go(func() { r.tellProgress(f, &reached, moved, done) }) // ends with done
	err = r.hall.opt.Porter.Carry(ctx, r.rel, FileCall{
		CallOptions: CallOptions{ConversationID: name, ContributionID: latchkey.NewToken()}, From: from, Icon: icon,
		Progress: func(octets int64) {
			reached.Store(octets)
			select {
			case moved <- struct{}{}:
			default:
			}
		},
	}, f)
	close(done)
	telling.Wait() // so that no progress is told after the end
	return reached.Load(), err
}

// progressEvery is how often the guest is told how far a file has come.
const progressEvery = time.Second

// tellProgress tells the guest's streams how far a file has come, at most once in progressEvery. Who comes later needn't know.
func (r *room) tellProgress(f latchkey.StoredFile, reached *atomic.Int64, moved, done <-chan struct{}) {
	for {
		select {
		case <-moved:
		case <-done:
			return
		}
		e := latchkey.Event{Type: latchkey.DeliveryEvent, Account: r.rel.Account, Lapses: time.Now().Add(5 * progressEvery), File: f.Event()}
		e.File.State, e.File.Sent = latchkey.FileAccepted, reached.Load()
		ctx, cancel := context.WithTimeout(r.hall.ctx, storeTimeout)
		err := r.hall.Post(ctx, e)
		cancel()
		if err != nil {
			r.hall.log.Debug("progress not told", latchkey.LogRelation, r.rel.ID, latchkey.LogError, err)
		}
		select {
		case <-time.After(progressEvery):
		case <-done:
			return
		}
	}
}
