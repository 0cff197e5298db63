package gateway

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"latchkey"
	"latchkey/conversation"
	"latchkey/files"
)

// fileMetrics tells operators of the files of all vaults, and of the calls that carry them to inviters.
type fileMetrics struct {
	vaults []*files.Vault

	bytes, files, scans, fetches, held, heldBytes *prometheus.Desc
	calls                                         *prometheus.CounterVec
	carried                                       prometheus.Counter
}

func newFileMetrics(vaults ...*files.Vault) *fileMetrics {
	desc := prometheus.NewDesc
	m := &fileMetrics{
		vaults:    vaults,
		bytes:     desc("latchkey_files_received_bytes_total", "Bytes of files that came, from guests (out), from inviters (in), and from inviters' phones to the content server (deposit).", []string{"direction"}, nil),
		files:     desc("latchkey_files_received_files_total", "Files that came to an end: stored; refused (not what was promised, or too much); harmful; given_up by their sender; lost by a failure of the store, the scanner or the data.", []string{"direction", "outcome"}, nil),
		scans:     desc("latchkey_files_scans_total", "Files that the scanner was given: clean, harmful, or unscanned where it could not say.", []string{"outcome"}, nil),
		fetches:   desc("latchkey_files_fetches_total", "Attempts to fetch an inviter's file by HTTP: fetched, failed, or forbidden by file-peers.", []string{"outcome"}, nil),
		held:      desc("latchkey_files_held_files", "Files that are kept, those on their way included.", nil, nil),
		heldBytes: desc("latchkey_files_held_bytes", "Bytes of those files.", nil, nil),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "latchkey_files_calls_total",
			Help: "Calls that carried a file to an inviter: sent, refused by the inviter's side, or broken."}, []string{"outcome"}),
		carried: prometheus.NewCounter(prometheus.CounterOpts{Name: "latchkey_files_carried_bytes_total", Help: "Bytes of files that inviters' phones acknowledged."}),
	}
	for _, outcome := range []string{"sent", "refused", "broken"} {
		m.calls.WithLabelValues(outcome) // so that it is there before it happens
	}
	return m
}

// following passes progress on, and counts what is new in it. The last word may come from another goroutine than those before.
func (m *fileMetrics) following(from int64, tell func(octets int64)) func(octets int64) {
	var most atomic.Int64
	most.Store(from)
	return func(octets int64) {
		for had := most.Load(); octets > had; had = most.Load() {
			if most.CompareAndSwap(had, octets) {
				m.carried.Add(float64(octets - had))
				break
			}
		}
		tell(octets)
	}
}

// called counts a call that carried a file, or part of one.
func (m *fileMetrics) called(err error) {
	outcome := "broken"
	_, refused := errors.AsType[*conversation.CallRefused](err)
	_, stopped := errors.AsType[*conversation.MSRPRefused](err)
	_, hungUp := errors.AsType[*conversation.HungUp](err)
	switch {
	case err == nil:
		outcome = "sent"
	case refused || stopped || hungUp:
		outcome = "refused"
	}
	m.calls.WithLabelValues(outcome).Inc()
}

// Describe lists what Collect tells.
func (m *fileMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.bytes, m.files, m.scans, m.fetches, m.held, m.heldBytes} {
		to <- d
	}
	m.calls.Describe(to)
	m.carried.Describe(to)
}

// Collect tells where things stand.
func (m *fileMetrics) Collect(to chan<- prometheus.Metric) {
	count := func(d *prometheus.Desc, of func(*files.Vault) int64, labels ...string) {
		n := int64(0)
		for _, v := range m.vaults {
			n += of(v)
		}
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	for _, way := range []latchkey.Direction{latchkey.ToInviter, latchkey.ToGuest, latchkey.Deposit} {
		count(m.bytes, func(v *files.Vault) int64 { return v.Bytes(way) }, string(way))
		for _, o := range files.FileOutcomes {
			count(m.files, func(v *files.Vault) int64 { return v.Files(way, o) }, string(way), o.String())
		}
	}
	for _, o := range files.ScanOutcomes {
		count(m.scans, func(v *files.Vault) int64 { return v.Scans(o) }, o.String())
	}
	for _, o := range files.FetchOutcomes {
		count(m.fetches, func(v *files.Vault) int64 { return v.Fetches(o) }, o.String())
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var n, bytes int64
	var failed error
	for _, v := range m.vaults {
		k, b, err := v.Held(ctx)
		n, bytes, failed = n+k, bytes+b, errors.Join(failed, err)
	}
	if failed == nil {
		to <- prometheus.MustNewConstMetric(m.held, prometheus.GaugeValue, float64(n))
		to <- prometheus.MustNewConstMetric(m.heldBytes, prometheus.GaugeValue, float64(bytes))
	}
	m.calls.Collect(to)
	m.carried.Collect(to)
}
