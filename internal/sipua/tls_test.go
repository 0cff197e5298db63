package sipua

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// authority issues certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	a.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	raw, err := x509.CreateCertificate(rand.Reader, ca, ca, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, _ = x509.ParseCertificate(raw)
	return a
}

// issue makes a certificate for names: sip:domain, an address, or a DNS name.
func (a *authority) issue(names ...string) *tls.Certificate {
	return a.issueFor(func(*x509.Certificate) {}, names...)
}

func (a *authority) issueFor(change func(*x509.Certificate), names ...string) *tls.Certificate {
	a.t.Helper()
	c := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else if u, err := url.Parse(n); err == nil && u.Scheme != "" {
			c.URIs = append(c.URIs, u)
		} else {
			c.DNSNames = append(c.DNSNames, n)
		}
	}
	change(c)
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	raw, err := x509.CreateCertificate(rand.Reader, c, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, _ := x509.ParseCertificate(raw)
	return &tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key, Leaf: leaf}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// shows is what an endpoint has of TLS.
func (a *authority) shows(cert *tls.Certificate) TLS {
	return TLS{Certificate: func() *tls.Certificate { return cert }, Authorities: a.pool}
}

func listenTLS(t *testing.T, c TLS, dns string, handle func(*Transaction), addrs ...string) *Endpoint {
	t.Helper()
	return listenWith(t, Options{Listen: addrs, TLS: c, DNS: dns, ServeAll: true}, handle)
}

// B2.10, RFC 5922 §7.1, §7.2: for whom a certificate speaks.
func TestDomainsOfACertificate(t *testing.T) {
	a := newAuthority(t)
	for _, c := range []struct{ names, want []string }{
		{[]string{"sip:CC.com", "core.cc.com"}, []string{"cc.com"}},
		{[]string{"core.cc.com", "b.example"}, []string{"core.cc.com", "b.example"}},
		{[]string{"sip:alice@cc.com", "core.cc.com"}, []string{"core.cc.com"}}, // a user's is no domain's
		{[]string{"https://cc.com/", "core.cc.com"}, []string{"core.cc.com"}},
		{[]string{"*.cc.com"}, nil},
		{[]string{"sip:*.cc.com"}, nil},
		{[]string{"sip:cc.com", "192.0.2.1"}, []string{"cc.com", "192.0.2.1"}},
		{nil, nil},
	} {
		cert := a.issueFor(func(x *x509.Certificate) { x.Subject.CommonName = "cn.cc.com" }, c.names...)
		if got := identities(cert.Leaf); !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.names, got, c.want)
		}
	}
}

// B2.10, S17, RFC 5922 §7.3: we speak only with a server that proves to be the domain that was asked for, whatever host the DNS leads to.
func TestServerMustBeTheDomain(t *testing.T) {
	t.Parallel()
	a, stranger := newAuthority(t), newAuthority(t)
	ok := func(tx *Transaction) { _ = tx.Respond(200, "") }
	expired := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }
	usage := func(u x509.ExtKeyUsage) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{u} }
	}
	sipOnly := func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{sipDomain} }
	for _, c := range []struct {
		name string
		cert *tls.Certificate
		fine bool
	}{
		{"sip URI", a.issue("sip:core.example"), true},
		{"DNS name", a.issue("CORE.example"), true},
		{"host behind the domain", a.issue("p.core.example"), false},
		{"wildcard", a.issue("*.example"), false},
		{"another sip URI beside the DNS name", a.issue("sip:other.example", "core.example"), false},
		{"address", a.issue("127.0.0.1"), false},
		{"unknown authority", stranger.issue("core.example"), false},
		{"expired", a.issueFor(expired, "core.example"), false},
		{"for servers", a.issueFor(usage(x509.ExtKeyUsageServerAuth), "core.example"), true},
		{"for mail", a.issueFor(usage(x509.ExtKeyUsageEmailProtection), "core.example"), false},
		{"for SIP (RFC 5924)", a.issueFor(sipOnly, "core.example"), true},
	} {
		server := listenTLS(t, a.shows(c.cert), "", ok, "tls:127.0.0.1:0")
		_, port, _ := net.SplitHostPort(server.at("tls"))
		n := newNameServer(t, "_sips._tcp.core.example. 60 IN SRV 1 0 "+port+" p.core.example.", "p.core.example. 60 IN A 127.0.0.1")
		client := listenTLS(t, a.shows(nil), n.addr, nil, "udp:127.0.0.1:0")
		req, _ := NewRequest(sip.OPTIONS, "sips:core.example", "sip:b@guest.example", "sip:a@cc.com")
		res, err := client.Do(bounded(t), req)
		if fine := err == nil && res.StatusCode == 200 && res.Transport() == "TLS"; fine != c.fine {
			t.Errorf("%s: Do = %v, %v", c.name, res, err)
		}
		if !c.fine && !errors.Is(err, ErrTransport) {
			t.Errorf("%s: Do = %v", c.name, err)
		}
	}
}

// B2.10, S17: a peer on ISC is known by its certificate; one that is demanded and not there, or not vouched for, ends the connection.
func TestClientIsKnownByItsCertificate(t *testing.T) {
	t.Parallel()
	a, stranger := newAuthority(t), newAuthority(t)
	who := make(chan []string, 1)
	for _, c := range []struct {
		name   string
		demand bool
		cert   *tls.Certificate
		fine   bool
		want   []string
	}{
		{"demanded and shown", true, a.issue("sip:scscf.example", "127.0.0.1"), true, []string{"scscf.example", "127.0.0.1"}},
		{"demanded, not shown", true, nil, false, nil},
		{"demanded, unknown authority", true, stranger.issue("sip:scscf.example"), false, nil},
		{"not demanded, not shown", false, nil, true, nil},
		{"not demanded, unknown authority", false, stranger.issue("sip:scscf.example"), false, nil},
	} {
		show := a.shows(a.issue("127.0.0.1"))
		show.Demand = c.demand
		server := listenTLS(t, show, "", func(tx *Transaction) {
			who <- Identities(tx.Request)
			_ = tx.Respond(200, "")
		}, "tls:127.0.0.1:0")
		client := listenTLS(t, a.shows(c.cert), "", nil, "udp:127.0.0.1:0")
		req, _ := NewRequest(sip.OPTIONS, "sips:"+server.at("tls"), "sip:b@guest.example", "sip:a@cc.com")
		res, err := client.Do(bounded(t), req)
		if c.fine != (err == nil) {
			t.Errorf("%s: Do = %v, %v", c.name, res, err)
		}
		if err == nil {
			if got := <-who; !slices.Equal(got, c.want) {
				t.Errorf("%s: it is %q, want %q", c.name, got, c.want)
			}
		}
	}
}

// A certificate that was changed is shown to the next who connects; nothing older than TLS 1.2 is spoken.
func TestCertificateCanChange(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	var now atomic.Pointer[tls.Certificate]
	now.Store(a.issue("sip:old.example"))
	e := listenTLS(t, TLS{Certificate: now.Load, Authorities: a.pool}, "", nil, "tls:127.0.0.1:0", "wss:127.0.0.1:0")
	for _, network := range []string{"tls", "wss"} {
		now.Store(a.issue("sip:old.example"))
		for _, want := range []string{"sip:old.example", "sip:new.example"} {
			conn, err := tls.Dial("tcp", e.at(network), &tls.Config{InsecureSkipVerify: true})
			if err != nil {
				t.Fatal(err)
			}
			if got := conn.ConnectionState().PeerCertificates[0].URIs[0].String(); got != want {
				t.Errorf("%s: %s, want %s", network, got, want)
			}
			conn.Close()
			now.Store(a.issue("sip:new.example"))
		}
		if conn, err := tls.Dial("tcp", e.at(network), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}); err == nil {
			t.Errorf("%s: TLS 1.1 is spoken", network)
			conn.Close()
		}
	}
}

// B2.09, RFC 5923 §8: with alias in its Via, a peer gets requests to its listener over the connection that it opened, over TLS
// only if its certificate is of the domain asked for. The gateway's own Via asks for the same.
func TestConnectionIsUsedBothWays(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	var connections atomic.Int32
	ok := func(tx *Transaction) {
		via := tx.Request.Via()
		if !via.Params.Has("alias") {
			connections.Add(100)
		}
		_ = tx.Respond(200, "")
	}
	one := listenTLS(t, a.shows(a.issue("127.0.0.1")), "", ok, "tls:127.0.0.1:0", "tcp:127.0.0.1:0")
	for _, network := range []string{"tls", "tcp"} {
		two := listenTLS(t, a.shows(a.issue("127.0.0.1")), "", func(tx *Transaction) { _ = tx.Respond(200, "") }, "tls:127.0.0.1:0", "tcp:127.0.0.1:0")
		there, _ := NewRequest(sip.OPTIONS, "sip:"+one.at(network)+";transport="+network, "sip:b@guest.example", "sip:a@cc.com")
		back, _ := NewRequest(sip.OPTIONS, "sip:"+two.at(network)+";transport="+network, "sip:b@guest.example", "sip:a@cc.com")
		if _, err := two.Do(bounded(t), there); err != nil {
			t.Fatalf("%s: Do = %v", network, err)
		}
		res, err := one.Do(bounded(t), back)
		if err != nil {
			t.Fatalf("%s: Do = %v", network, err)
		}
		one.mu.Lock()
		n := 0
		for s := range one.streams {
			if s.network == network {
				n++
			}
		}
		one.mu.Unlock()
		if n != 1 || connections.Load() != 0 {
			t.Errorf("%s: %d connections, the answer from %s; alias missing: %t", network, n, res.Source(), connections.Load() > 0)
		}
	}
	// A stranger that claims the alias of a port has it for nobody's name.
	conn, err := tls.Dial("tcp", one.at("tls"), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	victim := listenTLS(t, a.shows(a.issue("127.0.0.1")), "", func(tx *Transaction) { _ = tx.Respond(200, "") }, "tls:127.0.0.1:0")
	_, port, _ := net.SplitHostPort(victim.at("tls"))
	_, _ = conn.Write([]byte(strings.ReplaceAll("OPTIONS sip:b@guest.example SIP/2.0\nVia: SIP/2.0/TLS 127.0.0.1:"+port+";branch=z9hG4bKx;alias;rport\nMax-Forwards: 70\n"+
		"From: <sip:a@cc.com>;tag=1\nTo: <sip:b@guest.example>\nCall-ID: x\nCSeq: 1 OPTIONS\nContent-Length: 0\n\n", "\n", "\r\n")))
	if _, err := conn.Read(make([]byte, 2000)); err != nil {
		t.Fatal(err)
	}
	req, _ := NewRequest(sip.OPTIONS, "sips:"+victim.at("tls"), "sip:b@guest.example", "sip:a@cc.com")
	if res, err := one.Do(bounded(t), req); err != nil || res.StatusCode != 200 {
		t.Errorf("Do = %v, %v", res, err)
	}
}
