package notify_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"latchkey"
	"latchkey/notify"
)

// Issue 8, line 1: an operator sees by channel what becomes of attempts, how long they take, and what waits since when.
func TestMetricsTellWhatBecomesOfNotices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox()
		mail := &post{answer: func(_ context.Context, n latchkey.Notice) error {
			time.Sleep(200 * time.Millisecond)
			switch n.ID {
			case "email-00001":
				return &notify.Failure{Reason: "no", Permanent: true}
			case "email-00002":
				return errors.New("down")
			}
			return nil
		}}
		o.queue(latchkey.ByMail, 3)
		c, stop := couriers(t, o, map[latchkey.Channel]notify.Channel{latchkey.ByMail: mail, latchkey.BySMS: &post{}}, notify.Options{})
		defer stop()
		time.Sleep(3 * time.Second) // before the first retry
		synctest.Wait()
		o.mu.Lock()
		o.rows["email-00002"].Created = time.Now().Add(-90 * time.Second)
		o.mu.Unlock()
		reg := prometheus.NewRegistry()
		reg.MustRegister(notify.Metrics(c))
		read := func() map[string]float64 {
			t.Helper()
			families, err := reg.Gather()
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]float64{}
			for _, f := range families {
				for _, m := range f.Metric {
					name := strings.TrimPrefix(f.GetName(), "latchkey_notify_")
					for _, l := range m.Label {
						name += " " + l.GetValue()
					}
					switch {
					case m.Counter != nil:
						got[name] = m.Counter.GetValue()
					case m.Gauge != nil:
						got[name] = m.Gauge.GetValue()
					default:
						got[name] = float64(m.Histogram.GetSampleCount())
						for _, b := range m.Histogram.Bucket {
							if b.GetUpperBound() == .1 {
								got[name+" within 0.1"] = float64(b.GetCumulativeCount())
							} else if b.GetUpperBound() == .3 {
								got[name+" within 0.3"] = float64(b.GetCumulativeCount())
							}
						}
					}
				}
			}
			return got
		}
		got := read()
		for name, want := range map[string]float64{
			"attempts_total email taken": 1, "attempts_total email failed": 1, "attempts_total email retried": 1, "attempts_total email expired": 0, "attempts_total email cut": 0,
			"attempts_total sms taken": 0, "attempt_seconds email": 3, "attempt_seconds email within 0.1": 0, "attempt_seconds email within 0.3": 3, "attempt_seconds sms": 0,
			"queue_notices email": 1, "queue_notices sms": 0, "queue_oldest_seconds email": 90, "queue_oldest_seconds sms": 0,
		} {
			if value, there := got[name]; !there || value != want {
				t.Errorf("%s is %v, %v; want %v", name, value, there, want)
			}
		}
		o.fail(errors.New("locked"), nil)
		if _, there := read()["queue_notices email"]; there {
			t.Error("a queue is told though the outbox can't be read")
		}
	})
}
