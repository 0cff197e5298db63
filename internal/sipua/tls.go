package sipua

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
)

// TLS is what the secure transports show and ask for. Its functions are asked for each connection, so that what they
// give may change.
type TLS struct {
	Certificate func() *tls.Certificate // ours, shown to both clients and servers; nil: none, and nothing can be listened on
	Authorities func() *x509.CertPool   // who vouches for peers; nil: those of the system
	Demand      bool                    // who connects must show a certificate that an authority vouches for
}

func (c TLS) certificate() *tls.Certificate {
	if c.Certificate == nil {
		return nil
	}
	return c.Certificate()
}

func (c TLS) authorities() *x509.CertPool {
	if c.Authorities == nil {
		return nil
	}
	return c.Authorities()
}

// server makes the configuration of a listener.
func (c TLS) server(protocols ...string) *tls.Config {
	t := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: protocols}
	t.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		if cert := c.certificate(); cert != nil {
			return cert, nil
		}
		return nil, errors.New("no certificate")
	}
	// A peer without a certificate may pass unless one is demanded; a certificate that is shown must hold in any case.
	t.ClientAuth = tls.RequestClientCert
	if c.Demand {
		t.ClientAuth = tls.RequireAnyClientCert
	}
	t.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return nil
		}
		return vouched(s, c.authorities(), x509.ExtKeyUsageClientAuth)
	}
	return t
}

// client makes the configuration of a connection to domain, which the peer must prove to be: the domain of the URI, not the
// host that the DNS leads to (RFC 5922 §7.3).
func (c TLS) client(domain string) *tls.Config {
	t := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true} // VerifyConnection does it: names are SIP's own
	if net.ParseIP(domain) == nil {
		t.ServerName = strings.TrimSuffix(domain, ".")
	}
	t.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if cert := c.certificate(); cert != nil {
			return cert, nil
		}
		return new(tls.Certificate), nil
	}
	t.VerifyConnection = func(s tls.ConnectionState) error {
		if err := vouched(s, c.authorities(), x509.ExtKeyUsageServerAuth); err != nil {
			return err
		}
		if ids := identities(s.PeerCertificates[0]); !slices.Contains(ids, canonicalDomain(domain)) {
			return fmt.Errorf("the certificate is of %s, not of %s", strings.Join(ids, ", "), domain)
		}
		return nil
	}
	return t
}

// sipDomain is the extended key usage of RFC 5924 §4 (unverified).
var sipDomain = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 20}

// vouched checks a peer's chain up to an authority (RFC 5280 §6) and what its certificate is for.
func vouched(s tls.ConnectionState, roots *x509.CertPool, usage x509.ExtKeyUsage) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("no certificate")
	}
	leaf := s.PeerCertificates[0]
	opt := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{usage}}
	if slices.ContainsFunc(leaf.UnknownExtKeyUsage, sipDomain.Equal) {
		opt.KeyUsages = []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
	}
	for _, c := range s.PeerCertificates[1:] {
		opt.Intermediates.AddCert(c)
	}
	_, err := leaf.Verify(opt)
	return err
}

// identities are the domains and addresses that a certificate speaks for. A sip: URI without a user is one; only where there is
// none do DNS names count, and no name with a wildcard ever does (RFC 5922 §7.1, §7.2).
func identities(c *x509.Certificate) (all []string) {
	for _, u := range c.URIs {
		domain := u.Opaque // sip:domain has no slashes
		if strings.EqualFold(u.Scheme, "sip") && domain != "" && !strings.ContainsAny(domain, "@*;?") {
			all = append(all, canonicalDomain(domain))
		}
	}
	if len(all) == 0 {
		for _, d := range c.DNSNames {
			if !strings.Contains(d, "*") {
				all = append(all, canonicalDomain(d))
			}
		}
	}
	for _, ip := range c.IPAddresses { // beyond RFC 5922: a hop without a name has only this
		all = append(all, canonicalDomain(ip.String()))
	}
	return all
}

func canonicalDomain(d string) string {
	if ip := net.ParseIP(unbracket(d)); ip != nil {
		return ip.String()
	}
	return strings.ToLower(strings.TrimSuffix(d, "."))
}
