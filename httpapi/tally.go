package httpapi

import (
	"net/http"
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// tally counts what operators want to see.
type tally struct {
	requests *prometheus.CounterVec
	limits   *prometheus.CounterVec
	streams  [ways]prometheus.GaugeFunc
}

// limitation names a limit in the metrics.
type limitation string

// The limits that a client can hit.
const (
	addressRate limitation = "address-rate" // Options.Rate, of an address
	personRate  limitation = "person-rate"  // Options.Rate, of an inviter or guest
	guesses     limitation = "guesses"      // of passwords
	maxStreams  limitation = "streams"      // Options.MaxStreams
	maxUploads  limitation = "uploads"      // Options.MaxUploads
	maxBody     limitation = "body"         // Options.MaxBody and the size of files
	slowReader  limitation = "slow-reader"  // Options.WriteTimeout: a stream was cut
)

func newTally(t *attendance) *tally {
	y := &tally{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "latchkey_httpapi_requests_total", Help: "Answered requests, by route, method and status. A stream counts when it begins, or under HTTP/2, HTTP/1.0 and as a WebSocket when it ends."}, []string{"route", "method", "status"}),
		limits:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "latchkey_httpapi_limits_total", Help: "Requests refused, and streams cut, by the limit that was hit."}, []string{"limit"}),
	}
	for _, l := range []limitation{addressRate, personRate, guesses, maxStreams, maxUploads, maxBody, slowReader} {
		y.limits.WithLabelValues(string(l)) // an alert wants a zero to begin with
	}
	for by, kind := range map[way]string{byPoll: "poll", bySSE: "sse", bySocket: "websocket"} {
		y.streams[by] = prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "latchkey_httpapi_streams", Help: "Open event streams and waiting polls, by kind.", ConstLabels: prometheus.Labels{"kind": kind}}, func() float64 {
			t.mu.Lock()
			defer t.mu.Unlock()
			return float64(t.by[by])
		})
	}
	return y
}

// Metrics are the facade's, for a registry.
func (a *API) Metrics() []prometheus.Collector {
	y := a.tally
	return []prometheus.Collector{y.requests, y.limits, y.streams[byPoll], y.streams[bySSE], y.streams[bySocket]}
}

func (y *tally) hit(l limitation) { y.limits.WithLabelValues(string(l)).Inc() }

// knownMethods keep labels few, whatever clients send.
var knownMethods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions}

// request counts one that is answered.
func (y *tally) request(rec *recorder, r *http.Request) {
	route, method, status := rec.route, r.Method, "none" // the client had gone
	if route == "" {
		route = "other"
	}
	if !slices.Contains(knownMethods, method) {
		method = "other"
	}
	if rec.status != 0 {
		status = strconv.Itoa(rec.status)
	}
	y.requests.WithLabelValues(route, method, status).Inc()
}
