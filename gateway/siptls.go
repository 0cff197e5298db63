package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"latchkey/internal/sipua"
)

// sipTLS is what the secure transports of SIP show and ask for. A connection takes what is current when it opens.
type sipTLS struct {
	config Config
	cert   atomic.Pointer[tls.Certificate]
	ca     atomic.Pointer[x509.CertPool]
}

func newSIPTLS(c Config) (*sipTLS, error) {
	s := &sipTLS{config: c}
	return s, s.reload()
}

// reload reads the files again; where one of them is bad, nothing changes.
func (s *sipTLS) reload() error {
	c := s.config
	var cert *tls.Certificate
	if c.SIPTLSCert != "" {
		pair, err := tls.LoadX509KeyPair(c.SIPTLSCert, c.SIPTLSKey)
		if err != nil {
			return fmt.Errorf("sip-tls-cert: %w", err)
		}
		cert = &pair
	}
	var pool *x509.CertPool
	if c.SIPTLSCA != "" {
		pem, err := os.ReadFile(c.SIPTLSCA)
		if err != nil {
			return fmt.Errorf("sip-tls-ca: %w", err)
		}
		if pool = x509.NewCertPool(); !pool.AppendCertsFromPEM(pem) {
			return errors.New("sip-tls-ca: no certificate in " + c.SIPTLSCA)
		}
	}
	s.cert.Store(cert)
	s.ca.Store(pool)
	return nil
}

func (s *sipTLS) options() sipua.TLS {
	return sipua.TLS{Certificate: s.cert.Load, Authorities: s.ca.Load, Demand: s.config.SIPTLSClientAuth}
}

// SIPTLS reads the files of SIP's TLS once, for those who only ask a peer.
func (c Config) SIPTLS() (sipua.TLS, error) {
	s, err := newSIPTLS(c)
	if err != nil {
		return sipua.TLS{}, err
	}
	return s.options(), nil
}
