//go:build !unix

package msrp

import "io"

// socket is for systems on which a connection can be waited for without a buffer.
type socket struct{}

func socketOf(io.Reader) *socket { return nil }

func (*socket) read(*Reader, int) (int, error) { panic("unreachable: there is no socket") }

func (*socket) linger() {}

func (*socket) stay() bool { return false }
