package conversation

import (
	"context"
	"time"

	"latchkey"
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
