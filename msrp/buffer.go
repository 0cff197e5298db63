package msrp

import "sync"

// Sizes of a Reader's buffer, in octets. Large ones save system calls where bulk data flows.
const (
	smallBuffer = 32 << 10
	largeBuffer = 512 << 10
)

// Buffers that nobody uses, by size: a connection that is idle has none.
var smallBuffers, largeBuffers sync.Pool

func takeBuffer(size int) []byte {
	switch size {
	case smallBuffer:
		if b, ok := smallBuffers.Get().(*[smallBuffer]byte); ok {
			return b[:]
		}
	case largeBuffer:
		if b, ok := largeBuffers.Get().(*[largeBuffer]byte); ok {
			return b[:]
		}
	}
	return make([]byte, size)
}

func giveBuffer(b []byte) {
	switch len(b) {
	case smallBuffer:
		smallBuffers.Put((*[smallBuffer]byte)(b))
	case largeBuffer:
		largeBuffers.Put((*[largeBuffer]byte)(b))
	}
}
