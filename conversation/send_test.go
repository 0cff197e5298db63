package conversation_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey"
	"latchkey/conversation"
)

// bubble runs a test on fake time. settle is synctest.Wait: nobody has anything to do but wait.
func bubble(t *testing.T, opt conversation.Options, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, opt)
		f(t, w)
	})
}

func equal[T comparable](t *testing.T, what string, got []T, want ...T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// F27, R26: the account is registered at the interaction server before the call, not after.
func TestAccountIsRegisteredBeforeTheFirstCall(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		w.send("abcdefg")
		synctest.Wait()
		equal(t, "late registrations", w.registrar.calls, string(bob)+" im after 0 calls")
		equal(t, "texts", w.phone.texts(), "abcdefg")
	})
}

// F27: while the registration fails, nobody is called and the message waits.
func TestMessageWaitsForTheRegistration(t *testing.T) {
	bubble(t, conversation.Options{Retry: time.Second}, func(t *testing.T, w *world) {
		w.registrar.err = latchkey.Errorf(latchkey.KindCoreTimeout, "")
		m := w.send("hi")
		synctest.Wait()
		if n := w.phone.called(); n != 0 {
			t.Fatalf("%d calls without a registration", n)
		}
		w.registrar.mu.Lock()
		w.registrar.err = nil
		w.registrar.mu.Unlock()
		time.Sleep(9 * time.Second) // KindCoreTimeout asks for 10 s
		synctest.Wait()
		if n := w.phone.called(); n != 0 {
			t.Errorf("called after 9 s, want 10 s of patience")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		equal(t, "texts", w.phone.texts(), "hi")
		equal(t, "states", w.states(m.ID), "sent")
	})
}

// F28, F29: one call carries both messages, as CPIM that asks for both notifications.
func TestSecondMessageTakesTheOpenChannel(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		first := w.send("abcdefg")
		synctest.Wait()
		second := w.send("and more")
		synctest.Wait()
		if n := w.phone.called(); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
		got := w.phone.received()
		if len(got) != 2 || got[0].id != string(first.ID) || got[1].id != string(second.ID) || got[1].channel != 1 {
			t.Fatalf("sent %+v", got)
		}
		if got[0].contentType != "message/cpim" {
			t.Errorf("content type %q", got[0].contentType)
		}
		for _, line := range []string{
			"From: <" + string(bob) + ">", "To: <" + string(alice) + ">", "NS: imdn <urn:ietf:params:imdn>", "imdn.Message-ID: " + string(first.ID),
			"imdn.Disposition-Notification: positive-delivery, display", "DateTime: ", "Content-Type: text/plain",
		} {
			if !strings.Contains(got[0].body, line) {
				t.Errorf("no %q in\n%s", line, got[0].body)
			}
		}
		equal(t, "states", w.states(first.ID), "sent")
	})
}

// F28: what the phone says of a message moves its state, forward only, and each move is told once.
func TestNotificationsMoveTheMessageOnce(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		m := w.send("hi")
		synctest.Wait()
		ch := w.phone.channel(0)
		for _, n := range [][2]string{{"delivery", "delivered"}, {"delivery", "delivered"}, {"display", "displayed"}, {"delivery", "delivered"}, {"delivery", "failed"}} {
			if err := ch.notifies(t.Context(), m.ID, n[0], n[1]); err != nil {
				t.Errorf("Receive(%v) = %v", n, err)
			}
		}
		if err := ch.notifies(t.Context(), "nobody-knows", "delivery", "delivered"); err != nil {
			t.Errorf("notification about an unknown message = %v, want it dropped", err)
		}
		equal(t, "states", w.states(m.ID), "sent", "delivered", "displayed")
	})
}

// R31: an inviter's notification counts for their own conversation only.
func TestOtherInvitersNotificationIsDropped(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		m := w.send("hi")
		synctest.Wait()
		own := w.rel
		w.rel = w.relate("sip:a2@cc.com", bob)
		w.send("to the other")
		synctest.Wait()
		if err := w.phone.channel(1).notifies(t.Context(), m.ID, "display", "displayed"); err != nil {
			t.Fatal(err)
		}
		w.rel = own
		equal(t, "states", w.states(m.ID), "sent")
	})
}

// F43: any text arrives as it was written.
func TestTextArrivesByteForByte(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		texts := []string{
			"-------abc$\r\nTo: <sip:x@y>\r\n\r\nContent-Type: text/html\r\n\r\n", "\U0001f511 \u202e \u0000 NUL", strings.Repeat("0123456789", 10_000), "\r\n\r\n",
		}
		for _, text := range texts {
			w.send(text)
		}
		synctest.Wait()
		equal(t, "texts", w.phone.texts(), texts...)
		for _, text := range texts {
			if err := w.phone.channel(0).says(t.Context(), "", "", text); err != nil {
				t.Fatal(err)
			}
		}
		var back []string
		for _, e := range w.events() {
			if e.Type == latchkey.MessageEvent {
				back = append(back, e.Message.Text)
			}
		}
		equal(t, "back", back, texts...)
		history, err := w.hall.History(t.Context(), bob, alice, "", 100)
		if err != nil || len(history) != 2*len(texts) {
			t.Fatalf("History = %d messages, %v", len(history), err)
		}
		for i, m := range history {
			if m.Text.Reveal() != texts[i%len(texts)] {
				t.Errorf("history %d differs", i)
			}
		}
	})
}

func TestUnsendableTextIsRefusedBeforeItIsStored(t *testing.T) {
	w := newWorld(t, conversation.Options{MaxText: 10})
	for text, want := range map[string]latchkey.Kind{"": latchkey.KindBadRequest, "12345678901": latchkey.KindTooLarge, "\xff": latchkey.KindBadRequest} {
		if _, _, err := w.hall.Send(t.Context(), w.rel, conversation.Outgoing{Text: latchkey.Text(text)}); !latchkey.Is(err, want) {
			t.Errorf("Send(%q) = %v, want %v", text, err, want)
		}
	}
	if _, _, err := w.hall.Send(t.Context(), w.rel, conversation.Outgoing{ClientID: strings.Repeat("x", 129), Text: "a"}); !latchkey.Is(err, latchkey.KindBadRequest) {
		t.Errorf("Send with a long id = %v", err)
	}
	if history, err := w.hall.History(t.Context(), bob, alice, "", 10); err != nil || len(history) != 0 {
		t.Errorf("stored %v, %v", history, err)
	}
}

// F43: what is longer than the phone's max-size fails before it is sent, and what follows goes out.
func TestMessageOverThePeersLimitFails(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		w.phone.max = 1000
		long := w.send(strings.Repeat("x", 1001))
		w.send("short")
		synctest.Wait()
		equal(t, "states", w.states(long.ID), "failed")
		equal(t, "texts", w.phone.texts(), "short")
	})
}

// A repeat under the client's id is not sent twice; another text under it is a conflict.
func TestRepeatedClientIDIsSentOnce(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		out := conversation.Outgoing{ClientID: "c1", Text: "once"}
		first, repeated, err := w.hall.Send(t.Context(), w.rel, out)
		if err != nil || repeated {
			t.Fatalf("Send = %v, %v", repeated, err)
		}
		synctest.Wait()
		again, repeated, err := w.hall.Send(t.Context(), w.rel, out)
		if err != nil || !repeated || again.ID != first.ID {
			t.Errorf("repeat = %v, %v, %v, want the first", again.ID, repeated, err)
		}
		if again.State != latchkey.MessageSent {
			t.Errorf("repeat's state = %v, want sent", again.State)
		}
		out.Text = "other"
		if _, _, err := w.hall.Send(t.Context(), w.rel, out); !latchkey.Is(err, latchkey.KindConflict) {
			t.Errorf("other text = %v, want conflict", err)
		}
		synctest.Wait()
		equal(t, "texts", w.phone.texts(), "once")
	})
}

// F34, R25: under require-online, nothing is stored or sent while the inviter is away.
func TestOfflineInviterUnderRequireOnline(t *testing.T) {
	bubble(t, conversation.Options{RequireOnline: true}, func(t *testing.T, w *world) {
		for _, state := range []latchkey.StatusState{latchkey.StatusOffline, latchkey.StatusUnknown, latchkey.StatusNotRCS} {
			w.presence.is(presence{state: state})
			if _, _, err := w.hall.Send(t.Context(), w.rel, conversation.Outgoing{Text: "hi"}); !latchkey.Is(err, latchkey.KindOffline) {
				t.Errorf("Send while %s = %v, want offline", state, err)
			}
		}
		synctest.Wait()
		if n := w.phone.called(); n != 0 {
			t.Errorf("%d calls", n)
		}
		w.presence.is(presence{state: latchkey.StatusOnline})
		w.send("hi")
		synctest.Wait()
		equal(t, "texts", w.phone.texts(), "hi")
	})
}

// F35: what is the last word fails the message with a reason, all that waits, without a second call.
func TestFinalRefusalFailsWhatWaits(t *testing.T) {
	for code, reason := range map[int]string{
		486: "The inviter is busy.", 600: "The inviter is busy.", 603: "The inviter declined.", 403: "The network does not allow this chat.",
		404: "The inviter is not known to the network.", 488: "The inviter's phone can't chat.", 415: "The inviter's phone can't chat.", 302: "The inviter can't be reached.",
	} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
				w.phone.answer = func(context.Context, int) error { return &conversation.CallRefused{Code: code} }
				var all []latchkey.Message
				for i := range 2 {
					all = append(all, w.send(fmt.Sprint(i)))
				}
				synctest.Wait()
				for _, m := range all {
					equal(t, "states", w.states(m.ID), "failed")
				}
				for _, e := range w.events() {
					if e.Type == latchkey.DeliveryEvent && e.Message.Reason != reason {
						t.Errorf("reason %q, want %q", e.Message.Reason, reason)
					}
				}
				calls := w.phone.called()
				time.Sleep(time.Hour)
				synctest.Wait()
				if n := w.phone.called(); n != calls {
					t.Errorf("called again, though %d was final", code)
				}
			})
		})
	}
}

// F35: more than one page of waiting messages fails, too.
func TestFinalRefusalFailsEveryPage(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		hold := make(chan struct{})
		w.phone.answer = func(context.Context, int) error { <-hold; return &conversation.CallRefused{Code: 486} }
		for i := range 230 {
			w.send(fmt.Sprint(i))
		}
		synctest.Wait()
		close(hold)
		synctest.Wait()
		failed := 0
		for _, e := range w.events() {
			if e.Type == latchkey.DeliveryEvent && e.Message.State == latchkey.MessageFailed {
				failed++
			}
		}
		if failed != 230 || w.phone.called() != 1 {
			t.Errorf("%d of 230 failed, %d calls", failed, w.phone.called())
		}
	})
}

// F34, F35: who is merely away is called again, later and later, and the message keeps its id.
func TestInviterWhoIsAwayIsCalledAgain(t *testing.T) {
	for _, code := range []int{480, 408, 487, 491, 500, 503, 504} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			bubble(t, conversation.Options{Retry: time.Second}, func(t *testing.T, w *world) {
				var at []time.Duration
				begin := time.Now()
				w.phone.answer = func(_ context.Context, n int) error {
					at = append(at, time.Since(begin))
					if n < 5 {
						return &conversation.CallRefused{Code: code}
					}
					return nil
				}
				m := w.send("hi")
				time.Sleep(time.Minute)
				synctest.Wait()
				equal(t, "calls at", at, 0, time.Second, 3*time.Second, 7*time.Second, 15*time.Second)
				equal(t, "texts", w.phone.texts(), "hi")
				if got := w.phone.received(); got[0].id != string(m.ID) {
					t.Errorf("sent under %s, want %s", got[0].id, m.ID)
				}
				equal(t, "states", w.states(m.ID), "sent")
			})
		})
	}
}

// RFC 3261 §20.33: a Retry-After is kept, also when the guest writes again meanwhile.
func TestRetryAfterIsKept(t *testing.T) {
	bubble(t, conversation.Options{Retry: time.Second}, func(t *testing.T, w *world) {
		w.phone.answer = func(_ context.Context, n int) error {
			if n == 1 {
				return &conversation.CallRefused{Code: 503, RetryAfter: time.Minute}
			}
			return nil
		}
		w.send("one")
		time.Sleep(30 * time.Second)
		w.send("two")
		synctest.Wait()
		if n := w.phone.called(); n != 1 {
			t.Errorf("%d calls after 30 s, want 1", n)
		}
		time.Sleep(31 * time.Second)
		synctest.Wait()
		equal(t, "texts", w.phone.texts(), "one", "two")
	})
}

// A message the phone refuses fails alone; the session goes on (RFC 4975 §10).
func TestRefusedMessageFailsAlone(t *testing.T) {
	for _, code := range []int{400, 403, 413, 415} {
		bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
			w.phone.onSend = func(_ context.Context, s sent) error {
				if strings.HasSuffix(s.body, "bad") {
					return &conversation.MSRPRefused{Code: code}
				}
				return nil
			}
			bad := w.send("bad")
			w.send("good")
			synctest.Wait()
			equal(t, "states", w.states(bad.ID), "failed")
			equal(t, "texts", w.phone.texts(), "good")
			if n := w.phone.called(); n != 1 {
				t.Errorf("%d calls, want 1", n)
			}
		})
	}
}

// F38: a channel that breaks in mid-message is replaced at once, and the message goes again under its id;
// the Conversation-ID stays, the Contribution-ID does not.
func TestMessageOfABrokenChannelGoesAgainUnderItsID(t *testing.T) {
	for name, broken := range map[string]error{"cut": errBroken, "481": &conversation.MSRPRefused{Code: 481}, "408": &conversation.MSRPRefused{Code: 408}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
				w.phone.onSend = func(_ context.Context, s sent) error {
					if s.channel == 1 {
						if errors.Is(broken, errBroken) {
							_ = w.phone.channel(0).Close(t.Context(), "")
							time.Sleep(time.Nanosecond) // lets the loop see the end before the send does
						}
						return broken
					}
					return nil
				}
				m := w.send("hi")
				time.Sleep(time.Nanosecond)
				synctest.Wait() // no more time than that
				got := w.phone.received()
				if len(got) != 2 || got[0].id != string(m.ID) || got[1].id != string(m.ID) || got[1].channel != 2 {
					t.Fatalf("sent %+v", got)
				}
				if a, b := w.phone.calls[0], w.phone.calls[1]; a.ConversationID == "" || a.ConversationID != b.ConversationID || a.ContributionID == b.ContributionID {
					t.Errorf("calls %+v and %+v", a, b)
				}
				equal(t, "states", w.states(m.ID), "sent")
				if n := w.phone.standing(); n != 1 {
					t.Errorf("%d channels stand, want 1", n)
				}
			})
		})
	}
}

// A phone that takes calls and never a message is called less and less often.
func TestPhoneThatAlwaysBreaksIsNotHammered(t *testing.T) {
	bubble(t, conversation.Options{Retry: time.Second}, func(t *testing.T, w *world) {
		w.phone.onSend = func(context.Context, sent) error { return errBroken }
		w.send("hi")
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := w.phone.called(); n < 5 || n > 20 {
			t.Errorf("%d calls in 10 min, want about 15", n)
		}
		if n := w.phone.standing(); n != 0 {
			t.Errorf("%d channels left open", n)
		}
	})
}

// F34: who the core says is there is called at once, though the guest's own wait and the peer's Retry-After would have it later.
func TestReachableInviterIsCalledAtOnce(t *testing.T) {
	bubble(t, conversation.Options{}, func(t *testing.T, w *world) {
		w.phone.answer = func(_ context.Context, n int) error {
			if n == 1 {
				return &conversation.CallRefused{Code: 480, RetryAfter: time.Hour}
			}
			return nil
		}
		w.send("hi")
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := w.phone.called(); n != 1 {
			t.Fatalf("%d calls before the news, want one", n)
		}
		w.hall.Returned(w.rel.Inviter.Address())
		synctest.Wait()
		equal(t, "texts", w.phone.texts(), "hi")
	})
}
