package sipua

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
	"github.com/emiago/sipgo/sip"
)

// subprotocol of SIP over WebSocket (RFC 7118 §4.1: both sides must name it).
const subprotocol = "sip"

// acceptWS serves a listener of WebSockets until it is closed.
func (e *Endpoint) acceptWS(ln net.Listener, network string) error {
	server := &http.Server{
		ReadHeaderTimeout: dialTime, IdleTimeout: dialTime, MaxHeaderBytes: 16 << 10, ErrorLog: log.New(io.Discard, "", 0),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		Handler:     http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { e.upgrade(w, r, network) }),
	}
	// Connections that are no WebSockets yet end here; those that are, by Close.
	defer context.AfterFunc(e.stopped, func() { _ = server.Close() })()
	return server.Serve(ln)
}

type connKey struct{}

// upgrade takes a WebSocket in and stays until it ends.
func (e *Endpoint) upgrade(w http.ResponseWriter, r *http.Request, network string) {
	offered := false
	for _, v := range r.Header.Values("Sec-WebSocket-Protocol") {
		offered = offered || slices.ContainsFunc(strings.Split(v, ","), func(p string) bool { return strings.EqualFold(strings.TrimSpace(p), subprotocol) })
	}
	if !offered {
		http.Error(w, "SIP over WebSocket needs the subprotocol sip (RFC 7118)", http.StatusBadRequest)
		return
	}
	// A page of another site may not speak from within a browser that is trusted (RFC 6455 §10.2): Accept refuses its Origin, unless it is
	// known; no patterns, which a list of names isn't meant to have.
	known := slices.ContainsFunc(e.origins, func(o string) bool { return strings.EqualFold(o, r.Header.Get("Origin")) })
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{subprotocol}, InsecureSkipVerify: known})
	if err != nil {
		return // answered
	}
	conn, _ := r.Context().Value(connKey{}).(net.Conn)
	s := e.overWS(ws, network, conn)
	if c, ok := conn.(*tls.Conn); ok {
		if certs := c.ConnectionState().PeerCertificates; len(certs) > 0 {
			s.peers = identities(certs[0])
		}
	}
	if !e.begin() {
		s.shut()
		return
	}
	defer e.running.Done()
	if e.newStream(s) == nil {
		s.read()
	}
}

// overWS makes a connection of a WebSocket: each message of it is one of SIP (RFC 7118 §5).
func (e *Endpoint) overWS(ws *websocket.Conn, network string, conn net.Conn) *link {
	s := &link{endpoint: e, network: network, conn: conn, shut: func() { _ = ws.CloseNow() }}
	ws.SetReadLimit(maxMessage)
	s.put = func(b []byte) error {
		ctx, cancel := context.WithTimeout(e.stopped, writeTime)
		defer cancel()
		kind := websocket.MessageText
		if !utf8.Valid(b) { // RFC 6455 §8.1: of text that is none a client closes the connection; RFC 7118 §4.2 lets it be binary
			kind = websocket.MessageBinary
		}
		return ws.Write(ctx, kind, b)
	}
	s.read = func() {
		defer s.end()
		over := time.AfterFunc(messageTime, s.end) // a deadline that can be moved
		defer over.Stop()
		begun := time.Now()
		for {
			if limit := s.limit(begun, false); !limit.IsZero() {
				over.Reset(time.Until(limit))
			} else {
				over.Stop()
			}
			_, r, err := ws.Reader(e.stopped)
			if err != nil {
				return
			}
			came := time.Now()
			over.Reset(messageTime)
			data, err := io.ReadAll(r)
			if err != nil {
				return
			}
			switch {
			case len(data) == 0:
			case string(data) == "\r\n\r\n": // RFC 7118 §6, RFC 5626 §3.5.1
				if s.put([]byte("\r\n")) != nil {
					return
				}
			case len(bytes.Trim(data, "\r\n")) == 0:
				s.pong()
			case !s.spoke(e.take(data, sip.NetworkToUpper(network), s.remote, s, came)):
				return
			}
		}
	}
	return s
}

// dialWS opens a WebSocket to a target.
func (e *Endpoint) dialWS(ctx context.Context, t target) (*link, error) {
	var conn net.Conn
	var peers []string
	open := func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", t.addr.String())
		if err != nil {
			return nil, err
		}
		conn = c
		if t.network == "wss" {
			secured, err := e.handshake(tls.Client(c, e.tls.client(t.domain)))
			if err != nil {
				_ = c.Close()
				return nil, err
			}
			peers = identities(secured.ConnectionState().PeerCertificates[0])
			conn = secured
		}
		return conn, nil
	}
	// The scheme is ws in any case: open has secured the connection where it must be.
	client := &http.Client{Transport: &http.Transport{DialContext: open, DisableKeepAlives: true}, Timeout: dialTime}
	url := fmt.Sprintf("ws://%s/", net.JoinHostPort(unbracket(t.domain), fmt.Sprint(t.addr.Port())))
	ws, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: client, Subprotocols: []string{subprotocol}})
	if err != nil {
		return nil, err
	}
	if ws.Subprotocol() != subprotocol {
		_ = ws.CloseNow()
		return nil, errors.New("the server does not speak the subprotocol sip")
	}
	s := e.overWS(ws, t.network, conn)
	s.domain, s.peers = canonicalDomain(t.domain), peers
	return s, e.newStream(s)
}
