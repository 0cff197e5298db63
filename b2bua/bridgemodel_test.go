package b2bua

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// phone is one end of a bridged call that does what it is told, in any order, and remembers what it is owed.
type phone struct {
	name    string
	w       *wire
	d       *talk
	caller  bool
	stands  bool              // its dialog is confirmed
	owed    map[string]string // requests of its own without a final response, by number and method
	pending []*text           // requests without a final response of its own
	seen    map[string]bool   // branches
	held    []func()          // ACKs
	hold    bool              // ACKs are held
	rseq    int               // of its last reliable response
	over    bool
}

func (p *phone) ask(method, body string, fields ...string) {
	p.d.send(method, body, fields...)
	p.owed[fmt.Sprint(p.d.seq, " ", method)] = method
}

// collect reads what has come.
func (p *phone) collect() {
	p.w.mu.Lock()
	come := p.w.arrived
	p.w.arrived = nil
	p.w.mu.Unlock()
	for _, m := range come {
		switch {
		case m.code() == 0 && m.method() == "ACK":
		case m.code() == 0:
			if p.seen[m.branch()+m.method()] {
				continue
			}
			p.seen[m.branch()+m.method()] = true
			p.pending = append(p.pending, m)
		case m.code() < 200:
			if rseq := m.get("RSeq"); rseq != "" && !p.seen[rseq] {
				p.seen[rseq] = true
				p.d.opened(m)
				p.ask("PRACK", "", "RAck: "+rseq+" 1 INVITE")
			}
		default:
			delete(p.owed, m.get("CSeq"))
			if m.method() == "INVITE" && m.code() >= 300 {
				p.d.acknowledge(m)
			} else if m.method() == "INVITE" {
				p.d.opened(m)
				p.stands = true
				ack := p.d.text("ACK", m.seq(), "")
				if p.hold {
					p.held = append(p.held, func() { p.d.out(ack) })
				} else {
					p.d.out(ack)
				}
			}
		}
	}
}

// answer gives the oldest open request a final response.
func (p *phone) answer(status string) {
	if len(p.pending) == 0 {
		return
	}
	m, accepts, contact := p.pending[0], strings.HasPrefix(status, "2"), "Contact: <sip:x@"+p.w.addr+">"
	p.pending = p.pending[1:]
	switch m.method() {
	case "INVITE":
		if accepts {
			p.stands = true
			if p.d == nil {
				p.d = &talk{w: p.w, out: m.reply, network: "udp", callID: m.get("Call-ID"), local: m.get("To") + ";tag=b1", remote: m.get("From"), target: inside(m.get("Contact")), seq: 100}
			}
		}
		m.answer(status, "b1", map[bool]string{true: answer1}[accepts && m.body != ""], contact)
	case "CANCEL":
		m.answer("200 OK", "b1", "")
		p.pending = slices.DeleteFunc(p.pending, func(n *text) bool {
			ours := n.method() == "INVITE" && n.branch() == m.branch()
			if ours {
				n.answer("487 Request Terminated", "b1", "")
			}
			return ours
		})
	case "BYE":
		p.over = true
		m.answer("200 OK", "b1", "")
	default:
		m.answer(status, "b1", "", contact)
	}
}

// do does one thing of the model's alphabet; what makes no sense now is left.
func (p *phone) do(op string) {
	switch op {
	case "180", "183":
		for _, m := range p.pending {
			if m.method() == "INVITE" {
				m.answer(op+" Progress", "b1", "", "Contact: <sip:x@"+p.w.addr+">")
			}
		}
	case "reliable":
		for _, m := range p.pending {
			if m.method() == "INVITE" && !p.caller && p.d == nil {
				p.rseq++
				m.answer("183 Progress", "b1", map[bool]string{true: answer1}[m.body != ""], "Contact: <sip:x@"+p.w.addr+">", "Require: 100rel", fmt.Sprint("RSeq: ", p.rseq))
			}
		}
	case "fork":
		for _, m := range p.pending {
			if m.method() == "INVITE" && !p.caller && p.d == nil {
				m.answer("180 Ringing", "b2", "", "Contact: <sip:x@"+p.w.addr+">")
			}
		}
	case "200", "486", "491", "481":
		p.answer(op + " Answer")
	case "CANCEL":
		if _, ringing := p.owed[fmt.Sprint(p.d0(), " INVITE")]; ringing {
			p.d.cancel(p.d.invited)
		}
	case "hold":
		p.hold = !p.hold
	case "ACK":
		for _, f := range p.held {
			f()
		}
		p.held = nil
	default:
		if p.d == nil || !p.stands || p.over {
			return
		}
		switch op {
		case "BYE":
			p.over = true
			p.ask("BYE", "")
		case "INVITE", "UPDATE":
			p.ask(op, offer2)
		default:
			p.ask(op, "", "Content-Type: x/y")
		}
	}
}

// d0 is the number of the INVITE that was sent last.
func (p *phone) d0() int {
	if p.d == nil || p.d.invited == "" {
		return -1
	}
	n := 0
	_, rest, _ := strings.Cut(p.d.invited, "CSeq: ")
	_, _ = fmt.Sscan(rest, &n)
	return n
}

var alphabet = []string{"180", "183", "reliable", "fork", "200", "200", "200", "486", "491", "481", "CANCEL", "hold", "ACK", "BYE", "INVITE", "UPDATE", "INFO", "MESSAGE", "FOO"}

// Whatever the two sides do, and in whatever order, nothing wedges: each request of either has a final response in the end,
// and no dialog is left.
func TestNoOrderOfEventsWedgesABridge(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		type step struct {
			b    bool
			op   string
			wait int
		}
		steps := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) step {
			return step{rapid.Bool().Draw(rt, "b"), rapid.SampledFrom(alphabet).Draw(rt, "op"), rapid.SampledFrom([]int{0, 0, 0, 1, 40, 300, 2500}).Draw(rt, "wait")}
		}), 1, 24).Draw(rt, "steps")
		failed := ""
		timedTest(t, func(t *testing.T, x *crossroads) {
			a := &phone{name: "A", w: x.a, caller: true, owed: map[string]string{}, seen: map[string]bool{}}
			b := &phone{name: "B", w: x.w, owed: map[string]string{}, seen: map[string]bool{}}
			a.d = x.callerOn(x.a, "call")
			a.ask("INVITE", offer1, "Supported: 100rel")
			settle := func() {
				synctest.Wait()
				a.collect()
				b.collect()
				synctest.Wait()
			}
			for _, s := range steps {
				if s.wait > 0 || s.op == "200" {
					settle()
				}
				p := a
				if s.b {
					p = b
				}
				p.do(s.op)
				time.Sleep(time.Duration(s.wait) * time.Millisecond)
			}
			// Then both behave: they answer and acknowledge all there is, hang up, and time passes.
			for i := range 120 {
				settle()
				for _, p := range []*phone{a, b} {
					p.hold = false
					p.do("ACK")
					p.answer("200 OK")
					if i == 60 {
						p.do("BYE")
					}
				}
				time.Sleep(time.Second)
			}
			settle()
			for _, p := range []*phone{a, b} {
				if len(p.owed) > 0 {
					failed = fmt.Sprintf("%s has no answer to %v", p.name, p.owed)
				}
				p.w.drop()
			}
			if n := x.engine.Bridged(); n > 0 {
				failed = fmt.Sprintf("%s %d pairs are left", failed, n)
			}
		})
		if failed != "" {
			rt.Fatalf("%s after %+v", failed, steps)
		}
	})
}
