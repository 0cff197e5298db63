package push

import "github.com/prometheus/client_golang/prometheus"

// What becomes of calls, as metrics say it.
const (
	sent   = "sent"   // the push service has it
	gone   = "gone"   // the browser takes no calls any more, and is forgotten
	failed = "failed" // the push service refused it, or was away for too long
	held   = "held"   // not made: there were too many (Options.Busy)
)

// meter counts calls.
type meter struct {
	calls   *prometheus.CounterVec
	waiting prometheus.GaugeFunc
}

func newMeter(c *Crier) meter {
	m := meter{
		prometheus.NewCounterVec(prometheus.CounterOpts{Name: "latchkey_push_calls_total",
			Help: "Calls of guests who are away, by what became of them: sent to the push service; gone, since the browser takes none any more; failed, refused or not taken for too long; held, since too many were under way."}, []string{"outcome"}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "latchkey_push_waiting_calls", Help: "Calls that wait, those under way included."}, func() float64 {
			c.mu.Lock()
			defer c.mu.Unlock()
			return float64(len(c.news) + len(c.calls))
		}),
	}
	for _, outcome := range []string{sent, gone, failed, held} {
		m.calls.WithLabelValues(outcome) // an alert wants a zero to begin with
	}
	return m
}

func (m meter) count(outcome string) { m.calls.WithLabelValues(outcome).Inc() }

// Metrics are the crier's, for a registry.
func (c *Crier) Metrics() []prometheus.Collector {
	return []prometheus.Collector{c.meter.calls, c.meter.waiting}
}
