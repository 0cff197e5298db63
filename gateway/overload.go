package gateway

import (
	"github.com/prometheus/client_golang/prometheus"

	"latchkey/internal/sipua"
)

// overload tells Prometheus how loaded the SIP side is, and its next hops (RFC 7339). docs/howto/overload.md says what to do about it.
type overload struct{ sip *sipua.Endpoint }

// What overload tells.
var (
	overloadRules   = prometheus.NewDesc("latchkey_sipua_overloaded", "1 while new requests are refused that would wait for too long.", nil, nil)
	overloadPercent = prometheus.NewDesc("latchkey_sipua_oc_percent", "Percent that neighbours are asked to hold back.", nil, nil)
	overloadServing = prometheus.NewDesc("latchkey_sipua_requests_in_hand", "Requests other than INVITE that are being served.", nil, nil)
	overloadSilent  = prometheus.NewDesc("latchkey_sipua_silent_next_hops", "Next hops that get nothing new, since they don't answer.", nil, nil)
	overloadShed    = prometheus.NewDesc("latchkey_sipua_shed_requests_total", "Requests refused for overload: queue (it would have waited for too long) or full (too many are in hand).", []string{"method", "reason"}, nil)
	overloadHeld    = prometheus.NewDesc("latchkey_sipua_held_requests_total", "Requests not sent, since the next hop asks for less (oc) or doesn't answer (silence).", []string{"method", "reason"}, nil)
	overloadTold    = prometheus.NewDesc("latchkey_sipua_oc_sent_total", "Responses that asked a neighbour to hold something back.", nil, nil)
	overloadHeard   = prometheus.NewDesc("latchkey_sipua_oc_received_total", "Responses in which a next hop asked to hold something back.", nil, nil)
	overloadWait    = prometheus.NewDesc("latchkey_sipua_queue_delay_seconds", "How long requests waited for a processor after they came.", nil, nil)
)

// Describe lists what there is.
func (o overload) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{overloadRules, overloadPercent, overloadServing, overloadSilent, overloadShed, overloadHeld, overloadTold, overloadHeard, overloadWait} {
		to <- d
	}
}

// Collect tells how things stand.
func (o overload) Collect(to chan<- prometheus.Metric) {
	now := o.sip.Overload()
	is := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	rules := 0.0
	if now.Rules {
		rules = 1
	}
	is(overloadRules, prometheus.GaugeValue, rules)
	is(overloadPercent, prometheus.GaugeValue, float64(now.Percent))
	is(overloadServing, prometheus.GaugeValue, float64(now.Serving))
	is(overloadSilent, prometheus.GaugeValue, float64(now.Silent))
	is(overloadTold, prometheus.CounterValue, float64(now.Told))
	is(overloadHeard, prometheus.CounterValue, float64(now.Heard))
	for _, reason := range []string{"queue", "full"} { // so that they are there before it happens
		now.Shed[sipua.Shed{Method: "INVITE", Reason: reason}] += 0
	}
	for _, reason := range []string{"oc", "silence"} {
		now.Held[sipua.Shed{Method: "INVITE", Reason: reason}] += 0
	}
	for s, n := range now.Shed {
		is(overloadShed, prometheus.CounterValue, float64(n), s.Method, s.Reason)
	}
	for s, n := range now.Held {
		is(overloadHeld, prometheus.CounterValue, float64(n), s.Method, s.Reason)
	}
	below := map[float64]uint64{}
	for bound, n := range now.WaitBelow {
		below[bound.Seconds()] = n
	}
	to <- prometheus.MustNewConstHistogram(overloadWait, now.Waits, now.WaitSum.Seconds(), below)
}
