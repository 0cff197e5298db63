package bench

import (
	"os/exec"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey/internal/sipua"
)

// busy begins to answer calls on one processor, each after so many microseconds of work. Messages of its report are calls that were ended.
func (w *worker) busy(o order) (report, error) {
	if len(o.Addrs) > 0 {
		return report{Messages: int(w.ended.Load())}, nil
	}
	runtime.GOMAXPROCS(1)
	e, err := sipua.Listen(sipua.Options{Listen: []string{"udp:127.0.0.1:0"}})
	if err != nil {
		return report{}, err
	}
	ended := &atomic.Int64{}
	w.ended = ended
	work := time.Duration(o.Count) * time.Microsecond
	e.Handle(func(t *sipua.Transaction) {
		switch t.Request.Method {
		case sip.INVITE:
			for begun := time.Now(); time.Since(begun) < work; {
			}
			contact := e.Contact("busy", sip.Uri{})
			_ = t.Respond(200, "", &sip.ContactHeader{Address: contact})
		case sip.BYE:
			ended.Add(1)
			_ = t.Respond(200, "")
		}
	})
	w.bridged = append(w.bridged, func() { _ = e.Close() })
	return report{Addrs: []string{e.Addrs()[0].HostPort}}, nil
}

// BenchmarkBusy is what a server does that is asked for three times what it can (F64, B2.12): calls that it completes in a second, beside the
// most that it completes when they come one after the other on twenty lines; then what it refuses at half of that, five seconds later.
func BenchmarkBusy(b *testing.B) {
	if _, err := exec.LookPath("sipp"); err != nil {
		b.Skip("sipp is missing: apt-get install sip-tester")
	}
	rounds(b)
	server := hire(b, "busy")
	to := server.do(order{Do: "busy", Count: 3000}).Addrs[0]
	ended := func() int { return server.do(order{Do: "busy", Addrs: []string{to}}).Messages }
	call := func(rate, lines, seconds int) (perSecond float64, completed int) {
		before, begun := ended(), time.Now()
		cmd := exec.Command("sipp", to, "-sf", "testdata/busy.xml", "-i", "127.0.0.1", "-p", strconv.Itoa(free(b)), "-m", strconv.Itoa(rate*seconds), "-r", strconv.Itoa(rate),
			"-l", strconv.Itoa(lines), "-d", "0", "-nostdin", "-recv_timeout", "5000", "-timeout", "60s")
		out, err := cmd.CombinedOutput()
		completed = ended() - before
		if err != nil {
			b.Logf("sipp at %d/s: %v\n%.600s", rate, err, out[max(0, len(out)-600):])
		}
		return float64(completed) / time.Since(begun).Seconds(), completed
	}
	peak, _ := call(1000, 20, 2)
	rate := int(peak)
	over, _ := call(3*rate, 100000, 10)
	time.Sleep(5 * time.Second)
	_, completed := call(rate/2, 100000, 5)
	b.Logf("at most %.0f calls/s; asked for three times as many it completes %.0f/s, %.0f %%; 5 s later, at half, %d of %d", peak, over, 100*over/peak, completed, rate/2*5)
	b.ReportMetric(over/peak, "of-peak")
	b.ReportMetric(float64(completed)/float64(rate/2*5), "served-after")
}
