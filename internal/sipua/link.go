package sipua

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"
)

// Times and bounds of connections.
const (
	dialTime   = 5 * time.Second        // to be connected, handshakes included
	stagger    = 250 * time.Millisecond // before the next address is tried beside (RFC 8305 §5)
	writeTime  = 10 * time.Second       // a peer that doesn't read is gone
	pongTime   = 10 * time.Second       // RFC 5626 §4.4.1
	maxAliases = 8                      // addresses by which a connection is known beside its own
)

// link is a connection over which messages flow one after the other: TCP, TLS or WebSocket.
type link struct {
	endpoint *Endpoint
	network  string // tcp, tls, ws or wss
	conn     net.Conn
	remote   netip.AddrPort
	domain   string             // whom we connected to; "": it was accepted
	peers    []string           // domains of the peer's certificate (RFC 5922 §7.1)
	put      func([]byte) error // writes one message or keep-alive
	read     func()             // hands over what comes until the connection ends
	shut     func()
	ended    sync.Once

	ponged  atomic.Bool // the peer answers keep-alives
	waiting atomic.Bool // for a pong
	known   bool        // it had a message; the reader's
	timer   *time.Timer // next keep-alive; guarded by Endpoint.mu
	keys    []streamKey // guarded by Endpoint.mu
}

// streamKey is how a connection is found: by network, address and, for TLS, whom we take the peer for. Names are
// addresses that only the connection leads to (RFC 7118 Appendix B.1).
type streamKey struct{ network, addr, domain string }

// write sends a message.
func (s *link) write(text []byte) error {
	if err := s.put(text); err != nil {
		s.shut() // its reader ends it; the transaction that writes here is locked, and end would wait for it
		return fmt.Errorf("send to %s %s: %w", s.network, s.remote, err)
	}
	return nil
}

func (s *link) reliable() bool { return true }

// end closes the connection and all that goes over it.
func (s *link) end() {
	s.ended.Do(func() {
		s.shut()
		e := s.endpoint
		e.mu.Lock()
		delete(e.streams, s)
		for _, k := range s.keys {
			if e.known[k] == s {
				delete(e.known, k)
			}
		}
		if s.timer != nil {
			s.timer.Stop()
		}
		e.mu.Unlock()
		e.table.lost(s)
	})
}

// newStream makes a connection known. Its read is for the caller to run.
func (e *Endpoint) newStream(s *link) error {
	s.endpoint = e
	s.remote = remoteOf(s.conn)
	e.mu.Lock()
	if e.closed.Load() {
		e.mu.Unlock()
		s.shut()
		return errClosed
	}
	e.streams[s] = struct{}{}
	e.learn(s, s.remote.String())
	if s.domain != "" && e.keepAlive > 0 {
		s.timer = time.AfterFunc(e.nextPing(), s.ping)
	}
	e.mu.Unlock()
	return nil
}

func remoteOf(c net.Conn) netip.AddrPort {
	a, _ := netip.ParseAddrPort(c.RemoteAddr().String())
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// learn notes an address that leads to a connection, for all that its peer has proved to be. e.mu is held.
func (e *Endpoint) learn(s *link, addr string) {
	domains := []string{s.domain}
	switch s.network {
	case "tls", "wss":
		domains = append(domains, s.peers...)
	default:
		domains[0] = ""
	}
	for _, d := range domains {
		k := streamKey{s.network, addr, d}
		if old := e.known[k]; old != nil && old != s && old.domain != "" {
			continue // one that we opened is not taken over by another that claims its address
		}
		e.known[k] = s
		s.keys = append(s.keys, k)
	}
}

// streamTo finds a connection to a target.
func (e *Endpoint) streamTo(t target) *link {
	e.mu.Lock()
	defer e.mu.Unlock()
	k := streamKey{t.network, t.addr.String(), ""}
	if t.network == "tls" || t.network == "wss" {
		if s := e.known[streamKey{k.network, k.addr, canonicalDomain(t.domain)}]; s != nil {
			return s
		}
		// A peer without a certificate came from this very address, where nobody else listens.
	}
	return e.known[k]
}

// named finds the connection that a name without an address stands for: what WebSocket clients put into Contact and Via.
func (e *Endpoint) named(u sip.Uri) *link {
	if !madeUp(u.Host) {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.known[streamKey{"", strings.ToLower(u.Host) + ":" + strconv.Itoa(u.Port), ""}]
}

// madeUp reports whether a host is one that nobody can connect to (RFC 7118 Appendix B.1, RFC 6761 §6.4).
func madeUp(host string) bool {
	return strings.HasSuffix(strings.TrimSuffix(strings.ToLower(host), "."), ".invalid")
}

// learnWay takes from a message what it says of the way back: an alias in the Via of a peer that wants its connection
// used (RFC 5923 §8.2, which is about TLS, and for TCP Kamailio does the same), and made-up names in Contact. The first that claims a name has it as long as it lives.
func (e *Endpoint) learnWay(s *link, m sip.Message) {
	if s.domain != "" {
		return
	}
	if via := m.Via(); via != nil {
		if _, ok := m.(*sip.Request); ok && via.Params.Has("alias") && (s.network == "tcp" || s.network == "tls" && len(s.peers) > 0) {
			port := via.Port
			if port == 0 {
				port = sip.DefaultPort(s.network)
			}
			e.alias(s, netip.AddrPortFrom(s.remote.Addr(), uint16(port)).String(), "")
		}
	}
	for _, h := range m.GetHeaders("Contact") {
		if c, ok := h.(*sip.ContactHeader); ok && madeUp(c.Address.Host) {
			e.alias(s, "", strings.ToLower(c.Address.Host)+":"+strconv.Itoa(c.Address.Port))
		}
	}
}

func (e *Endpoint) alias(s *link, addr, name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, alive := e.streams[s]; !alive || len(s.keys) >= maxAliases*(1+len(s.peers)) {
		return
	}
	if name == "" {
		if e.known[streamKey{s.network, addr, ""}] != s {
			e.learn(s, addr)
		}
		return
	}
	k := streamKey{"", name, ""}
	if e.known[k] == nil {
		e.known[k] = s
		s.keys = append(s.keys, k)
	}
}

// Identities are the domains for which the certificate of the connection speaks by which a request came (RFC 5922 §7.1).
func Identities(req *sip.Request) []string { return strings.Fields(req.Laddr.Zone) }

// accept serves a listener of TCP or TLS until it is closed.
func (e *Endpoint) accept(ln net.Listener, network string, config *tls.Config) error {
	for pause := 5 * time.Millisecond; ; {
		conn, err := ln.Accept()
		if err != nil {
			if e.closed.Load() || errors.Is(err, net.ErrClosed) {
				return err
			}
			// As when there are no file descriptors left; those who are connected must not suffer.
			e.log.Error("sip connection not accepted", "listen", network+":"+ln.Addr().String(), "error", err)
			select {
			case <-time.After(pause):
			case <-e.stopped.Done():
				return err
			}
			pause = min(2*pause, time.Second)
			continue
		}
		pause = 5 * time.Millisecond
		if !e.begin() {
			_ = conn.Close()
			return errClosed
		}
		go func() { // ends with the connection, which Close closes
			defer e.running.Done()
			s := &link{network: network, conn: conn, shut: func() { _ = conn.Close() }}
			if config != nil {
				secured, err := e.handshake(tls.Server(conn, config))
				if err != nil {
					_ = conn.Close()
					e.log.Info("sip peer not accepted", "network", network, "source", conn.RemoteAddr().String(), "error", err)
					return
				}
				s.secure(secured)
			}
			s.put = s.toConn
			if e.newStream(s) == nil {
				s.serve()
			}
		}()
	}
}

// handshake bounds a TLS handshake in time; Close ends it, too.
func (e *Endpoint) handshake(c *tls.Conn) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(e.stopped, dialTime)
	defer cancel()
	return c, c.HandshakeContext(ctx)
}

// secure goes on over TLS. What the peer's certificate speaks for is known then.
func (s *link) secure(c *tls.Conn) {
	s.conn, s.shut = c, func() { _ = c.NetConn().Close() } // tls.Conn.Close may wait for a peer that doesn't read
	if certs := c.ConnectionState().PeerCertificates; len(certs) > 0 {
		s.peers = identities(certs[0])
	}
}

func (s *link) toConn(b []byte) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	_, err := s.conn.Write(b)
	return err
}

// spoke notes that a message has come. It reports false where the connection should end: whoever that is, it doesn't speak SIP.
func (s *link) spoke(sip bool) bool {
	if sip && !s.known {
		s.known = true
		if p := placeOf(s.conn); p != nil {
			p.proven(false)
		}
	}
	return s.known
}

// limit is when something more must have come: the rest of what begun then, or, if waiting for nothing, whatever peers of others' making
// say next. Connections of our own making are watched by keep-alives.
func (s *link) limit(begun time.Time, within bool) time.Time {
	switch {
	case within || !s.known && s.domain == "":
		return begun.Add(messageTime)
	case s.domain == "":
		return time.Now().Add(idleTime)
	}
	return time.Time{}
}

// serve reads messages until the connection ends.
func (s *link) serve() {
	defer s.end()
	e := s.endpoint
	chunk := make([]byte, 16<<10)
	var pending []byte  // of a message that isn't whole
	var half time.Time  // when the last that came was a line end that answers no keep-alive: it may be the first half of one
	begun := time.Now() // when that began; before the first one, when the connection did
	for {
		if s.conn.SetReadDeadline(s.limit(begun, len(pending) > 0)) != nil {
			return
		}
		n, err := s.conn.Read(chunk)
		if err != nil {
			return
		}
		came := time.Now()
		view := chunk[:n]
		if len(pending) == 0 && (s.known || s.domain != "") {
			begun = came
		}
		if bytes.HasPrefix(view, []byte("\r")) && came.Sub(half) < pongTime {
			pending = append(pending, "\r\n"...)
		}
		if len(pending) > 0 {
			pending = append(pending, view...)
			view = pending
		}
		for whole := true; whole; {
			pings, start, end, err := border(view)
			for range pings {
				if s.put([]byte("\r\n")) != nil {
					return
				}
			}
			if half = (time.Time{}); start > 4*pings && !s.pong() && start == len(view) {
				half = came
			}
			if err != nil {
				e.log.Info("sip connection given up", "network", s.network, "source", s.remote.String(), "error", err)
				s.refuse(view[start:], err)
				return
			}
			if whole = end > 0; whole {
				if !s.spoke(e.take(view[start:end], sip.NetworkToUpper(s.network), s.remote, s, came)) {
					return
				}
				start, begun = end, came
			}
			view = view[start:]
		}
		if pending = append(pending[:0], view...); len(pending) == 0 {
			pending = nil // a quiet connection holds nothing
		}
	}
}

// refuse says why the connection is going to be closed, if that can be said (RFC 4475 §3.1.2.3, §3.3.9).
func (s *link) refuse(data []byte, reason error) {
	var l letter
	if !l.cut(data) || !l.asks() {
		return
	}
	code, why := l.check(false)
	switch {
	case reason == errTooLong && code == 0:
		code, why = 513, "Message Too Large" // RFC 3261 §21.5.8
	case l.get(kindContentLength) == nil:
		code, why = badRequest("no Content-Length") // §18.3
	}
	text, _ := l.refusal(code, why, s.endpoint.agent, s.remote, nil)
	_ = s.put(text)
}

// nextPing is when the next keep-alive is due: 80 to 100 % of the interval (RFC 5626 §4.4.1).
func (e *Endpoint) nextPing() time.Duration {
	return e.keepAlive - time.Duration(int64(e.keepAlive)/5*int64(time.Now().UnixNano()&1023)/1024)
}

// ping asks a peer that we connected to whether it is there (RFC 5626 §3.5.1). One that has answered before and doesn't now is gone; one
// that never did doesn't know keep-alives, and firewalls on the way see a byte all the same.
func (s *link) ping() {
	e := s.endpoint
	s.waiting.Store(true)
	if s.put([]byte("\r\n\r\n")) != nil {
		s.end()
		return
	}
	again := func(d time.Duration, f func()) {
		e.mu.Lock()
		defer e.mu.Unlock()
		if _, alive := e.streams[s]; alive {
			s.timer = time.AfterFunc(d, f)
		}
	}
	again(min(pongTime, e.keepAlive), func() {
		if s.waiting.Load() && s.ponged.Load() {
			e.log.Info("sip peer doesn't answer keep-alives", "network", s.network, "peer", s.remote.String())
			s.end()
			return
		}
		again(e.nextPing(), s.ping)
	})
}

// pong takes the answer to a keep-alive, and reports whether one was waited for.
func (s *link) pong() bool {
	if !s.waiting.Swap(false) {
		return false
	}
	s.ponged.Store(true)
	return true
}
