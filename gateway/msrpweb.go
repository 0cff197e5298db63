package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"latchkey/msrp"
	"latchkey/msrp/msrpws"
)

// webPort takes the WebSockets of an MSRP listener that has no socket of its own (RFC 7977).
type webPort struct {
	ln      net.Listener
	server  *http.Server
	handler *msrpws.Handler
}

// newWebPort makes a port of a socket for browsers: whoever opens the page's connection is known by the session's URI, which is nobody
// else's (RFC 7977 §7 leaves it to the server).
func newWebPort(ln net.Listener, l *msrp.Listener, secure bool, host string, origins []string, logger *slog.Logger) *webPort {
	port := ln.Addr().(*net.TCPAddr).Port
	w := &webPort{ln: ln, handler: msrpws.NewHandler(l, msrpws.Options{Host: host, Port: port, Insecure: !secure, Origins: origins, Log: logger})}
	w.server = &http.Server{
		Handler: w.handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10,
		ErrorLog: log.New(io.Discard, "", 0), // handshakes of strangers
	}
	return w
}

// webTLS is the configuration of wss:. Nobody is asked for a certificate: browsers would ask the person.
func webTLS(cert func() *tls.Certificate) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, // an upgrade needs it
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert(), nil },
	}
}

// Addr is the socket's address.
func (l *msrpPort) Addr() net.Addr {
	if l.web != nil {
		return l.web.ln.Addr()
	}
	return l.Listener.Addr()
}

// NewURI makes a fresh URI on the port.
func (l *msrpPort) NewURI() msrp.URI {
	if l.web != nil {
		return l.web.handler.NewURI()
	}
	return l.Listener.NewURI()
}

// Serve takes connections until Shutdown or Close, after which it returns nil.
func (l *msrpPort) Serve() error {
	if l.web == nil {
		return l.Listener.Serve()
	}
	if err := l.web.server.Serve(l.web.ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown is that of msrp.Listener. Of the server it ends what is no WebSocket.
func (l *msrpPort) Shutdown(ctx context.Context) error {
	l.closeWeb()
	return l.Listener.Shutdown(ctx)
}

// Close ends all connections.
func (l *msrpPort) Close() error {
	l.closeWeb()
	return l.Listener.Close()
}

func (l *msrpPort) closeWeb() {
	if l.web != nil {
		_ = l.web.server.Close()
		_ = l.web.ln.Close() // where it was never served
	}
}

// network is what msrp-listen calls the port's transport.
func (l *msrpPort) network() string {
	switch {
	case l.web != nil && l.secure:
		return "wss"
	case l.web != nil:
		return "ws"
	case l.secure:
		return "tls"
	}
	return "tcp"
}

// webHost is the host by which browsers reach a listener: the name in msrp-listen, which the certificate is for, or else that of other listeners.
func webHost(listen, bound string, core netip.Addr) string {
	host, _, _ := net.SplitHostPort(listen)
	if _, err := netip.ParseAddr(host); err != nil && host != "" {
		return host
	}
	return mediaHost(bound, core)
}
