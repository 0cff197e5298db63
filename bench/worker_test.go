package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"latchkey/msrp"
)

// workerVariable makes the test binary a worker, so that the CPU time and the memory of what is measured can be told
// apart from those of its peers.
const workerVariable = "LATCHKEY_BENCH_WORKER"

func TestMain(m *testing.M) {
	if os.Getenv(workerVariable) != "" {
		serveOrders(os.Stdin, os.Stdout)
		return
	}
	os.Exit(m.Run())
}

// order is what a worker is to do.
type order struct {
	Do string // a method of worker, in lower case

	Network string   // udp or tcp
	Addrs   []string // where to connect
	To      []string // paths
	From    []string
	Count   int   // of sessions, or of messages on each
	Window  int   // of messages under way on each session
	Chunk   int   // octets of a chunk's body; 0: the message is one chunk
	Octets  int64 // of a message
	Answers bool  // each chunk is answered
	Paths   bool  // From-Path has the connection's own address, for relays
}

// report is what came of it.
type report struct {
	Error    string
	Addrs    []string
	Seconds  float64
	CPU      float64 // seconds since the start
	RSS      int64   // octets
	Peak     int64
	Heap     int64 // with stacks
	Stacks   int64
	Messages int
	Routines int // goroutines
}

// crew is a worker process, seen from the benchmark.
type crew struct {
	b   *testing.B
	in  *json.Encoder
	out *json.Decoder
}

// hire starts a worker, which ends when the benchmark does.
func hire(b *testing.B, name string) *crew {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), workerVariable+"="+name)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close() // which ends it
		limit := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		defer limit.Stop()
		_ = cmd.Wait()
	})
	return &crew{b, json.NewEncoder(in), json.NewDecoder(out)}
}

// do has an order carried out.
func (c *crew) do(o order) report {
	c.b.Helper()
	var r report
	if err := c.in.Encode(o); err != nil {
		c.b.Fatalf("order %s: %v", o.Do, err)
	}
	if err := c.out.Decode(&r); err != nil {
		c.b.Fatalf("report on %s: %v", o.Do, err)
	}
	if r.Error != "" {
		c.b.Fatalf("%s: %s", o.Do, r.Error)
	}
	return r
}

// usage is the CPU time of the worker until now, in seconds.
func (c *crew) usage() float64 { return c.do(order{Do: "usage"}).CPU }

// worker is one within its own process.
type worker struct {
	listeners []net.Listener
	msrp      *msrp.Listener
	anchors   []*msrp.Anchor
	idle      []net.Conn
	bridged   []func() // each ends one
	batch     int      // of calls
	standing  []standing
	ended     *atomic.Int64
	profile   string
}

func serveOrders(in io.Reader, out io.Writer) {
	w := &worker{}
	// Profiles of this worker alone: LATCHKEY_BENCH_PROFILE=name:path makes path.cpu, and path.heap as its memory was last asked for.
	if name, path, ok := strings.Cut(os.Getenv("LATCHKEY_BENCH_PROFILE"), ":"); ok && name == os.Getenv(workerVariable) {
		w.profile, runtime.MemProfileRate = path, 64<<10
		if f, err := os.Create(path + ".cpu"); err == nil && pprof.StartCPUProfile(f) == nil {
			defer f.Close()
			defer pprof.StopCPUProfile()
		}
	}
	orders, reports := json.NewDecoder(bufio.NewReader(in)), json.NewEncoder(out)
	for {
		var o order
		if orders.Decode(&o) != nil {
			return
		}
		r, err := w.obey(o)
		if err != nil {
			r.Error = err.Error()
		}
		if reports.Encode(r) != nil {
			return
		}
	}
}

func (w *worker) obey(o order) (report, error) {
	switch o.Do {
	case "usage":
		return report{CPU: ownCPU()}, nil
	case "memory":
		return w.memory(), nil
	case "sink":
		return w.listen(max(o.Count, 1), func(nc net.Conn) { sink(nc, o.Answers) })
	case "answer":
		return w.listen(max(o.Count, 1), answerTexts)
	case "splice":
		return w.listen(1, func(nc net.Conn) { between(nc, o.Addrs[0], func(dst, src *net.TCPConn) { _, _ = io.Copy(dst, src) }) })
	case "copy":
		return w.listen(1, func(nc net.Conn) { between(nc, o.Addrs[0], copyLoop(o.Chunk)) })
	case "anchor":
		return w.anchor(o)
	case "bridge":
		return w.bridge(o)
	case "ring":
		return w.ring()
	case "call", "stand", "hangup":
		return w.call(o)
	case "busy":
		return w.busy(o)
	case "bulk":
		return bulk(o)
	case "texts":
		return texts(o)
	case "bind":
		return w.bind(o)
	case "close":
		w.close()
		return report{}, nil
	}
	return report{}, fmt.Errorf("no such order")
}

// close ends what the orders before have begun.
func (w *worker) close() {
	for _, end := range w.bridged {
		end()
	}
	w.bridged = nil
	for _, l := range w.listeners {
		_ = l.Close()
	}
	if w.msrp != nil {
		_ = w.msrp.Close()
	}
	for _, a := range w.anchors {
		_ = a.Close()
	}
	for _, nc := range w.idle {
		_ = nc.Close()
	}
	*w = worker{profile: w.profile}
}

// listen has each connection of n ports served.
func (w *worker) listen(n int, serve func(net.Conn)) (report, error) {
	var r report
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return r, err
		}
		w.listeners = append(w.listeners, ln)
		r.Addrs = append(r.Addrs, ln.Addr().String())
		go func() { // ends when ln is closed
			for {
				nc, err := ln.Accept()
				if err != nil {
					return
				}
				go serve(nc) // ends with the connection
			}
		}()
	}
	return r, nil
}

// between connects to addr and moves what comes, both ways, until one side ends.
func between(a net.Conn, addr string, move func(dst, src *net.TCPConn)) {
	b, err := net.Dial("tcp", addr)
	if err != nil {
		_ = a.Close()
		return
	}
	done := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		go func() {
			move(way[0].(*net.TCPConn), way[1].(*net.TCPConn))
			done <- struct{}{}
		}()
	}
	<-done
	_, _ = a.Close(), b.Close()
	<-done
}

// copyLoop is a copy in user space with a buffer of that size.
func copyLoop(size int) func(dst, src *net.TCPConn) {
	return func(dst, src *net.TCPConn) {
		buf := make([]byte, size)
		for {
			n, err := src.Read(buf)
			if err != nil {
				return
			}
			if _, err := dst.Write(buf[:n]); err != nil {
				return
			}
		}
	}
}

// anchor makes an anchor for each address and connects its leg B to it, or, where there is none, Count ones that expect
// both legs. The report has the URIs of their legs: A, or A and B in turns.
func (w *worker) anchor(o order) (report, error) {
	var r report
	if w.msrp == nil {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return r, err
		}
		w.msrp = msrp.NewListener(ln, msrp.ListenerOptions{MaxUnbound: 1 << 20})
		go func(l *msrp.Listener) { _ = l.Serve() }(w.msrp) // ends with close
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	path := func(addr, id string) msrp.Path {
		host, port, _ := net.SplitHostPort(addr)
		n, _ := strconv.Atoi(port)
		return msrp.Path{{Host: host, Port: n, SessionID: id, Transport: "tcp"}}
	}
	for i := range max(len(o.Addrs), o.Count) {
		opt := msrp.AnchorOptions{
			A: msrp.LegOptions{Local: w.msrp.NewURI(), Remote: path(peerAddr, "s"+strconv.Itoa(i)), BindTimeout: 10 * time.Minute},
			B: msrp.LegOptions{Local: w.msrp.NewURI(), Remote: path(peerAddr, "r"+strconv.Itoa(i)), BindTimeout: 10 * time.Minute},
		}
		if len(o.Addrs) > 0 {
			opt.B.Remote = path(o.Addrs[i], "r"+strconv.Itoa(i))
		}
		a := msrp.NewAnchor(opt)
		w.anchors = append(w.anchors, a)
		w.msrp.ExpectLeg(a.A())
		r.Addrs = append(r.Addrs, opt.A.Local.String())
		if len(o.Addrs) == 0 {
			w.msrp.ExpectLeg(a.B())
			r.Addrs = append(r.Addrs, opt.B.Local.String())
		} else if err := a.B().Connect(ctx, (&net.Dialer{}).DialContext, o.Addrs[i], nil); err != nil {
			return r, err
		}
	}
	return r, nil
}

// peerAddr stands in the URIs of peers that connect.
const peerAddr = "127.0.0.1:9"

// memory is this process's, with what nobody uses given back.
func (w *worker) memory() report {
	for range 2 {
		runtime.GC() // the second one empties what pools kept through the first
	}
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	rss, peak := resident("self")
	if w.profile != "" {
		if f, err := os.Create(w.profile + ".heap"); err == nil {
			_ = pprof.WriteHeapProfile(f)
			_ = f.Close()
		}
	}
	return report{CPU: ownCPU(), RSS: rss, Peak: peak, Heap: int64(m.HeapInuse + m.StackInuse), Stacks: int64(m.StackInuse), Routines: runtime.NumGoroutine()}
}

// resident is what of a process is in memory, and the most that ever was.
func resident(pid string) (rss, peak int64) {
	status, _ := os.ReadFile("/proc/" + pid + "/status")
	for line := range strings.Lines(string(status)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		n, _ := strconv.ParseInt(f[1], 10, 64)
		switch f[0] {
		case "VmRSS:":
			rss = n << 10
		case "VmHWM:":
			peak = n << 10
		}
	}
	return rss, peak
}

func ownCPU() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}
