package sipua

import (
	"time"

	"github.com/emiago/sipgo/sip"
)

// SetTimers sets the timers of all transactions of the process, those of RFC 3261 table 4 that come of T1, T2 and T4 included. It is called once,
// before the first Listen: sipgo keeps them in variables of its own.
func SetTimers(t1, t2, t4 time.Duration) {
	sip.SetTimers(t1, t2, t4)
	sip.Timer_D = timerD(t1) // which sipgo does not derive
}

// timerD is how long a client waits for repeats of a refusal: more than 32 s (RFC 3261 §17.1.1.2), and no less than the server repeats it,
// which is Timer H (128 s at the UE, TS 24.229 table 7.7.1 (unverified)).
func timerD(t1 time.Duration) time.Duration { return max(32*time.Second, 64*t1) }
