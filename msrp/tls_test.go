package msrp_test

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/msrp"
)

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	c, err := msrp.SelfSigned("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// printOf is the fingerprint of a certificate, made without the package's help.
func printOf(t *testing.T, c tls.Certificate) msrp.Fingerprint {
	sum := sha256.Sum256(c.Certificate[0])
	return parse(t, spelled("SHA-256", sum[:]))
}

// listenTLS gives a listener with TLS.
func listenTLS(t *testing.T, own tls.Certificate, opt msrp.ListenerOptions) *msrp.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	opt.Secure = true
	return serve(t, tls.NewListener(ln, msrp.ServerTLS(own)), opt)
}

// secure puts TLS on a raw peer's connection to a listener.
func secure(t *testing.T, l *msrp.Listener, s interface{ Local() msrp.URI }, c *tls.Config) *raw {
	t.Helper()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.InsecureSkipVerify = true // the test looks at the other side
	p := newRaw(t, tls.Client(nc, c))
	p.us = s.Local().String()
	return p
}

func showing(c ...tls.Certificate) *tls.Config { return &tls.Config{Certificates: c} }

// peerServer is a raw peer that waits for a connection with TLS.
func peerServer(t *testing.T, c *tls.Config) (addr string, accepted func() *raw) {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	conns := make(chan net.Conn, 1)
	go func() { // ends with the listener
		for {
			nc, err := ln.Accept()
			if err != nil {
				close(conns)
				return
			}
			conns <- nc
		}
	}()
	return ln.Addr().String(), func() *raw { return newRaw(t, <-conns) }
}

func over(t *testing.T, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("it is not over")
	}
}

// B4.22, F50: a passive session takes the peer whose certificate its description named, by SHA-256 or by SHA-1, and nobody else.
func TestPassiveSessionKnowsItsPeerByFingerprint(t *testing.T) {
	own, good, bad := selfSigned(t), selfSigned(t), selfSigned(t)
	l := listenTLS(t, own, msrp.ListenerOptions{})
	sum := sha1.Sum(good.Certificate[0])
	for name, c := range map[string]struct {
		trusted []msrp.Fingerprint
		shown   []tls.Certificate
		taken   bool
	}{
		"right":                       {[]msrp.Fingerprint{printOf(t, good)}, []tls.Certificate{good}, true},
		"right by SHA-1":              {[]msrp.Fingerprint{parse(t, spelled("SHA-1", sum[:]))}, []tls.Certificate{good}, true},
		"one of two":                  {[]msrp.Fingerprint{printOf(t, bad), printOf(t, good)}, []tls.Certificate{good}, true},
		"nothing said":                {nil, []tls.Certificate{good}, true},
		"nothing said nor shown":      {nil, nil, true},
		"wrong":                       {[]msrp.Fingerprint{printOf(t, good)}, []tls.Certificate{bad}, false},
		"none shown":                  {[]msrp.Fingerprint{printOf(t, good)}, nil, false},
		"right by SHA-1 alone of two": {[]msrp.Fingerprint{printOf(t, bad), parse(t, spelled("SHA-1", sum[:]))}, []tls.Certificate{good}, false},
		"zero":                        {[]msrp.Fingerprint{{}}, []tls.Certificate{good}, false},
	} {
		t.Run(name, func(t *testing.T) {
			box := newInbox()
			s := msrp.NewSession(msrp.SessionOptions{Local: l.NewURI(), Handler: box})
			defer s.Close()
			s.Trust(c.trusted...)
			s.SetRemote(msrp.Path{uri(t, peerURI)})
			l.Expect(s)
			p := secure(t, l, s, showing(c.shown...))
			p.send("1test", "m1", "", "", "hello", '$')
			if c.taken {
				p.expect("1test", "200")
				if got := box.next(t); got != "hello" || s.Err() != nil {
					t.Errorf("%q, %v", got, s.Err())
				}
				if s.Local().Secure != true || !strings.HasPrefix(s.Local().String(), "msrps://") {
					t.Errorf("URI %s (RFC 4975 §6: msrps over TLS)", s.Local())
				}
				return
			}
			p.closed()
			over(t, s.Done())
			if !errors.Is(s.Err(), msrp.ErrFingerprint) || len(c.trusted) > 0 && !c.trusted[0].IsZero() && !strings.Contains(s.Err().Error(), c.trusted[0].String()) {
				t.Errorf("Err = %v, want one that tells the fingerprint", s.Err())
			}
			if len(box.all()) != 0 {
				t.Errorf("messages of a stranger came: %q", box.all())
			}
		})
	}
}

// B4.03: a second connection, whatever it shows, does not touch a session that is bound.
func TestStrangerWithoutTheCertificateCantEndABoundSession(t *testing.T) {
	good := selfSigned(t)
	l := listenTLS(t, selfSigned(t), msrp.ListenerOptions{})
	s := msrp.NewSession(msrp.SessionOptions{Local: l.NewURI(), Remote: msrp.Path{uri(t, peerURI)}, Handler: newInbox()})
	defer s.Close()
	s.Trust(printOf(t, good))
	l.Expect(s)
	p := secure(t, l, s, showing(good))
	p.bind("1test")
	p.expect("1test", "200")
	second := secure(t, l, s, showing())
	second.bind("2test")
	second.expect("2test", "506")
	p.bind("3test")
	p.expect("3test", "200")
	if s.Err() != nil {
		t.Errorf("Err = %v", s.Err())
	}
}

// A fingerprint is of no use without TLS: the session is not bound by a plain connection.
func TestFingerprintWantsTLS(t *testing.T) {
	l := listen(t, msrp.ListenerOptions{})
	s := passive(t, l, msrp.SessionOptions{Handler: newInbox()})
	s.Trust(printOf(t, selfSigned(t)))
	p := dial(t, l, s)
	p.bind("1test")
	p.closed()
	over(t, s.Done())
	if !errors.Is(s.Err(), msrp.ErrFingerprint) {
		t.Errorf("Err = %v", s.Err())
	}
	ours, theirs := net.Pipe()
	p = newRaw(t, theirs)
	a := msrp.NewSession(msrp.SessionOptions{Local: uri(t, ourURI), Remote: msrp.Path{uri(t, peerURI)}})
	a.Trust(printOf(t, selfSigned(t)))
	if err := a.ConnectOn(within(t), ours); !errors.Is(err, msrp.ErrFingerprint) || !errors.Is(a.Err(), msrp.ErrFingerprint) {
		t.Errorf("ConnectOn = %v, Err = %v", err, a.Err())
	}
	p.closed()
}

// RFC 8122 §6.2: a connection may be faster than the description with its fingerprint. Nothing that it says counts until that is there.
func TestConnectionAheadOfTheDescriptionWaits(t *testing.T) {
	good, bad := selfSigned(t), selfSigned(t)
	l := listenTLS(t, selfSigned(t), msrp.ListenerOptions{})
	for name, shown := range map[string]tls.Certificate{"right": good, "wrong": bad} {
		t.Run(name, func(t *testing.T) {
			box := newInbox()
			s := msrp.NewSession(msrp.SessionOptions{Local: l.NewURI(), Handler: box})
			defer s.Close()
			l.Expect(s)
			p := secure(t, l, s, showing(shown))
			p.send("1test", "m1", "", "", "early", '$')
			// The request is with the listener when a second connection's was answered that came behind it.
			stranger := secure(t, l, s, showing())
			stranger.us = "msrps://127.0.0.1:1/nobody;tcp"
			stranger.bind("1test")
			stranger.expect("1test", "481")
			select {
			case <-s.Bound():
				t.Error("bound before the fingerprint is known")
			default:
			}
			if got := box.all(); len(got) != 0 {
				t.Errorf("taken before the fingerprint is known: %q", got)
			}
			s.Trust(printOf(t, good))
			s.SetRemote(msrp.Path{uri(t, peerURI)})
			if name == "right" {
				p.expect("1test", "200")
				if got := box.next(t); got != "early" {
					t.Errorf("got %q", got)
				}
				return
			}
			p.closed()
			over(t, s.Done())
			if !errors.Is(s.Err(), msrp.ErrFingerprint) || len(box.all()) != 0 {
				t.Errorf("Err = %v, messages %q", s.Err(), box.all())
			}
		})
	}
}

// The wait for a description ends with the listener's BindTimeout, and with the session.
func TestWaitForTheDescriptionEnds(t *testing.T) {
	for _, closed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			pipe := newPipes()
			l := serve(t, tls.NewListener(pipe, msrp.ServerTLS(selfSigned(t))), msrp.ListenerOptions{Secure: true, BindTimeout: 10 * time.Second})
			s := msrp.NewSession(msrp.SessionOptions{Local: l.NewURI()})
			defer s.Close()
			l.Expect(s)
			ours, theirs := net.Pipe()
			pipe.conns <- ours
			p := newRaw(t, tls.Client(theirs, &tls.Config{InsecureSkipVerify: true}))
			p.us = s.Local().String()
			begin := time.Now()
			p.bind("1test")
			if closed {
				time.Sleep(3 * time.Second)
				_ = s.Close()
				p.expect("1test", "481")
				if took := time.Since(begin); took != 3*time.Second {
					t.Errorf("answered after %s", took)
				}
				return
			}
			p.closed()
			if took := time.Since(begin); took != 10*time.Second || s.Err() != nil {
				t.Errorf("closed after %s, Err = %v; want 10 s and the session to wait on", took, s.Err())
			}
		})
	}
}

// B4.22, F50: the active side goes by the fingerprint, and shows its own certificate.
func TestActiveSessionKnowsItsPeerByFingerprint(t *testing.T) {
	own, good, bad := selfSigned(t), selfSigned(t), selfSigned(t)
	addr, accepted := peerServer(t, &tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAnyClientCert})
	connect := func(trusted msrp.Fingerprint, inConfig, inSession bool) (*msrp.Session, error) {
		s := msrp.NewSession(msrp.SessionOptions{Local: uri(t, ourURI), Remote: msrp.Path{uri(t, peerURI)}})
		t.Cleanup(func() { _ = s.Close() })
		c := msrp.ClientTLS(own, "127.0.0.1")
		c.InsecureSkipVerify = true
		if inConfig {
			c = msrp.ClientTLS(own, "127.0.0.1", trusted)
		}
		if inSession {
			s.Trust(trusted)
		}
		return s, s.Connect(within(t), (&net.Dialer{}).DialContext, addr, c)
	}
	for _, c := range []struct{ inConfig, inSession bool }{{true, false}, {false, true}, {true, true}} {
		bound := make(chan error, 1)
		go func() {
			_, err := connect(printOf(t, good), c.inConfig, c.inSession)
			bound <- err
		}()
		p := accepted()
		p.ok(p.read())
		if err := <-bound; err != nil {
			t.Errorf("%+v: Connect = %v", c, err)
		}
		if shown := p.nc.(*tls.Conn).ConnectionState().PeerCertificates; len(shown) == 0 || !printOf(t, own).Matches(shown[0].Raw) {
			t.Errorf("%+v: the peer saw %d certificates, or another one", c, len(shown))
		}
		go func() { _, _ = accepted().tryRead() }() // it does the handshake; nothing comes
		s, err := connect(printOf(t, bad), c.inConfig, c.inSession)
		if !errors.Is(err, msrp.ErrFingerprint) || !strings.Contains(err.Error(), printOf(t, bad).String()) {
			t.Errorf("%+v: Connect = %v, want one that tells the fingerprint", c, err)
		}
		select {
		case <-s.Bound():
			t.Errorf("%+v: bound to a stranger", c)
		default:
		}
	}
}

// ConnectOn looks at the certificate, too, also where the handshake is still to be done.
func TestConnectOnLooksAtTheCertificate(t *testing.T) {
	good, bad := selfSigned(t), selfSigned(t)
	for _, trusted := range []tls.Certificate{good, bad} {
		addr, accepted := peerServer(t, showing(good))
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		s := msrp.NewSession(msrp.SessionOptions{Local: uri(t, ourURI), Remote: msrp.Path{uri(t, peerURI)}})
		defer s.Close()
		s.Trust(printOf(t, trusted))
		bound := make(chan error, 1)
		go func() { bound <- s.ConnectOn(within(t), tls.Client(nc, &tls.Config{InsecureSkipVerify: true})) }()
		p := accepted()
		f, err := p.tryRead()
		if err == nil {
			p.ok(f)
		}
		if err := <-bound; errors.Is(err, msrp.ErrFingerprint) != (printOf(t, trusted) == printOf(t, bad)) || (err == nil) != (printOf(t, trusted) == printOf(t, good)) {
			t.Errorf("ConnectOn = %v", err)
		}
	}
}

// RFC 4975 §14.4: without a fingerprint, the certificate must be good for the name.
func TestWithoutFingerprintTheNameCounts(t *testing.T) {
	cert, pool := certificate(t) // of msrp.example
	addr, accepted := peerServer(t, showing(cert))
	for host, known := range map[string]bool{"msrp.example": true, "other.example": true, "[::1]": true, "msrp.example ": false} {
		c := msrp.ClientTLS(tls.Certificate{}, strings.TrimSpace(host))
		if known {
			c.RootCAs = pool
		}
		s := msrp.NewSession(msrp.SessionOptions{Local: uri(t, ourURI), Remote: msrp.Path{uri(t, peerURI)}})
		bound := make(chan error, 1)
		go func() { bound <- s.Connect(within(t), (&net.Dialer{}).DialContext, addr, c) }()
		p := accepted()
		if f, err := p.tryRead(); err == nil {
			p.ok(f)
		}
		err := <-bound
		if _, distrusted := errors.AsType[*tls.CertificateVerificationError](err); (err == nil) != (host == "msrp.example") || err != nil && !distrusted {
			t.Errorf("%q, known to us: %v: Connect = %v", host, known, err)
		}
		_ = s.Close()
	}
}

// F50, RFC 8996: nothing below TLS 1.2, on either side.
func TestOldTLSIsRefused(t *testing.T) {
	own := selfSigned(t)
	l := listenTLS(t, own, msrp.ListenerOptions{})
	s := passive(t, l, msrp.SessionOptions{Handler: newInbox()})
	old := func(c *tls.Config, v uint16) *tls.Config {
		c.MinVersion, c.MaxVersion = v, v
		return c
	}
	for v, taken := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		p := secure(t, l, s, old(showing(), v))
		if err := p.nc.(*tls.Conn).HandshakeContext(within(t)); (err == nil) != taken {
			t.Errorf("%s to our listener: %v", tls.VersionName(v), err)
		}
		addr, accepted := peerServer(t, old(showing(selfSigned(t)), v))
		go func() { // ends with the connection
			p := accepted()
			if f, err := p.tryRead(); err == nil {
				p.ok(f)
			}
		}()
		c := msrp.ClientTLS(own, "127.0.0.1")
		c.InsecureSkipVerify = true
		a := msrp.NewSession(msrp.SessionOptions{Local: uri(t, ourURI), Remote: msrp.Path{uri(t, peerURI)}})
		if err := a.Connect(within(t), (&net.Dialer{}).DialContext, addr, c); (err == nil) != taken {
			t.Errorf("%s of a peer's listener: Connect = %v", tls.VersionName(v), err)
		}
		_ = a.Close()
	}
}

// The legs of an anchor know their peers as sessions do; what one sends reaches the other through two TLS connections.
func TestAnchorLegsKnowTheirPeersByFingerprint(t *testing.T) {
	own, alice, bob := selfSigned(t), selfSigned(t), selfSigned(t)
	l := listenTLS(t, own, msrp.ListenerOptions{})
	addr, accepted := peerServer(t, showing(bob))
	const bobURI = "msrps://127.0.0.1:7396/bob;tcp"
	anchor := func(ofBob tls.Certificate) *msrp.Anchor {
		a := msrp.NewAnchor(msrp.AnchorOptions{A: msrp.LegOptions{Local: l.NewURI()}, B: msrp.LegOptions{Local: l.NewURI()}})
		t.Cleanup(func() { _ = a.Close() })
		a.A().Trust(printOf(t, alice))
		a.A().SetRemote(msrp.Path{uri(t, peerURI)})
		a.B().Trust(printOf(t, ofBob))
		a.B().SetRemote(msrp.Path{uri(t, bobURI)})
		l.ExpectLeg(a.A())
		return a
	}

	a := anchor(bob)
	bound := make(chan error, 1)
	go func() {
		bound <- a.B().Connect(within(t), (&net.Dialer{}).DialContext, addr, msrp.ClientTLS(own, "127.0.0.1", printOf(t, bob)))
	}()
	b := accepted()
	b.ok(b.read())
	if err := <-bound; err != nil {
		t.Fatal(err)
	}
	p := secure(t, l, a.A(), showing(alice))
	p.bind("1test")
	p.expect("1test", "200")
	body := strings.Repeat("0123456789", 30_000)
	go p.send("2test", "m1", "Byte-Range: 1-*/300000\n", "", body, '$')
	var got strings.Builder
	for {
		f := b.read()
		got.Write(f.body)
		b.ok(f)
		if f.get("Message-ID") != "m1" || f.get("To-Path") != bobURI || f.get("From-Path") != a.B().Local().String() {
			t.Errorf("Bob got %q", f.fields)
		}
		if f.flag == '$' {
			break
		}
	}
	p.expect("2test", "200")
	if got.String() != body {
		t.Errorf("%d octets came through, or others", got.Len())
	}
	_ = a.Close()
	p.closed()
	b.closed()

	a = anchor(bob)
	p = secure(t, l, a.A(), showing(bob))
	p.bind("1test")
	p.closed()
	over(t, a.Done())
	if err := a.Err(); !errors.Is(err, msrp.ErrFingerprint) || !strings.Contains(err.Error(), "leg A") {
		t.Errorf("Err = %v", err)
	}

	a = anchor(alice)
	go func() { _, _ = accepted().tryRead() }() // it does the handshake; nothing comes
	c := msrp.ClientTLS(own, "127.0.0.1")
	c.InsecureSkipVerify = true
	if err := a.B().Connect(within(t), (&net.Dialer{}).DialContext, addr, c); !errors.Is(err, msrp.ErrFingerprint) || !errors.Is(a.Err(), msrp.ErrFingerprint) {
		t.Errorf("Connect = %v, Err = %v", err, a.Err())
	}
}

// Close of a listener does not take the 5 s of a TLS goodbye once for each peer that has stopped to read.
func TestCloseDoesNotWaitForEachPeerInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipe := newPipes()
		l := serve(t, tls.NewListener(pipe, msrp.ServerTLS(selfSigned(t))), msrp.ListenerOptions{Secure: true})
		for range 5 {
			ours, theirs := net.Pipe()
			defer theirs.Close()
			pipe.conns <- ours
			if err := tls.Client(theirs, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}).HandshakeContext(within(t)); err != nil {
				t.Fatal(err)
			}
		}
		begin := time.Now()
		_ = l.Close()
		if took := time.Since(begin); took > 6*time.Second {
			t.Errorf("Close took %s", took)
		}
	})
}

// B4.01, B4.22: IPv6 works as IPv4 does.
func TestSessionsOverIPv6(t *testing.T) {
	ln, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("needs IPv6 on loopback (ip -6 addr add ::1/128 dev lo): %v", err)
	}
	own, peer := selfSigned(t), selfSigned(t)
	l := serve(t, tls.NewListener(ln, msrp.ServerTLS(own)), msrp.ListenerOptions{Secure: true})
	box := newInbox()
	s := msrp.NewSession(msrp.SessionOptions{Local: l.NewURI(), Handler: box})
	defer s.Close()
	if !strings.HasPrefix(s.Local().String(), "msrps://[::1]:") {
		t.Errorf("URI %s", s.Local())
	}
	s.Trust(printOf(t, peer))
	s.SetRemote(msrp.Path{uri(t, peerURI)})
	l.Expect(s)
	a := msrp.NewSession(msrp.SessionOptions{Local: uri(t, peerURI), Remote: msrp.Path{s.Local()}})
	defer a.Close()
	if err := a.Connect(within(t), (&net.Dialer{}).DialContext, l.Addr().String(), msrp.ClientTLS(peer, s.Local().Host, printOf(t, own))); err != nil {
		t.Fatal(err)
	}
	if err := a.Send(within(t), text("hello")); err != nil || box.next(t) != "hello" {
		t.Errorf("Send = %v", err)
	}
	for _, to := range []string{"msrps://[0:0:0:0:0:0:0:1]", "msrps://[::2]"} { // written otherwise; another one
		p := secure(t, l, s, showing(peer))
		u := s.Local().String()
		p.us = to + u[strings.LastIndex(u, "]:")+1:]
		p.bind("1test")
		p.expect("1test", map[string]string{"msrps://[0:0:0:0:0:0:0:1]": "506", "msrps://[::2]": "481"}[to])
	}
}
