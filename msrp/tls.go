package msrp

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"time"
)

// SelfSigned makes a certificate for who has none. Peers know it by its fingerprint (RFC 4975 §14.4); the names say whose it is to
// people who look at it. Its key is an ECDSA key on P-256, and it is good for ten years: nobody asks for its date.
func SelfSigned(names ...string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("self-signed certificate: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("self-signed certificate: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "MSRP"}, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().AddDate(10, 0, 0), // peers' clocks are wrong, too
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, n := range names {
		if ip := net.ParseIP(strings.Trim(n, "[]")); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("self-signed certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// ServerTLS is the configuration of a Listener's socket: TLS 1.2 and up (RFC 8996 forbids what is older), and the peer is asked for a
// certificate, which may be self-signed: Session.Trust compares it with what the peer's description said. Who changes certificates
// while running gives none here and sets GetCertificate.
func ServerTLS(own ...tls.Certificate) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: own, ClientAuth: tls.RequestClientCert}
}

// ClientTLS is the configuration of an active side. With fingerprints from the peer's description the peer must show one of their
// certificates, whoever signed it; without, it must show one that is good for the host, which is that of the path's first URI (RFC 4975
// §14.4). own is shown to the peer, which may compare it with our description; it may be the zero Certificate.
func ClientTLS(own tls.Certificate, host string, peer ...Fingerprint) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: strings.Trim(host, "[]")}
	if len(own.Certificate) > 0 {
		c.Certificates = []tls.Certificate{own}
	}
	if peer = preferred(peer); len(peer) > 0 {
		c.InsecureSkipVerify = true // VerifyConnection does it
		c.VerifyConnection = func(s tls.ConnectionState) error { return compare(s, peer) }
	}
	return c
}

// preferred is Preferred, but zero fingerprints don't become none: they match nothing.
func preferred(all []Fingerprint) []Fingerprint {
	if best := Preferred(all); best != nil {
		return best
	}
	return all
}

// compare holds the certificate that a peer showed against its fingerprints.
func compare(s tls.ConnectionState, peer []Fingerprint) error {
	if len(s.PeerCertificates) == 0 {
		return fmt.Errorf("%w: the peer showed none, want %s", ErrFingerprint, peer[0])
	}
	shown := s.PeerCertificates[0].Raw
	for _, f := range peer {
		if f.Matches(shown) {
			return nil
		}
	}
	return fmt.Errorf("%w: the peer's is %s, want %s", ErrFingerprint, fingerprint(cmp.Or(peer[0].hash, crypto.SHA256), shown), peer[0])
}

// secured is a connection with TLS on it.
type secured interface {
	HandshakeContext(context.Context) error
	ConnectionState() tls.ConnectionState
}

// trust is what a target asks of its peer's certificate.
type trust struct {
	peer      atomic.Pointer[[]Fingerprint]
	described chan struct{} // closed by describe
	closed    atomic.Bool
}

func newTrust(remote Path) *trust {
	t := &trust{described: make(chan struct{})}
	t.describe(remote)
	return t
}

// describe notes that the peer's description is known.
func (t *trust) describe(remote Path) {
	if len(remote) > 0 && t.closed.CompareAndSwap(false, true) {
		close(t.described)
	}
}

func (t *trust) set(peer []Fingerprint) {
	peer = preferred(peer)
	t.peer.Store(&peer)
}

// check refuses a connection whose peer is not the one of the description. Nothing is asked of a connection if the description
// had no fingerprint.
func (t *trust) check(ctx context.Context, nc net.Conn) error {
	peer := t.peer.Load()
	if peer == nil || len(*peer) == 0 {
		return nil
	}
	s, ok := nc.(secured)
	if !ok {
		return fmt.Errorf("%w: the connection has no TLS", ErrFingerprint)
	}
	if err := s.HandshakeContext(ctx); err != nil {
		return err
	}
	return compare(s.ConnectionState(), *peer)
}

var errEarly = errors.New("the peer's description did not come in time")

// admit is check for a connection that a peer made, which may be faster than the peer's answer. RFC 8122 §6.2: nothing of what it says is
// valid until its fingerprint is known, so the connection is held until then. (It also wants a bad_certificate alert, for which it is too late: that
// a connection belongs to this session is known from its first request.)
func (t *trust) admit(c *conn, over <-chan struct{}, within time.Duration) error {
	if _, ok := c.nc.(secured); ok {
		wait := time.NewTimer(within)
		defer wait.Stop()
		select {
		case <-t.described:
		case <-over:
			return nil // which the caller sees
		case <-c.done:
			return c.err
		case <-wait.C:
			return errEarly
		}
	}
	return t.check(context.Background(), c.nc) // the handshake is over, since a request came
}
