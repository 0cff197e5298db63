package conversation

import (
	"context"
	"errors"
	"strings"

	"latchkey"
)

// early is a file that goes to the inviter while the guest's upload of it still runs. As the room, it is touched by the loop alone.
type early struct {
	id   latchkey.FileID
	stop context.CancelFunc
}

// FileComing tells that a file of the guest's, of which the hash was declared, begins to come. It goes out as it comes where that upsets nothing:
// the inviter is there and takes it over MSRP, and nothing that was sent before still waits. In any other case it goes when it is
// whole, by SendFile, and so does what was broken off meanwhile.
func (h *Hall) FileComing(rel latchkey.Relation, f latchkey.StoredFile) {
	if !h.opt.FilesEarly || h.opt.Porter == nil || !rel.Allows(latchkey.File) || f.SHA1 == "" || f.Size <= 0 {
		return
	}
	_, _ = h.post(rel, func(r *room) { r.lead(f) }) // who is too busy for it gets the whole
}

// lead carries a file that is coming, beside the loop and beside those that wait.
func (r *room) lead(f latchkey.StoredFile) {
	if r.ending || r.freight.early != nil {
		return
	}
	ctx, cancel := context.WithCancel(r.hall.ctx)
	r.freight.early = &early{f.ID, cancel}
	r.hall.running.Go(func() { // ends with the upload and the call, or with cancel
		defer cancel()
		had, c := r.carryEarly(ctx, f)
		r.back(func(r *room) { r.led(f, had, c) })
	})
}

// led takes up what became of a file that was carried while it came: one that is stored and still not with the inviter goes on as any other.
func (r *room) led(f latchkey.StoredFile, had int64, c carriage) {
	r.freight.early = nil
	r.freight.led++
	if had > 0 {
		r.freight.had[f.ID] = had
	}
	r.freight.again = true // files behind it have waited
	switch {
	case r.freight.carrying == nil:
		r.carried(c)
	case c.err != nil && !c.moved: // who looks at the store now stops at what has changed
		r.postpone(c.wait)
	}
}

// carryEarly carries a file while it comes. It returns when the file is stored or won't be, and of one that is to go on as any other, how
// much the inviter has.
func (r *room) carryEarly(ctx context.Context, f latchkey.StoredFile) (had int64, c carriage) {
	if !r.clear(ctx) || !r.takesEarly(ctx, f) {
		return 0, c
	}
	had, err := r.carryFrom(ctx, f, 0, false)
	_, gone := errors.AsType[*NotCome](err)
	reason, final := fileVerdict(err)
	switch {
	case err == nil:
		err = r.sentFile(f)
	case gone, ctx.Err() != nil: // the guest's side broke, or the guest stopped it, or all ends
		return 0, c
	case final:
		err = r.refusedFile(f, reason, err)
	default:
		return had, carriage{err: err, wait: waitOf(err), moved: had > 0}
	}
	return 0, carriage{err: err, carried: err == nil}
}

// clear reports whether all that the guest sent before is with the inviter.
func (r *room) clear(ctx context.Context) bool {
	messages, _, err := r.waiting()
	if err != nil || len(messages) > 0 {
		return false
	}
	files, err := r.waitingFiles(ctx)
	return err == nil && len(files) == 0
}

// takesEarly reports whether the inviter's phone is there and takes a file by a call of its own. A picture waits until the small one that
// belongs to its call can be made of it (RFC 5547 §8.8).
func (r *room) takesEarly(ctx context.Context, f latchkey.StoredFile) bool {
	s, err := r.status(ctx)
	return err == nil && s.State == latchkey.StatusOnline && r.wayTo(s) == ByMSRP && !(s.FileIcon && strings.HasPrefix(f.Type, "image/"))
}

// goesAhead is the file that is being carried while it comes, "" for none, and how many have been.
func (r *room) goesAhead() (id latchkey.FileID, led int) {
	done := make(chan struct{})
	r.back(func(r *room) {
		if led = r.freight.led; r.freight.early != nil {
			id = r.freight.early.id
		}
		close(done)
	})
	<-done
	return id, led
}
