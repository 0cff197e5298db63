package sipua

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// socket is a UDP port. What is read there goes to the endpoint, and requests leave from it, so that responses find it through
// any firewall.
type socket struct {
	endpoint *Endpoint
	conn     net.PacketConn
	port     *port // of conn; nil: it has none
	local    netip.AddrPort
}

// openSocket binds a port and begins to read it; Close ends that.
func (e *Endpoint) openSocket(hostport string) (*socket, error) {
	conn, err := e.listenPacket("udp", hostport)
	if err != nil {
		return nil, err
	}
	if udp, ok := conn.(*net.UDPConn); ok {
		_ = udp.SetReadBuffer(4 << 20) // as far as net.core.rmem_max allows: a burst of calls must not be lost
		stamp(udp)
	}
	s := &socket{endpoint: e, conn: conn, port: newPort(conn)}
	s.local, _ = netip.ParseAddrPort(conn.LocalAddr().String())
	s.local = netip.AddrPortFrom(s.local.Addr().Unmap(), s.local.Port())
	e.mu.Lock()
	if e.closed.Load() {
		e.mu.Unlock()
		_ = conn.Close()
		return nil, errClosed
	}
	e.sockets = append(e.sockets, s)
	e.running.Add(1)
	e.mu.Unlock()
	go func() { // ends when Close closes the socket
		defer e.running.Done()
		s.read()
	}()
	return s, nil
}

func (s *socket) read() {
	e := s.endpoint
	buf, oob := make([]byte, 65536), make([]byte, stampSize)
	for {
		n, from, came, err := s.receive(buf, oob)
		if err != nil {
			if e.closed.Load() || errors.Is(err, net.ErrClosed) {
				if !e.closed.Load() {
					e.log.Error("sip listener stopped", "listen", "udp:"+s.local.String(), "error", err)
				}
				return
			}
			continue // an ICMP error of something sent before
		}
		if len(bytes.Trim(buf[:n], "\r\n\x00")) == 0 {
			continue // a keep-alive (RFC 5626 §3.5.1 has none for UDP, but they come)
		}
		e.take(buf[:n], "UDP", from, &way{s, from}, came)
	}
}

// maxLate bounds how long a datagram may have waited; more is a clock that was set.
const maxLate = 10 * time.Second

// receive reads a datagram, and tells when it came. IPv4 addresses are IPv4, also where the socket is for both families.
func (s *socket) receive(buf, oob []byte) (n int, from netip.AddrPort, came time.Time, err error) {
	if s.port != nil {
		return s.port.receive(buf, oob)
	}
	if udp, ok := s.conn.(*net.UDPConn); ok {
		var more int
		n, more, _, from, err = udp.ReadMsgUDPAddrPort(buf, oob)
		return n, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), arrived(oob[:more], time.Now()), err
	}
	n, addr, err := s.conn.ReadFrom(buf)
	if err != nil {
		return 0, netip.AddrPort{}, time.Time{}, err
	}
	from, err = netip.ParseAddrPort(addr.String())
	return n, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), time.Now(), err
}

// arrived is when a datagram came that is read now, by what the kernel says of it.
func arrived(oob []byte, now time.Time) time.Time {
	if at := stamped(oob); !at.IsZero() {
		return now.Add(-min(max(now.Sub(at), 0), maxLate)) // the clocks differ: only this one is steady
	}
	return now
}

// way is what a transaction over UDP writes to. It is never closed.
type way struct {
	*socket
	to netip.AddrPort
}

// write sends one datagram, however long: IP fragments it. A response goes the way its request came (RFC 3261 §18.2.2), and so does
// a request to a peer without TCP.
func (w *way) write(text []byte) error {
	if err := w.send(text, w.to); err != nil {
		return fmt.Errorf("send to udp %s: %w", w.to, err)
	}
	return nil
}

func (w *way) reliable() bool { return false }

func (s *socket) send(b []byte, to netip.AddrPort) (err error) {
	if s.port != nil {
		if ok, err := s.port.send(b, to); ok {
			return err
		}
	}
	if udp, ok := s.conn.(*net.UDPConn); ok {
		_, err = udp.WriteToUDPAddrPort(b, to)
	} else {
		_, err = s.conn.WriteTo(b, net.UDPAddrFromAddrPort(to))
	}
	return err
}

// socketTo is the socket from which an address is reached: a listener of its family, one that listens where the kernel would send from
// if there are several, and one that is opened for the purpose if there is none.
func (e *Endpoint) socketTo(to netip.Addr) (*socket, error) {
	e.mu.Lock()
	var fit []*socket
	for _, s := range e.sockets {
		if a := s.local.Addr(); a.Is4() == to.Is4() || a == netip.IPv6Unspecified() {
			fit = append(fit, s)
		}
	}
	e.mu.Unlock()
	switch {
	case len(fit) == 1:
		return fit[0], nil
	case len(fit) > 1:
		from := sourceTo(to)
		for _, s := range fit {
			if s.local.Addr() == from {
				return s, nil
			}
		}
		return fit[0], nil
	case to.Is4():
		return e.openSocket("0.0.0.0:0")
	}
	return e.openSocket("[::]:0")
}

// sourceTo is the address from which the kernel sends to another one; the zero Addr if it can't.
func sourceTo(to netip.Addr) netip.Addr {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 5060))) // sends nothing
	if err != nil {
		return netip.Addr{}
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
}
