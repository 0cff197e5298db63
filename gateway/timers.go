package gateway

import (
	"errors"
	"time"

	"latchkey/internal/sipua"
)

// longestT1 keeps 64*T1, after which a call is given up, below ten minutes.
const longestT1 = 8 * time.Second

// checkTimers reports SIP timers that don't go together (RFC 3261 §17.1.1.1, §17.1.2.2).
func (c Config) checkTimers() error {
	switch {
	case c.SIPT1 > longestT1:
		return errors.New("sip-t1: is longer than 8s; for example --sip-t1 2s")
	case c.SIPT2 < c.SIPT1:
		return errors.New("sip-t2: is shorter than sip-t1; for example --sip-t1 2s --sip-t2 16s")
	case c.SIPT2 > 64*c.SIPT1:
		return errors.New("sip-t2: is longer than 64 times sip-t1, when requests are given up; for example --sip-t1 500ms --sip-t2 4s")
	case c.SIPT4 > 64*longestT1:
		return errors.New("sip-t4: is longer than 512s; for example --sip-t4 5s")
	}
	return nil
}

// SetTimers makes the SIP timers of the configuration those of the process. It is for programs that run one gateway, before New.
func (c Config) SetTimers() { sipua.SetTimers(c.SIPT1, c.SIPT2, c.SIPT4) }

// coreTimeout is how long the core may take to answer a REGISTER or SUBSCRIBE: 10 s, and with a longer T1 as many repeats more, so that there
// is time for a second core.
func (c Config) coreTimeout() time.Duration { return max(10*time.Second, 20*c.SIPT1) }
