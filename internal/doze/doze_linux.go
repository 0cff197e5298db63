package doze

import (
	"os"
	"sync"
	"syscall"
	"unsafe"
)

// Can says whether the system can wait without a goroutine.
const Can = true

// asleep has the connections that nobody waits for by a goroutine. It is one for the process, as the runtime's
// own poller is, and has a goroutine only while somebody sleeps.
var asleep sleepers

// sleepers are connections without a reader, each of whose owners is woken when there is something to read.
type sleepers struct {
	mu   sync.Mutex // guards the fields below
	poll *os.File   // epoll(7); nil while nobody sleeps
	fd   int        // its descriptor
	naps map[int64]*Nap
	last int64 // number given to a sleeper
}

// Nap is one connection's wait, which may begin again when it is over. The zero value is none.
type Nap struct {
	number int64 // among the sleepers; 0 while awake
	owner  Sleeper
}

// Begin has owner woken once. What came before is reported, too. False: that can't be, and nobody is woken.
func (n *Nap) Begin(raw syscall.RawConn, owner Sleeper) bool {
	s := &asleep
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.poll == nil && !s.open() {
		return false
	}
	number := s.last + 1
	err := error(syscall.EBADF)
	_ = raw.Control(func(fd uintptr) {
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
	s.last, n.number, n.owner = number, number, owner
	s.naps[number] = n
	return true
}

// End ends the nap without a call of Wake, as who closes the connection does. False: there is none, or Wake is called already.
func (n *Nap) End() bool {
	s := &asleep
	s.mu.Lock()
	defer s.mu.Unlock()
	if n.number == 0 {
		return false
	}
	s.drop(n)
	return true
}

// Asleep reports whether the nap lasts.
func (n *Nap) Asleep() bool {
	asleep.mu.Lock()
	defer asleep.mu.Unlock()
	return n.number != 0
}

// drop forgets a sleeper. s.mu is held.
func (s *sleepers) drop(n *Nap) {
	delete(s.naps, n.number)
	n.number, n.owner = 0, nil
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
	s.poll, s.fd, s.naps = os.NewFile(uintptr(fd), "dozing connections"), fd, map[int64]*Nap{}
	go s.watch(s.poll) // ends when the last sleeper is gone
	return true
}

// shut ends the wait when there is nobody to wait for. s.mu is held.
func (s *sleepers) shut() {
	if len(s.naps) == 0 && s.poll != nil {
		_ = s.poll.Close()
		s.poll, s.naps = nil, nil
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
			var owner Sleeper
			if nap := s.naps[int64(uint32(e.Fd))|int64(e.Pad)<<32]; nap != nil {
				owner = nap.owner
				s.drop(nap)
			}
			s.mu.Unlock()
			if owner != nil {
				go owner.Wake() // ends by itself, or begins another nap
			}
		}
	}
}

// Unsent is how many octets wait in the kernel for the peer of a TCP connection to acknowledge them (tcp(7), SIOCOUTQ); -1: that is not known.
func Unsent(raw syscall.RawConn) int {
	n, errno := int32(-1), syscall.EBADF
	_ = raw.Control(func(fd uintptr) {
		_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&n)))
	})
	if errno != 0 {
		return -1
	}
	return int(n)
}
