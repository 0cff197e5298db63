package notify_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"latchkey"
	"latchkey/notify"
)

// F19: after an outage of hours, what waits for the server is taken within minutes of the first notice that gets through, a few at a time; what waits
// for another reason waits on.
func TestServerThatIsBackIsTriedSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const away, busy = "the mail server can't be reached", "the mail server asks to come again later (450)"
		o := newOutbox()
		var down atomic.Bool
		p := &post{answer: func(_ context.Context, n latchkey.Notice) error {
			switch {
			case n.ID == "email-00000":
				return &notify.Failure{Reason: busy}
			case down.Load():
				return &notify.Failure{Reason: away, Away: true}
			}
			return nil
		}}
		ids := o.queue(latchkey.ByMail, 101)
		down.Store(true)
		c, stop := courier(t, o, p, notify.Options{})
		defer stop()
		time.Sleep(4 * time.Hour)
		down.Store(false)
		grey := o.row(ids[0]).Attempts
		before := len(p.delivered())
		fresh := o.queue(latchkey.ByMail, 1)[0]
		c.Wake()
		synctest.Wait()
		o.want(t, fresh, sent, "")
		if got := len(p.delivered()) - before; got > 20 {
			t.Errorf("%d came in the first moment", got) // those who were due anyway, and the first worker's share
		}
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		for _, id := range ids[1:] {
			o.want(t, id, sent, "")
		}
		if r := o.row(ids[0]); r.Attempts > grey+1 || r.reason != busy {
			t.Errorf("what the server asked to come later with was tried %d times more: %q", r.Attempts-grey, r.reason)
		}
	})
}

// A server that comes and goes keeps its pauses: it is run over no more often than a claim lasts.
func TestServerThatComesAndGoesIsNotRunOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox()
		var n atomic.Int64
		p := &post{answer: func(context.Context, latchkey.Notice) error {
			if n.Add(1)%2 == 1 {
				return &notify.Failure{Reason: "away", Away: true}
			}
			return nil
		}}
		c, stop := courier(t, o, p, notify.Options{})
		defer stop()
		for range 600 { // ten minutes
			o.queue(latchkey.ByMail, 1)
			c.Wake()
			time.Sleep(time.Second)
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.hastened < 5 || o.hastened > 7 {
			t.Errorf("hastened %d times in ten minutes, want once in 90 s", o.hastened)
		}
	})
}

// absent is a post whose server is away for a reason.
type absent struct{ *post }

func (absent) Absent() string { return "the mail server can't be reached" }

// F19: an outage that another process saw, and that is over when this one starts, is known from what waits for it: it follows the first notice that gets through.
func TestOutageOutlivesARestart(t *testing.T) {
	for _, reason := range []string{absent{}.Absent(), "the mail server asks to come again later (450)"} {
		synctest.Test(t, func(t *testing.T) {
			o := newOutbox()
			var down atomic.Bool
			p := absent{&post{answer: func(context.Context, latchkey.Notice) error {
				if down.Load() {
					return &notify.Failure{Reason: reason, Away: reason == absent{}.Absent()}
				}
				return nil
			}}}
			ids := o.queue(latchkey.ByMail, 30)
			down.Store(true)
			_, stop := couriers(t, o, map[latchkey.Channel]notify.Channel{latchkey.ByMail: p}, notify.Options{})
			time.Sleep(4 * time.Hour)
			stop()
			down.Store(false)
			before := len(p.delivered())
			c, stop := couriers(t, o, map[latchkey.Channel]notify.Channel{latchkey.ByMail: p}, notify.Options{})
			defer stop()
			fresh := o.queue(latchkey.ByMail, 1)[0]
			c.Wake()
			synctest.Wait()
			o.want(t, fresh, sent, "")
			time.Sleep(3 * time.Minute)
			synctest.Wait()
			n := len(p.delivered()) - before - 1
			if reason == p.Absent() && n != len(ids) || reason != p.Absent() && n > len(ids)/2 {
				t.Errorf("%q: %d of %d went within three minutes", reason, n, len(ids))
			}
		})
	}
}
