package msrp_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/msrp"
)

// B4.03, F44: the first request on a connection decides its session; nobody's is 481, another connection's 506.
func TestFirstRequestBindsTheConnection(t *testing.T) {
	l := listen(t, msrp.ListenerOptions{})
	s := passive(t, l, msrp.SessionOptions{Handler: newInbox()})
	stranger := dial(t, l, s)
	stranger.us = strings.Replace(s.Local().String(), s.Local().SessionID, msrp.NewSessionID(), 1)
	stranger.bind("1test")
	stranger.expect("1test", "481")
	stranger.write("MSRP 2test FOO\nTo-Path: " + s.Local().String() + "\nFrom-Path: " + peerURI + "\n-------2test$\n")
	stranger.expect("2test", "501")
	select {
	case <-s.Bound():
		t.Error("bound by a stranger, or by an unknown method")
	default:
	}

	first := dial(t, l, s)
	first.send("1test", "m1", "", "", "hello", '$') // need not be empty
	first.expect("1test", "200")
	<-s.Bound()
	second := dial(t, l, s)
	second.bind("1test")
	second.expect("1test", "506")
	first.bind("2test") // the first one stands
	first.expect("2test", "200")

	_ = s.Close()
	first.closed()
	second.bind("2test")
	second.expect("2test", "481")
	third := dial(t, l, s)
	third.bind("1test")
	third.expect("1test", "481")
}

// RFC 4975 §5.4: several sessions may share a connection; it ends with the last of them.
func TestSessionsShareAConnection(t *testing.T) {
	l := listen(t, msrp.ListenerOptions{})
	boxes := []*inbox{newInbox(), newInbox()}
	a, b := passive(t, l, msrp.SessionOptions{Handler: boxes[0]}), passive(t, l, msrp.SessionOptions{Handler: boxes[1]})
	p := dial(t, l, a)
	p.send("1test", "m1", "", "", "for a", '$')
	p.expect("1test", "200")
	p.us = b.Local().String()
	p.send("2test", "m1", "", "", "for b", '$')
	p.expect("2test", "200")
	if x, y := boxes[0].next(t), boxes[1].next(t); x != "for a" || y != "for b" {
		t.Errorf("a got %q, b got %q", x, y)
	}
	_ = a.Close()
	p.bind("3test")
	p.expect("3test", "200")
	if b.Err() != nil {
		t.Errorf("b ended with a: %v", b.Err())
	}
	_ = b.Close()
	p.closed()
}

// B4.04, B5.04: a passive session whose peer does not connect ends after its time, which begins once the peer is known.
func TestPassiveSessionEndsUnbound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := serve(t, newPipes(), msrp.ListenerOptions{})
		early := msrp.NewSession(msrp.SessionOptions{Local: l.NewURI(), BindTimeout: 10 * time.Second})
		l.Expect(early)
		time.Sleep(time.Hour) // the phone rings
		if early.Err() != nil {
			t.Errorf("ended before the peer is known: %v", early.Err())
		}
		begin := time.Now()
		early.SetRemote(msrp.Path{uri(t, peerURI)})
		<-early.Done()
		if !errors.Is(early.Err(), msrp.ErrNotBound) || time.Since(begin) != 10*time.Second {
			t.Errorf("Err = %v after %v", early.Err(), time.Since(begin))
		}
		s := passive(t, l, msrp.SessionOptions{})
		begin = time.Now()
		<-s.Done()
		if !errors.Is(s.Err(), msrp.ErrNotBound) || time.Since(begin) != 30*time.Second {
			t.Errorf("Err = %v after %v", s.Err(), time.Since(begin))
		}
		forgotten := passive(t, l, msrp.SessionOptions{})
		l.Forget(forgotten)
		time.Sleep(time.Hour)
		if forgotten.Err() != nil {
			t.Errorf("a session that is not expected any more ended: %v", forgotten.Err())
		}
	})
	synctest.Test(t, func(t *testing.T) {
		ln := newPipes()
		l := serve(t, ln, msrp.ListenerOptions{})
		s := passive(t, l, msrp.SessionOptions{})
		p := ln.dial(t, s)
		p.bind("1test")
		p.expect("1test", "200")
		time.Sleep(time.Hour)
		if s.Err() != nil {
			t.Errorf("a bound session ended: %v", s.Err())
		}
	})
}

// S13: a connection that does not name a session in time is closed, however it dribbles; a bound one may be quiet.
func TestSlowConnectionsAreClosed(t *testing.T) {
	for name, act := range map[string]func(*raw){
		"silence":     func(*raw) {},
		"empty lines": func(p *raw) { p.write("\n") },
		"half a head": func(p *raw) { p.write("X") },
		"for strangers": func(p *raw) {
			p.us = "msrp://127.0.0.1:2855/nobody;tcp"
			p.bind("1test")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ln := newPipes()
				serve(t, ln, msrp.ListenerOptions{BindTimeout: 10 * time.Second})
				p := ln.dial(t, nil)
				if name == "half a head" {
					p.write("MSRP ")
				}
				begin := time.Now()
				go func() { _, _ = io.Copy(io.Discard, p.nc) }() // ends with the connection
				for time.Since(begin) < time.Minute {
					time.Sleep(time.Second)
					act(p)
					_ = p.nc.SetWriteDeadline(time.Now().Add(time.Millisecond))
					if _, err := p.nc.Write(nil); err != nil {
						break
					}
				}
				if took := time.Since(begin); took < 9*time.Second || took > 12*time.Second {
					t.Errorf("it took %v, want 10 s", took)
				}
			})
		})
	}
}

// S13: connections without a session are limited, bound ones don't count.
func TestUnboundConnectionsAreLimited(t *testing.T) {
	l := listen(t, msrp.ListenerOptions{MaxUnbound: 3})
	for range 5 { // bound ones
		s := passive(t, l, msrp.SessionOptions{})
		p := dial(t, l, s)
		p.bind("1test")
		p.expect("1test", "200")
	}
	s := passive(t, l, msrp.SessionOptions{})
	var held []*raw
	for range 3 {
		p := dial(t, l, s)
		p.us = "msrp://127.0.0.1:1/nobody;tcp"
		p.bind("1test")
		p.expect("1test", "481")
		held = append(held, p)
	}
	dial(t, l, s).closed()
	_ = held[0].nc.Close()
	deadline := time.Now().Add(patience)
	for { // until the listener has noticed
		p := dial(t, l, s)
		p.bind("1test")
		if f, err := p.tryRead(); err == nil && strings.HasPrefix(f.what, "200") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the place of a closed connection stays taken")
		}
	}
}

// Many sessions on one port, both ways at once, each with its own messages.
func TestManySessionsOnOnePort(t *testing.T) {
	const sessions, messages = 60, 10
	l := listen(t, msrp.ListenerOptions{})
	ctx := within(t)
	var wg sync.WaitGroup
	for i := range sessions {
		wg.Go(func() {
			passiveBox, activeBox := newInbox(), newInbox()
			a := msrp.NewSession(msrp.SessionOptions{Local: msrp.URI{Host: "127.0.0.1", Port: 9, SessionID: msrp.NewSessionID(), Transport: "tcp"}, Handler: activeBox})
			b := msrp.NewSession(msrp.SessionOptions{Local: l.NewURI(), Remote: msrp.Path{a.Local()}, Handler: passiveBox, ChunkSize: 2048})
			l.Expect(b)
			a.SetRemote(msrp.Path{b.Local()})
			if err := a.Connect(ctx, (&net.Dialer{}).DialContext, l.Addr().String(), nil); err != nil {
				t.Errorf("Connect = %v", err)
				return
			}
			var both sync.WaitGroup
			for j := range messages {
				for name, s := range map[string]*msrp.Session{"a": a, "b": b} {
					both.Go(func() {
						body := fmt.Sprintf("%s %d %d %s", name, i, j, strings.Repeat("x", j*2000))
						if err := s.Send(ctx, &msrp.Message{ContentType: "text/plain", Body: strings.NewReader(body), Size: int64(len(body))}); err != nil {
							t.Errorf("Send = %v", err)
						}
					})
				}
			}
			both.Wait()
			for name, box := range map[string]*inbox{"a": passiveBox, "b": activeBox} {
				seen := map[string]bool{}
				for _, m := range box.all() {
					seen[m] = true
				}
				for j := range messages {
					if want := fmt.Sprintf("%s %d %d %s", name, i, j, strings.Repeat("x", j*2000)); !seen[want] {
						t.Errorf("%.20s did not come", want)
					}
				}
				if len(box.all()) != messages {
					t.Errorf("%d messages came, want %d", len(box.all()), messages)
				}
			}
			_ = a.Close()
			<-b.Done()
		})
	}
	wg.Wait()
	if err := l.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown = %v, though all sessions are over", err)
	}
}

// Shutdown means what it means in net/http: no new connections, those without a session end, bound ones may finish; Close ends all.
func TestShutdownWaitsForSessions(t *testing.T) {
	l := listen(t, msrp.ListenerOptions{})
	s := passive(t, l, msrp.SessionOptions{Handler: newInbox()})
	p := dial(t, l, s)
	p.bind("1test")
	p.expect("1test", "200")
	idle := dial(t, l, s)
	idle.us = "msrp://127.0.0.1:1/nobody;tcp"
	idle.bind("1test")
	idle.expect("1test", "481")

	ctx, cancel := context.WithCancel(within(t))
	down := make(chan error, 1)
	go func() { down <- l.Shutdown(ctx) }()
	idle.closed()
	if nc, err := net.Dial("tcp", l.Addr().String()); err == nil {
		nc.Close()
		t.Error("a connection is taken during Shutdown")
	}
	p.send("2test", "m1", "", "", "still here", '$')
	p.expect("2test", "200")
	cancel()
	if err := <-down; !errors.Is(err, context.Canceled) || s.Err() != nil {
		t.Errorf("Shutdown = %v, session %v", err, s.Err())
	}
	go func() { down <- l.Shutdown(within(t)) }()
	_ = s.Close()
	if err := <-down; err != nil {
		t.Errorf("Shutdown = %v after the last session", err)
	}

	l = listen(t, msrp.ListenerOptions{})
	s = passive(t, l, msrp.SessionOptions{})
	p = dial(t, l, s)
	p.bind("1test")
	p.expect("1test", "200")
	for range 2 {
		if err := l.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	}
	p.closed()
	<-s.Done()
	if !errors.Is(s.Err(), msrp.ErrClosed) {
		t.Errorf("Err = %v after Close", s.Err())
	}
}

// RFC 4975 §8.2: ports are explicit. IPv6 is bracketed.
func TestNewURIsNameTheListener(t *testing.T) {
	l := listen(t, msrp.ListenerOptions{})
	u := l.NewURI()
	if want := "msrp://" + l.Addr().String() + "/" + u.SessionID + ";tcp"; u.String() != want || u.SessionID == l.NewURI().SessionID {
		t.Errorf("NewURI = %s, want %s, another each time", u, want)
	}
	l = listen(t, msrp.ListenerOptions{Advertise: "2001:db8::1", Secure: true})
	if u := l.NewURI(); u.Host != "[2001:db8::1]" || !u.Secure || u.Port == 0 {
		t.Errorf("NewURI = %s", u)
	}
}

// B4.22: TLS works both ways; tls_test.go has who is let in.
func TestSessionsOverTLS(t *testing.T) {
	cert, pool := certificate(t)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	l := serve(t, ln, msrp.ListenerOptions{Secure: true})
	b := newInbox()
	s := passive(t, l, msrp.SessionOptions{Handler: b})
	a := msrp.NewSession(msrp.SessionOptions{Local: uri(t, peerURI), Remote: msrp.Path{s.Local()}})
	defer a.Close()
	if err := a.Connect(within(t), (&net.Dialer{}).DialContext, l.Addr().String(), &tls.Config{RootCAs: pool, ServerName: "msrp.example"}); err != nil {
		t.Fatal(err)
	}
	if err := a.Send(within(t), text(strings.Repeat("x", 100000))); err != nil || len(b.next(t)) != 100000 {
		t.Errorf("Send = %v", err)
	}
	other := msrp.NewSession(msrp.SessionOptions{Local: uri(t, peerURI), Remote: msrp.Path{s.Local()}})
	if err := other.Connect(within(t), (&net.Dialer{}).DialContext, l.Addr().String(), &tls.Config{ServerName: "msrp.example"}); err == nil {
		t.Error("an unknown certificate is taken")
	}
}

func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"msrp.example"}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}
