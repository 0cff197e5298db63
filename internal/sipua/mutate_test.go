package sipua

import (
	"bytes"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var mutations = flag.Int("mutations", 30_000, "how many mutated messages TestMutatedMessages sends")

// mutator is a network on which nothing but mutated messages come, as fast as they are read.
type mutator struct {
	left    int
	rand    *rand.Rand
	seeds   [][]byte
	closed  chan struct{}
	over    chan struct{}
	answers atomic.Int64
	last    []byte

	half, end uint64 // what was alive then
}

func (m *mutator) ReadFrom(b []byte) (int, net.Addr, error) {
	switch m.left {
	case *mutations / 2:
		m.half = heap()
	case 0:
		m.end = heap()
		close(m.over)
	}
	if m.left--; m.left < 0 {
		<-m.closed
		return 0, nil, net.ErrClosed
	}
	m.last = m.mutate(m.last[:0])
	return copy(b, m.last), someone, nil
}

func (m *mutator) WriteTo(b []byte, _ net.Addr) (int, error) { m.answers.Add(1); return len(b), nil }
func (m *mutator) Close() error {
	select {
	case <-m.closed:
	default:
		close(m.closed)
	}
	return nil
}
func (m *mutator) LocalAddr() net.Addr              { return &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5999} }
func (m *mutator) SetDeadline(time.Time) error      { return nil }
func (m *mutator) SetReadDeadline(time.Time) error  { return nil }
func (m *mutator) SetWriteDeadline(time.Time) error { return nil }

// mutate makes a message of a seed: bytes, lines and pieces of others in wrong places.
func (m *mutator) mutate(to []byte) []byte {
	r := m.rand
	seed := m.seeds[r.IntN(len(m.seeds))]
	to = append(to, seed...)
	if i := bytes.Index(to, []byte("branch=z9hG4bK")); i >= 0 && r.IntN(4) > 0 { // else it is a repeat of another
		to = append(to[:i+14], append([]byte(fmt.Sprint(r.Uint32())), to[i+14:]...)...)
	}
	for range r.IntN(4) {
		if len(to) == 0 {
			break
		}
		at := r.IntN(len(to))
		switch r.IntN(8) {
		case 0:
			to[at] = byte(r.IntN(256))
		case 1:
			const special = "\r\n:;,<>\"@%[]=/ \\*0"
			to[at] = special[r.IntN(len(special))]
		case 2: // take out
			to = append(to[:at], to[min(len(to), at+1+r.IntN(20)):]...)
		case 3: // cut off
			to = to[:at]
		case 4: // put in
			piece := m.seeds[r.IntN(len(m.seeds))]
			from := r.IntN(len(piece))
			piece = piece[from:min(len(piece), from+1+r.IntN(60))]
			to = append(to[:at], append(bytes.Clone(piece), to[at:]...)...)
		case 5: // a line again
			if end := bytes.Index(to[at:], []byte("\r\n")); end >= 0 {
				to = append(to, to[at:at+end+2]...)
			}
		case 6: // many of one
			to = append(to[:at], append(bytes.Repeat([]byte{to[at]}, r.IntN(300)), to[at:]...)...)
		case 7:
			if i := bytes.IndexByte(to[at:], '0'); i >= 0 {
				to[at+i] = '9'
			}
		}
	}
	return to[:min(len(to), 65535)]
}

// heap is what is alive.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}

// F65: mutated messages, the corpora's and others, at a running endpoint: no panic, and when its transactions are over nothing is held. With
// -mutations=10000000 it takes some minutes.
func TestMutatedMessages(t *testing.T) {
	m := &mutator{left: *mutations, rand: rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano()))), closed: make(chan struct{}), over: make(chan struct{})}
	p := &peer{addr: "192.0.2.7:4444"}
	for _, c := range corpus {
		m.seeds = append(m.seeds, []byte(corpusFile(t, c.file)))
	}
	for _, c := range bads {
		m.seeds = append(m.seeds, []byte(p.options("m", c.changes...)))
	}
	m.seeds = append(m.seeds, []byte(answer(p.options("m"), "200 OK")), []byte(p.options("m", "Via: SIP/2.0/UDP h;branch=z9hG4bKm;oc;oc-algo=\"loss\"", "Route: <sip:x;lr>, \"a\" <sip:y;lr>")))
	var log panics
	before := heap()
	e, err := Listen(Options{Listen: []string{"udp:127.0.0.1:5999"}, UserAgent: "Latchkey", Log: log.logger(), ListenPacket: func(string, string) (net.PacketConn, error) { return m, nil }})
	if err != nil {
		t.Fatal(err)
	}
	var served atomic.Int64
	e.Handle(func(tx *Transaction) { served.Add(1); _ = tx.Respond(200, "") })
	<-m.over
	if err := e.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	t.Logf("%d messages, %d served, %d answers, %v refused for overload", *mutations, served.Load(), m.answers.Load(), e.load.refused)
	if s, a := served.Load(), m.answers.Load(); s < int64(*mutations/50) || a < int64(*mutations/10) {
		t.Errorf("of %d messages %d are served and %d answered", *mutations, s, a)
	}
	if log.n.Load() > 0 {
		t.Errorf("%d handlers panicked: %s", log.n.Load(), log.first.Load())
	}
	if m.end > m.half*3/2+16<<20 {
		t.Errorf("%d kB are alive after half of the messages and %d kB after all", m.half>>10, m.end>>10)
	}
	e, m = nil, nil // maps that were full once
	var grown uint64
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) { // sipgo's timers let go
		if grown = max(heap(), before) - before; grown < 8<<20 {
			return
		}
	}
	t.Errorf("%d kB are held", grown>>10)
}

// panics is a log that counts what handlers must not do.
type panics struct {
	n     atomic.Int64
	first atomic.Value
}

func (p *panics) Write(b []byte) (int, error) {
	if strings.Contains(string(b), "panicked") {
		p.n.Add(1)
		p.first.CompareAndSwap(nil, string(b))
	}
	return len(b), nil
}

func (p *panics) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(p, &slog.HandlerOptions{Level: slog.LevelError}))
}
