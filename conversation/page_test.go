package conversation_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"latchkey"
	"latchkey/conversation"
)

// owe makes a receipt come due: Alice's message r1 reaches the guest. Without a channel when it returns, unless keep is set.
func (w *world) owe(keep bool) {
	w.t.Helper()
	ch := w.channelTo()
	if err := ch.says(w.t.Context(), "r1", "positive-delivery", "hi"); err != nil {
		w.t.Fatal(err)
	}
	if !keep {
		_ = ch.Close(w.t.Context(), "")
		synctest.Wait()
	}
	if err := w.hall.Ack(w.t.Context(), bob, 100); err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
}

// owed counts the receipts that wait.
func (w *world) owed() int {
	w.t.Helper()
	_, receipts, err := w.db.Waiting(w.t.Context(), w.rel.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	return len(receipts)
}

// B5.07, B3.14, R26: a receipt that comes due without a channel opens none, and goes by SIP MESSAGE, from an account that is registered.
func TestReceiptWithoutAChannelIsPaged(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		w.owe(false)
		equal(t, "receipts", w.phone.receipts(), "r1 delivered")
		if calls, pages := w.phone.called(), w.phone.paged(); calls != 1 || pages != 1 || w.owed() != 0 {
			t.Errorf("%d calls, %d pages, %d receipts wait; want the first call, one page, none", calls, pages, w.owed())
		}
		if n := len(w.registrar.calls); n != 2 {
			t.Errorf("%d looks at the registration, want one for the call and one for the page", n)
		}
	})
}

// B5.06: a wrapped type that the phone did not list is not sent on the channel; the receipt goes by SIP MESSAGE, and is dropped
// where the phone refuses that, too.
func TestReceiptIsPagedToAPhoneThatListsNone(t *testing.T) {
	for code, want := range map[int][]string{200: {"r1 delivered"}, 405: nil} {
		bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
			w.phone.types = []string{"text/plain"}
			if code != 200 {
				w.phone.onPage = func(int) error { return &conversation.CallRefused{Code: code} }
			}
			w.owe(true)
			equal(t, "receipts", w.phone.receipts(), want...)
			if n := w.phone.paged(); n != 1 || w.owed() != 0 || w.phone.standing() != 1 {
				t.Errorf("after %d: %d pages, %d receipts wait, %d channels; want 1, 0, 1", code, n, w.owed(), w.phone.standing())
			}
		})
	}
}

// B5.07: a phone that takes no pages gets the receipt on the next channel, whoever opens it.
func TestReceiptOutlivesARefusedPage(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		w.phone.onPage = func(int) error { return &conversation.CallRefused{Code: 405} }
		w.owe(false)
		time.Sleep(time.Hour)
		synctest.Wait()
		if calls, pages := w.phone.called(), w.phone.paged(); calls != 1 || pages != 1 || w.owed() != 1 {
			t.Errorf("%d calls, %d pages, %d receipts wait; want no more than the first, and one", calls, pages, w.owed())
		}
		w.send("again")
		synctest.Wait()
		equal(t, "receipts", w.phone.receipts(), "r1 delivered")
	})
}

// B5.07, RFC 3261 §20.33: whose phone is away is paged again, not before the time it named.
func TestReceiptIsPagedAgainToWhoIsAway(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		w.phone.onPage = func(n int) error {
			if n == 1 {
				return &conversation.CallRefused{Code: 480, RetryAfter: time.Minute}
			}
			return nil
		}
		w.owe(false)
		time.Sleep(time.Minute - time.Second)
		synctest.Wait()
		if n := w.phone.paged(); n != 1 {
			t.Errorf("%d pages within the minute, want 1", n)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		equal(t, "receipts", w.phone.receipts(), "r1 delivered")
	})
}

// F35, B5.07: a call that is refused for good takes the messages along, not the receipt.
func TestReceiptOfARefusedCallIsPaged(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		w.phone.onPage = func(n int) error { // the first comes before there is a call
			if n == 1 {
				return &conversation.CallRefused{Code: 405}
			}
			return nil
		}
		w.owe(false)
		w.phone.answer = func(context.Context, int) error { return &conversation.CallRefused{Code: 486} }
		m := w.send("are you there?")
		synctest.Wait()
		equal(t, "states", w.states(m.ID), "failed")
		equal(t, "receipts", w.phone.receipts(), "r1 delivered")
	})
}

// R14, F35: where each message asks anew, a refusal concerns that message; who is away keeps all that waits, in order, for as long as
// was asked for.
func TestMessageThatIsRefusedByItself(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		w.phone.onSend = func(_ context.Context, s sent) error {
			if strings.HasSuffix(s.body, "no") {
				return &conversation.CallRefused{Code: 403}
			}
			return nil
		}
		bad, good := w.send("no"), w.send("yes")
		synctest.Wait()
		equal(t, "states", w.states(bad.ID), "failed")
		equal(t, "states", w.states(good.ID), "sent")
		var back atomic.Bool
		w.phone.onSend = func(context.Context, sent) error {
			if !back.Load() {
				return &conversation.CallRefused{Code: 480, RetryAfter: time.Minute}
			}
			return nil
		}
		w.send("one")
		synctest.Wait()
		n := len(w.phone.received())
		w.send("two")
		time.Sleep(50 * time.Second)
		synctest.Wait()
		if len(w.phone.received()) != n {
			t.Error("sent again before the time that the phone named")
		}
		back.Store(true)
		time.Sleep(time.Minute)
		synctest.Wait()
		equal(t, "texts", w.phone.texts(), "yes", "one", "two")
		if n := w.phone.called(); n != 1 {
			t.Errorf("%d channels were opened, want one", n)
		}
	})
}

// B2.16: 607 and 608 mean the guest, not the message.
func TestUnwantedGuestIsReported(t *testing.T) {
	for _, code := range []int{603, 607, 608} {
		for _, paged := range []bool{false, true} {
			var unwanted []latchkey.RelationID
			opt := conversation.Options{Unwanted: func(rel latchkey.Relation) { unwanted = append(unwanted, rel.ID) }}
			bubble(t, opt, func(t *testing.T, w *world) {
				no := &conversation.CallRefused{Code: code}
				if paged {
					w.phone.onSend = func(context.Context, sent) error { return no }
				} else {
					w.phone.answer = func(context.Context, int) error { return no }
				}
				m := w.send("hello")
				synctest.Wait()
				equal(t, "states", w.states(m.ID), "failed")
				if want := code != 603; want != slices.Contains(unwanted, w.rel.ID) || len(unwanted) > 1 {
					t.Errorf("%d: unwanted %v", code, unwanted)
				}
			})
		}
	}
}

// B3.14, RFC 5438 §7.2.1: what comes outside of a channel is stored, once for each name, with or without an envelope; the guest
// need not be there.
func TestPagedMessageIsStoredOnce(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		for range 2 {
			for _, a := range []conversation.Arrival{
				{ID: "call-1", ContentType: "text/plain;charset=UTF-8", Body: []byte("plain")},
				{ID: "call-2", ContentType: "message/cpim", Body: cpimOf("r2", "positive-delivery", "text/plain", "wrapped")},
				{ID: "call-3", ContentType: "message/cpim", Body: cpimOf("", "positive-delivery", "text/plain", "unnamed")},
			} {
				if err := w.hall.Arrived(t.Context(), w.rel, a); err != nil {
					t.Fatalf("Arrived(%s) = %v", a.ID, err)
				}
			}
		}
		// The same name in another transaction.
		again := conversation.Arrival{ID: "call-4", ContentType: "message/cpim", Body: cpimOf("r2", "", "text/plain", "wrapped")}
		if err := w.hall.Arrived(t.Context(), w.rel, again); err != nil {
			t.Fatal(err)
		}
		var texts []string
		for _, e := range w.events() {
			if e.Type == latchkey.MessageEvent {
				texts = append(texts, e.Message.Text)
			}
		}
		equal(t, "texts", texts, "plain", "wrapped", "unnamed")
		if err := w.hall.Ack(t.Context(), bob, 100); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		equal(t, "receipts", w.phone.receipts(), "r2 delivered") // who has no name can't be notified of
		if n := w.phone.called(); n != 0 {
			t.Errorf("%d calls", n)
		}
	})
}

// R14: notifications and composing that come outside of a channel count like those in one.
func TestPagedNotificationsCount(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		m := w.send("hello")
		synctest.Wait()
		displayed := cpimOf("n1", "", "message/imdn+xml", fmt.Sprintf(
			`<imdn xmlns="urn:ietf:params:xml:ns:imdn"><message-id>%s</message-id><display-notification><status><displayed/></status></display-notification></imdn>`, m.ID))
		if err := w.hall.Arrived(t.Context(), w.rel, conversation.Arrival{ID: "x", ContentType: "message/cpim", Body: displayed}); err != nil {
			t.Fatal(err)
		}
		equal(t, "states", w.states(m.ID), "sent", "displayed")
		body := []byte(`<isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing"><state>active</state></isComposing>`)
		if err := w.hall.Arrived(t.Context(), w.rel, conversation.Arrival{ID: "y", ContentType: "application/im-iscomposing+xml", Body: body}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		equal(t, "composing", w.composing(), "active")
		files := w.rel
		files.Interactions = []latchkey.Interaction{latchkey.File}
		if err := w.hall.Arrived(t.Context(), files, conversation.Arrival{ContentType: "text/plain", Body: []byte("x")}); !latchkey.Is(err, latchkey.KindNoRelation) {
			t.Errorf("Arrived for files only = %v, want no relation", err)
		}
	})
}

// single is a call for one message.
type single struct{ *ring }

func (single) IsOneMessage() bool { return true }

// R14: a call for one large message takes the place of no channel and cancels no call of ours.
func TestCallForOneMessageTakesNoPlace(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		w.send("first")
		synctest.Wait()
		call := &ring{phone: w.phone, ctx: t.Context()}
		over := make(chan struct{})
		go func() { w.hall.ServeCall(t.Context(), w.rel, single{call}); close(over) }()
		synctest.Wait()
		_, large := call.result()
		if large == nil || w.phone.standing() != 2 {
			t.Fatalf("%d channels, want the large message's beside the chat's", w.phone.standing())
		}
		if err := large.says(t.Context(), "big", "", strings.Repeat("x", 5000)); err != nil {
			t.Fatal(err)
		}
		w.send("second")
		synctest.Wait()
		_ = large.Close(t.Context(), "")
		<-over
		synctest.Wait()
		for _, s := range w.phone.received() {
			if s.channel != 1 {
				t.Errorf("something was sent on channel %d", s.channel)
			}
		}
		equal(t, "texts", w.phone.texts(), "first", "second")
		// One that never hangs up is hung up on, and one that stands when the relation ends, too.
		for _, closing := range []bool{false, true} {
			call := &ring{phone: w.phone, ctx: t.Context()}
			over := make(chan struct{})
			go func() { w.hall.ServeCall(t.Context(), w.rel, single{call}); close(over) }()
			synctest.Wait()
			if closing {
				if err := w.hall.Close(t.Context(), w.rel, latchkey.GuestLeft); err != nil {
					t.Fatal(err)
				}
			}
			<-over
			if _, ch := call.result(); ch == nil || !ch.closed() {
				t.Error("the call for one message is left open")
			}
		}
	})
}

// R1: a word of the system is no message of the guest: it asks for nothing and stands in no history.
func TestInviterIsTold(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		w.hall.Tell(w.rel, "by page")
		synctest.Wait()
		w.send("hello")
		synctest.Wait()
		w.hall.Tell(w.rel, "on the channel")
		synctest.Wait()
		all := w.phone.received()
		if len(all) != 3 || all[0].channel != 0 || !strings.HasSuffix(all[0].body, "by page") || all[2].channel != 1 || !strings.HasSuffix(all[2].body, "on the channel") {
			t.Fatalf("Alice got %+v", all)
		}
		for _, i := range []int{0, 2} {
			if strings.Contains(all[i].body, "Disposition-Notification") || !strings.Contains(all[i].body, "imdn.Message-ID: ") {
				t.Errorf("%s\nwants a notification, or has no name", all[i].body)
			}
		}
		if h, err := w.hall.History(t.Context(), bob, alice, "", 10); err != nil || len(h) != 1 {
			t.Errorf("History = %+v, %v, want the guest's message alone", h, err)
		}
	})
}

// Issue 8, line 1: a word that must not be lost has the id that it was given, by page and on the channel, and who conveys it is told how it went:
// with the inviter away it is worth another attempt, and with a phone that takes no messages it is not.
func TestConveyedWordIsAnswered(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		refuse := 0
		w.phone.onPage = func(int) error {
			if refuse > 0 {
				return &conversation.CallRefused{Code: refuse}
			}
			return nil
		}
		for _, c := range []struct {
			code  int
			final bool
		}{{480, false}, {503, false}, {405, true}, {404, true}} {
			refuse = c.code
			err := w.hall.Convey(t.Context(), w.rel, "w0rd", "failed")
			if refused, ok := errors.AsType[*conversation.CallRefused](err); !ok || refused.Code != c.code || refused.Final() != c.final {
				t.Errorf("%d: Convey = %v, want it refused, final %v", c.code, err, c.final)
			}
		}
		refuse = 0
		if err := w.hall.Convey(t.Context(), w.rel, "w0rd", "by page"); err != nil {
			t.Errorf("Convey = %v", err)
		}
		w.send("hello")
		synctest.Wait()
		if err := w.hall.Convey(t.Context(), w.rel, "w0rd", "on the channel"); err != nil {
			t.Errorf("Convey = %v", err)
		}
		all := w.phone.received()
		for i, want := range map[int]string{len(all) - 3: "by page", len(all) - 1: "on the channel"} {
			if !strings.Contains(all[i].body, "imdn.Message-ID: w0rd\r\n") || !strings.HasSuffix(all[i].body, want) {
				t.Errorf("Alice got %s, want %q under its id", all[i].body, want)
			}
		}
	})
}

// F34: who is seen to be back gets at once what waits, also before the time that the network named; who writes is back.
func TestReturnedInviterGetsWhatWaits(t *testing.T) {
	for name, back := range map[string]func(*world) error{
		"seen": func(w *world) error { w.hall.Returned(alice.Address()); return nil },
		"writes": func(w *world) error {
			return w.hall.Arrived(w.t.Context(), w.rel, conversation.Arrival{ID: "x", ContentType: "text/plain", Body: []byte("here I am")})
		},
		"somebody else": func(w *world) error { w.hall.Returned(latchkey.MustAddress("sip:c@cc.com")); return nil },
	} {
		bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
			w.phone.answer = func(_ context.Context, n int) error {
				if n == 1 {
					return &conversation.CallRefused{Code: 480, RetryAfter: time.Hour}
				}
				return nil
			}
			w.send("hello")
			synctest.Wait()
			time.Sleep(time.Minute)
			if err := back(w); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if got := len(w.phone.texts()); (name != "somebody else") != (got == 1) {
				t.Errorf("%s: Alice has %d messages", name, got)
			}
		})
	}
}

// F34: somebody who comes back while an attempt fails is tried again soon.
func TestInviterReturnsDuringAnAttempt(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		w.phone.answer = func(_ context.Context, n int) error {
			if n == 1 {
				w.hall.Returned(alice.Address())
				time.Sleep(time.Second)
				return &conversation.CallRefused{Code: 480, RetryAfter: time.Hour}
			}
			return nil
		}
		w.send("hello")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		equal(t, "texts", w.phone.texts(), "hello")
	})
}
