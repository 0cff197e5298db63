package doze_test

import (
	"bytes"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"

	"latchkey/internal/doze"
	"latchkey/internal/leaktest"
)

func TestMain(m *testing.M) {
	leaktest.Main(m, patience)
}

const patience = time.Minute

// sleeper hears that it is woken.
type sleeper struct {
	doze.Nap
	woken chan struct{}
}

func (s *sleeper) Wake() { s.woken <- struct{}{} }

func (s *sleeper) wakes(t *testing.T) {
	t.Helper()
	select {
	case <-s.woken:
	case <-time.After(patience):
		t.Fatal("nobody woke the sleeper")
	}
}

// pair is a TCP connection, seen from both ends.
func pair(t *testing.T) (ours, theirs *net.TCPConn, raw syscall.RawConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	ours, theirs = a.(*net.TCPConn), b.(*net.TCPConn)
	if raw, err = ours.SyscallConn(); err != nil {
		t.Fatal(err)
	}
	return ours, theirs, raw
}

func needs(t *testing.T) {
	t.Helper()
	if !doze.Can {
		t.Skip("this system can't wait for a connection without a goroutine; Linux can")
	}
}

// Issue 7: who naps is woken by an octet, by one that came before, and by the peer's going; and by nothing else.
func TestSleeperIsWokenOnce(t *testing.T) {
	needs(t)
	ours, theirs, raw := pair(t)
	s := &sleeper{woken: make(chan struct{}, 9)}
	begin := func() {
		t.Helper()
		if s.Asleep() || !s.Begin(raw, s) {
			t.Fatal("no nap")
		}
	}
	begin()
	if !s.Asleep() {
		t.Error("awake before anything came")
	}
	_, _ = theirs.Write([]byte("a"))
	s.wakes(t)
	begin() // what has not been read wakes again
	s.wakes(t)
	b := make([]byte, 9)
	if n, err := ours.Read(b); n != 1 || err != nil {
		t.Fatalf("Read = %d, %v", n, err)
	}
	begin()
	_ = theirs.Close()
	s.wakes(t)
	if s.End() {
		t.Error("a nap that is over ended")
	}
	if len(s.woken) > 0 {
		t.Error("woken twice")
	}
}

// Issue 7: a nap that is ended wakes nobody, and one can't begin on a connection that is closed.
func TestEndedNapWakesNobody(t *testing.T) {
	needs(t)
	ours, theirs, raw := pair(t)
	_, others, other := pair(t)
	s, next := &sleeper{woken: make(chan struct{}, 9)}, &sleeper{woken: make(chan struct{}, 9)}
	if !s.Begin(raw, s) || !s.End() || s.End() || s.Asleep() {
		t.Fatal("a nap that began ends once")
	}
	_, _ = theirs.Write([]byte("a"))
	// Both are told by the same watch, in order: whatever s was told, it was told before.
	if !next.Begin(other, next) {
		t.Fatal("no nap")
	}
	_, _ = others.Write([]byte("a"))
	next.wakes(t)
	if len(s.woken) > 0 {
		t.Error("woken after the end")
	}
	_ = ours.Close()
	if s.Begin(raw, s) {
		t.Error("a nap on a closed connection")
	}
}

// Issue 7: two hundred sleepers cost one goroutine, and none when they are gone.
func TestSleepersShareOneGoroutine(t *testing.T) {
	needs(t)
	before := runtime.NumGoroutine()
	var all []*sleeper
	for range 200 {
		_, _, raw := pair(t)
		s := &sleeper{woken: make(chan struct{}, 1)}
		if !s.Begin(raw, s) {
			t.Fatal("no nap")
		}
		all = append(all, s)
	}
	if n := runtime.NumGoroutine(); n > before+1 {
		t.Errorf("%d goroutines, %d before", n, before)
	}
	for _, s := range all {
		s.End()
	}
}

// F67: what a peer doesn't take is seen.
func TestUnsentIsWhatThePeerHasNotTaken(t *testing.T) {
	needs(t)
	ours, _, raw := pair(t)
	if n := doze.Unsent(raw); n != 0 {
		t.Errorf("Unsent = %d before anything was written", n)
	}
	for block, end := bytes.Repeat([]byte("x"), 64<<10), time.Now().Add(patience); doze.Unsent(raw) < 4096; {
		_ = ours.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)) // which may pass on a slow machine before the buffers are full
		if _, _ = ours.Write(block); time.Now().After(end) {
			t.Fatalf("Unsent = %d with full buffers", doze.Unsent(raw))
		}
	}
	_ = ours.Close()
	if n := doze.Unsent(raw); n != -1 {
		t.Errorf("Unsent = %d of a closed connection, want -1", n)
	}
}
