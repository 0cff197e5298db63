package imstest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// The ports of FreePort: blocks of so many from the first one on. They lie below those that systems give to outgoing connections, so
// that none of those takes one while nobody listens on it, nor is connected to itself.
const (
	firstPort  = 10_000
	portBlock  = 200
	portBlocks = 30
)

// ports are those of this process: a block of its own, so that no two test binaries that run at once think that the same one is free.
var ports struct {
	sync.Mutex
	guard net.Listener // on the first port of the block, for as long as the process lives
	block int
	last  int
}

// FreePort is an address of 127.0.0.1 on which neither UDP nor TCP is taken, for who must know it before somebody listens there,
// or while nobody does. No other test gets it within the next 198.
func FreePort(t testing.TB) string {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	if ports.guard == nil {
		for _, ports.block = range rand.Perm(portBlocks) {
			var err error
			if ports.guard, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", firstPort+ports.block*portBlock)); err == nil {
				break
			}
		}
	}
	if ports.guard == nil {
		t.Fatal("no free ports: too many test binaries run at once")
	}
	for range portBlock {
		ports.last = ports.last%(portBlock-1) + 1
		addr := fmt.Sprintf("127.0.0.1:%d", firstPort+ports.block*portBlock+ports.last)
		if vacant(addr) == nil {
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}

// vacant says who is there, for UDP or TCP.
func vacant(addr string) error {
	tcp, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	udp, err := net.ListenPacket("udp", addr)
	if err == nil {
		err = udp.Close()
	}
	return errors.Join(err, tcp.Close())
}
