package smpp_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"latchkey/notify/smpp"
)

// B3.15: over TLS a centre is believed by its certificate only.
func TestCentreIsBelievedByItsCertificate(t *testing.T) {
	known := httptest.NewTLSServer(nil) // lends its certificate, which is for example.com and 127.0.0.1
	defer known.Close()
	s := centre(t)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: known.TLS.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { // ends with the listener
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { s.ServeUntilEnd(conn) }) // ends with the connection
		}
	})
	defer serving.Wait()
	defer s.HangUp()
	defer ln.Close()
	roots := x509.NewCertPool()
	roots.AddCert(known.Certificate())
	server := smpp.Server{HostPort: ln.Addr().String(), TLS: true, SystemID: "me"}
	if err := smpp.Probe(within(t, patience), server, smpp.Options{TLS: &tls.Config{RootCAs: roots}}); err != nil {
		t.Errorf("Probe = %v", err)
	}
	err = smpp.Probe(within(t, patience), server, smpp.Options{})
	if err == nil || !strings.Contains(err.Error(), "certificate") || len(s.Binds()) != 1 {
		t.Errorf("Probe of one whom nobody knows = %v, %d binds", err, len(s.Binds()))
	}
	// One that is known under another name is not the one that was asked for.
	server.HostPort = "smsc.elsewhere.example:3550"
	err = smpp.Probe(within(t, patience), server, smpp.Options{TLS: &tls.Config{RootCAs: roots}, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, ln.Addr().String())
	}})
	if err == nil || !strings.Contains(err.Error(), "smsc.elsewhere.example") {
		t.Errorf("Probe of another name = %v", err)
	}
}

// F19: a centre that sends octet by octet is understood.
func TestSlowCentreIsUnderstood(t *testing.T) {
	s := centre(t)
	slow := octetByOctet(t, s.Addr())
	c := run(t, smpp.Options{}, slow)
	if id, err := c.Submit(within(t, patience), message("hello")); err != nil || id == "" || len(s.Taken()) != 1 {
		t.Errorf("Submit = %q, %v", id, err)
	}
}

// octetByOctet passes on what comes back in single octets.
func octetByOctet(t *testing.T, to string) string {
	t.Helper()
	return between(t, to, func(from, to net.Conn, up bool) {
		buf := make([]byte, 1)
		if up {
			buf = make([]byte, 1024)
		}
		for {
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
	})
}
