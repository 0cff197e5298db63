package sipua

import (
	"bytes"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/emiago/sipgo/sip"
)

// take screens a message, reads it and gives it to its transaction; came is when it was here, and back is where its answers go. It is called
// by the readers and waits for no transaction. false: it is no SIP.
func (e *Endpoint) take(data []byte, network string, from netip.AddrPort, back outlet, came time.Time) bool {
	defer func() { // a bug in what reads foreign bytes costs one message, not the process, whose reader this is
		if p := recover(); p != nil {
			e.log.Error("sip message not taken", "network", network, "source", from.String(), "panic", p, "stack", string(debug.Stack()))
		}
	}()
	l := e.letters.Get().(*letter) // a quiet connection holds none
	defer e.letters.Put(l)
	if e.closed.Load() || !l.cut(data) {
		return false
	}
	l.came = came
	on, answer, port := e.screen(l, data, from, network != "TCP" && network != "TLS", time.Now())
	if answer != nil {
		reply(back, answer, port)
	}
	if on == nil {
		return true
	}
	m, err := e.parser.ParseSIP(on)
	if err != nil {
		e.log.Debug("sip message not understood", "network", network, "source", from.String(), "error", err)
		if l.asks() {
			answer, port = l.refusal(400, "Bad Request", e.agent, from, nil)
			reply(back, answer, port)
		}
		return true
	}
	m.SetTransport(network)
	m.SetSource(from.String())
	if s, ok := back.(*link); ok {
		e.learnWay(s, m)
	}
	switch m := m.(type) {
	case *sip.Request:
		e.takeRequest(m, from, back, came, l.number)
	case *sip.Response:
		e.hear(m, came)
		if tx := e.table.client(m); tx != nil {
			tx.receive(m)
		}
	}
	return true
}

// reply writes past the transactions to where a message came from, over UDP to another port there if port isn't 0.
func reply(back outlet, text []byte, port int) {
	switch c := back.(type) {
	case *way:
		to := c.to
		if port > 0 {
			to = netip.AddrPortFrom(to.Addr(), uint16(port))
		}
		_ = c.send(text, to)
	case *link:
		if c.put(text) != nil {
			c.end()
		}
	}
}

// screen looks at a message that was cut, before sipgo does. on is what sipgo gets, in data or in the letter's storage; nil: nothing. answer
// is what the sender gets by return, at its port if that isn't 0.
func (e *Endpoint) screen(l *letter, data []byte, from netip.AddrPort, bounded bool, now time.Time) (on, answer []byte, port int) {
	code, why := l.check(bounded)
	switch {
	case code != 0 && !l.asks():
		return nil, nil, 0
	case code != 0:
		e.log.Info("sip request refused", "method", string(l.method), "source", from.String(), "code", code, "reason", why)
		answer, port = l.refusal(code, why, e.agent, from, nil)
		return nil, answer, port
	}
	if l.status == 0 {
		if no := e.load.admit(l, now); no != nil {
			code := 503
			if no.alive {
				code = 200
			}
			answer, port = l.refusal(code, Reason(code), e.agent, from, no)
			return nil, answer, port
		}
	}
	if !l.odd {
		return data, nil, 0
	}
	l.again = l.write(l.again[:0])
	return l.again, nil, 0
}

// pings reports whether a letter asks whether we are there (RFC 3261 §11): an OPTIONS for nobody, which no Route leads on.
func (l *letter) pings() bool {
	return bytes.Equal(l.method, []byte("OPTIONS")) && l.get(kindRoute) == nil && !bytes.ContainsRune(l.target, '@')
}

// asks reports whether a letter is a request that has an answer.
func (l *letter) asks() bool { return l.status == 0 && !bytes.Equal(l.method, []byte("ACK")) }
