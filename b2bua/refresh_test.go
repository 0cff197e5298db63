package b2bua

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/internal/sipua"
)

// ether is a network of datagrams in memory, so that a test can have a clock of its own.
type ether struct {
	mu    sync.Mutex
	ports map[string]*etherPort
}

type etherPort struct {
	net  *ether
	addr *net.UDPAddr
	in   chan etherDatagram
	gone chan struct{} // closed by Close
	once sync.Once
}

type etherDatagram struct {
	data []byte
	from net.Addr
}

func (e *ether) listen(_, address string) (net.PacketConn, error) {
	addr, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, err
	}
	p := &etherPort{net: e, addr: addr, in: make(chan etherDatagram, 1024), gone: make(chan struct{})}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ports[addr.String()] = p
	return p, nil
}

func (p *etherPort) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case d := <-p.in:
		return copy(b, d.data), d.from, nil
	case <-p.gone:
		return 0, nil, net.ErrClosed
	}
}

func (p *etherPort) WriteTo(b []byte, to net.Addr) (int, error) {
	p.net.mu.Lock()
	dst := p.net.ports[to.String()]
	p.net.mu.Unlock()
	if dst != nil {
		select {
		case dst.in <- etherDatagram{append([]byte(nil), b...), p.addr}:
		default:
		}
	}
	return len(b), nil
}

func (p *etherPort) Close() error {
	p.once.Do(func() { close(p.gone) })
	return nil
}
func (p *etherPort) LocalAddr() net.Addr { return p.addr }

// SetDeadline and its siblings do nothing.
func (p *etherPort) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (p *etherPort) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (p *etherPort) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

// timed runs a test whose time flies: an engine at 127.0.0.1:5060, the called peer and core at :5070 and
// the caller at :5080, on a network in memory.
func timedTest(t *testing.T, f func(t *testing.T, x *crossroads)) {
	synctest.Test(t, func(t *testing.T) {
		e := &ether{ports: map[string]*etherPort{}}
		wireAt := func(addr string) *wire {
			conn, _ := e.listen("udp", addr)
			return newWireOn(t, conn)
		}
		x := &crossroads{a: wireAt("127.0.0.1:5080")}
		x.side = &side{t: t, w: wireAt("127.0.0.1:5070"), network: "udp", calls: make(chan *Incoming, 8), let: make(chan struct{})}
		var err error
		if x.ua, err = sipua.Listen(sipua.Options{Listen: []string{"udp:127.0.0.1:5060"}, ListenPacket: e.listen}); err != nil {
			t.Fatal(err)
		}
		x.engine = New(x.ua, Options{Core: "sip:127.0.0.1:5070"})
		x.engine.timers = patient
		x.ua.Handle(x.engine.serve)
		x.onward(Onward{})
		defer func() {
			x.w.silent()
			x.a.silent()
			for _, w := range []*wire{x.a, x.w} {
				w.mu.Lock()
				w.auto = true
				w.mu.Unlock()
			}
			close(x.let)
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := x.engine.Shutdown(ctx); err != nil {
				t.Errorf("Shutdown = %v", err)
			}
			_ = x.ua.Close()
			x.engine.running.Wait()
			x.a.Close()
			x.w.Close()
			time.Sleep(time.Minute) // sipgo's timers run out
		}()
		f(t, x)
	})
}

// after lets d pass, in which nothing comes, and tells what comes then.
func (w *wire) after(d time.Duration, what string) *text {
	w.t.Helper()
	time.Sleep(d - time.Second)
	synctest.Wait()
	if all := w.unread(); len(all) > 0 {
		w.t.Errorf("%v before it is time there came %q", time.Second, all)
	}
	time.Sleep(2 * time.Second)
	synctest.Wait()
	w.mu.Lock()
	n := len(w.arrived)
	w.mu.Unlock()
	if n == 0 {
		w.t.Fatalf("after %v there is no %s", d, what)
	}
	return w.expect(what)
}

// hungUp waits for a BYE, however long, and whatever comes before.
func (w *wire) hungUp() *text {
	w.t.Helper()
	for range 100 {
		time.Sleep(time.Second)
		synctest.Wait()
		w.mu.Lock()
		come := slices.ContainsFunc(w.arrived, func(m *text) bool { return m.is("BYE") })
		w.mu.Unlock()
		if come {
			break
		}
	}
	return w.expect("BYE")
}

// drop forgets all that came.
func (w *wire) drop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.arrived = nil
}

// standA is a standing call whose caller asks for a session timer, and B for none.
func (x *crossroads) standA(callID string, fields ...string) (*calling, *text) {
	x.t.Helper()
	c := x.begin(callID, offer1, fields...)
	c.invite.answer("200 OK", "b1", answer1, x.contact())
	ok := c.a.final("INVITE", c.a.seq)
	c.a.opened(ok)
	c.a.send("ACK", "")
	ack := x.w.expect("ACK")
	c.b = c.talkB("b1")
	c.b.out = ack.reply
	return c, ok
}

// F40, B2.07: SE 90 is refreshed after 45 s; where the peer is silent then, the BYE comes at 60 s, to both sides.
func TestSilentPeerOfABridgeIsHungUp(t *testing.T) {
	for _, updates := range []bool{true, false} {
		t.Run(fmt.Sprint("UPDATE ", updates), func(t *testing.T) {
			timedTest(t, func(t *testing.T, x *crossroads) {
				fields, method := []string{"Supported: timer", "Session-Expires: 90", "Allow: INVITE, ACK, BYE, UPDATE"}, "UPDATE"
				if !updates {
					fields, method = append(fields[:2:2], "Allow: INVITE, ACK, BYE"), "INVITE"
				}
				_, ok := x.standA("call", fields...)
				if ok.get("Session-Expires") != "90;refresher=uas" || !strings.Contains(ok.get("Require"), "timer") {
					t.Errorf("200\n%s", ok.raw)
				}
				refresh := x.a.after(45*time.Second, method)
				if refresh.get("Session-Expires") != "90;refresher=uac" || refresh.get("Supported") != "timer" || (refresh.body == answer1) == updates {
					t.Errorf("refresh\n%s", refresh.raw)
				}
				refresh.answer("200 OK", "", map[bool]string{false: offer1}[updates], "Session-Expires: 90;refresher=uac", "Contact: <sip:a@"+x.a.addr+">")
				if !updates {
					x.a.expect("ACK")
				}
				begin := time.Now()
				bye := x.a.hungUp()
				if bye.get("Supported") != "timer" { // RFC 4028 §7.1: in each request
					t.Errorf("BYE\n%s", bye.raw)
				}
				if d := time.Since(begin); d < 60*time.Second || d > 61*time.Second {
					t.Errorf("BYE after %v, want 60 s", d)
				}
				if !strings.Contains(bye.get("Reason"), "408") {
					t.Errorf("BYE\n%s", bye.raw)
				}
				bye.answer("200 OK", "", "")
				x.w.expect("BYE").answer("200 OK", "", "")
				x.a.drop()
			})
		})
	}
}

// F40: a peer that shall refresh itself, and doesn't, is hung up after 60 of its 90 s; a refresh of its own, carried to
// the other side, moves that.
func TestPeerThatRefreshesKeepsTheCall(t *testing.T) {
	timedTest(t, func(t *testing.T, x *crossroads) {
		c, ok := x.standA("call", "Supported: timer", "Session-Expires: 90;refresher=uac")
		if ok.get("Session-Expires") != "90;refresher=uac" || ok.get("Require") != "timer" {
			t.Errorf("200\n%s", ok.raw)
		}
		time.Sleep(45 * time.Second)
		c.a.send("UPDATE", "", "Supported: timer", "Session-Expires: 90;refresher=uac")
		x.w.expect("UPDATE").answer("200 OK", "", "", x.contact())
		if res := c.a.final("UPDATE", c.a.seq); res.get("Session-Expires") != "90;refresher=uac" {
			t.Errorf("UPDATE = %s", res.raw)
		}
		x.a.after(60*time.Second, "BYE").answer("200 OK", "", "")
		x.w.expect("BYE").answer("200 OK", "", "")
	})
}

// B2.07: leg B has a timer of its own: asked for, refreshed where B wants us to, and asked for again where B finds it too brief.
func TestLegBHasItsOwnTimer(t *testing.T) {
	timedTest(t, func(t *testing.T, x *crossroads) {
		c := x.begin("call", offer1, "Supported: timer", "Session-Expires: 120;refresher=uac")
		if c.invite.get("Session-Expires") != "120" || !strings.Contains(c.invite.get("Supported"), "timer") {
			t.Errorf("INVITE\n%s", c.invite.raw)
		}
		c.invite.answer("422 Session Interval Too Small", "b0", "", "Min-SE: 300")
		x.w.expect("ACK")
		again := x.w.expect("INVITE")
		if again.get("Session-Expires") != "300" || again.get("Min-SE") != "300" || again.seq() != 2 || again.get("Call-ID") != c.invite.get("Call-ID") || again.body != offer1 {
			t.Errorf("INVITE\n%s", again.raw)
		}
		c.invite = again
		again.answer("200 OK", "b1", answer1, x.contact(), "Session-Expires: 300;refresher=uac", "Allow: UPDATE")
		ok := c.a.final("INVITE", 1)
		if ok.get("Session-Expires") != "120;refresher=uac" {
			t.Errorf("200\n%s", ok.raw)
		}
		c.a.opened(ok)
		c.a.send("ACK", "")
		x.w.expect("ACK")
		for _, role := range []string{"uac", "uas"} { // A keeps its own by UPDATE, which B sees
			time.Sleep(60 * time.Second)
			c.a.send("UPDATE", "", "Supported: timer", "Session-Expires: 120;refresher=uac")
			u := x.w.expect("UPDATE")
			if u.get("Session-Expires") != "300;refresher="+role {
				t.Errorf("UPDATE\n%s", u.raw)
			}
			u.answer("200 OK", "", "", x.contact(), "Session-Expires: 300;refresher=uas")
			c.a.final("UPDATE", c.a.seq)
		}
		c.end()
	})
}

// F40: SE 30 is refused with 422 and Min-SE 90, in the INVITE, a re-INVITE and an UPDATE.
func TestBriefSessionIsRefused(t *testing.T) {
	t.Parallel()
	bridged(t, func(t *testing.T, x *crossroads) {
		brief := []string{"Supported: timer", "Session-Expires: 30"}
		d := x.callerOn(x.a, "call")
		no := d.ask("INVITE", offer1, brief...)
		d.acknowledge(no)
		c := x.stand("call-2")
		re := c.a.ask("INVITE", offer1, brief...)
		c.a.acknowledge(re)
		for _, res := range []*text{no, re, c.a.ask("UPDATE", "", brief...), c.b.ask("UPDATE", "", brief...)} {
			if res.code() != 422 || res.get("Min-SE") != "90" {
				t.Errorf("%s", res.raw)
			}
		}
		c.end()
	})
	dialogs(t, nil, func(t *testing.T, s *side, leg *Leg, d *talk) {
		if res := d.ask("UPDATE", "", "Supported: timer", "Session-Expires: 30"); res.code() != 422 || res.get("Min-SE") != "90" {
			t.Errorf("UPDATE = %s", res.raw)
		}
	})
}

// F40, B2.07: a dialog that we opened or answered ourselves keeps its timer, too, in both roles.
func TestOwnLegsKeepTheirTimer(t *testing.T) {
	for _, c := range []struct {
		name     string
		updates  bool
		ours     bool
		incoming bool
	}{
		{"called, we refresh by UPDATE", true, true, false}, {"called, we refresh by re-INVITE", false, true, false}, {"called, the peer refreshes", true, false, false},
		{"answered, we refresh by UPDATE", true, true, true}, {"answered, the peer refreshes", true, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			timedTest(t, func(t *testing.T, x *crossroads) {
				x.engine.Handle(x.side)
				method, allows := "UPDATE", "Allow: INVITE, ACK, BYE, UPDATE"
				if !c.updates {
					method, allows = "INVITE", "Allow: INVITE, ACK, BYE"
				}
				role := map[bool]string{true: "uac", false: "uas"}[c.ours != c.incoming]
				var leg *Leg
				if c.incoming {
					d := x.callerOn(x.w, "call")
					d.send("INVITE", offer1, "Supported: timer", "Session-Expires: 90;refresher="+role, allows)
					p := pick(ctxOf(t), x.incoming(), AnswerOptions{ContentType: "application/sdp", Body: []byte(answer1)})
					ok := d.final("INVITE", 1)
					if ok.get("Session-Expires") != "90;refresher="+role || ok.get("Require") != "timer" {
						t.Errorf("200\n%s", ok.raw)
					}
					d.opened(ok)
					d.send("ACK", "")
					leg, _ = p.wait(t)
				} else {
					r := x.call(invite())
					m := x.w.expect("INVITE")
					m.answer("200 OK", "a1", answer1, x.contact(), allows, "Require: timer", "Session-Expires: 90;refresher="+role)
					x.w.expect("ACK")
					leg, _ = r.wait(t)
				}
				begin := time.Now()
				if c.ours {
					for range 2 {
						re := x.w.after(45*time.Second, method)
						if re.get("Session-Expires") != "90;refresher=uac" || re.get("Supported") != "100rel, timer" || len(re.all("Supported")) != 1 { // RFC 4028 §7.4
							t.Errorf("refresh\n%s", re.raw)
						}
						re.answer("200 OK", "", map[bool]string{false: answer1}[c.updates], x.contact(), "Session-Expires: 90;refresher=uac", allows)
						if !c.updates {
							x.w.expect("ACK")
						}
						begin = time.Now()
					}
				}
				gone := x.w.hungUp()
				// Over so short timers as those of the tests a re-INVITE without answer has ended it before (RFC 3261 §12.2.1.2).
				if d := time.Since(begin); d < 60*time.Second && c.updates || d < 45*time.Second || d > 61*time.Second {
					t.Errorf("BYE after %v, want 60 s", d)
				}
				gone.answer("200 OK", "", "")
				ended(t, leg, "timeout")
				x.w.drop()
			})
		})
	}
}

// RFC 3261 §14.1: a refresh that meets an offer of the peer's (491) comes again after 2.1 to 4 s where the Call-ID is ours.
func TestRefreshStandsBack(t *testing.T) {
	timedTest(t, func(t *testing.T, x *crossroads) {
		x.engine.Handle(x.side)
		r := x.call(invite())
		x.w.expect("INVITE").answer("200 OK", "a1", answer1, x.contact(), "Allow: UPDATE", "Session-Expires: 90;refresher=uac")
		x.w.expect("ACK")
		leg, _ := r.wait(t)
		x.w.after(45*time.Second, "UPDATE").answer("491 Request Pending", "", "")
		at := time.Now()
		x.w.expect("UPDATE").answer("200 OK", "", "", x.contact(), "Session-Expires: 90;refresher=uas")
		if d := time.Since(at); d < time.Second || d > 4*time.Second {
			t.Errorf("again after %v", d)
		}
		done := bye(leg)
		x.w.expect("BYE").answer("200 OK", "", "")
		<-done
	})
}

// B2.07, RFC 4028 §7.3, §7.4: a re-INVITE and an UPDATE that one side finds too brief are sent to it once more, and the other side
// sees nothing of it; what the peer has named is in all that comes after, and is the least that is asked for.
func TestLongerIntervalIsKeptInTheDialog(t *testing.T) {
	t.Parallel()
	bridged(t, func(t *testing.T, x *crossroads) {
		c := x.begin("call", offer1)
		c.invite.answer("200 OK", "b1", answer1, x.contact(), "Session-Expires: 600;refresher=uas")
		ok := c.a.final("INVITE", c.a.seq)
		c.a.opened(ok)
		c.a.send("ACK", "")
		x.w.expect("ACK")
		for i, method := range []string{"INVITE", "UPDATE"} {
			c.a.send(method, offer2, "Min-SE: 99")
			m := x.w.expect(method)
			if i == 0 && (m.get("Min-SE") != "" || m.get("Session-Expires") != "600;refresher=uas") {
				t.Errorf("%s\n%s", method, m.raw)
			}
			least := fmt.Sprint(1000 + 1000*i)
			m.answer("422 Session Interval Too Small", "", "", "Min-SE: "+least)
			if method == "INVITE" {
				x.w.expect("ACK")
			}
			again := x.w.expect(method)
			if again.get("Min-SE") != least || again.get("Session-Expires") != least+";refresher=uas" || again.seq() != m.seq()+1 || again.body != m.body || again.branch() == m.branch() ||
				len(again.all("Session-Expires")) != 1 || len(again.all("Via")) != 1 {
				t.Errorf("%s again\n%s", method, again.raw)
			}
			again.answer("200 OK", "", answer2, x.contact(), "Session-Expires: "+least+";refresher=uas")
			if res := c.a.final(method, c.a.seq); res.code() != 200 || res.body != answer2 {
				t.Errorf("%s = %s", method, res.raw)
			}
			if method == "INVITE" {
				c.a.send("ACK", "")
				if ack := x.w.expect("ACK"); ack.seq() != again.seq() {
					t.Errorf("ACK\n%s", ack.raw)
				}
			}
		}
		c.a.send("UPDATE", "")
		m := x.w.expect("UPDATE")
		if m.get("Min-SE") != "2000" || m.get("Session-Expires") != "2000;refresher=uas" {
			t.Errorf("UPDATE\n%s", m.raw)
		}
		// §6: what can't be granted is refused, and the refusal tells the least.
		m.answer("422 Session Interval Too Small", "", "", "Min-SE: 2000")
		if res := c.a.final("UPDATE", c.a.seq); res.code() != 422 || res.get("Min-SE") != "2000" {
			t.Errorf("UPDATE = %s", res.raw)
		}
		// The other way: A has named 99.
		c.b = c.talkB("b1")
		c.b.seq = 1
		c.b.send("UPDATE", "", "Supported: timer", "Session-Expires: 100")
		m = x.a.expect("UPDATE")
		if m.get("Min-SE") != "99" || m.get("Session-Expires") != "" {
			t.Errorf("UPDATE\n%s", m.raw)
		}
		m.answer("200 OK", "", "", "Contact: <sip:a@"+x.a.addr+">")
		if res := c.b.final("UPDATE", c.b.seq); res.get("Session-Expires") != "100;refresher=uas" {
			t.Errorf("UPDATE = %s", res.raw)
		}
		c.end()
	})
}

// RFC 4028 §7.4, §10: a refresh of ours that is too brief comes again at once with the longer interval, by UPDATE and by
// re-INVITE, for legs of our own and of a bridge; one that is refused otherwise is not asked for over and over.
func TestRefusedRefreshIsAskedForAgain(t *testing.T) {
	for _, c := range []struct {
		own, updates bool
	}{{true, true}, {true, false}, {false, true}, {false, false}} {
		t.Run(fmt.Sprintf("own %v, UPDATE %v", c.own, c.updates), func(t *testing.T) {
			timedTest(t, func(t *testing.T, x *crossroads) {
				method, allows := "UPDATE", "Allow: INVITE, ACK, BYE, UPDATE"
				if !c.updates {
					method, allows = "INVITE", "Allow: INVITE, ACK, BYE"
				}
				w := x.w
				if c.own {
					x.engine.Handle(x.side)
					r := x.call(invite())
					w.expect("INVITE").answer("200 OK", "a1", answer1, x.contact(), allows, "Require: timer", "Session-Expires: 1800;refresher=uac")
					w.expect("ACK")
					_, _ = r.wait(t)
				} else {
					w = x.a
					x.standA("call", "Supported: timer", "Session-Expires: 1800", allows)
				}
				no := func(m *text, status string, fields ...string) {
					m.answer(status, "", "", fields...)
					if method == "INVITE" {
						w.expect("ACK")
					}
				}
				m := w.after(900*time.Second, method)
				if m.get("Min-SE") != "" || m.get("Session-Expires") != "1800;refresher=uac" {
					t.Errorf("refresh\n%s", m.raw)
				}
				no(m, "422 Session Interval Too Small", "Min-SE: 3600")
				m = w.expect(method)
				if m.get("Min-SE") != "3600" || m.get("Session-Expires") != "3600;refresher=uac" {
					t.Errorf("refresh\n%s", m.raw)
				}
				tries := 0
				for end := time.Now().Add(860 * time.Second); time.Now().Before(end); time.Sleep(time.Second) {
					synctest.Wait()
					if m != nil {
						no(m, "500 Server Internal Error")
						tries++
					}
					w.mu.Lock()
					more := slices.ContainsFunc(w.arrived, func(m *text) bool { return m.is(method) && !w.seen[m.raw] })
					w.mu.Unlock()
					if m = nil; more {
						m = w.expect(method)
					}
				}
				if tries < 3 || tries > 20 {
					t.Errorf("%d refreshes", tries)
				}
				w.hungUp().answer("200 OK", "", "") // the end has stayed where it was
				if !c.own {
					x.w.expect("BYE").answer("200 OK", "", "")
				}
				w.drop()
			})
		})
	}
}
