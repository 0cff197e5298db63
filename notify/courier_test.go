package notify_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey"
	"latchkey/notify"
)

const (
	queued = latchkey.NotificationQueued
	sent   = latchkey.NotificationSent
	failed = latchkey.NotificationFailed
)

// courier runs a Courier for mails until stop is called.
func courier(t *testing.T, o *outbox, p *post, opt notify.Options) (c *notify.Courier, stop func()) {
	t.Helper()
	return couriers(t, o, map[latchkey.Channel]notify.Channel{latchkey.ByMail: p}, opt)
}

func couriers(t *testing.T, o *outbox, channels map[latchkey.Channel]notify.Channel, opt notify.Options) (c *notify.Courier, stop func()) {
	t.Helper()
	c = notify.New(o, channels, opt)
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { over <- c.Run(ctx) }() // ends with ctx
	return c, func() {
		t.Helper()
		cancel()
		if err := <-over; err != nil {
			t.Errorf("Run = %v", err)
		}
	}
}

// R8: what is queued is delivered at once when somebody says so, once, and ticked off.
func TestQueuedNoticeIsDeliveredOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, p := newOutbox(), &post{}
		c, stop := courier(t, o, p, notify.Options{})
		defer stop()
		synctest.Wait()
		start := time.Now()
		id := o.queue(latchkey.ByMail, 1)[0]
		c.Wake()
		synctest.Wait()
		if got := p.delivered(); !slices.Equal(got, []string{id}) || !time.Now().Equal(start) {
			t.Fatalf("delivered %v after %v, want %s at once", got, time.Since(start), id)
		}
		o.want(t, id, sent, "")
		time.Sleep(48 * time.Hour)
		if got := p.delivered(); len(got) != 1 {
			t.Errorf("delivered %d times, want once", len(got))
		}
	})
}

// What another node queued is found without a word, and what is due later waits.
func TestNoticeIsFoundWithoutWake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, p := newOutbox(), &post{}
		_, stop := courier(t, o, p, notify.Options{Poll: 20 * time.Second})
		defer stop()
		synctest.Wait()
		id := o.queue(latchkey.ByMail, 1)[0]
		time.Sleep(20 * time.Second)
		synctest.Wait()
		o.want(t, id, sent, "")
		later := o.queue(latchkey.ByMail, 1)[0]
		o.mu.Lock()
		o.rows[later].due = time.Now().Add(27 * time.Second)
		o.mu.Unlock()
		time.Sleep(27*time.Second - time.Nanosecond)
		synctest.Wait()
		o.want(t, later, queued, "")
		time.Sleep(time.Second)
		synctest.Wait()
		o.want(t, later, sent, "")
	})
}

// F19: what fails for now stays queued with its reason and is tried again, later and later, until it is taken.
func TestTemporaryFailureIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox()
		p := &post{}
		p.answer = func(context.Context, latchkey.Notice) error {
			if len(p.delivered()) < 8 {
				return &notify.Failure{Reason: "come again later", Err: errors.New("451")}
			}
			return nil
		}
		id := o.queue(latchkey.ByMail, 1)[0]
		_, stop := courier(t, o, p, notify.Options{})
		defer stop()
		synctest.Wait()
		o.want(t, id, queued, "come again later")
		time.Sleep(time.Hour)
		synctest.Wait()
		o.want(t, id, sent, "")
		if len(p.at) != 8 {
			t.Fatalf("%d attempts, want 8", len(p.at))
		}
		for i := 1; i < len(p.at); i++ {
			wait, want := p.at[i].Sub(p.at[i-1]), 5*time.Second<<(i-1)
			if wait < want*3/4 || wait > want*5/4 {
				t.Errorf("attempt %d after %v, want about %v", i+1, wait, want)
			}
		}
	})
}

// Many that failed together don't come back together.
func TestRetriesAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, p := newOutbox(), &post{answer: func(context.Context, latchkey.Notice) error { return errors.New("down") }}
		ids := o.queue(latchkey.ByMail, 50)
		_, stop := courier(t, o, p, notify.Options{Workers: 50})
		defer stop()
		synctest.Wait()
		due := map[time.Time]bool{}
		for _, id := range ids {
			due[o.row(id).due] = true
			o.want(t, id, queued, "the invitation could not be delivered")
		}
		if len(due) < 25 {
			t.Errorf("50 retries at %d times, want them spread", len(due))
		}
	})
}

// F19: what is refused for good is not tried again, and its inviter can see why.
func TestPermanentFailureIsFinal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox()
		p := &post{answer: func(context.Context, latchkey.Notice) error {
			return &notify.Failure{Reason: "there is no such mailbox", Permanent: true, Err: errors.New("550 mx.secret.example")}
		}}
		id := o.queue(latchkey.ByMail, 1)[0]
		_, stop := courier(t, o, p, notify.Options{})
		defer stop()
		time.Sleep(72 * time.Hour)
		o.want(t, id, failed, "there is no such mailbox")
		if got := p.delivered(); len(got) != 1 {
			t.Errorf("%d attempts, want one", len(got))
		}
	})
}

// F19: after a day of trying, or when the relation is about to expire, the inviter is told that it won't be.
func TestCourierGivesUp(t *testing.T) {
	for name, c := range map[string]struct {
		expires, latest time.Duration
		reason          string
	}{
		"after a day":          {168 * time.Hour, 26 * time.Hour, "down; given up after many attempts"},
		"with the invitation":  {3 * time.Hour, 3 * time.Hour, "down; given up, since the invitation expires"},
		"as it expired before": {0, 0, "the invitation expired before it could be delivered"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, p := newOutbox(), &post{answer: func(context.Context, latchkey.Notice) error { return &notify.Failure{Reason: "down"} }}
				id, start := o.queue(latchkey.ByMail, 1)[0], time.Now()
				o.rows[id].Expires = start.Add(c.expires)
				_, stop := courier(t, o, p, notify.Options{})
				defer stop()
				time.Sleep(c.latest)
				synctest.Wait()
				o.want(t, id, failed, c.reason)
				if len(p.at) > 0 && !p.at[len(p.at)-1].Before(start.Add(c.expires)) || len(p.at) > 0 != (c.expires > 0) {
					t.Errorf("attempts at %v, want some, and none after %v", p.at, start.Add(c.expires))
				}
			})
		})
	}
}

// X4: the process dies between delivery and tick-off. The next one repeats the notice once, under the same id.
func TestKillBetweenSendAndTickOffRepeatsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, p := newOutbox(), &post{}
		id := o.queue(latchkey.ByMail, 1)[0]
		o.fail(nil, errors.New("killed")) // from here the first process can't write any more
		_, stop := courier(t, o, p, notify.Options{Grace: time.Second})
		synctest.Wait()
		stop()
		o.want(t, id, queued, "")
		o.fail(nil, nil)
		_, stop = courier(t, o, p, notify.Options{})
		defer stop()
		synctest.Wait()
		if got := p.delivered(); len(got) != 1 {
			t.Errorf("delivered %d times while the claim stands, want once", len(got))
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		o.want(t, id, sent, "")
		time.Sleep(24 * time.Hour)
		if got := p.delivered(); !slices.Equal(got, []string{id, id}) {
			t.Errorf("delivered %v, want %s twice", got, id)
		}
	})
}

// A disk that is full for a while makes no repeats: whoever delivered keeps trying to write it down.
func TestFailedTickOffIsRepeatedNotTheDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, p := newOutbox(), &post{}
		id := o.queue(latchkey.ByMail, 1)[0]
		o.fail(nil, errors.New("disk full"))
		c, stop := courier(t, o, p, notify.Options{})
		defer stop()
		for range 20 {
			time.Sleep(time.Minute) // the claim runs out again and again
			c.Wake()
		}
		o.fail(nil, nil)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		o.want(t, id, sent, "")
		if got := p.delivered(); len(got) != 1 {
			t.Errorf("delivered %d times, want once", len(got))
		}
	})
}

// A store that can't be read is asked again, not hammered.
func TestUnreadableOutboxIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, p := newOutbox(), &post{}
		id := o.queue(latchkey.ByMail, 1)[0]
		o.fail(errors.New("locked"), nil)
		_, stop := courier(t, o, p, notify.Options{})
		defer stop()
		time.Sleep(time.Minute)
		o.fail(nil, nil)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		o.want(t, id, sent, "")
	})
}

// One slow channel, and one slow recipient, hold up nobody else.
func TestSlowDeliveryHoldsUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox()
		hang := func(ctx context.Context, _ latchkey.Notice) error { <-ctx.Done(); return ctx.Err() }
		sms, mail := &post{answer: hang}, &post{}
		first := ""
		mail.answer = func(ctx context.Context, n latchkey.Notice) error {
			if n.ID == first {
				return hang(ctx, n)
			}
			return nil
		}
		o.queue(latchkey.BySMS, 100)
		ids := o.queue(latchkey.ByMail, 100)
		first = ids[0]
		_, stop := couriers(t, o, map[latchkey.Channel]notify.Channel{latchkey.BySMS: sms, latchkey.ByMail: mail}, notify.Options{Workers: 4})
		synctest.Wait()
		for _, id := range ids[1:] {
			o.want(t, id, sent, "")
		}
		o.want(t, first, queued, "")
		if n := len(sms.delivered()); n != 4 {
			t.Errorf("%d slow deliveries at once, want 4", n)
		}
		time.Sleep(time.Minute) // the deadline of a delivery
		synctest.Wait()
		o.want(t, first, queued, "the invitation could not be delivered")
		stop()
	})
}

// A long queue is drained in the order in which it came, each notice once, and never more of it is in memory
// than there are workers.
func TestLongQueueIsDrainedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, p := newOutbox(), &post{answer: func(context.Context, latchkey.Notice) error { time.Sleep(100 * time.Millisecond); return nil }}
		ids := o.queue(latchkey.ByMail, 2000)
		start := time.Now()
		_, stop := courier(t, o, p, notify.Options{Workers: 8})
		defer stop()
		time.Sleep(2000 / 8 * 100 * time.Millisecond)
		synctest.Wait()
		got := p.delivered()
		if sorted := slices.Sorted(slices.Values(got)); !slices.Equal(sorted, ids) {
			t.Fatalf("%d deliveries after %v, want each of %d once", len(got), time.Since(start), len(ids))
		}
		for i, id := range got {
			if want := ids[i-i%8 : min(i-i%8+8, len(ids))]; !slices.Contains(want, id) {
				t.Fatalf("delivery %d is %s, want one of %v", i, id, want)
			}
		}
		if o.most != 8 || p.most != 8 {
			t.Errorf("%d claimed and %d delivered at once, want 8", o.most, p.most)
		}
	})
}

// wide is a channel with room for three.
type wide struct{ *post }

func (wide) Width() int { return 3 }

// A channel that says how many deliveries it has room for gets so many at once.
func TestChannelIsUsedToItsWidth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, p := newOutbox(), &post{answer: func(context.Context, latchkey.Notice) error { time.Sleep(time.Second); return nil }}
		o.queue(latchkey.BySMS, 30)
		_, stop := couriers(t, o, map[latchkey.Channel]notify.Channel{latchkey.BySMS: wide{p}}, notify.Options{})
		defer stop()
		time.Sleep(time.Minute)
		synctest.Wait()
		if p.most != 3 || len(p.delivered()) != 30 {
			t.Errorf("%d at once, %d in all, want 3 and 30", p.most, len(p.delivered()))
		}
	})
}

// What is under way when the process ends is finished and ticked off.
func TestShutdownLetsDeliveryFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, p := newOutbox(), &post{answer: func(ctx context.Context, _ latchkey.Notice) error {
			select {
			case <-time.After(3 * time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
		ids := o.queue(latchkey.ByMail, 9)
		_, stop := courier(t, o, p, notify.Options{Workers: 8, Grace: 5 * time.Second})
		synctest.Wait()
		start := time.Now()
		stop()
		if d := time.Since(start); d != 3*time.Second {
			t.Errorf("Run ended after %v, want 3 s", d)
		}
		for _, id := range ids[:8] {
			o.want(t, id, sent, "")
		}
		o.want(t, ids[8], queued, "")
		if n := len(p.delivered()); n != 8 {
			t.Errorf("%d deliveries, want none that begins after the end", n)
		}
	})
}

// A server that hangs doesn't hold up the end. Its notice stays claimed for the next process.
func TestShutdownDoesNotWaitForHungServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, p := newOutbox(), &post{answer: func(ctx context.Context, _ latchkey.Notice) error { <-ctx.Done(); return ctx.Err() }}
		id := o.queue(latchkey.ByMail, 1)[0]
		_, stop := courier(t, o, p, notify.Options{Grace: 5 * time.Second, Timeout: time.Minute})
		synctest.Wait()
		start := time.Now()
		stop()
		if d := time.Since(start); d != 5*time.Second {
			t.Errorf("Run ended after %v, want 5 s", d)
		}
		o.want(t, id, queued, "")
		if due := o.row(id).due; !due.After(start.Add(time.Minute)) {
			t.Errorf("claimed until %v after it began, want more than a delivery may take", due.Sub(start))
		}
	})
}

// What a server took in the last moment is ticked off all the same.
func TestDeliveryInTheLastMomentIsTickedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, p := newOutbox(), &post{answer: func(ctx context.Context, _ latchkey.Notice) error { <-ctx.Done(); return nil }}
		id := o.queue(latchkey.ByMail, 1)[0]
		_, stop := courier(t, o, p, notify.Options{})
		synctest.Wait()
		stop()
		o.want(t, id, sent, "")
	})
}

func TestCourierWithoutChannelsWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, stop := couriers(t, newOutbox(), nil, notify.Options{})
		c.Wake()
		synctest.Wait()
		stop()
	})
}

func TestFailureNamesReasonAndCause(t *testing.T) {
	cause := errors.New("550 no")
	f := &notify.Failure{Reason: "there is no such mailbox", Err: cause}
	for text, err := range map[string]error{"there is no such mailbox: 550 no": f, "full": &notify.Failure{Reason: "full"}} {
		if err.Error() != text {
			t.Errorf("Error() = %q, want %q", err, text)
		}
	}
	if !errors.Is(f, cause) || strings.Contains(f.Reason, "550") {
		t.Error("the cause is lost, or public")
	}
}
