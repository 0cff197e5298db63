package conversation_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"latchkey"
	"latchkey/conversation"
	"latchkey/cpim"
)

// porter is the wire of files with memory.
type porter struct {
	w      *world
	mu     sync.Mutex
	froms  []int64
	answer func(n int, call conversation.FileCall) error // of each call; nil: it takes the file
	failed []string
	told   []latchkey.StoredFile
	early  []latchkey.FileID                                                                  // files that were carried while they came
	comes  func(ctx context.Context, call conversation.FileCall, f latchkey.StoredFile) error // carries one of those
}

func (p *porter) Carry(ctx context.Context, _ latchkey.Relation, call conversation.FileCall, f latchkey.StoredFile) error {
	p.mu.Lock()
	if f.State == latchkey.FileReceiving {
		p.early = append(p.early, f.ID)
		p.mu.Unlock()
		return p.comes(ctx, call, f)
	}
	p.froms = append(p.froms, call.From)
	n := len(p.froms)
	p.mu.Unlock()
	if call.ConversationID == "" || call.ContributionID == "" {
		return errors.New("a call without its names")
	}
	if p.answer != nil {
		return p.answer(n, call)
	}
	return ctx.Err()
}

func (p *porter) Fail(ctx context.Context, f latchkey.StoredFile, reason string) error {
	p.mu.Lock()
	p.failed = append(p.failed, reason)
	p.mu.Unlock()
	_, err := p.w.db.MoveFile(ctx, f.Relation, f.ID, latchkey.FileFailed, reason)
	return err
}

func (p *porter) Document(_ context.Context, f latchkey.StoredFile) (string, []byte, error) {
	return cpim.FileTransferType, []byte("<file>" + f.ID + "</file>"), nil
}

func (p *porter) Promised(_ context.Context, f latchkey.StoredFile, preview string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	f.Reason = preview
	p.told = append(p.told, f)
	return nil
}

func (p *porter) calls() []int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]int64{}, p.froms...)
}

// fileBubble is bubble with an invitation for files, too.
func fileBubble(t *testing.T, opt conversation.Options, f func(t *testing.T, w *world, p *porter)) {
	t.Helper()
	p := &porter{}
	opt.Porter = p
	bubble(t, opt, func(t *testing.T, w *world) {
		p.w = w
		w.rel.Interactions = append(w.rel.Interactions, latchkey.File)
		w.presence.is(presence{latchkey.StatusOnline, true, false})
		f(t, w, p)
	})
}

// file stores a complete file of the guest's and has it sent.
func (w *world) file() latchkey.StoredFile {
	w.t.Helper()
	f := w.upload()
	w.whole(f)
	return f
}

// upload stores a file of the guest's that begins to come.
func (w *world) upload() latchkey.StoredFile {
	w.t.Helper()
	now := time.Now()
	f := latchkey.StoredFile{
		ID: latchkey.NewFileID(), Relation: w.rel.ID, Account: bob, Inviter: alice, Direction: latchkey.ToInviter, Name: "a.txt", Size: 1000,
		Type: "text/plain", SHA1: "a9993e364706816aba3e25717850c26c9cd0d89d", State: latchkey.FileReceiving, Time: now, Touched: now, Expires: now.Add(time.Hour),
	}
	f, _, err := w.db.AddFile(w.t.Context(), f, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

// whole completes it and has it sent.
func (w *world) whole(f latchkey.StoredFile) {
	w.t.Helper()
	f, err := w.db.CompleteFile(w.t.Context(), f, 0)
	if err == nil {
		err = w.hall.SendFile(w.t.Context(), w.rel, f)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) fileState(f latchkey.StoredFile) latchkey.FileState {
	w.t.Helper()
	now, err := w.db.File(w.t.Context(), f.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	return now.State
}

// B3.03, F51, F52: what the inviter's phone can decides how a file goes, and then the operator's order.
func TestFileGoesByWhatThePhoneCan(t *testing.T) {
	for _, c := range []struct {
		presence presence
		ways     []conversation.FileWay
		calls    int // of their own
		texts    int // documents on the chat
		state    latchkey.FileState
	}{
		{presence{latchkey.StatusOnline, true, false}, nil, 1, 0, latchkey.FileSent},
		{presence{latchkey.StatusOnline, true, true}, nil, 1, 0, latchkey.FileSent},
		{presence{latchkey.StatusOnline, false, true}, nil, 0, 1, latchkey.FileSent},
		{presence{latchkey.StatusOnline, true, true}, []conversation.FileWay{conversation.ByHTTP, conversation.ByMSRP}, 0, 1, latchkey.FileSent},
		{presence{latchkey.StatusOnline, true, false}, []conversation.FileWay{conversation.ByHTTP}, 0, 0, latchkey.FileFailed},
		{presence{latchkey.StatusOnline, false, false}, nil, 0, 0, latchkey.FileFailed},
		{presence{latchkey.StatusNotRCS, false, false}, nil, 0, 0, latchkey.FileFailed},
		{presence{latchkey.StatusOffline, false, false}, nil, 0, 0, latchkey.FileAccepted},
		{presence{latchkey.StatusUnknown, false, false}, nil, 1, 0, latchkey.FileSent},
	} {
		t.Run(fmt.Sprint(c.presence, c.ways), func(t *testing.T) {
			fileBubble(t, conversation.Options{FileWays: c.ways}, func(t *testing.T, w *world, p *porter) {
				w.presence.is(c.presence)
				f := w.file()
				synctest.Wait()
				documents := 0
				for _, s := range w.phone.received() {
					if strings.Contains(s.body, "<file>"+string(f.ID)) && s.id == string(f.ID) && strings.Contains(s.body, "positive-delivery, display") {
						documents++
					}
				}
				if n := len(p.calls()); n != c.calls || documents != c.texts || w.fileState(f) != c.state {
					t.Errorf("%d calls, %d documents, state %s; want %d, %d, %s", n, documents, w.fileState(f), c.calls, c.texts, c.state)
				}
			})
		})
	}
}

// R33, F34: a file waits for an inviter who is away, and goes when they are back.
func TestFileWaitsForAnInviterWhoIsAway(t *testing.T) {
	fileBubble(t, conversation.Options{Retry: time.Second}, func(t *testing.T, w *world, p *porter) {
		p.answer = func(n int, _ conversation.FileCall) error {
			if n == 1 {
				return &conversation.CallRefused{Code: 480, RetryAfter: time.Minute}
			}
			return nil
		}
		w.presence.is(presence{state: latchkey.StatusOffline})
		f := w.file()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if n := len(p.calls()); n != 0 {
			t.Fatalf("%d calls to somebody who is away", n)
		}
		w.presence.is(presence{latchkey.StatusOnline, true, false})
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if n := len(p.calls()); n != 1 {
			t.Fatalf("%d calls, want one, and then a minute of patience", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		equal(t, "calls", p.calls(), 0, 0)
		equal(t, "state", []latchkey.FileState{w.fileState(f)}, latchkey.FileSent)
	})
}

// RFC 5547 §8.1, §8.3.1: what broke goes on behind what the phone has, at once; a part that is refused is followed by the whole.
func TestFileGoesOnWhereItBroke(t *testing.T) {
	fileBubble(t, conversation.Options{}, func(t *testing.T, w *world, p *porter) {
		p.answer = func(n int, call conversation.FileCall) error {
			switch n {
			case 1:
				call.Progress(500)
				time.Sleep(time.Second) // on the test's clock
				return errBroken
			case 2:
				return &conversation.CallRefused{Code: 488}
			}
			return nil
		}
		f := w.file()
		time.Sleep(2 * time.Second) // less than the wait after a refusal
		synctest.Wait()
		equal(t, "calls from", p.calls(), 0, 500, 0)
		equal(t, "state", []latchkey.FileState{w.fileState(f)}, latchkey.FileSent)
		seen := int64(0)
		for _, e := range w.events() {
			if e.File != nil && e.File.Sent > 0 {
				seen = e.File.Sent
			}
		}
		if seen != 500 {
			t.Errorf("progress of %d octets was told, want 500", seen)
		}
	})
}

// F35: an inviter who does not take the chat does not take the file that would be told there.
func TestFileByHTTPFailsWithItsChat(t *testing.T) {
	fileBubble(t, conversation.Options{}, func(t *testing.T, w *world, p *porter) {
		w.presence.is(presence{latchkey.StatusOnline, false, true})
		w.phone.answer = func(context.Context, int) error { return &conversation.CallRefused{Code: 486} }
		f := w.file()
		synctest.Wait()
		equal(t, "state", []latchkey.FileState{w.fileState(f)}, latchkey.FileFailed)
		equal(t, "reasons", p.failed, "The inviter is busy.")
	})
}

// B3.13, R9: where a file of the inviter's is to be fetched is handed on with all that was said, and only where the invitation is for files.
func TestWhereAnInvitersFileIsIsHandedOn(t *testing.T) {
	const document = `<file><file-info type="thumbnail"><file-size>9</file-size><content-type>image/jpeg</content-type><data url="https://h/t"/></file-info>` +
		`<file-info type="file"><file-size>7</file-size><file-name>c.png</file-name><content-type>image/png</content-type><data url="https://h/c"/></file-info></file>`
	fileBubble(t, conversation.Options{}, func(t *testing.T, w *world, p *porter) {
		ring := &ring{phone: w.phone, ctx: t.Context()}
		w.hall.ServeCall(t.Context(), w.rel, ring)
		_, ch := ring.result()
		if err := ch.to.Receive(t.Context(), ch, "message/cpim", cpimOf("m1", "positive-delivery", cpim.FileTransferType, document)); err != nil {
			t.Fatal(err)
		}
		if len(p.told) != 1 {
			t.Fatalf("%d files handed on", len(p.told))
		}
		if f := p.told[0]; f.Source.Reveal() != "https://h/c" || f.Reason != "https://h/t" || f.Name != "c.png" || f.Size != 7 || f.Type != "image/png" || f.RemoteID != "m1" || !f.WantDelivered || f.WantDisplayed || f.Direction != latchkey.ToGuest {
			t.Errorf("handed on %+v", f)
		}
		w.rel.Interactions = w.rel.Interactions[:1]
		ring.taken = nil
		w.hall.ServeCall(t.Context(), w.rel, ring)
		_, ch = ring.result()
		if err := ch.to.Receive(t.Context(), ch, "message/cpim", cpimOf("m2", "", cpim.FileTransferType, document)); !latchkey.Is(err, latchkey.KindNotAllowed) {
			t.Errorf("Receive = %v, want KindNotAllowed", err)
		}
	})
}
