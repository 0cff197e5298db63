//go:build unix

package processors

import (
	"syscall"
	"time"
)

// spent is the CPU time of the process so far.
func spent() (time.Duration, bool) {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0, false
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), true
}
