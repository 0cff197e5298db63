package scenarios

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"latchkey/internal/sipua"
)

// papers are an authority and what it issued: a core's certificate and an application server's, as PEM files.
type papers struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newPapers(t *testing.T) *papers {
	t.Helper()
	p := &papers{t: t, dir: t.TempDir()}
	p.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "home.example"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	raw, err := x509.CreateCertificate(rand.Reader, ca, ca, p.key.Public(), p.key)
	if err != nil {
		t.Fatal(err)
	}
	p.cert, _ = x509.ParseCertificate(raw)
	p.write("ca.crt", "CERTIFICATE", raw)
	return p
}

func (p *papers) path(name string) string { return filepath.Join(p.dir, name) }

func (p *papers) write(name, kind string, raw []byte) {
	p.t.Helper()
	if err := os.WriteFile(p.path(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw}), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// issue writes NAME.crt and NAME.key, for a SIP domain and 127.0.0.1.
func (p *papers) issue(name, domain string) {
	p.t.Helper()
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: domain}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		URIs: []*url.URL{{Scheme: "sip", Opaque: domain}}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	raw, err := x509.CreateCertificate(rand.Reader, c, p.cert, key.Public(), p.key)
	if err != nil {
		p.t.Fatal(err)
	}
	p.write(name+".crt", "CERTIFICATE", raw)
	pkcs8, _ := x509.MarshalPKCS8PrivateKey(key)
	p.write(name+".key", "PRIVATE KEY", pkcs8)
}

// tls is our side's.
func (p *papers) tls() sipua.TLS {
	p.t.Helper()
	pair, err := tls.LoadX509KeyPair(p.path("as.crt"), p.path("as.key"))
	if err != nil {
		p.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(p.cert)
	return sipua.TLS{Certificate: func() *tls.Certificate { return &pair }, Authorities: func() *x509.CertPool { return pool }, Demand: true}
}

// startSecureCore is startCore with TLS, where both sides show certificates.
func startSecureCore(t *testing.T, defines ...string) *core {
	t.Helper()
	modules, _ := filepath.Glob("/usr/lib/*/kamailio/modules/tls.so")
	if len(modules) == 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("kamailio's module tls is not installed; get it by: apt-get install kamailio-tls-modules")
		}
		t.Skip("kamailio's module tls is not installed; get it by: apt-get install kamailio-tls-modules")
	}
	p := newPapers(t)
	p.issue("core", "core.home.example")
	p.issue("as", "as.home.example")
	var text strings.Builder
	for _, role := range []string{"server", "client"} {
		fmt.Fprintf(&text, "[%s:default]\nmethod = TLSv1.2+\ncertificate = %s\nprivate_key = %s\nca_list = %s\nverify_certificate = yes\nrequire_certificate = yes\n",
			role, p.path("core.crt"), p.path("core.key"), p.path("ca.crt"))
	}
	if err := os.WriteFile(p.path("tls.cfg"), []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	c := startCore(t, append(defines, fmt.Sprintf("TLS_PORT=%d", port), fmt.Sprintf("TLS_CONFIG=%q", p.path("tls.cfg")))...)
	c.papers, c.secure = p, port
	return c
}

// secureURI is the core's URI for TLS.
func (c *core) secureURI() string { return fmt.Sprintf("sip:127.0.0.1:%d;transport=tls", c.secure) }

// B2.10, S17, X1, X2: on ISC over TLS with certificates both ways, a real Kamailio has the gateway in its path. It is believed by the name of
// its certificate alone: 127.0.0.1 is not in sip-trusted. The caller is SIPp over TCP.
func TestKamailioOverTLSHasTheGatewayInItsPath(t *testing.T) {
	port := freePort(t)
	w := newWorldAround(t, freePort(t), startSecureCore(t, fmt.Sprintf(`AS_URI="sip:127.0.0.1:%d;transport=tls"`, port)), nil, "none")
	w.close()
	p := w.core.papers
	w.args = append(w.args, "--sip-listen", fmt.Sprintf("tls:127.0.0.1:%d", port), "--sip-core", w.core.secureURI(), "--sip-trusted", "core.home.example",
		"--sip-tls-cert", p.path("as.crt"), "--sip-tls-key", p.path("as.key"), "--sip-tls-ca", p.path("ca.crt"), "--sip-tls-client-auth")
	w.open()
	a, c := newPhone(t, w.core, "a"), newPhone(t, w.core, "c")
	a.transport = "t1"
	a.register()
	c.register()
	called := c.start("isc-uas.xml", nowhere("active")...)
	a.start("invite-uac.xml", append(nowhere("actpass"), "called", "c@cc.com")...).wait()
	called.wait()

	// Without a certificate nobody gets in.
	conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), &tls.Config{InsecureSkipVerify: true})
	if err == nil { // TLS 1.3: the refusal comes after the handshake
		_ = conn.SetDeadline(time.Now().Add(patience))
		if _, err = conn.Read(make([]byte, 1)); err == nil {
			t.Error("it takes a peer without a certificate")
		}
		conn.Close()
	}
}
