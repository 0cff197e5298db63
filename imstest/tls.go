package imstest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"time"
)

// certificate is the phone's own for MSRP over TLS, self-signed. It is made when it is needed first.
func (p *Phone) certificate() tls.Certificate {
	p.onceCert.Do(func() {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err) // never: the system has random numbers
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
		der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
		if err != nil {
			panic(err) // never: the template is good
		}
		p.cert = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	})
	return p.cert
}

// digest is a certificate's fingerprint under the hash function called name (RFC 8122 §5); "" for a function that
// the phone does not know.
func digest(name string, der []byte) string {
	var sum []byte
	switch strings.ToLower(name) {
	case "sha-1":
		s := sha1.Sum(der)
		sum = s[:]
	case "sha-256":
		s := sha256.Sum256(der)
		sum = s[:]
	default:
		return ""
	}
	pairs := make([]string, len(sum))
	for i, b := range sum {
		pairs[i] = fmt.Sprintf("%02X", b)
	}
	return name + " " + strings.Join(pairs, ":")
}

// fingerprintLine is the a=fingerprint of the phone, as its manner says.
func (p *Phone) fingerprintLine() string {
	switch f := p.mannered().Fingerprint; f {
	case "none":
		return ""
	case "":
		return "a=fingerprint:" + digest("SHA-256", p.certificate().Certificate[0]) + "\r\n"
	case "SHA-1":
		return "a=fingerprint:" + digest("SHA-1", p.certificate().Certificate[0]) + "\r\n"
	default:
		return "a=fingerprint:" + f + "\r\n"
	}
}

var errStranger = errors.New("the certificate is not the one of the session description")

// known compares what the peer shows with its description, as far as that has come.
func (e *endpoint) known(shown []byte) error {
	e.mu.Lock()
	e.shown = shown
	prints := e.prints
	e.mu.Unlock()
	if shown == nil || prints == nil {
		return nil
	}
	for _, f := range prints {
		name, _, _ := strings.Cut(f, " ")
		if f == digest(name, shown) {
			return nil
		}
	}
	e.phone.violation("msrp: the certificate shown is %s, the description says %q (RFC 8122 §6.2)", digest("SHA-256", shown), prints)
	return errStranger
}

// expect notes the peer's description.
func (e *endpoint) expect(media remoteMedia) {
	e.setRemote(media.path)
	e.mu.Lock()
	e.prints = media.prints
	shown := e.shown
	e.mu.Unlock()
	if e.known(shown) != nil {
		e.close()
	}
}

// secure puts TLS on a connection where the session has it. The other side shows a certificate, whoever of the two connects.
func (e *endpoint) secure(c net.Conn, client bool) (net.Conn, error) {
	if !e.tls {
		return c, nil
	}
	config := &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{e.phone.certificate()}, InsecureSkipVerify: true, ClientAuth: tls.RequireAnyClientCert,
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error { return e.known(raw[0]) },
	}
	tc := tls.Server(c, config)
	if client {
		tc = tls.Client(c, config)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = c.Close()
		return nil, err
	}
	return tc, nil
}

// scheme is that of the session's URIs (RFC 4975 §6).
func (e *endpoint) scheme() string {
	if e.tls {
		return "msrps://"
	}
	return "msrp://"
}

// checkTLS notes what the description of a peer with TLS lacks (RFC 8122 §5).
func (p *Phone) checkTLS(what string, r remoteMedia) {
	if !r.tls {
		if len(r.prints) > 0 {
			p.violation("%s: a=fingerprint without TLS", what)
		}
		return
	}
	if !slices.ContainsFunc(r.prints, func(f string) bool { return strings.HasPrefix(strings.ToUpper(f), "SHA-256 ") }) {
		p.violation("%s: TLS without a SHA-256 a=fingerprint (RFC 8122 §5.1): %q", what, r.prints)
	}
}

// Peers are the addresses to which the open chats' MSRP connections lead.
func (p *Phone) Peers() []string {
	p.pmu.Lock()
	defer p.pmu.Unlock()
	var all []string
	for _, c := range p.calls {
		ep := c.endpoint()
		ep.mu.Lock()
		if ep.conn != nil {
			all = append(all, ep.conn.RemoteAddr().String())
		}
		ep.mu.Unlock()
	}
	return all
}
