package gateway

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"latchkey"
	"latchkey/storage"
)

// ledger is the store of submissions and reports, which also counts reports for the metrics.
type ledger struct {
	*storage.DB
	reports *prometheus.CounterVec
}

func newLedger(db *storage.DB) ledger {
	l := ledger{db, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "latchkey_notify_reports_total",
		Help: "Reports of servers on notices that they had taken: delivered or failed. Repeats count."}, []string{"channel", "state"})}
	for _, channel := range []latchkey.Channel{latchkey.ByMail, latchkey.BySMS, latchkey.ByMMS} {
		for _, state := range []latchkey.NotificationState{latchkey.NotificationDelivered, latchkey.NotificationFailed} {
			l.reports.WithLabelValues(string(channel), string(state)) // stands at zero before anything happens
		}
	}
	return l
}

// AddReport is storage.DB's.
func (l ledger) AddReport(ctx context.Context, r latchkey.Report) (found bool, err error) {
	found, err = l.DB.AddReport(ctx, r)
	if err == nil {
		l.reports.WithLabelValues(string(r.Channel), string(r.State)).Inc()
	}
	return found, err
}
