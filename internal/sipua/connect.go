package sipua

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"latchkey/internal/quiet"
)

// connect finds or opens a connection to the first of several addresses of one host that can be reached. A later address is tried
// beside an earlier one that takes its time (RFC 8305 §5).
func (e *Endpoint) connect(ctx context.Context, all []target) (*link, target, error) {
	for _, t := range all {
		if s := e.streamTo(t); s != nil {
			return s, t, nil
		}
	}
	type result struct {
		s   *link
		t   target
		err error
	}
	results := make(chan result, len(all))
	begun, done := 0, 0
	begin := func() {
		t := all[begun]
		begun++
		go func() { // ends with ctx
			s, err := e.dialOnce(ctx, t)
			results <- result{s, t, err}
		}()
	}
	begin()
	for err := error(nil); ; {
		var next <-chan time.Time
		if begun < len(all) {
			next = time.After(stagger)
		}
		select {
		case r := <-results:
			if r.err == nil {
				return r.s, r.t, nil
			}
			done++
			err = errors.Join(err, r.err)
			if begun < len(all) {
				begin()
			} else if done == begun {
				return nil, target{}, err
			}
		case <-next:
			begin()
		case <-ctx.Done():
			return nil, target{}, errors.Join(err, ctx.Err())
		}
	}
}

// dialOnce lets those who want one connection at the same time share it.
func (e *Endpoint) dialOnce(ctx context.Context, t target) (*link, error) {
	ch := e.dialing.DoChan(t.network+" "+t.addr.String()+" "+t.domain, func() (any, error) {
		if s := e.streamTo(t); s != nil {
			return s, nil
		}
		if !e.begin() {
			return nil, errClosed
		}
		s, err := e.dial(t)
		if err != nil {
			e.running.Done()
			return nil, fmt.Errorf("%w: connect to %s %s: %v", ErrTransport, t.network, t.addr, err) // not a timeout of the request
		}
		go func() { // ends with the connection, which Close closes
			defer e.running.Done()
			s.read()
		}()
		return s, nil
	})
	select {
	case r := <-ch:
		s, _ := r.Val.(*link)
		return s, r.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// dial opens a connection. It goes on when the one who asked has left: the next one will want it.
func (e *Endpoint) dial(t target) (*link, error) {
	ctx, cancel := context.WithTimeout(e.stopped, dialTime)
	defer cancel()
	if t.network == "ws" || t.network == "wss" {
		return e.dialWS(ctx, t)
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", t.addr.String())
	if err != nil {
		return nil, err
	}
	conn = quiet.Conn(conn)
	s := &link{network: t.network, conn: conn, domain: canonicalDomain(t.domain), shut: func() { _ = conn.Close() }}
	if t.network == "tls" {
		secured, err := e.handshake(tls.Client(conn, e.tls.client(t.domain)))
		if err != nil {
			_ = conn.Close()
			return nil, err
		}
		s.secure(secured)
	}
	s.put, s.read = s.toConn, s.serve
	return s, e.newStream(s)
}
