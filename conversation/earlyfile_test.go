package conversation_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"latchkey"
	"latchkey/conversation"
)

// uploads is what a test's porter knows of uploads: it takes each to the phone when that takes it and the upload is whole.
type uploads struct {
	whole chan struct{} // closed when the upload is
	phone chan error    // what the phone says
}

// earlyBubble is fileBubble for uploads that go out as they come.
func earlyBubble(t *testing.T, opt conversation.Options, f func(t *testing.T, w *world, p *porter, u *uploads)) {
	t.Helper()
	opt.FilesEarly = true
	fileBubble(t, opt, func(t *testing.T, w *world, p *porter) {
		u := &uploads{make(chan struct{}), make(chan error, 1)}
		p.comes = func(ctx context.Context, call conversation.FileCall, _ latchkey.StoredFile) (err error) {
			select {
			case err = <-u.phone:
			case <-ctx.Done():
				return ctx.Err()
			}
			select {
			case <-u.whole:
			case <-ctx.Done():
				return ctx.Err()
			}
			if err == errBroken {
				call.Progress(500)
			}
			return err
		}
		f(t, w, p, u)
	})
}

func (p *porter) ahead() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.early)
}

// complete is the end of an upload.
func (u *uploads) complete(w *world, f latchkey.StoredFile) {
	w.t.Helper()
	w.whole(f)
	close(u.whole)
}

// F51: a declared file goes out while it comes, and once, whichever of upload and phone is through first.
func TestDeclaredFileIsCarriedOnce(t *testing.T) {
	for _, first := range []string{"phone", "upload"} {
		t.Run(first, func(t *testing.T) {
			earlyBubble(t, conversation.Options{}, func(t *testing.T, w *world, p *porter, u *uploads) {
				f := w.upload()
				w.hall.FileComing(w.rel, f)
				synctest.Wait()
				if n := p.ahead(); n != 1 {
					t.Fatalf("%d calls while it comes, want 1", n)
				}
				if first == "phone" {
					u.phone <- nil
				}
				u.complete(w, f)
				synctest.Wait()
				if first == "upload" {
					u.phone <- nil
				}
				time.Sleep(time.Hour)
				equal(t, "later calls", p.calls())
				equal(t, "state", []latchkey.FileState{w.fileState(f)}, latchkey.FileSent)
			})
		})
	}
}

// R33, F34, B3.13: where it would upset anything a file goes when it is whole, as any other.
func TestDeclaredFileWaitsWhereItMust(t *testing.T) {
	for name, c := range map[string]struct {
		opt    conversation.Options
		before func(w *world, p *porter, f *latchkey.StoredFile)
		state  latchkey.FileState
	}{
		"away": {state: latchkey.FileAccepted, before: func(w *world, _ *porter, _ *latchkey.StoredFile) {
			w.presence.is(presence{state: latchkey.StatusOffline})
		}},
		"nobody knows": {before: func(w *world, _ *porter, _ *latchkey.StoredFile) {
			w.presence.is(presence{state: latchkey.StatusUnknown})
		}},
		"HTTP is better": {opt: conversation.Options{FileWays: []conversation.FileWay{conversation.ByHTTP, conversation.ByMSRP}}, before: func(w *world, _ *porter, _ *latchkey.StoredFile) {
			w.presence.is(presence{latchkey.StatusOnline, true, true})
		}},
		"no hash": {before: func(_ *world, _ *porter, f *latchkey.StoredFile) { f.SHA1 = "" }},
		"no size": {before: func(_ *world, _ *porter, f *latchkey.StoredFile) { f.Size = latchkey.UnknownSize }},
		"a picture": {before: func(w *world, _ *porter, f *latchkey.StoredFile) {
			w.presence.icon = true
			f.Type = "image/png"
		}},
		"a message waits": {before: func(w *world, _ *porter, _ *latchkey.StoredFile) {
			w.phone.answer = func(context.Context, int) error { return &conversation.CallRefused{Code: 480, RetryAfter: time.Minute} }
			w.send("first")
		}},
		"a file waits": {state: latchkey.FileAccepted, before: func(w *world, p *porter, _ *latchkey.StoredFile) {
			p.answer = func(int, conversation.FileCall) error {
				return &conversation.CallRefused{Code: 480, RetryAfter: time.Minute}
			}
			w.file()
		}},
		"a scanner": {}, // whose gateway can't
	} {
		t.Run(name, func(t *testing.T) {
			c.opt.FilesEarly = name != "a scanner"
			fileBubble(t, c.opt, func(t *testing.T, w *world, p *porter) {
				p.comes = func(context.Context, conversation.FileCall, latchkey.StoredFile) error { return errBroken }
				f := w.upload()
				told := f
				if c.before != nil {
					c.before(w, p, &told)
				}
				synctest.Wait()
				w.hall.FileComing(w.rel, told)
				synctest.Wait()
				if n := p.ahead(); n != 0 {
					t.Errorf("%d calls while it comes", n)
				}
				w.whole(f)
				synctest.Wait()
				want := c.state
				if want == "" {
					want = latchkey.FileSent
				}
				equal(t, "state", []latchkey.FileState{w.fileState(f)}, want)
			})
		})
	}
}

// F35, F55, RFC 5547 §8.1: what becomes of a file that the inviter's side did not take while it came is decided when it is stored: it has failed,
// goes on behind what the phone has, or waits as long as the phone asked; and nothing is left of what did not come.
func TestDeclaredFileThatWasNotTaken(t *testing.T) {
	for name, c := range map[string]struct {
		err   error
		calls []int64
		state latchkey.FileState
	}{
		"declined":      {&conversation.CallRefused{Code: 603}, nil, latchkey.FileFailed},
		"hung up":       {&conversation.HungUp{}, nil, latchkey.FileFailed},
		"broken":        {errBroken, []int64{500}, latchkey.FileSent},
		"not there now": {&conversation.CallRefused{Code: 480, RetryAfter: time.Minute}, []int64{0}, latchkey.FileSent},
		"not come":      {&conversation.NotCome{Err: errBroken}, nil, latchkey.FileReceiving},
	} {
		t.Run(name, func(t *testing.T) {
			earlyBubble(t, conversation.Options{}, func(t *testing.T, w *world, p *porter, u *uploads) {
				f := w.upload()
				w.hall.FileComing(w.rel, f)
				u.phone <- c.err
				synctest.Wait()
				if c.state == latchkey.FileReceiving {
					close(u.whole)
				} else {
					equal(t, "failed before it was stored", p.failed)
					u.complete(w, f)
				}
				synctest.Wait()
				if refused, ok := errors.AsType[*conversation.CallRefused](c.err); ok && refused.RetryAfter > 0 {
					time.Sleep(refused.RetryAfter - time.Second)
					equal(t, "calls within the wait", p.calls())
				}
				time.Sleep(time.Hour)
				equal(t, "later calls", p.calls(), c.calls...)
				equal(t, "state", []latchkey.FileState{w.fileState(f)}, c.state)
			})
		})
	}
}

// F51: files keep their order: one that is whole before an upload is through goes beside it, and again where the phone is too busy for two; one behind it
// waits.
func TestFilesKeepTheirOrderAroundADeclaredOne(t *testing.T) {
	earlyBubble(t, conversation.Options{}, func(t *testing.T, w *world, p *porter, u *uploads) {
		p.answer = func(n int, _ conversation.FileCall) error {
			if n == 1 {
				return &conversation.CallRefused{Code: 486}
			}
			return nil
		}
		f := w.upload()
		w.hall.FileComing(w.rel, f)
		synctest.Wait()
		quick := w.file()
		time.Sleep(10 * time.Second)
		equal(t, "calls beside", p.calls(), 0, 0)
		equal(t, "state of the one beside", []latchkey.FileState{w.fileState(quick)}, latchkey.FileSent)
		u.complete(w, f)
		behind := w.file()
		synctest.Wait()
		equal(t, "states while the phone takes the first", []latchkey.FileState{w.fileState(f), w.fileState(behind)}, latchkey.FileAccepted, latchkey.FileAccepted)
		u.phone <- nil
		synctest.Wait()
		equal(t, "states", []latchkey.FileState{w.fileState(f), w.fileState(behind)}, latchkey.FileSent, latchkey.FileSent)
		equal(t, "calls", p.calls(), 0, 0, 0)
	})
}

// F51: a second upload at the same time goes when it is whole.
func TestOneFileAtATimeGoesAhead(t *testing.T) {
	earlyBubble(t, conversation.Options{}, func(t *testing.T, w *world, p *porter, u *uploads) {
		f, second := w.upload(), w.upload()
		w.hall.FileComing(w.rel, f)
		w.hall.FileComing(w.rel, second)
		synctest.Wait()
		if n := p.ahead(); n != 1 {
			t.Fatalf("%d calls while they come, want 1", n)
		}
		w.whole(second)
		synctest.Wait()
		equal(t, "state", []latchkey.FileState{w.fileState(second)}, latchkey.FileSent)
		u.phone <- nil
		u.complete(w, f)
		synctest.Wait()
		equal(t, "state", []latchkey.FileState{w.fileState(f)}, latchkey.FileSent)
	})
}

// F55, F56: the guest's word and the end of the relation stop a file that is carried while it comes.
func TestDeclaredFileIsStopped(t *testing.T) {
	for name, stop := range map[string]func(w *world, f latchkey.StoredFile) error{
		"cancelled": func(w *world, f latchkey.StoredFile) error { return w.hall.CancelFile(w.t.Context(), w.rel, f) },
		"relation ended": func(w *world, _ latchkey.StoredFile) error {
			return w.hall.Close(w.t.Context(), w.rel, latchkey.GuestLeft)
		},
	} {
		t.Run(name, func(t *testing.T) {
			earlyBubble(t, conversation.Options{}, func(t *testing.T, w *world, p *porter, _ *uploads) {
				stopped := make(chan struct{})
				p.comes = func(ctx context.Context, _ conversation.FileCall, _ latchkey.StoredFile) error {
					<-ctx.Done()
					close(stopped)
					return ctx.Err()
				}
				f := w.upload()
				w.hall.FileComing(w.rel, f)
				synctest.Wait()
				if err := stop(w, f); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				select {
				case <-stopped:
				default:
					t.Error("the file goes on")
					_ = w.hall.Close(t.Context(), w.rel, latchkey.GuestLeft)
				}
				time.Sleep(time.Hour)
				equal(t, "later calls", p.calls())
				equal(t, "failed", p.failed)
			})
		})
	}
}
