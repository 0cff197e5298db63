package bench

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey/b2bua"
	"latchkey/internal/sipua"
)

// through is a handler that bridges every call.
type through struct{ engine *b2bua.Engine }

func (h through) ServeInvite(in *b2bua.Incoming) { _ = h.engine.Bridge(in, b2bua.Onward{}) }

// Passes says that everything is bridged.
func (through) Passes(*sip.Request) bool { return true }

// bridge begins to carry calls on to an address.
func (w *worker) bridge(o order) (report, error) {
	e, err := sipua.Listen(sipua.Options{Listen: []string{"udp:127.0.0.1:0"}})
	if err != nil {
		return report{}, err
	}
	g := b2bua.New(e, b2bua.Options{Core: "sip:" + o.Addrs[0]})
	g.Handle(through{g})
	w.bridged = append(w.bridged, func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = g.Shutdown(ctx)
		_ = e.Close()
	})
	return report{Addrs: []string{e.Addrs()[0].HostPort}}, nil
}

// free is a UDP port that nobody has.
func free(b *testing.B) int {
	b.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).Port
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
func callee(b *testing.B) string {
	b.Helper()
	port := strconv.Itoa(free(b))
	begin(b, "sipp", "-sf", "testdata/uas.xml", "-i", "127.0.0.1", "-p", port, "-nostdin", "-trace_err", "-error_file", filepath.Join(b.TempDir(), "uas.err"))
	return "127.0.0.1:" + port
}

// calls has SIPp make calls, and tells how many failed.
func calls(b *testing.B, to string, count, rate int, pause time.Duration) {
	b.Helper()
	dir := b.TempDir()
	cmd := exec.Command("sipp", to, "-sf", "testdata/uac.xml", "-i", "127.0.0.1", "-p", strconv.Itoa(free(b)), "-m", strconv.Itoa(count), "-r", strconv.Itoa(rate),
		"-l", "15000", "-d", strconv.Itoa(int(pause.Milliseconds())), "-nostdin", "-timeout", "180s", "-trace_err", "-error_file", filepath.Join(dir, "uac.err"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		errs, _ := os.ReadFile(filepath.Join(dir, "uac.err"))
		b.Fatalf("sipp to %s: %v\n%.1800s\n%.400s", to, err, errs[max(0, len(errs)-1800):], out[max(0, len(out)-400):])
	}
}

// topos starts Kamailio with dialog and topos in front of a callee, and the Redis that topos keeps its facts in.
func topos(b *testing.B, to string) (kamailio, redis relay) {
	b.Helper()
	for _, name := range []string{"kamailio", "redis-server"} {
		if _, err := exec.LookPath(name); err != nil {
			b.Skip(name + " is missing: apt-get install kamailio kamailio-redis-modules redis-server")
		}
	}
	dir, port, store := b.TempDir(), strconv.Itoa(free(b)), strconv.Itoa(free(b))
	db := begin(b, "redis-server", "--port", store, "--bind", "127.0.0.1", "--save", "", "--dir", dir)
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if nc, err := net.Dial("tcp", "127.0.0.1:"+store); err == nil {
			_ = nc.Close()
			break
		} else if time.Now().After(until) {
			b.Fatal(err)
		}
	}
	config, err := os.ReadFile("testdata/topos.cfg")
	if err != nil {
		b.Fatal(err)
	}
	text := strings.NewReplacer("SELF", "127.0.0.1:"+port, "REDIS", store, "CALLEE", to).Replace(string(config))
	if err := os.WriteFile(filepath.Join(dir, "topos.cfg"), []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := begin(b, "kamailio", "-f", filepath.Join(dir, "topos.cfg"), "-DD", "-E", "-x", "fm", "-m", "512", "-M", "16", "-P", filepath.Join(dir, "pid"), "-Y", dir, "-w", dir)
	kamailio, redis = relay{"127.0.0.1:" + port, cmd.Process.Pid}, relay{"", db.Process.Pid}
	for until := time.Now().Add(20 * time.Second); !answers(kamailio.addr); {
		if time.Now().After(until) {
			b.Fatal("kamailio does not answer")
		}
	}
	return kamailio, redis
}

// answers reports whether something answers SIP within a moment.
func answers(addr string) bool {
	nc, err := net.Dial("udp", addr)
	if err != nil {
		return false
	}
	defer nc.Close()
	_, _ = fmt.Fprintf(nc, "OPTIONS sip:%[1]s SIP/2.0\r\nVia: SIP/2.0/UDP %[2]s;branch=z9hG4bKx%[3]d\r\nFrom: <sip:x@x>;tag=1\r\nTo: <sip:%[1]s>;tag=2\r\nCall-ID: %[3]d\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
		addr, nc.LocalAddr(), time.Now().UnixNano())
	_ = nc.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	_, err = nc.Read(make([]byte, 2048))
	return err == nil
}

// BenchmarkBridge is the CPU time of a call through a bridge: INVITE, 180, 200, ACK, BYE, over UDP, with SIPp on both ends.
// Beside it: Kamailio with dialog and topos, without the CPU time of the Redis that it needs.
func BenchmarkBridge(b *testing.B) {
	if _, err := exec.LookPath("sipp"); err != nil {
		b.Skip("sipp is missing: apt-get install sip-tester")
	}
	n, count := rounds(b), int(scale(b, 1000))
	to := callee(b)
	kamailio, redis := topos(b, to)
	bridge := hire(b, "bridge")
	addr := bridge.do(order{Do: "bridge", Addrs: []string{to}}).Addrs[0]
	ours := &figure{name: "bridge, CPU of a call", unit: "us"}
	theirs := &figure{name: "kamailio dialog+topos, CPU of a call", unit: "us"}
	store := &figure{name: "its redis", unit: "us"}
	each := func(seconds float64) float64 { return seconds * 1e6 / float64(count) }
	for range n {
		begun := bridge.usage()
		calls(b, addr, count, 200, 50*time.Millisecond)
		ours.add(each(bridge.usage() - begun))
		k, r := kamailio.usage(b), redis.usage(b)
		calls(b, kamailio.addr, count, 200, 50*time.Millisecond)
		theirs.add(each(kamailio.usage(b) - k))
		store.add(each(redis.usage(b) - r))
	}
	beside(b, ours, theirs)
	b.Logf("%v", store)
	b.ReportMetric(ours.at(0.5)/theirs.at(0.5), "times-kamailio")
}

// BenchmarkBridgeStanding is the memory of calls that stand, once their transactions are over.
func BenchmarkBridgeStanding(b *testing.B) {
	if _, err := exec.LookPath("sipp"); err != nil {
		b.Skip("sipp is missing: apt-get install sip-tester")
	}
	rounds(b)
	count := int(scale(b, 5000))
	bridge := hire(b, "bridge")
	addr := bridge.do(order{Do: "bridge", Addrs: []string{callee(b)}}).Addrs[0]
	calls(b, addr, 200, 200, 0)
	time.Sleep(70 * time.Second) // transactions and what remembers ended dialogs
	before := bridge.do(order{Do: "memory"})
	over := make(chan struct{})
	go func() { // ends with its calls
		defer close(over)
		calls(b, addr, count, 250, 80*time.Second+time.Duration(count/250)*time.Second)
	}()
	time.Sleep(time.Duration(count/250)*time.Second + 70*time.Second)
	after := bridge.do(order{Do: "memory"})
	b.Logf("%d pairs: %.0f octets of heap and stacks each, %.0f of RSS; %d goroutines", count, float64(after.Heap-before.Heap)/float64(count),
		float64(after.RSS-before.RSS)/float64(count), after.Routines)
	b.ReportMetric(float64(after.Heap-before.Heap)/float64(count), "octets/pair")
	<-over
}
