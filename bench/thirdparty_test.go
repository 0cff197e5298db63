package bench

import (
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"latchkey/gateway/gatewaytest"
)

// answerConfig makes Kamailio say 200 to each REGISTER, with the Expires that came, and keep nothing.
const answerConfig = `#!KAMAILIO
debug=0
log_stderror=yes
children=2
tcp_children=1
auto_aliases=no
dns=no
rev_dns=no
listen=tcp:%[1]s
listen=udp:%[1]s
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "textops.so"
request_route {
	append_to_reply("Expires: $hdr(Expires)\r\n");
	t_newtran();
	t_reply("200", "OK");
}
`

// thirdPartyBody is what most S-CSCFs put in: the user's own REGISTER.
const thirdPartyBody = "REGISTER sip:cc.com SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKue\r\nFrom: <sip:u@cc.com>;tag=ue\r\nTo: <sip:u@cc.com>\r\nCall-ID: ue\r\nCSeq: 1 REGISTER\r\n" +
	"Contact: <sip:u@10.0.0.1:5060>;+g.oma.sip-im\r\nContent-Length: 0\r\n\r\n"

// BenchmarkThirdPartyREGISTER is how many third-party REGISTERs a CPU second takes, each of another user and on disk before its 200. Beside
// it: Kamailio, which answers 200 to the same and keeps nothing.
func BenchmarkThirdPartyREGISTER(b *testing.B) {
	path, err := exec.LookPath("kamailio")
	if err != nil {
		b.Skip("kamailio is missing: apt-get install kamailio")
	}
	w := gatewaytest.New(b, gatewaytest.Plan{Command: []string{program(b), "serve"}, Args: []string{"--log-level=info"}})
	kamailio := startKamailio(b, path, answerConfig)
	n := int(scale(b, 20_000))
	ours, theirs := &figure{name: "gateway", unit: "REGISTERs per CPU second"}, &figure{name: "kamailio, keeping nothing", unit: "REGISTERs per CPU second"}
	rate, theirRate := &figure{name: "gateway", unit: "REGISTERs/s"}, &figure{name: "kamailio, keeping nothing", unit: "REGISTERs/s"}
	gateway := relay{w.SIP, w.PID()}
	for round := range rounds(b) {
		for _, s := range []struct {
			to        relay
			cpu, rate *figure
		}{{gateway, ours, rate}, {kamailio, theirs, theirRate}} {
			used, begun := s.to.usage(b), time.Now()
			register(b, s.to.addr, round, n)
			s.rate.add(float64(n) / time.Since(begun).Seconds())
			s.cpu.add(float64(n) / (s.to.usage(b) - used))
		}
	}
	beside(b, ours, theirs)
	beside(b, rate, theirRate)
	b.ReportMetric(ours.at(0.5), "REGISTERs/CPU-s")
	if got := w.Rows("sighting"); got != n {
		b.Errorf("%d rows for %d users", got, n)
	}
}

// register sends n REGISTERs over UDP, with some under way at a time, and waits for all answers. A lost one is repeated.
func register(b *testing.B, addr string, round, n int) {
	b.Helper()
	conn, err := net.Dial("udp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	const window = 256
	self := conn.LocalAddr().String()
	send := func(i int) {
		m := fmt.Sprintf("REGISTER sip:%s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bKb%d-%d\r\nMax-Forwards: 70\r\nFrom: <sip:scscf.cc.com>;tag=s\r\nTo: <sip:u%d@cc.com>\r\nCall-ID: b%d-%d\r\nCSeq: 1 REGISTER\r\n"+
			"Contact: <sip:scscf.cc.com:6060>\r\nExpires: 3600\r\nP-Charging-Vector: icid-value=i%d;orig-ioi=cc.com\r\nContent-Type: message/sip\r\nContent-Length: %d\r\n\r\n%s",
			addr, self, round, i, i, round, i, i, len(thirdPartyBody), thirdPartyBody)
		if _, err := conn.Write([]byte(m)); err != nil {
			b.Fatal(err)
		}
	}
	open := map[int]bool{}
	buf := make([]byte, 64<<10)
	for next, answered := 0, 0; answered < n; {
		for ; next < n && len(open) < window; next++ {
			open[next] = true
			send(next)
		}
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		size, err := conn.Read(buf)
		if err != nil {
			for i := range open {
				send(i)
			}
			continue
		}
		text := string(buf[:size])
		if !strings.HasPrefix(text, "SIP/2.0 200") || !strings.Contains(text, "Expires: 3600") {
			b.Fatalf("answer %s", text)
		}
		_, branch, _ := strings.Cut(text, fmt.Sprintf("branch=z9hG4bKb%d-", round))
		end := strings.IndexFunc(branch, func(c rune) bool { return c < '0' || c > '9' })
		if i, err := strconv.Atoi(branch[:max(0, end)]); err == nil && open[i] {
			delete(open, i)
			answered++
		}
	}
}
