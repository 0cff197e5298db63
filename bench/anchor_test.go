package bench

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Everything here has its sender, its receiver and what is measured between them in processes of their own, on loopback.

// figure is a quantity that was measured several times.
type figure struct {
	name, unit string
	values     []float64
}

func (f *figure) add(v float64) { f.values = append(f.values, v) }

func (f *figure) at(share float64) float64 {
	sorted := slices.Sorted(slices.Values(f.values))
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
}

func (f *figure) String() string {
	return fmt.Sprintf("%-44s median %10.2f %s, range %.2f to %.2f, %d rounds", f.name, f.at(0.5), f.unit, f.at(0), f.at(1), len(f.values))
}

// beside prints ours and the other, and the ratio of ours to it.
func beside(b *testing.B, ours, other *figure) {
	b.Logf("%v", ours)
	b.Logf("%v; ours is %.2f times that", other, ours.at(0.5)/other.at(0.5))
}

// rounds are as many as the benchmark has, but not so few that they have no median nor so many that nobody waits.
func rounds(b *testing.B) int {
	b.ReportMetric(0, "ns/op") // a round has both sides in it
	return min(max(b.N, 5), 25)
}

// scale multiplies how much is moved in a round: LATCHKEY_BENCH_SCALE, 1 by default.
func scale(b *testing.B, n int64) int64 {
	s := os.Getenv("LATCHKEY_BENCH_SCALE")
	if s == "" {
		return n
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f <= 0 {
		b.Fatalf("LATCHKEY_BENCH_SCALE=%q", s)
	}
	return max(1, int64(f*float64(n)))
}

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

// way is one of the two things that bytes go through in turns.
type way struct {
	process   *crew
	rate, cpu figure
}

func newWay(b *testing.B, name, what string) *way {
	return &way{hire(b, name), figure{name: what, unit: "MiB/s"}, figure{name: what + ", CPU", unit: "s/GiB"}}
}

// carry sends a message through it and notes what that took.
func (w *way) carry(sender *crew, o order) {
	begun := w.process.usage()
	r := sender.do(o)
	used := w.process.usage() - begun
	w.rate.add(float64(o.Octets) / mib / r.Seconds)
	w.cpu.add(used * gib / float64(o.Octets))
}

// BenchmarkAnchorBulk is the rate at which chunks of 64 KiB go through an anchor. Beside it: io.Copy of the same bytes,
// which is splice, between the same sender and receiver.
func BenchmarkAnchorBulk(b *testing.B) { bulkBeside(b, "splice", 64*kib, scale(b, gib)) }

// BenchmarkAnchorChunks is the rate at which chunks of 2 KiB go through an anchor. Beside it: a loop of reads and writes of
// 2 KiB of the same bytes, between the same sender and receiver.
func BenchmarkAnchorChunks(b *testing.B) { bulkBeside(b, "copy", 2*kib, scale(b, 256*mib)) }

func bulkBeside(b *testing.B, other string, chunk int, octets int64) {
	for _, answers := range []bool{false, true} {
		b.Run(map[bool]string{false: "silent", true: "answered"}[answers], func(b *testing.B) {
			n := rounds(b)
			sender, receiver := hire(b, "sender"), hire(b, "receiver")
			sink := receiver.do(order{Do: "sink", Answers: answers}).Addrs
			ours, others := newWay(b, "anchor", "anchor"), newWay(b, other, other)
			proxy := others.process.do(order{Do: other, Addrs: sink, Chunk: chunk}).Addrs
			o := order{Do: "bulk", From: []string{"msrp://" + peerAddr + "/s0;tcp"}, Chunk: chunk, Octets: octets, Answers: answers}
			var load [2]figure
			for range n {
				o.To = ours.process.do(order{Do: "anchor", Addrs: sink}).Addrs
				o.Addrs = []string{address(o.To[0])}
				s, r := sender.usage(), receiver.usage()
				ours.carry(sender, o)
				load[0].add((sender.usage() - s) * gib / float64(octets))
				load[1].add((receiver.usage() - r) * gib / float64(octets))
				o.Addrs = proxy
				others.carry(sender, o)
			}
			beside(b, &ours.rate, &others.rate)
			beside(b, &ours.cpu, &others.cpu)
			b.Logf("sender and receiver with the anchor: %.2f and %.2f s/GiB of CPU", load[0].at(0.5), load[1].at(0.5))
			b.ReportMetric(ours.rate.at(0.5)/others.rate.at(0.5), "times-"+other)
		})
	}
}

// address is host and port of a URI.
func address(uri string) string {
	_, rest, _ := strings.Cut(uri, "://")
	addr, _, _ := strings.Cut(rest, "/")
	return addr
}

// BenchmarkAnchorTexts is how many texts of 200 octets pass an anchor for each second of its CPU time, in both directions, each
// answered with a 200 from end to end. Beside it: Kamailio's msrp relay, told to do no more than pass frames on.
func BenchmarkAnchorTexts(b *testing.B) {
	path, err := exec.LookPath("kamailio")
	if err != nil {
		b.Skip("kamailio is missing: apt-get install kamailio kamailio-extra-modules")
	}
	for _, c := range []struct{ sessions, window, count int }{{1, 1, 10000}, {1, 16, 40000}, {200, 1, 200}, {200, 16, 400}} {
		b.Run(fmt.Sprintf("sessions=%d/window=%d", c.sessions, c.window), func(b *testing.B) {
			n := rounds(b)
			peer, phones := hire(b, "sender"), hire(b, "receiver")
			sinks := phones.do(order{Do: "answer", Count: c.sessions}).Addrs
			ours := &figure{name: "anchor", unit: "messages per CPU second"}
			theirs := &figure{name: "kamailio msrp relay", unit: "messages per CPU second"}
			rate, theirRate := &figure{name: "anchor", unit: "messages/s"}, &figure{name: "kamailio msrp relay", unit: "messages/s"}
			anchor, kamailio := hire(b, "anchor"), startKamailio(b, path, relayConfig)
			uris := anchor.do(order{Do: "anchor", Addrs: sinks}).Addrs
			toOurs := order{Do: "texts", Count: int(scale(b, int64(c.count))), Window: c.window, To: uris}
			toTheirs := toOurs
			toTheirs.To, toTheirs.Paths = nil, true
			for i, s := range sinks {
				toOurs.Addrs = append(toOurs.Addrs, address(uris[i]))
				toOurs.From = append(toOurs.From, fmt.Sprintf("msrp://%s/s%d;tcp", peerAddr, i))
				toTheirs.Addrs = append(toTheirs.Addrs, kamailio.addr)
				toTheirs.To = append(toTheirs.To, fmt.Sprintf("msrp://%s/k%d;tcp msrp://%s/r%d;tcp", kamailio.addr, i, s, i))
			}
			toTheirs.From = toOurs.From
			for range n {
				begun := anchor.usage()
				r := peer.do(toOurs)
				ours.add(float64(r.Messages) / (anchor.usage() - begun))
				rate.add(float64(r.Messages) / r.Seconds)
				begun = kamailio.usage(b)
				r = peer.do(toTheirs)
				theirs.add(float64(r.Messages) / (kamailio.usage(b) - begun))
				theirRate.add(float64(r.Messages) / r.Seconds)
				anchor.do(order{Do: "close"}) // the peer's connections are gone, and with them the anchors
				toOurs.To = anchor.do(order{Do: "anchor", Addrs: sinks}).Addrs
				for i, uri := range toOurs.To {
					toOurs.Addrs[i] = address(uri)
				}
			}
			beside(b, ours, theirs)
			beside(b, rate, theirRate)
			b.ReportMetric(ours.at(0.5)/theirs.at(0.5), "times-kamailio")
		})
	}
}

// BenchmarkAnchorIdle is the memory of anchored sessions that are bound, have passed a text each way and are idle: each with two
// connections of its own, as many as the limit of open files allows and at most 50,000; then 50,000 of them on as many
// connections as that.
func BenchmarkAnchorIdle(b *testing.B) {
	rounds(b)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		b.Fatal(err)
	}
	own := int(min(50000, (limit.Max-100)/2, uint64(scale(b, 50000))))
	for _, c := range []struct{ sessions, conns int }{{own, 2 * own}, {max(own, int(scale(b, 50000))), 2 * own}} {
		b.Run(fmt.Sprintf("sessions=%d/connections=%d", c.sessions, c.conns), func(b *testing.B) {
			b.ReportMetric(0, "ns/op")
			anchor, peers := hire(b, "anchor"), hire(b, "sender")
			before := anchor.do(order{Do: "memory"})
			uris := anchor.do(order{Do: "anchor", Count: c.sessions}).Addrs
			peers.do(order{Do: "bind", Addrs: []string{address(uris[0])}, To: uris, Count: c.conns})
			after := anchor.do(order{Do: "memory"})
			for until := time.Now().Add(30 * time.Second); after.Routines > 100 && time.Now().Before(until); time.Sleep(time.Second) {
				after = anchor.do(order{Do: "memory"}) // connections sleep after a while
			}
			each := func(n int64) float64 { return float64(n) / float64(c.sessions) }
			b.Logf("%d sessions on %d connections: %.0f octets of RSS each, %.0f of heap and stacks, of which %.0f are stacks; the most RSS was %.0f MiB",
				c.sessions, c.conns, each(after.RSS-before.RSS), each(after.Heap-before.Heap), each(after.Stacks-before.Stacks), float64(after.Peak)/mib)
			b.ReportMetric(each(after.RSS-before.RSS), "RSS-octets/session")
			peers.do(order{Do: "close"})
		})
	}
}

// BenchmarkAnchorFile is the memory of an anchor while a message of 4 GiB goes through it: in chunks of 64 KiB, and as one.
func BenchmarkAnchorFile(b *testing.B) {
	rounds(b)
	for _, chunk := range []int{64 * kib, 0} {
		b.Run(map[bool]string{true: "chunks", false: "one-chunk"}[chunk > 0], func(b *testing.B) {
			b.ReportMetric(0, "ns/op")
			sender, receiver, anchor := hire(b, "sender"), hire(b, "receiver"), hire(b, "anchor")
			sink := receiver.do(order{Do: "sink"}).Addrs
			uris := anchor.do(order{Do: "anchor", Addrs: sink}).Addrs
			octets := scale(b, 4*gib)
			before := anchor.do(order{Do: "memory"})
			r := sender.do(order{Do: "bulk", Addrs: []string{address(uris[0])}, To: uris, From: []string{"msrp://" + peerAddr + "/s0;tcp"}, Chunk: chunk, Octets: octets})
			after := anchor.do(order{Do: "memory"})
			b.Logf("%.1f GiB at %.0f MiB/s: RSS %.1f MiB before, %.1f MiB at most, %.1f MiB after", float64(octets)/gib, float64(octets)/mib/r.Seconds,
				float64(before.RSS)/mib, float64(after.Peak)/mib, float64(after.RSS)/mib)
			b.ReportMetric(float64(after.Peak-before.RSS)/mib, "MiB-more")
		})
	}
}

// relayConfig makes Kamailio a relay that does as little as one can: no AUTH, no SIP made of the frames, and responses passed on
// rather than made.
const relayConfig = `#!KAMAILIO
debug=0
log_stderror=yes
children=1
tcp_children=2
tcp_rd_buf_size=65536
auto_aliases=no
dns=no
rev_dns=no
tcp_accept_no_cl=yes
tcp_connection_lifetime=3605
listen=tcp:%[1]s
loadmodule "msrp.so"
modparam("msrp", "sipmsg", 0)
request_route {
	drop;
}
event_route[msrp:frame-in] {
	msrp_relay();
}
`

// relay is a running Kamailio.
type relay struct {
	addr string
	pid  int
}

// startKamailio runs it with a configuration in which %[1]s is host and port.
func startKamailio(b *testing.B, path, config string) relay {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	addr, dir := ln.Addr().String(), b.TempDir()
	_ = ln.Close()
	if err := os.WriteFile(filepath.Join(dir, "relay.cfg"), fmt.Appendf(nil, config, addr), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(path, "-f", filepath.Join(dir, "relay.cfg"), "-DD", "-E", "-x", "fm", "-m", "256", "-M", "16", "-P", filepath.Join(dir, "pid"), "-Y", dir, "-w", dir)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it ends its children
		limit := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		defer limit.Stop()
		_ = cmd.Wait()
	})
	for until := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		nc, err := net.Dial("tcp", addr)
		if err == nil {
			_ = nc.Close()
			return relay{addr, cmd.Process.Pid}
		}
		if time.Now().After(until) {
			b.Fatalf("kamailio: %v", err)
		}
	}
}

// usage is the CPU time of all its processes, in seconds.
func (r relay) usage(b *testing.B) float64 {
	b.Helper()
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	const ticks = 100 // a second, whatever the kernel's own rate is (proc(5), sysconf(3))
	parent, used := map[int]int{}, map[int]float64{}
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended meanwhile
		}
		_, after, _ := strings.Cut(string(stat), ") ")
		f := strings.Fields(after)
		if len(f) < 13 {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		parent[pid], _ = strconv.Atoi(f[1])
		user, _ := strconv.Atoi(f[11])
		system, _ := strconv.Atoi(f[12])
		used[pid] = float64(user+system) / ticks
	}
	total := 0.0
	for pid := range used {
		for up := pid; up > 1; up = parent[up] {
			if up == r.pid {
				total += used[pid]
				break
			}
		}
	}
	return total
}
