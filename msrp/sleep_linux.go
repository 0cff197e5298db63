package msrp

import (
	"os"
	"sync"
	"syscall"
)

const canSleep = true

// asleep has the connections that nobody waits for by a goroutine. It is one for the process, as the runtime's
// own poller is, and has a goroutine only while somebody sleeps.
var asleep sleepers

// sleepers are connections without a reader, each of which gets one when there is something to read.
type sleepers struct {
	mu    sync.Mutex // guards the fields below
	poll  *os.File   // epoll(7); nil while nobody sleeps
	fd    int        // its descriptor
	conns map[int64]*conn
	last  int64 // number given to a sleeper
}

// sleep lets the connection wait without a goroutine. False: that can't be, and the caller is its reader still.
func (c *conn) sleep(on *socket) bool {
	s := &asleep
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-c.done:
		return false
	default:
	}
	if s.poll == nil && !s.open() {
		return false
	}
	number := s.last + 1
	err := error(syscall.EBADF)
	_ = on.raw.Control(func(fd uintptr) {
		// What came meanwhile is reported, too: this is no edge.
		event := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLRDHUP | syscall.EPOLLONESHOT, Fd: int32(number), Pad: int32(number >> 32)}
		if err = syscall.EpollCtl(s.fd, syscall.EPOLL_CTL_ADD, int(fd), &event); err == syscall.EEXIST {
			err = syscall.EpollCtl(s.fd, syscall.EPOLL_CTL_MOD, int(fd), &event) // it has slept before
		}
	})
	if err != nil {
		s.shut()
		return false
	}
	s.last, c.asleep = number, number
	s.conns[number] = c
	return true
}

// rise takes the connection off those that sleep, for it is closed.
func (c *conn) rise() {
	s := &asleep
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.asleep > 0 {
		s.drop(c)
	}
}

// drop forgets a sleeper. s.mu is held.
func (s *sleepers) drop(c *conn) {
	delete(s.conns, c.asleep)
	c.asleep = 0
	s.shut()
}

// open begins to wait for sleepers. s.mu is held.
func (s *sleepers) open() bool {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return false
	}
	if err := syscall.SetNonblock(fd, true); err != nil { // so that the runtime waits for it
		_ = syscall.Close(fd)
		return false
	}
	s.poll, s.fd, s.conns = os.NewFile(uintptr(fd), "msrp connections"), fd, map[int64]*conn{}
	go s.watch(s.poll) // ends when the last sleeper is gone
	return true
}

// shut ends the wait when there is nobody to wait for. s.mu is held.
func (s *sleepers) shut() {
	if len(s.conns) == 0 && s.poll != nil {
		_ = s.poll.Close()
		s.poll, s.conns = nil, nil
	}
}

// watch wakes sleepers until poll is closed.
func (s *sleepers) watch(poll *os.File) {
	raw, err := poll.SyscallConn()
	if err != nil {
		return
	}
	events := make([]syscall.EpollEvent, 128)
	for {
		n := 0
		err := raw.Read(func(fd uintptr) bool {
			n, _ = syscall.EpollWait(int(fd), events, 0)
			return n > 0
		})
		if err != nil {
			return
		}
		for _, e := range events[:n] {
			s.mu.Lock()
			c := s.conns[int64(uint32(e.Fd))|int64(e.Pad)<<32]
			if c != nil {
				s.drop(c)
			}
			s.mu.Unlock()
			if c != nil {
				go c.read(true) // ends with close, or sleeps again
			}
		}
	}
}
