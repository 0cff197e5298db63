package mail

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"flag"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"latchkey/imstest"
)

var update = flag.Bool("update", false, "write the reports that Postfix makes to testdata/dsn")

// authority is a CA of its own, and a certificate for 127.0.0.1 that it signed.
func authority(t *testing.T) (*x509.CertPool, *tls.Config) {
	t.Helper()
	make := func(template, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if parent == nil {
			parent, signer = template, key
		}
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return cert, key
	}
	ca, caKey := make(&x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign}, nil, nil)
	leaf, key := make(&x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "mx.example"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, ca, caKey)
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	return pool, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}}}
}

// R8, F19: Postfix with Cyrus SASL lets in by each way to log in, under TLS that is verified; what it checks fails where it should, and
// is the operator's to mend.
func TestPostfixLetsInByEachWay(t *testing.T) {
	pool, config := authority(t)
	cert, key := pemFiles(t, config)
	sink, err := imstest.NewMailSink("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sink.Close)
	p := imstest.NewPostfix(t, imstest.PostfixOptions{
		Routes: map[string]string{"cc.com": sink.Addr()}, Cert: cert, Key: key, User: "me", Password: "correct horse", Ways: "PLAIN LOGIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256",
		More: []string{"smtpd_tls_auth_only = yes", "smtpd_delay_reject = yes", "smtpd_sasl_security_options = noanonymous"},
	})
	opt := Options{Server: p.Addr(), User: "me", Password: "correct horse", CA: pool}
	taken := 0
	for way, said := range map[Auth]string{"": "SCRAM-SHA-256", ScramSHA256: "SCRAM-SHA-256", ScramSHA1: "SCRAM-SHA-1", CRAMMD5: "CRAM-MD5", Plain: "PLAIN", Login: "LOGIN"} {
		opt.Auth = way
		before := len(p.Log())
		if err := deliver(t, opt, notice()); err != nil {
			t.Errorf("%q: Deliver = %v", way, err)
			continue
		}
		taken++
		imstest.Eventually(t, time.Minute, func() bool {
			return strings.Contains(p.Log()[before:], "sasl_method="+said+", sasl_username=me@mx.example")
		})
	}
	imstest.Eventually(t, time.Minute, func() bool { return len(sink.Mails()) == taken })
	for name, change := range map[string]func(*Options){
		"a wrong password by SCRAM":    func(o *Options) { o.Password, o.Auth = "wrong", ScramSHA256 },
		"a wrong password by SCRAM-1":  func(o *Options) { o.Password, o.Auth = "wrong", ScramSHA1 },
		"a wrong password by PLAIN":    func(o *Options) { o.Password, o.Auth = "wrong", Plain },
		"a way that it does not offer": func(o *Options) { o.Auth = XOAuth2 },
		"no login":                     func(o *Options) { o.User = "" },
		"another authority":            func(o *Options) { o.CA, _ = authority(t) },
	} {
		o := Options{Server: p.Addr(), User: "me", Password: "correct horse", CA: pool}
		change(&o)
		if f := failure(t, deliver(t, o, notice())); f.Permanent && name != "no login" || strings.Contains(f.Error(), "horse") {
			t.Errorf("%s: %v", name, f)
		} else if want := map[bool]string{true: "the mail server can't be reached", false: "the mail server does not let the gateway in"}[name == "another authority"]; f.Reason != want && name != "no login" {
			t.Errorf("%s: %q, want %q", name, f.Reason, want)
		}
	}
	if n := len(sink.Mails()); n != taken {
		t.Errorf("%d mails, want %d", n, taken)
	}
}

// S9, RFC 6531: an address beyond ASCII passes Postfix and arrives as it is written; to a plain one, Postfix is not asked for SMTPUTF8.
func TestPostfixPassesUnicodeAddresses(t *testing.T) {
	sink, err := imstest.NewMailSink("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sink.Close)
	p := imstest.NewPostfix(t, imstest.PostfixOptions{Routes: map[string]string{"xn--bcher-kva.example": sink.Addr(), "bücher.example": sink.Addr(), "cc.com": sink.Addr()}})
	n := notice()
	n.Recipient, n.InviterName = "jürgen@bücher.example", "Zoë Müller"
	if err := deliver(t, Options{Server: p.Addr()}, n); err != nil {
		t.Fatalf("Deliver = %v", err)
	}
	ctx, cancel := contextFor(t, time.Minute)
	defer cancel()
	m, err := sink.Wait(ctx, "jürgen@bücher.example", 1)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(m.Raw), "<jürgen@bücher.example>") || m.Subject != "Zoë Müller invites you to a chat" || !strings.Contains(m.Text, link) {
		t.Errorf("it arrives as\n%s", m.Raw)
	}
	if err := deliver(t, Options{Server: p.Addr()}, notice()); err != nil {
		t.Fatalf("Deliver = %v", err)
	}
	if m, err = sink.Wait(ctx, "b@cc.com", 1); err != nil || strings.Contains(string(m.Raw), "UTF8SMTP") {
		t.Errorf("to a plain address: %v\n%s", err, m.Raw)
	}
}

// F19, RFC 3464, RFC 6533: Postfix asks a server that refuses, for good, for a while or for too long, and reports to the address of the mail;
// each of its reports is understood.
func TestPostfixReportsAreUnderstood(t *testing.T) {
	next, err := imstest.NewMailSink("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(next.Close)
	reports, err := imstest.NewMailSink("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(reports.Close)
	p := imstest.NewPostfix(t, imstest.PostfixOptions{
		Routes:    map[string]string{"cc.com": next.Addr(), "xn--bcher-kva.example": next.Addr(), "bücher.example": next.Addr(), "bounce.example": reports.Addr()},
		Mailboxes: []string{"box@kept.example"},
		More: []string{"delay_warning_time = 1s", "maximal_queue_lifetime = 12s", "bounce_queue_lifetime = 1h", "queue_run_delay = 1s", "minimal_backoff_time = 1s",
			"maximal_backoff_time = 1s"},
	})
	b := &Bounces{Domain: "bounce.example", Key: []byte("key")}
	for _, c := range []struct {
		name, to string
		code     int
		enhanced string
		want     []DeliveryStatus // in the order in which they come
		reason   string
	}{
		{"unknown", "nobody@cc.com", 550, "5.1.1", []DeliveryStatus{{"failed", "5.1.1"}}, "there is no such mailbox (5.1.1)"},
		{"full", "full@cc.com", 552, "5.2.2", []DeliveryStatus{{"failed", "5.2.2"}}, "the mailbox is full (5.2.2)"},
		{"smtputf8", "jürgen@bücher.example", 550, "5.1.1", []DeliveryStatus{{"failed", "5.1.1"}}, "there is no such mailbox (5.1.1)"},
		{"gaveup", "late@cc.com", 450, "4.2.0", []DeliveryStatus{{"delayed", "4.2.0"}, {"failed", "4.2.0"}}, "the mail could not be delivered in time (4.2.0)"},
		{"relayed", "b@cc.com", 0, "", []DeliveryStatus{{"relayed", "2.0.0"}}, ""},
		{"delivered", "box@kept.example", 0, "", []DeliveryStatus{{"delivered", "2.0.0"}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			next.RefuseTo(c.to, c.code, c.enhanced)
			n := notice()
			n.ID, n.Recipient = "n0tice-"+c.name, c.to
			if err := deliver(t, Options{Server: p.Addr(), Bounces: b}, n); err != nil {
				t.Fatalf("Deliver = %v", err)
			}
			ctx, cancel := contextFor(t, 2*time.Minute)
			defer cancel()
			for i, want := range c.want {
				m, err := reports.Wait(ctx, b.Address(n.ID), i+1)
				if err != nil {
					t.Fatalf("%v\n%s", err, p.Log())
				}
				d, err := ReadReport(strings.NewReader(string(m.Raw)))
				if err != nil || d != want || m.From != "" {
					t.Errorf("from %q: %+v, %v; want %+v\n%s", m.From, d, err, want, m.Raw)
				}
				if _, reason := d.meaning(); d.Action == "failed" && reason != c.reason {
					t.Errorf("reason %q, want %q", reason, c.reason)
				}
				// RFC 3461 §4.3: RET=HDRS, since the link is a key.
				if strings.Contains(string(m.Raw), "passwd") {
					t.Errorf("the report has the link:\n%s", m.Raw)
				}
				if *update {
					name := "postfix3-" + c.name + map[bool]string{true: "-" + want.Action}[len(c.want) > 1] + ".eml"
					if err := os.WriteFile(filepath.Join("testdata/dsn", name), m.Raw, 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	}
}
