package conversation_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"latchkey"
	"latchkey/conversation"
)

// channelTo opens the inviter's channel by a message of the guest.
func (w *world) channelTo() *channel {
	w.t.Helper()
	w.send("hello")
	synctest.Wait()
	return w.phone.channel(len(w.phone.channels) - 1)
}

func (w *world) messages() (all []latchkey.Event) {
	for _, e := range w.events() {
		if e.Type == latchkey.MessageEvent {
			all = append(all, e)
		}
	}
	return all
}

// F30, B3.10: what arrives is an event before the phone gets its 200; delivered goes out only after the guest's
// client acknowledged it, displayed when it was read, each once.
func TestReceiptsFollowTheGuest(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		ch := w.channelTo()
		if err := ch.says(t.Context(), "r1", "positive-delivery, display", "hi there"); err != nil {
			t.Fatal(err)
		}
		got := w.messages()
		if len(got) != 1 || got[0].Message.Text != "hi there" || got[0].From != string(alice) {
			t.Fatalf("events %+v", got)
		}
		synctest.Wait()
		equal(t, "receipts before the guest has it", w.phone.receipts())
		for range 3 {
			if err := w.hall.Ack(t.Context(), bob, got[0].ID); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		equal(t, "receipts after ack", w.phone.receipts(), "r1 delivered")
		for range 3 {
			if err := w.hall.Read(t.Context(), bob, got[0].Message.ID); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		equal(t, "receipts after reading", w.phone.receipts(), "r1 delivered", "r1 displayed")
		if err := w.hall.Read(t.Context(), "sip:other@guest.example", got[0].Message.ID); !latchkey.Is(err, latchkey.KindNotFound) {
			t.Errorf("Read of another's message = %v, want not found", err)
		}
	})
}

// F30: who reads without acknowledging owes both, in order; what was not asked for is not sent (RFC 5438 §7.2.1).
func TestOnlyWhatWasAskedForIsSent(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		ch := w.channelTo()
		for id, disposition := range map[string]string{"both": "positive-delivery, display", "none": "", "first": "positive-delivery"} {
			if err := ch.says(t.Context(), id, disposition, id); err != nil {
				t.Fatal(err)
			}
		}
		if err := ch.says(t.Context(), "", "positive-delivery, display", "nameless"); err != nil {
			t.Fatal(err)
		}
		all := w.messages()
		if err := w.hall.Read(t.Context(), bob, all[len(all)-1].Message.ID); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		counts := map[string]int{}
		for i, r := range w.phone.receipts() {
			counts[r]++
			if r == "both displayed" && counts["both delivered"] != 1 {
				t.Errorf("displayed before delivered: %v at %d", w.phone.receipts(), i)
			}
		}
		if len(counts) != 3 || counts["both delivered"] != 1 || counts["both displayed"] != 1 || counts["first delivered"] != 1 {
			t.Errorf("receipts %v", w.phone.receipts())
		}
	})
}

// B3.09: several notifications in one message (RFC 5438 §8.3), and content with a transfer encoding (RFC 2045 §6), count like any other.
func TestWrappedInMIMEIsReadAlike(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		ch := w.channelTo()
		one, two := w.send("one"), w.send("two")
		synctest.Wait()
		part := func(id latchkey.MessageID, kind, status string) string {
			return fmt.Sprintf("--b\r\nContent-Type: message/imdn+xml\r\n\r\n<imdn><message-id>%s</message-id><%s-notification><status><%s/></status></%s-notification></imdn>\r\n", id, kind, status, kind)
		}
		aggregated := cpimOf("n1", "", "multipart/mixed;boundary=b\r\nContent-Disposition: notification", part(one.ID, "delivery", "delivered")+part(two.ID, "display", "displayed")+"--b--")
		if err := ch.to.Receive(t.Context(), ch, "message/cpim", aggregated); err != nil {
			t.Fatal(err)
		}
		states := map[latchkey.MessageID]latchkey.MessageState{}
		for _, e := range w.events() {
			if e.Type == latchkey.DeliveryEvent {
				states[e.Message.ID] = e.Message.State
			}
		}
		if states[one.ID] != latchkey.MessageDelivered || states[two.ID] != latchkey.MessageDisplayed {
			t.Errorf("states %v, want %s delivered and %s displayed", states, one.ID, two.ID)
		}
		if err := ch.to.Receive(t.Context(), ch, "message/cpim", cpimOf("r1", "", "text/plain\r\nContent-Transfer-Encoding: base64", "aMOpbGxv")); err != nil {
			t.Fatal(err)
		}
		if got := w.messages(); len(got) != 1 || got[0].Message.Text != "héllo" {
			t.Errorf("events %+v", got)
		}
		if err := ch.to.Receive(t.Context(), ch, "message/cpim", cpimOf("r2", "", "text/plain\r\nContent-Transfer-Encoding: x-gzip", "x")); !latchkey.Is(err, latchkey.KindBadRequest) {
			t.Errorf("an unknown encoding: %v", err)
		}
	})
}

// A repeat of the phone (the same imdn.Message-ID) is taken and not told twice.
func TestRepeatedMessageIsToldOnce(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		ch := w.channelTo()
		for range 3 {
			if err := ch.says(t.Context(), "r1", "", "hi"); err != nil {
				t.Errorf("Receive = %v", err)
			}
		}
		if n := len(w.messages()); n != 1 {
			t.Errorf("%d events, want 1", n)
		}
	})
}

// Other forms: bare text, a type that can't be shown, and what can't be read.
func TestWhatIsNoWrappedTextIsToldOrRefused(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		ch := w.channelTo()
		for contentType, body := range map[string]string{"text/plain": "bare", "image/png": "\x89PNG", "Text/Plain; charset=utf-8": "bare"} {
			if err := ch.to.Receive(t.Context(), ch, contentType, []byte(body)); err != nil {
				t.Errorf("Receive(%s) = %v", contentType, err)
			}
		}
		for contentType, body := range map[string]string{"message/cpim": "nonsense", "application/im-iscomposing+xml": "<!DOCTYPE x>", "message/CPIM": ""} {
			if err := ch.to.Receive(t.Context(), ch, contentType, []byte(body)); !latchkey.Is(err, latchkey.KindBadRequest) {
				t.Errorf("Receive(%s, %q) = %v, want bad request", contentType, body, err)
			}
		}
		counts := map[string]int{}
		for _, e := range w.messages() {
			counts[e.Message.Text]++
		}
		if counts["bare"] != 2 || counts["[image/png: this kind of message can't be shown here]"] != 1 || len(counts) != 2 {
			t.Errorf("told %v", counts)
		}
	})
}

// F31: the inviter's own call is taken, and the guest's answer goes back on it without a call of ours.
func TestInvitersCallIsTaken(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		r := &ring{phone: w.phone, ctx: t.Context(), firstCT: "message/cpim", first: cpimOf("f1", "", "text/plain", "in the INVITE")}
		w.hall.ServeCall(t.Context(), w.rel, r)
		code, ch := r.result()
		if code != 0 || ch == nil {
			t.Fatalf("refused with %d", code)
		}
		// B3.04: the first message may come again on the channel.
		for _, text := range []string{"in the INVITE", "on the channel"} {
			id := map[string]string{"in the INVITE": "f1", "on the channel": "f2"}[text]
			if err := ch.says(t.Context(), id, "", text); err != nil {
				t.Fatal(err)
			}
		}
		w.send("answer")
		synctest.Wait()
		if n := w.phone.called(); n != 0 {
			t.Errorf("%d calls of ours, want none", n)
		}
		equal(t, "texts", w.phone.texts(), "answer")
		var told []string
		for _, e := range w.messages() {
			told = append(told, e.Message.Text)
		}
		equal(t, "told", told, "in the INVITE", "on the channel")
	})
}

// A call whose first message can't be stored is refused: the 200 would promise what isn't so.
func TestCallWithABadFirstMessageIsRefused(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		r := &ring{phone: w.phone, ctx: t.Context(), firstCT: "message/cpim", first: []byte("nonsense")}
		w.hall.ServeCall(t.Context(), w.rel, r)
		if code, ch := r.result(); code != 400 || ch != nil {
			t.Errorf("answered %d, %v, want 400", code, ch)
		}
		w.send("still works")
		synctest.Wait()
		equal(t, "texts", w.phone.texts(), "still works")
	})
}

// F36: both call at once. The inviter's call lives, ours is given up, and what waited goes out once, whichever
// is answered first.
func TestGlareLeavesOneChannel(t *testing.T) {
	for name, late := range map[string]struct {
		ours   error         // how our call ends
		ignore bool          // our call is answered although it was cancelled
		after  time.Duration // the inviter's call is up after this
	}{
		"ours cancelled":              {ours: context.Canceled},
		"ours refused busy":           {ours: &conversation.CallRefused{Code: 486}},
		"ours answered, theirs first": {ignore: true},
		"ours answered, theirs last":  {ignore: true, after: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
				w.phone.answer = func(ctx context.Context, _ int) error {
					<-ctx.Done() // yields
					if late.ignore {
						time.Sleep(time.Second) // the 200 crosses our CANCEL
						return nil
					}
					return late.ours
				}
				m := w.send("hi")
				synctest.Wait()
				r := &ring{phone: w.phone, ctx: t.Context(), onAccept: func(context.Context) error { time.Sleep(late.after); return nil }}
				w.hall.ServeCall(t.Context(), w.rel, r)
				time.Sleep(time.Minute)
				synctest.Wait()
				if _, ch := r.result(); ch == nil || ch.closed() {
					t.Error("the inviter's call did not survive")
				}
				if n := w.phone.standing(); n != 1 {
					t.Errorf("%d channels stand, want 1", n)
				}
				if got := w.phone.received(); len(got) != 1 || got[0].id != string(m.ID) {
					t.Errorf("received %+v, want the message once", got)
				}
				if n := w.phone.called(); n != 1 {
					t.Errorf("%d calls of ours, want 1", n)
				}
				equal(t, "states", w.states(m.ID), "sent")
			})
		})
	}
}

// F36: when the inviter's call comes to nothing, ours is made again.
func TestGlareWithAFailedCallTriesAgain(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		w.phone.answer = func(ctx context.Context, n int) error {
			if n == 1 {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		w.send("hi")
		synctest.Wait()
		r := &ring{phone: w.phone, ctx: t.Context(), onAccept: func(context.Context) error { return errors.New("no connection") }}
		w.hall.ServeCall(t.Context(), w.rel, r)
		synctest.Wait()
		if code, _ := r.result(); code != 500 {
			t.Errorf("answered %d, want 500", code)
		}
		equal(t, "texts", w.phone.texts(), "hi")
	})
}

// F36: a second call of the inviter takes the place of the first. The message that is being sent on the old channel
// may finish, so that it isn't sent twice.
func TestNewChannelLetsTheOldOneFinish(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		w.phone.onSend = func(_ context.Context, s sent) error {
			if s.channel == 1 {
				time.Sleep(time.Second)
			}
			return nil
		}
		w.send("one")
		w.send("two")
		synctest.Wait()
		r := &ring{phone: w.phone, ctx: t.Context()}
		w.hall.ServeCall(t.Context(), w.rel, r)
		time.Sleep(time.Minute)
		synctest.Wait()
		got := w.phone.received()
		if len(got) != 2 || got[0].channel != 1 || got[1].channel != 2 {
			t.Errorf("received %+v, want one message on each channel", got)
		}
		if !w.phone.channel(0).closed() || w.phone.channel(1).closed() {
			t.Error("the old channel stands, or the new one doesn't")
		}
	})
}

// F37: an idle channel is closed; the next message opens another under the same Conversation-ID.
func TestIdleChannelIsClosedAndOpenedAgain(t *testing.T) {
	bubble(t, conversation.Options{IdleTimeout: time.Minute}, func(t *testing.T, w *world) {
		ch := w.channelTo()
		time.Sleep(50 * time.Second)
		if err := ch.says(t.Context(), "r1", "", "still here"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Second)
		synctest.Wait()
		if ch.closed() {
			t.Fatal("closed 50 s after a message, want 60")
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if !ch.closed() || ch.reason == "" {
			t.Fatalf("closed: %v with %q, want so after 60 s, with a reason", ch.closed(), ch.reason)
		}
		w.send("again")
		synctest.Wait()
		equal(t, "texts", w.phone.texts(), "hello", "again")
		a, b := w.phone.calls[0], w.phone.calls[1]
		if a.ConversationID != b.ConversationID || a.ContributionID == b.ContributionID || b.ContributionID == "" {
			t.Errorf("calls %+v and %+v", a, b)
		}
	})
}

// F37: the inviter hangs up; nothing happens until there is something to say.
func TestInviterHangsUp(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		_ = w.channelTo().Close(t.Context(), "")
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := w.phone.called(); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
		w.send("again")
		synctest.Wait()
		equal(t, "texts", w.phone.texts(), "hello", "again")
	})
}

// A long send is no idle channel.
func TestChannelIsNotIdleWhileItSends(t *testing.T) {
	bubble(t, conversation.Options{IdleTimeout: 10 * time.Second}, func(t *testing.T, w *world) {
		w.phone.onSend = func(context.Context, sent) error { time.Sleep(30 * time.Second); return nil }
		w.send("slow")
		time.Sleep(35 * time.Second)
		synctest.Wait()
		if got := w.phone.received(); len(got) != 1 || w.phone.called() != 1 || w.phone.channel(0).closed() {
			t.Errorf("received %d, calls %d", len(got), w.phone.called())
		}
	})
}

// Many senders and a busy phone at once: nothing is lost, doubled or out of order.
func TestCrowdedRoomLosesNothing(t *testing.T) {
	w := newWorld(t, conversation.Options{Retry: time.Millisecond})
	var mu sync.Mutex
	broken := 0
	w.phone.onSend = func(_ context.Context, s sent) error {
		mu.Lock()
		defer mu.Unlock()
		if broken < 5 && len(s.id)%2 == 0 && broken*10 < len(w.phone.received()) {
			broken++
			return errBroken
		}
		return nil
	}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 25 {
				if _, _, err := w.hall.Send(t.Context(), w.rel, conversation.Outgoing{Text: latchkey.Text(fmt.Sprintf("%d-%02d", i, j))}); err != nil {
					t.Errorf("Send = %v", err)
				}
				_ = w.hall.Composing(t.Context(), w.rel, j%2 == 0)
			}
		})
	}
	all.Wait()
	eventually(t, func() bool { return len(w.phone.texts()) == 200 })
	last := map[byte]string{}
	for _, text := range w.phone.texts() {
		if text <= last[text[0]] {
			t.Errorf("%s after %s", text, last[text[0]])
		}
		last[text[0]] = text
	}
}
