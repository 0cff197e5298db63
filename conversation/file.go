package conversation

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"latchkey"
	"latchkey/cpim"
)

// FileWay is a way by which a file goes to an inviter.
type FileWay string

// Ways of a file.
const (
	ByMSRP FileWay = "msrp" // a call of its own (RFC 5547)
	ByHTTP FileWay = "http" // a message in the chat that says where to fetch it (PROTOCOLS B3.13)
)

// Porter carries files. Their bytes never come into this package (they never cross a loop).
type Porter interface {
	// Carry sends a stored file in a call of its own and returns when the inviter's phone has all of it. *CallRefused: the
	// call was. *MSRPRefused: the phone stopped the file. *HungUp: it ended the call before the end. Any other error: the way broke, and the same
	// file may go on from where Progress said. One that is still coming is sent as it comes. Carry returns, and tells Progress, after it was
	// stored then, whatever becomes of the call; *NotCome: it wasn't.
	Carry(ctx context.Context, rel latchkey.Relation, call FileCall, f latchkey.StoredFile) error
	// Fail notes that a file of the guest's won't arrive, tells why, and erases its bytes.
	Fail(ctx context.Context, f latchkey.StoredFile, reason string) error
	// Document tells an inviter's phone where to fetch a stored file.
	Document(ctx context.Context, f latchkey.StoredFile) (contentType string, body []byte, err error)
	// Promised stores that an inviter's phone has told where a file of theirs is, and has it fetched. It is on disk when Promised returns; a
	// repeat of RemoteID is none. preview is the address of a small picture, or "".
	Promised(ctx context.Context, f latchkey.StoredFile, preview string) error
}

// FileCall names the call that carries a file.
type FileCall struct {
	CallOptions
	Icon     bool               // the phone takes a small picture with the call
	From     int64              // octets that the inviter's phone has: the file goes on behind them (a=file-range)
	Progress func(octets int64) // is told how many octets of the file the phone is known to have
}

// HungUp is the end of a call that carried a file, by the inviter's side and before the file's end.
type HungUp struct{}

// Error tells it.
func (*HungUp) Error() string { return "the inviter hung up in the middle of the file" }

// NotCome is the end of a file that was carried while it came, and did not come whole. Nobody has it then.
type NotCome struct{ Err error }

// Error tells why.
func (e *NotCome) Error() string { return "the guest's file did not come: " + e.Err.Error() }

// Unwrap gives what kept it.
func (e *NotCome) Unwrap() error { return e.Err }

// CutOff is the end of an inviter's file in the middle, of which a part is kept: the inviter's phone may go on with it (RFC 5547 §8.1).
type CutOff struct {
	File latchkey.StoredFile
	Got  int64 // octets that are here
}

// Error tells it.
func (e *CutOff) Error() string { return "the file did not come to its end, and its beginning is kept" }

// IncomingFile is an inviter's INVITE that offers a file, not answered yet.
type IncomingFile interface {
	CallID() string
	// Answer makes room for the file and answers the call. What could not be answered is left to Refuse.
	Answer(ctx context.Context) error
	// Take returns when the file is complete on disk, its event with it, or when it won't be: *CutOff where a part of it is kept. The
	// call is over then. It gives up when ctx ends.
	Take(ctx context.Context) error
	Refuse(code int, reason string) error
}

// freight is a room's files on their way to the inviter. As the room, it is touched by the loop alone.
type freight struct {
	id       latchkey.FileID    // of the file that is being carried
	carrying context.CancelFunc // of the worker; nil: nobody carries
	stop     context.CancelFunc // of the file at hand
	again    bool               // there was a look at the store meanwhile
	early    *early             // the one that is carried while it comes; nil: none
	led      int                // how many of those there were
	had      map[latchkey.FileID]int64
	byHTTP   []latchkey.StoredFile // for the chat's worker
	handed   []latchkey.StoredFile // those that it has
	retries  int
	earliest time.Time
	retry    *time.Timer
	arriving map[IncomingFile]func() // the inviter's own, with what stops them
}

func newFreight() freight {
	return freight{retry: stopped(), had: map[latchkey.FileID]int64{}, arriving: map[IncomingFile]func(){}}
}

func (f *freight) settled() bool { return f.carrying == nil && f.early == nil && len(f.arriving) == 0 }

// end stops all that is under way.
func (f *freight) end() {
	f.retry.Stop()
	if f.carrying != nil {
		f.carrying()
	}
	if f.early != nil {
		f.early.stop()
	}
	for _, stop := range f.arriving {
		stop()
	}
}

// MaySendFile says whether a file of the guest for the inviter is welcome, before a byte of it comes: KindNoRelation where the
// invitation is not for files, KindOffline by Options.RequireOnline (R25).
func (h *Hall) MaySendFile(ctx context.Context, rel latchkey.Relation) error {
	if !rel.Allows(latchkey.File) {
		return latchkey.Errorf(latchkey.KindNoRelation, "the invitation is not for files")
	}
	return h.reachable(ctx, rel)
}

// SendFile lets the relation's loop deliver a file of the guest that is complete on disk. A crash before it loses nothing: the
// file waits in the store.
func (h *Hall) SendFile(_ context.Context, rel latchkey.Relation, _ latchkey.StoredFile) error {
	if !rel.Allows(latchkey.File) {
		return latchkey.Errorf(latchkey.KindNoRelation, "the invitation is not for files")
	}
	h.nudge(rel)
	return nil
}

// FileArrived wakes the guest's streams: an inviter's file is complete, or failed, and its event is in the store.
func (h *Hall) FileArrived(f latchkey.StoredFile) {
	h.wakeStreams(f.Account)
	if f.State != latchkey.FileFailed {
		h.opt.News(latchkey.Event{Type: latchkey.FileEvent, Time: f.Time, Account: f.Account, From: string(f.Inviter), File: f.Event()})
	}
}

// CancelFile stops a file of the guest that is under way: the inviter's phone is told (RFC 5547 §8.4), and has nothing of it. In the store it has
// failed by then.
func (h *Hall) CancelFile(_ context.Context, rel latchkey.Relation, f latchkey.StoredFile) error {
	h.wakeStreams(rel.Account)
	return h.visit(rel, func(r *room) {
		if r.freight.id == f.ID && r.freight.stop != nil {
			r.freight.stop()
		}
		if early := r.freight.early; early != nil && early.id == f.ID {
			early.stop()
		}
	})
}

// ServeFile takes an inviter's INVITE that offers a file, for a relation that the caller has authorized. It returns when the call is
// answered or refused; the file comes beside it, and ends with the relation at the latest.
func (h *Hall) ServeFile(ctx context.Context, rel latchkey.Relation, call IncomingFile) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	taking, stop := context.WithCancel(h.ctx)
	r, err := h.admitFile(ctx, rel, call, func() { cancel(); stop() })
	if err == nil {
		err = call.Answer(ctx)
	}
	over := func(err error) {
		if cut, ok := errors.AsType[*CutOff](err); ok && taking.Err() == nil {
			h.tellCutOff(rel, cut)
		}
		stop()
		if err != nil {
			h.log.Info("file not taken", latchkey.LogRelation, rel.ID, latchkey.LogCallID, call.CallID(), latchkey.LogError, err)
		}
		h.wakeStreams(rel.Account)
		if r != nil {
			r.back(func(r *room) { delete(r.freight.arriving, call) })
		}
	}
	if err != nil {
		_ = call.Refuse(latchkey.KindOf(err).Row().SIP, "")
		over(err)
		return
	}
	h.running.Go(func() { over(call.Take(taking)) }) // ends with the file, or with stop; the room waits for it
}

// tellCutOff tells the guest that an inviter's file has come in part, which is no news once that is erased.
func (h *Hall) tellCutOff(rel latchkey.Relation, cut *CutOff) {
	e := latchkey.Event{Type: latchkey.DeliveryEvent, Account: rel.Account, From: string(rel.Inviter), Lapses: cut.File.Expires, File: cut.File.Event()}
	e.File.State, e.File.Sent, e.File.Reason = latchkey.FileReceiving, cut.Got, "The connection broke. What came is kept until the inviter's phone goes on."
	ctx, cancel := context.WithTimeout(h.ctx, storeTimeout)
	defer cancel()
	if err := h.Post(ctx, e); err != nil {
		h.log.Warn("guest not told of a part of a file", latchkey.LogRelation, rel.ID, latchkey.LogError, err)
	}
}

func (h *Hall) admitFile(ctx context.Context, rel latchkey.Relation, call IncomingFile, stop func()) (*room, error) {
	if !rel.Allows(latchkey.File) {
		return nil, latchkey.Errorf(latchkey.KindNotAllowed, "the invitation is not for files")
	}
	if _, err := h.store.ConversationID(ctx, rel.ID); err != nil {
		return nil, err // it is ending
	}
	return h.post(rel, func(r *room) {
		if r.freight.arriving[call] = stop; r.ending {
			stop()
		}
	})
}

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
		r.hall.log.Info("file refused", latchkey.LogRelation, r.rel.ID, latchkey.LogFile, f.ID, latchkey.LogError, err)
		return r.failFile(f, reason)
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

// refusesRange reports whether a part of a file was not acceptable.
func refusesRange(err error) bool {
	refused, ok := errors.AsType[*CallRefused](err)
	return ok && (refused.Code == 488 || refused.Code == 606)
}

// fileVerdict says of what a carriage came to whether it is the last word, and why in words for the guest.
func fileVerdict(err error) (reason string, final bool) {
	if refused, ok := errors.AsType[*CallRefused](err); ok {
		switch refused.Code {
		case 413:
			return "It is too large for the inviter's phone.", true
		case 415, 488, 606:
			return "The inviter's phone can't take this file.", true
		case 603, 607, 608:
			return "The inviter declined the file.", true
		case 403:
			return "The network does not allow this file.", true
		}
		return verdict(refused.Code)
	}
	if refused, ok := errors.AsType[*MSRPRefused](err); ok {
		switch refused.Code {
		case 413:
			return "The inviter stopped the file.", true
		case 415:
			return "The inviter's phone can't take this file.", true
		case 400, 403:
			return "The inviter's phone did not take it.", true
		}
	}
	if _, ok := errors.AsType[*HungUp](err); ok {
		return "The inviter stopped the file.", true
	}
	if latchkey.Is(err, latchkey.KindNotFound) {
		return "It is not there any more.", true
	}
	return "", false
}

func (r *room) sentFile(f latchkey.StoredFile) error {
	ctx, cancel := context.WithTimeout(r.hall.ctx, storeTimeout)
	defer cancel()
	_, err := r.hall.store.MoveFile(ctx, r.rel.ID, f.ID, latchkey.FileSent, "")
	return r.told(err)
}

func (r *room) failFile(f latchkey.StoredFile, reason string) error {
	ctx, cancel := context.WithTimeout(r.hall.ctx, storeTimeout)
	defer cancel()
	return r.told(r.hall.opt.Porter.Fail(ctx, f, reason))
}

// told wakes the streams after an event of a file. One that was erased meanwhile needs none.
func (r *room) told(err error) error {
	r.hall.wakeStreams(r.rel.Account)
	if latchkey.Is(err, latchkey.KindNotFound) {
		return nil
	}
	return err
}

// sendDocument tells the inviter's phone on the chat where a file is to be fetched.
func (r *room) sendDocument(w *worker, ch Channel, f latchkey.StoredFile, d *delivery) {
	if w.stopped() {
		return
	}
	ctx, cancel := context.WithTimeout(r.hall.ctx, storeTimeout)
	contentType, document, err := r.hall.opt.Porter.Document(ctx, f)
	cancel()
	if err != nil {
		d.err = err
		return
	}
	if !ch.AcceptsWrapped(contentType) { // B5.06: a type that the peer did not list is not sent
		d.err = r.failFile(f, "The inviter's phone can't take files.")
		return
	}
	e := wrap(r.rel, contentType, document)
	e.MessageID, e.Disposition = string(f.ID), []cpim.Disposition{cpim.PositiveDelivery, cpim.Display}
	body, err := e.Bytes()
	if err != nil {
		d.err = r.failFile(f, "It can't be written as a message.")
		return
	}
	switch taken, err := r.send(ch, string(f.ID), body); {
	case err != nil:
		d.err, d.broken = err, true
	case !taken:
		d.err = r.failFile(f, "The inviter's phone did not take it.")
	default:
		d.sent = true
		d.err = r.sentFile(f)
	}
}

// offered takes a message that tells where a file of the inviter's is to be fetched (PROTOCOLS B3.13). Nil: it will be, whatever
// happens to us.
func (v *receiver) offered(ctx context.Context, m *cpim.Message, body []byte) error {
	if !v.rel.Allows(latchkey.File) {
		return latchkey.Errorf(latchkey.KindNotAllowed, "the invitation is not for files")
	}
	t, err := cpim.ParseFileTransfer(body)
	if err != nil {
		return latchkey.Wrap(latchkey.KindBadRequest, err, "")
	}
	preview := ""
	if t.Thumbnail != nil {
		preview = t.Thumbnail.URL
	}
	known := m.MessageID != ""
	return v.hall.opt.Porter.Promised(ctx, latchkey.StoredFile{
		Relation: v.rel.ID, Account: v.rel.Account, Inviter: v.rel.Inviter, Direction: latchkey.ToGuest,
		Name: t.File.Name, Size: t.File.Size, Type: t.File.ContentType, Source: latchkey.Secret(t.File.URL), RemoteID: m.MessageID,
		WantDelivered: known && m.Wants(cpim.PositiveDelivery), WantDisplayed: known && m.Wants(cpim.Display),
	}, preview)
}
