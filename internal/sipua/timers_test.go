package sipua

import (
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// B2.02, RFC 3261 table 4, RFC 6026 §7: what comes of T1, T2 and T4, here those that TestMain has set; D is no shorter than H.
func TestTimersAreDerived(t *testing.T) {
	const t1, t2, t4 = 100 * time.Millisecond, 400 * time.Millisecond, 500 * time.Millisecond
	for name, c := range map[string]struct{ got, want time.Duration }{
		"T1": {sip.T1, t1}, "T2": {sip.T2, t2}, "T4": {sip.T4, t4}, "A": {sip.Timer_A, t1}, "B": {derived.b, 64 * t1}, "D": {sip.Timer_D, 32 * time.Second},
		"E": {sip.Timer_E, t1}, "F": {derived.f, 64 * t1}, "G": {sip.Timer_G, t1}, "H": {sip.Timer_H, 64 * t1}, "I": {sip.Timer_I, t4},
		"J": {sip.Timer_J, 64 * t1}, "K": {sip.Timer_K, t4}, "L": {sip.Timer_L, 64 * t1}, "M": {sip.Timer_M, 64 * t1},
	} {
		if c.got != c.want {
			t.Errorf("timer %s is %v, want %v", name, c.got, c.want)
		}
	}
	for t1, want := range map[time.Duration]time.Duration{2 * time.Second: 128 * time.Second, 500 * time.Millisecond: 32 * time.Second, 10 * time.Millisecond: 32 * time.Second} {
		if got := timerD(t1); got != want {
			t.Errorf("timer D with T1 %v is %v, want %v", t1, got, want)
		}
	}
}
