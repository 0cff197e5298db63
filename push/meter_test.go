package push

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// read is what a crier's metrics say: by outcome, and how many wait.
func read(t *testing.T, c *Crier) map[string]float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(c.Metrics()...)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			if m.Gauge != nil {
				got["waiting"] = m.Gauge.GetValue()
			} else {
				got[m.Label[0].GetValue()] = m.Counter.GetValue()
			}
		}
	}
	return got
}

// X5: operators see what becomes of calls, and how many wait.
func TestMetricsTellWhatBecomesOfCalls(t *testing.T) {
	for _, c := range []struct {
		status, busy int
		outcome      string
	}{{201, 0, sent}, {410, 0, gone}, {400, 0, failed}, {503, 0, failed}, {503, 1, held}} {
		synctest.Test(t, func(t *testing.T) {
			crier, _ := onMadeTime(t, &answers{say: func(int) (int, string) { return c.status, "" }}, Options{Busy: c.busy})
			defer crier.Close()
			crier.Tell(wrote(alice, "x"))
			synctest.Wait()
			if c.busy > 0 {
				crier.Tell(wrote(carol, "x"))
				synctest.Wait()
			}
			before := read(t, crier)
			if waits := before["waiting"] == 1; waits != (c.status == 503) {
				t.Errorf("%d: %v wait", c.status, before["waiting"])
			}
			if c.busy == 0 {
				time.Sleep(time.Hour) // of made time
			}
			after := read(t, crier)
			for _, outcome := range []string{sent, gone, failed, held} {
				if n, there := after[outcome]; !there || (n == 1) != (outcome == c.outcome) {
					t.Errorf("after %d %s is %v, %v; want one %s", c.status, outcome, n, there, c.outcome)
				}
			}
		})
	}
}

// R29, X5: a call that waits for a busy push service is not made any more when its guest has left, or has read the message elsewhere.
func TestCallThatNobodyNeedsIsNotRepeated(t *testing.T) {
	for name, change := range map[string]func(c *Crier, store *rows){
		"left": func(c *Crier, store *rows) {
			_ = c.Unsubscribe(t.Context(), bob, store.all[0].ID)
		},
		"read": func(_ *Crier, store *rows) {
			store.mu.Lock()
			defer store.mu.Unlock()
			store.heard["x"] = true
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				service := &answers{say: func(int) (int, string) { return 503, "" }}
				crier, store := onMadeTime(t, service, Options{})
				defer crier.Close()
				begun := time.Now()
				crier.Tell(wrote(alice, "x"))
				time.Sleep(10 * time.Second) // of made time
				change(crier, store)
				time.Sleep(time.Hour)
				if got := service.times(begun); len(got) != 3 {
					t.Errorf("asked at %v, want nothing after 10s", got)
				}
				if n := read(t, crier)["waiting"]; n != 0 {
					t.Errorf("%v calls wait still", n)
				}
				crier.Tell(wrote(carol, "y"))
				time.Sleep(time.Hour)
				if got := len(service.times(begun)); name == "read" && got != 3+attempts {
					t.Errorf("%d attempts in all, want %d of a new call", got-3, attempts)
				}
			})
		})
	}
}
