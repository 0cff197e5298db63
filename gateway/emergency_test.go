package gateway_test

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

// trunk is a socket that speaks SIP as text: an S-CSCF as seen from the gateway.
type trunk struct {
	t    *testing.T
	conn net.PacketConn
	to   net.Addr
	got  map[string]bool // what has come, so that repeats don't count
	kept []string        // what nobody has waited for yet
}

func newTrunk(t *testing.T, w *gatewaytest.World) *trunk {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.(*net.UDPConn).SetReadBuffer(4 << 20)
	to, err := net.ResolveUDPAddr("udp", w.SIP)
	if err != nil {
		t.Fatal(err)
	}
	return &trunk{t: t, conn: conn, to: to, got: map[string]bool{}}
}

func (l *trunk) say(text string) { _, _ = l.conn.WriteTo([]byte(text), l.to) }

// hear waits for a message that begins like that, and has that in it. Others are kept.
func (l *trunk) hear(begin, has string) string {
	l.t.Helper()
	return l.await(begin+" with "+has, func(m string) bool { return strings.HasPrefix(m, begin) && strings.Contains(m, has) })
}

// await waits for a message that is the one. Others are kept.
func (l *trunk) await(what string, is func(m string) bool) string {
	l.t.Helper()
	for i, m := range l.kept {
		if is(m) {
			l.kept = slices.Delete(l.kept, i, i+1)
			return m
		}
	}
	buf := make([]byte, 65535)
	for end := time.Now().Add(gatewaytest.Patience); ; {
		_ = l.conn.SetReadDeadline(end)
		n, _, err := l.conn.ReadFrom(buf)
		if err != nil {
			l.t.Fatalf("no %s: %v", what, err)
		}
		m := string(buf[:n])
		switch {
		case l.got[m]:
		case is(m):
			l.got[m] = true
			return m
		default:
			l.got[m] = true
			l.kept = append(l.kept, m)
		}
	}
}

// request is one with fields of its own; a branch for each.
func (l *trunk) request(method, target, call string, seq int, fields ...string) string {
	return fmt.Sprintf("%s %s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK%s%d%s\r\nMax-Forwards: 60\r\nFrom: <sip:a@cc.com>;tag=%s\r\nCall-ID: %s\r\nCSeq: %d %s\r\nContact: <sip:a@%s>\r\n%s\r\nContent-Length: 0\r\n\r\n",
		method, target, l.conn.LocalAddr(), call, seq, method, call, call, seq, method, l.conn.LocalAddr(), strings.Join(fields, "\r\n"))
}

// field is the value of a header field as it is written.
func field(m, name string) string {
	_, rest, _ := strings.Cut(m, "\r\n"+name+": ")
	v, _, _ := strings.Cut(rest, "\r\n")
	return v
}

// ok is a 200 to a request.
func ok(m, contact string) string {
	var b strings.Builder
	b.WriteString("SIP/2.0 200 OK\r\n")
	for _, f := range strings.Split(m, "\r\n") {
		switch name, _, _ := strings.Cut(f, ":"); name {
		case "Via", "From", "Call-ID", "CSeq", "Record-Route":
			b.WriteString(f + "\r\n")
		case "To":
			if !strings.Contains(f, "tag=") {
				f += ";tag=b"
			}
			b.WriteString(f + "\r\n")
		}
	}
	return b.String() + "Contact: <sip:b@" + contact + ">\r\nContent-Length: 0\r\n\r\n"
}

// F64, B1.08: an emergency goes on (RFC 5031): by the S-CSCF's Route where there is one, and to the core where not; the R-URI stays what it
// is, nothing of it is anchored, and the call ends as any other.
func TestEmergencyGoesOn(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	l := newTrunk(t, w)
	here := l.conn.LocalAddr().String()
	l.say(l.request("INVITE", "urn:service:sos.fire", "sos", 1, "To: <urn:service:sos.fire>", "Route: <sip:"+w.SIP+";lr>, <sip:"+here+";lr;odi=1>"))
	on := l.hear("INVITE urn:service:sos.fire SIP/2.0\r\n", "odi=1")
	if strings.Contains(on, "Call-ID: sos\r\n") || !strings.Contains(on, "To: <urn:service:sos.fire>\r\n") {
		t.Errorf("it goes on as %q", on)
	}
	l.say(ok(on, here))
	answer := l.hear("SIP/2.0 200 ", "Call-ID: sos\r\n")
	target := strings.Trim(field(answer, "Contact"), "<>")
	l.say(l.request("ACK", target, "sos", 1, "To: "+field(answer, "To")))
	l.hear("ACK ", "Call-ID: "+field(on, "Call-ID"))
	l.say(l.request("BYE", target, "sos", 2, "To: "+field(answer, "To")))
	l.say(ok(l.hear("BYE ", "Call-ID: "+field(on, "Call-ID")), here))
	l.hear("SIP/2.0 200 ", "CSeq: 2 BYE")

	l.say(l.request("INVITE", "urn:service:sos", "nowhere", 1, "To: <urn:service:sos>", "Route: <sip:"+w.SIP+";lr>"))
	l.hear("SIP/2.0 4", "Call-ID: nowhere\r\nCSeq: 1 INVITE") // the test's core has nobody to help; a 100 would say nothing of it
	if n := w.Core.Requests("INVITE"); len(n) == 0 || !strings.HasPrefix(string(n[0].Request.Bytes()), "INVITE urn:service:sos SIP/2.0") {
		t.Errorf("the core has got %v", n)
	}
	l.say(l.request("OPTIONS", "urn:service:counseling", "other", 1, "To: <urn:service:counseling>"))
	l.hear("SIP/2.0 416 ", "Call-ID: other")
}

// F64: a hundred calls at once go through the gateway, not one of them lost, and none refused unless the machine is too busy for them: one that
// is goes through later.
func TestHundredCallsAtOnce(t *testing.T) {
	w := gatewaytest.New(t, gatewaytest.Plan{Sheds: true})
	var mu sync.Mutex
	came := map[string]bool{} // method and Call-ID
	callee, err := imstest.ListenWire(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(callee.Close)
	at := callee.UDP.LocalAddr().String()
	callee.Take = func(m imstest.Writing) {
		method, _, _ := strings.Cut(m.Text, " ")
		mu.Lock()
		came[method+" "+field(m.Text, "Call-ID")] = true
		mu.Unlock()
		if method != "ACK" {
			m.Answer(ok(m.Text, at))
		}
	}
	_ = callee.UDP.(*net.UDPConn).SetReadBuffer(4 << 20)
	callee.Read()
	caller, refused := newTrunk(t, w), 0
	invite := func(call string) {
		caller.say(caller.request("INVITE", "sip:c@cc.com", call, 1, "To: <sip:c@cc.com>", "Route: <sip:"+w.SIP+";lr>, <sip:"+at+";lr>"))
	}
	name := func(n int) string { return fmt.Sprintf("burst%dx", n) }
	for n := range 100 {
		invite(name(n))
	}
	for n := range 100 {
		call := name(n)
		final := func() string {
			return caller.await("answer to "+call, func(m string) bool {
				return strings.HasPrefix(m, "SIP/2.0 ") && m[8] > '1' && strings.Contains(m, "Call-ID: "+call+"\r\nCSeq: 1 INVITE")
			})
		}
		answer := final()
		for strings.HasPrefix(answer, "SIP/2.0 503 ") {
			refused++
			imstest.Eventually(t, gatewaytest.Patience, func() bool { return w.Metric("latchkey_sipua_overloaded") == "0" })
			call += "x"
			invite(call)
			answer = final()
		}
		if !strings.HasPrefix(answer, "SIP/2.0 200 ") {
			t.Fatalf("%s is answered %q", call, answer)
		}
		target, to := strings.Trim(field(answer, "Contact"), "<>"), "To: "+field(answer, "To")
		caller.say(caller.request("ACK", target, call, 1, to))
		caller.say(caller.request("BYE", target, call, 2, to))
		caller.hear("SIP/2.0 200 ", "Call-ID: "+call+"\r\nCSeq: 2 BYE")
	}
	imstest.Eventually(t, gatewaytest.Patience, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(came) == 300 // INVITE, ACK and BYE
	})
	if all := w.Metric("latchkey_sipua_queue_delay_seconds_count"); refused > 0 && w.Metric(`latchkey_sipua_queue_delay_seconds_bucket{le="0.1"}`) == all {
		t.Errorf("%d of %s requests were refused, and none had to wait", refused, all)
	}
}
