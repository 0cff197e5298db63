//go:build !linux

package doze

import "syscall"

// Can says whether the system can wait without a goroutine.
const Can = false

// Nap is for systems on which a connection can wait without a goroutine.
type Nap struct{}

// Begin has owner woken once. False: that can't be, and nobody is woken.
func (*Nap) Begin(syscall.RawConn, Sleeper) bool { return false }

// End ends the nap without a call of Wake. False: there is none.
func (*Nap) End() bool { return false }

// Asleep reports whether the nap lasts.
func (*Nap) Asleep() bool { return false }

// Unsent is how many octets wait in the kernel for the peer to acknowledge them; -1: that is not known.
func Unsent(syscall.RawConn) int { return -1 }
