package notify

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"latchkey"
)

// What becomes of an attempt, as metrics say it.
const (
	taken   = "taken"   // somebody else has the notice now
	retried = "retried" // it failed for now
	failed  = "failed"  // it failed for good, or was given up
	expired = "expired" // its relation expired before
	cut     = "cut"     // the process ended
)

// meter counts what a Courier does. Its labels have few values: channels and outcomes.
type meter struct {
	attempts *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newMeter() meter {
	return meter{
		prometheus.NewCounterVec(prometheus.CounterOpts{Name: "latchkey_notify_attempts_total",
			Help: "Attempts to deliver a notice, by what became of them: taken, retried, failed, expired, cut."}, []string{"channel", "outcome"}),
		prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "latchkey_notify_attempt_seconds",
			Help:    "How long the server of a channel takes for one attempt.",
			Buckets: []float64{.01, .03, .1, .3, 1, 3, 10, 30, 60}}, []string{"channel"}),
	}
}

// begin makes a channel's rows, so that they stand at zero before anything happens.
func (m meter) begin(channel latchkey.Channel) {
	for _, outcome := range []string{taken, retried, failed, expired, cut} {
		m.attempts.WithLabelValues(string(channel), outcome)
	}
	m.seconds.WithLabelValues(string(channel))
}

func (m meter) count(channel latchkey.Channel, outcome string) {
	m.attempts.WithLabelValues(string(channel), outcome).Inc()
}

func (m meter) took(channel latchkey.Channel, d time.Duration) {
	m.seconds.WithLabelValues(string(channel)).Observe(d.Seconds())
}

// Metrics are those of several couriers, each with channels of its own: what they do, and what waits in their outboxes.
func Metrics(all ...*Courier) prometheus.Collector { return couriers(all) }

type couriers []*Courier

var (
	queueLength = prometheus.NewDesc("latchkey_notify_queue_notices", "Notices that wait, those under way included.", []string{"channel"}, nil)
	queueAge    = prometheus.NewDesc("latchkey_notify_queue_oldest_seconds", "Age of the oldest notice that waits; 0: none does.", []string{"channel"}, nil)
)

// collectTimeout is how long the outbox may take to be counted.
const collectTimeout = 5 * time.Second

// Describe is a prometheus.Collector's.
func (all couriers) Describe(out chan<- *prometheus.Desc) {
	newMeter().attempts.Describe(out)
	newMeter().seconds.Describe(out)
	out <- queueLength
	out <- queueAge
}

// Collect is a prometheus.Collector's. A queue that can't be read is left out.
func (all couriers) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	for _, c := range all {
		c.meter.attempts.Collect(out)
		c.meter.seconds.Collect(out)
		for _, r := range c.routes {
			n, oldest, err := c.store.NoticesWaiting(ctx, r.name)
			if err != nil {
				c.log.Warn("outbox not counted", "channel", r.name, latchkey.LogError, err)
				continue
			}
			age := 0.0
			if n > 0 {
				age = max(0, time.Since(oldest).Seconds())
			}
			out <- prometheus.MustNewConstMetric(queueLength, prometheus.GaugeValue, float64(n), string(r.name))
			out <- prometheus.MustNewConstMetric(queueAge, prometheus.GaugeValue, age, string(r.name))
		}
	}
}
