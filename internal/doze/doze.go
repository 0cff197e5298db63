// Package doze lets connections that say nothing for long wait without a goroutine, where the system can (epoll(7) on Linux). It owns the
// wait, never the connection: it reads nothing, writes nothing and closes nothing. Start with Nap.
package doze

// Sleeper is who naps on a connection.
type Sleeper interface {
	// Wake is called on a goroutine of its own when there is something to read, or the peer has gone. The nap is over then.
	Wake()
}
