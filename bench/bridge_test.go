package bench

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey/b2bua"
	"latchkey/gateway"
	"latchkey/internal/processors"
	"latchkey/internal/sipua"
)

// through is a handler that bridges every call.
type through struct{ engine *b2bua.Engine }

func (h through) ServeInvite(in *b2bua.Incoming) { _ = h.engine.Bridge(in, b2bua.Onward{}) }

// Passes says that everything is bridged.
func (through) Passes(*sip.Request) bool { return true }

// bridge begins to carry calls on to an address.
func (w *worker) bridge(o order) (report, error) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gateway.GCPercent) // as latchkey serve does
	}
	if o.Count > 0 {
		runtime.GOMAXPROCS(o.Count)
	} else {
		go processors.Follow(context.Background()) // ends with the process
	}
	e, err := sipua.Listen(sipua.Options{Listen: []string{o.Network + ":127.0.0.1:0"}})
	if err != nil {
		return report{}, err
	}
	g := b2bua.New(e, b2bua.Options{Core: "sip:" + o.Addrs[0] + ";transport=" + o.Network})
	g.Handle(through{g})
	w.bridged = append(w.bridged, func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = g.Shutdown(ctx)
		_ = e.Close()
	})
	return report{Addrs: []string{e.Addrs()[0].HostPort}}, nil
}

// free is a port that nobody has by UDP or TCP.
func free(b *testing.B) int {
	b.Helper()
	for {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		_ = tcp.Close()
		if err == nil {
			_ = udp.Close()
			return tcp.Addr().(*net.TCPAddr).Port
		}
	}
}

// begin starts a program that ends with the benchmark.
func begin(b *testing.B, name string, args ...string) *exec.Cmd {
	b.Helper()
	cmd := exec.Command(name, args...)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		limit := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		defer limit.Stop()
		_ = cmd.Wait()
	})
	return cmd
}

// callee starts SIPp as the called side.
func callee(b *testing.B, network string) string {
	b.Helper()
	port := strconv.Itoa(free(b))
	begin(b, "sipp", "-sf", "testdata/uas.xml", "-t", sippNetwork[network], "-i", "127.0.0.1", "-p", port, "-nostdin", "-trace_err", "-error_file", filepath.Join(b.TempDir(), "uas.err"))
	return "127.0.0.1:" + port
}

var sippNetwork = map[string]string{"udp": "u1", "tcp": "t1"} // one socket for all calls

// calls has SIPp make calls, none of which may fail.
func calls(b *testing.B, network, to string, count, rate int, pause time.Duration) {
	b.Helper()
	dir := b.TempDir()
	cmd := exec.Command("sipp", to, "-sf", "testdata/uac.xml", "-t", sippNetwork[network], "-i", "127.0.0.1", "-p", strconv.Itoa(free(b)), "-m", strconv.Itoa(count), "-r", strconv.Itoa(rate),
		"-l", "15000", "-d", strconv.Itoa(int(pause.Milliseconds())), "-nostdin", "-timeout", "180s", "-trace_err", "-error_file", filepath.Join(dir, "uac.err"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		errs, _ := os.ReadFile(filepath.Join(dir, "uac.err"))
		b.Fatalf("sipp to %s: %v\n%.1800s\n%.400s", to, err, errs[max(0, len(errs)-1800):], out[max(0, len(out)-400):])
	}
}

// hiding are the ways in which Kamailio is set beside the bridge.
var hiding = []struct{ name, config string }{
	{"dialog+topos", "topos.cfg"},  // as a B2BUA hides: the fields of the other side are kept, in its Redis
	{"dialog+topoh", "topoh.cfg"},  // they go along, masked
	{"dialog alone", "dialog.cfg"}, // nothing is hidden
}

// kamailio starts a Kamailio in front of a callee, and the Redis that topos keeps its facts in.
func kamailio(b *testing.B, config, network, to string) (proxy relay, redis *relay) {
	b.Helper()
	if _, err := exec.LookPath("kamailio"); err != nil {
		b.Skip("kamailio is missing: apt-get install kamailio kamailio-redis-modules redis-server")
	}
	dir, port, store := b.TempDir(), strconv.Itoa(free(b)), ""
	if config == "topos.cfg" {
		store = strconv.Itoa(free(b))
		redis = &relay{"", keep(b, dir, store)}
	}
	all, err := os.ReadFile(filepath.Join("testdata", config))
	if err != nil {
		b.Fatal(err)
	}
	common, err := os.ReadFile("testdata/proxy.cfg")
	if err != nil {
		b.Fatal(err)
	}
	text := strings.NewReplacer("SELF", network+":127.0.0.1:"+port, "REDIS", store, "CALLEE", to+";transport="+network).Replace(string(all) + string(common))
	path := filepath.Join(dir, config)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := begin(b, "kamailio", "-f", path, "-DD", "-E", "-x", "fm", "-m", "512", "-M", "16", "-P", filepath.Join(dir, "pid"), "-Y", dir, "-w", dir)
	proxy = relay{"127.0.0.1:" + port, cmd.Process.Pid}
	for until := time.Now().Add(20 * time.Second); !answers(network, proxy.addr); {
		if time.Now().After(until) {
			b.Fatal("kamailio does not answer")
		}
	}
	return proxy, redis
}

// keep starts a Redis.
func keep(b *testing.B, dir, port string) (pid int) {
	b.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		b.Skip("redis-server is missing: apt-get install redis-server")
	}
	db := begin(b, "redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", dir)
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if nc, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			_ = nc.Close()
			return db.Process.Pid
		} else if time.Now().After(until) {
			b.Fatal(err)
		}
	}
}

// answers reports whether something answers SIP within a moment.
func answers(network, addr string) bool {
	nc, err := net.Dial(network, addr)
	if err != nil {
		return false
	}
	defer nc.Close()
	_, _ = fmt.Fprintf(nc, "OPTIONS sip:%[1]s SIP/2.0\r\nVia: SIP/2.0/%[4]s %[2]s;branch=z9hG4bKx%[3]d\r\nFrom: <sip:x@x>;tag=1\r\nTo: <sip:%[1]s>;tag=2\r\nCall-ID: %[3]d\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
		addr, nc.LocalAddr(), time.Now().UnixNano(), strings.ToUpper(network))
	_ = nc.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	_, err = nc.Read(make([]byte, 2048))
	return err == nil
}

// BenchmarkBridge is the CPU time of a call through a bridge: INVITE, 180, 200, ACK, BYE, with SIPp on both ends.
// Beside it: Kamailio, with topology hiding and without, and apart from it the CPU time of the Redis that topos needs.
func BenchmarkBridge(b *testing.B) {
	for _, network := range []string{"udp", "tcp"} {
		b.Run(network, func(b *testing.B) { bridgeBeside(b, network) })
	}
}

func bridgeBeside(b *testing.B, network string) {
	if _, err := exec.LookPath("sipp"); err != nil {
		b.Skip("sipp is missing: apt-get install sip-tester")
	}
	n, pace := rounds(b), pace()
	count := int(scale(b, int64(5*pace)))
	to := callee(b, network)
	bridge := hire(b, "bridge")
	addr := bridge.do(order{Do: "bridge", Network: network, Addrs: []string{to}}).Addrs[0]
	each := func(seconds float64) float64 { return seconds * 1e6 / float64(count) }
	ours, store := &figure{name: "bridge, CPU of a call", unit: "us"}, &figure{name: "the redis of topos", unit: "us"}
	var theirs []*figure
	var proxies []relay
	var redis *relay
	besides := hiding
	if os.Getenv("LATCHKEY_BENCH_PROFILE") != "" { // a look at the bridge alone
		besides = nil
	}
	for _, h := range besides {
		k, r := kamailio(b, h.config, network, to)
		if r != nil {
			redis = r
		}
		proxies, theirs = append(proxies, k), append(theirs, &figure{name: "kamailio " + h.name + ", CPU of a call", unit: "us"})
	}
	for range n {
		begun := bridge.usage()
		calls(b, network, addr, count, pace, 50*time.Millisecond)
		ours.add(each(bridge.usage() - begun))
		for i, k := range proxies {
			was, kept := k.usage(b), redis.usage(b)
			calls(b, network, k.addr, count, pace, 50*time.Millisecond)
			theirs[i].add(each(k.usage(b) - was))
			if i == 0 {
				store.add(each(redis.usage(b) - kept))
			}
		}
	}
	if len(theirs) == 0 {
		b.Logf("%v", ours)
		return
	}
	for i, t := range theirs {
		beside(b, ours, t)
		b.ReportMetric(ours.at(0.5)/t.at(0.5), "times-"+strings.ReplaceAll(hiding[i].name, " ", "-"))
	}
	b.Logf("%v", store)
}

// pace is how many calls a second are made.
func pace() int {
	if n, _ := strconv.Atoi(os.Getenv("LATCHKEY_BENCH_PACE")); n > 0 {
		return n
	}
	return 200
}

// BenchmarkBridgeStanding is the memory of calls that stand, once their transactions are over.
func BenchmarkBridgeStanding(b *testing.B) {
	if _, err := exec.LookPath("sipp"); err != nil {
		b.Skip("sipp is missing: apt-get install sip-tester")
	}
	rounds(b)
	count := int(scale(b, 5000))
	bridge := hire(b, "bridge")
	addr := bridge.do(order{Do: "bridge", Network: "udp", Addrs: []string{callee(b, "udp")}}).Addrs[0]
	calls(b, "udp", addr, 200, 200, 0)
	time.Sleep(70 * time.Second) // transactions and what remembers ended dialogs
	before := bridge.do(order{Do: "memory"})
	over := make(chan struct{})
	go func() { // ends with its calls
		defer close(over)
		calls(b, "udp", addr, count, 250, 80*time.Second+time.Duration(count/250)*time.Second)
	}()
	time.Sleep(time.Duration(count/250)*time.Second + 70*time.Second)
	after := bridge.do(order{Do: "memory"})
	b.Logf("%d pairs: %.0f octets of heap and stacks each, %.0f of RSS; %d goroutines", count, float64(after.Heap-before.Heap)/float64(count),
		float64(after.RSS-before.RSS)/float64(count), after.Routines)
	b.ReportMetric(float64(after.Heap-before.Heap)/float64(count), "octets/pair")
	<-over
}

// BenchmarkBridgeFull is how many calls a second of CPU time a bridge carries that always has some to do, and how many fail: none may.
// The peers are in processes of their own, and cost less than SIPp.
func BenchmarkBridgeFull(b *testing.B) {
	n, count := rounds(b), int(scale(b, 10_000))
	callee, bridge, caller := hire(b, "callee"), hire(b, "bridge"), hire(b, "caller")
	addr := bridge.do(order{Do: "bridge", Network: "udp", Addrs: callee.do(order{Do: "ring"}).Addrs}).Addrs
	each, rate := &figure{name: "bridge that is never idle, CPU of a call", unit: "us"}, &figure{name: "calls", unit: "/s"}
	for range n {
		begun := bridge.usage()
		r := caller.do(order{Do: "call", Addrs: addr, Count: count, Window: 64})
		each.add((bridge.usage() - begun) * 1e6 / float64(count))
		rate.add(float64(count) / r.Seconds)
	}
	b.Logf("%v", each)
	b.Logf("%v", rate)
	b.ReportMetric(1e6/each.at(0.5), "calls/CPU-second")
}

// BenchmarkBridgeSustained is a minute of 1,000 calls a second by UDP on one processor, SIPp on both ends: what failed, what had to be sent again,
// and the bridge's CPU time. LATCHKEY_BENCH_PACE makes it another rate.
func BenchmarkBridgeSustained(b *testing.B) {
	if _, err := exec.LookPath("sipp"); err != nil {
		b.Skip("sipp is missing: apt-get install sip-tester")
	}
	rounds(b)
	rate := 1000
	if os.Getenv("LATCHKEY_BENCH_PACE") != "" {
		rate = pace()
	}
	count := int(scale(b, int64(60*rate)))
	bridge := hire(b, "bridge")
	addr := bridge.do(order{Do: "bridge", Network: "udp", Addrs: []string{callee(b, "udp")}, Count: 1}).Addrs[0]
	stats := filepath.Join(b.TempDir(), "stats")
	was, begun := bridge.usage(), time.Now()
	cmd := exec.Command("sipp", addr, "-sf", "testdata/uac.xml", "-i", "127.0.0.1", "-p", strconv.Itoa(free(b)), "-m", strconv.Itoa(count), "-r", strconv.Itoa(rate),
		"-l", "15000", "-d", "50", "-nostdin", "-timeout", "300s", "-buff_size", "4194304", "-trace_stat", "-stf", stats, "-fd", "1", "-trace_err", "-error_file", stats+".err")
	out, err := cmd.CombinedOutput()
	took, spent := time.Since(begun).Seconds(), bridge.usage()-was
	if err != nil {
		errs, _ := os.ReadFile(stats + ".err")
		why := map[string]int{}
		for _, m := range regexp.MustCompile(`(Aborting call [a-z ]*|Dead call|watchdog timer|Maximum [a-zA-Z ]*)[^\n]*?(received 'SIP/2.0 \d+|\n|$)`).FindAllSubmatch(errs, -1) {
			why[string(m[1])+" "+string(m[2])]++
		}
		b.Logf("sipp: %v; %v\n%.600s", err, why, out[max(0, len(out)-600):])
	}
	of := lastOf(b, stats)
	b.Logf("%d calls at %.0f/s: %s failed, %s messages sent again by the caller; bridge %.0f us of CPU a call, %.0f %% of a processor, %d MiB at most", count, float64(count)/took,
		of["FailedCall(C)"], of["Retransmissions(C)"], spent*1e6/float64(count), 100*spent/took, bridge.do(order{Do: "memory"}).Peak/mib)
	b.ReportMetric(spent*1e6/float64(count), "us/call")
}

// lastOf reads the last line of SIPp's statistics.
func lastOf(b *testing.B, path string) map[string]string {
	b.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	names, values := strings.Split(lines[0], ";"), strings.Split(lines[len(lines)-1], ";")
	all := map[string]string{}
	for i, name := range names[:min(len(names), len(values))] {
		all[name] = values[i]
	}
	return all
}

// BenchmarkBridgeMany is the memory of 100,000 calls that stand, and whether all of them can be hung up.
func BenchmarkBridgeMany(b *testing.B) {
	rounds(b)
	count := int(scale(b, 100_000))
	callee, bridge, caller := hire(b, "callee"), hire(b, "bridge"), hire(b, "caller")
	addr := bridge.do(order{Do: "bridge", Network: "udp", Addrs: callee.do(order{Do: "ring"}).Addrs}).Addrs
	caller.do(order{Do: "call", Addrs: addr, Count: 200, Window: 16})
	time.Sleep(70 * time.Second) // transactions and what remembers ended dialogs
	before := bridge.do(order{Do: "memory"})
	up := caller.do(order{Do: "stand", Addrs: addr, Count: count, Window: 64})
	time.Sleep(70 * time.Second)
	after := bridge.do(order{Do: "memory"})
	down := caller.do(order{Do: "hangup", Addrs: addr, Count: count, Window: 64})
	pair := float64(after.Heap-before.Heap) / float64(count)
	b.Logf("%d pairs, set up at %.0f/s, ended at %.0f/s: %.0f octets of heap and stacks each, %.0f of RSS, %d MiB in all (peak %d MiB); %d goroutines",
		count, float64(count)/up.Seconds, float64(count)/down.Seconds, pair, float64(after.RSS-before.RSS)/float64(count), after.RSS/mib, after.Peak/mib, after.Routines)
	b.ReportMetric(pair, "octets/pair")
}
