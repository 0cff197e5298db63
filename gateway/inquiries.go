package gateway

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"latchkey/directory"
)

// inquiries are the figures of an HTTP directory.
type inquiries struct {
	took       *prometheus.HistogramVec
	remembered *prometheus.CounterVec
}

func newInquiries() *inquiries {
	i := &inquiries{
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "latchkey_directory_request_seconds", Help: "How long requests to the directory took, by what was asked and how it ended.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}, []string{"request", "outcome"}),
		remembered: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "latchkey_directory_remembered_total", Help: "Questions to the directory that an answer kept from before settled.",
		}, []string{"request"}),
	}
	for _, request := range directory.Requests() { // so that rates have a zero to begin with
		for _, o := range directory.Outcomes() {
			i.took.WithLabelValues(request, string(o))
		}
		i.remembered.WithLabelValues(request)
	}
	return i
}

// Asked counts a request.
func (i *inquiries) Asked(request string, o directory.Outcome, took time.Duration) {
	i.took.WithLabelValues(request, string(o)).Observe(took.Seconds())
}

// Remembered counts a question that needed none.
func (i *inquiries) Remembered(request string) { i.remembered.WithLabelValues(request).Inc() }

// collectors are what /metrics shows of d.
func (i *inquiries) collectors(d *directory.HTTP) []prometheus.Collector {
	return []prometheus.Collector{i.took, i.remembered, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "latchkey_directory_left_alone", Help: "1 while the directory has failed and is left alone.",
	}, func() float64 {
		if d.Resting() {
			return 1
		}
		return 0
	})}
}
