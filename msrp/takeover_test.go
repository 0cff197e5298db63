package msrp_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"latchkey/msrp"
)

// F38, B4.19: Alice's connection is lost and she comes back by a new path; Bob's stays, and what is said over it arrives.
func TestOneLegsConnectionOutlivesTheOther(t *testing.T) {
	l := listen(t, msrp.ListenerOptions{})
	first := newAnchor(t, l, msrp.AnchorOptions{Linger: time.Minute})
	alice, bob := dials.bound(t, l, first.A(), aliceAt), dials.bound(t, l, first.B(), bobAt)
	_ = alice.nc.Close()
	<-first.Done()

	const again = "msrp://127.0.0.1:7395/alice2;tcp"
	second := newAnchor(t, l, msrp.AnchorOptions{
		A: msrp.LegOptions{Remote: msrp.Path{uri(t, again)}}, B: msrp.LegOptions{Local: first.B().Local()}, Linger: time.Minute,
	})
	if !second.B().TakeOver(first.B()) {
		t.Fatal("TakeOver = false")
	}
	_ = first.Close()
	alice = dials.bound(t, l, second.A(), again)
	alice.write(spell("tid1", "SEND", second.A().Local().String(), again, "Message-ID: 1\nByte-Range: 1-2/2\nContent-Type: text/plain\n\nhi\n", '$'))
	f := bob.read()
	if f.what != "SEND" || string(f.body) != "hi" || f.get("From-Path") != second.B().Local().String() {
		t.Fatalf("Bob got %+v", f)
	}
	bob.ok(f)
	alice.expect("tid1", "200")

	_ = bob.nc.Close() // and it ends like any other
	<-second.Done()
	if second.B().Err() == nil || errors.Is(second.Err(), msrp.ErrClosed) {
		t.Errorf("Err = %v, want that leg B was lost", second.Err())
	}
	if second.B().TakeOver(first.B()) {
		t.Error("a connection is given away twice")
	}
}

// A leg whose connection nobody takes over goes when its time is over, at once without Linger.
func TestLingeringLegEnds(t *testing.T) {
	for _, linger := range []time.Duration{0, 50 * time.Millisecond} {
		l := listen(t, msrp.ListenerOptions{})
		a := newAnchor(t, l, msrp.AnchorOptions{Linger: linger})
		alice, bob := dials.bound(t, l, a.A(), aliceAt), dials.bound(t, l, a.B(), bobAt)
		_ = alice.nc.Close()
		_ = bob.nc.SetReadDeadline(time.Now().Add(patience))
		if _, err := bob.r.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("linger %v: Bob reads %v, want the end of the connection", linger, err)
		}
		next := newAnchor(t, l, msrp.AnchorOptions{B: msrp.LegOptions{Local: a.B().Local()}})
		if next.B().TakeOver(a.B()) {
			t.Errorf("linger %v: what is over was taken over", linger)
		}
	}
}

// X2: a peer whose first message is faster than the response that tells its path to the other side is heard all the same.
func TestEarlyMessageWaitsForTheOtherSidesPath(t *testing.T) {
	l := listen(t, msrp.ListenerOptions{})
	a := msrp.NewAnchor(msrp.AnchorOptions{A: msrp.LegOptions{Local: l.NewURI()}, B: msrp.LegOptions{Local: l.NewURI()}})
	t.Cleanup(func() { _ = a.Close() })
	alice, bob := dials.bound(t, l, a.A(), aliceAt), dials.bound(t, l, a.B(), bobAt)
	a.A().SetRemote(msrp.Path{uri(t, aliceAt)})
	alice.write(spell("tid1", "SEND", a.A().Local().String(), aliceAt, "Message-ID: 1\nByte-Range: 1-2/2\nContent-Type: text/plain\n\nhi\n", '$'))
	time.AfterFunc(50*time.Millisecond, func() { a.B().SetRemote(msrp.Path{uri(t, bobAt)}) })
	f := bob.read()
	if string(f.body) != "hi" {
		t.Fatalf("Bob got %+v", f)
	}
	bob.ok(f)
	alice.expect("tid1", "200")
}

// B2.04, RFC 4975 §11.7: phones that one offer has reached know the same URI. Whose path is not the leg's gets 481, also if it is the first to
// connect, and before the leg's path is known.
func TestLegTakesItsOwnPeerAlone(t *testing.T) {
	for _, early := range []bool{false, true} {
		l := listen(t, msrp.ListenerOptions{})
		opt := msrp.LegOptions{Local: l.NewURI(), OnlyRemote: true}
		if !early {
			opt.Remote = msrp.Path{uri(t, bobAt)}
		}
		a := msrp.NewAnchor(msrp.AnchorOptions{A: msrp.LegOptions{Local: l.NewURI()}, B: opt})
		t.Cleanup(func() { _ = a.Close() })
		l.ExpectLeg(a.B())
		hello := func(from string) net.Conn {
			nc, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = nc.Close() })
			if _, err := io.WriteString(nc, "MSRP abcd SEND\r\nTo-Path: "+opt.Local.String()+"\r\nFrom-Path: "+from+"\r\nMessage-ID: 1\r\nByte-Range: 1-0/0\r\n-------abcd$\r\n"); err != nil {
				t.Fatal(err)
			}
			return nc
		}
		answered := func(nc net.Conn, want string) {
			t.Helper()
			_ = nc.SetReadDeadline(time.Now().Add(patience))
			if line, err := bufio.NewReader(nc).ReadString('\n'); err != nil || !strings.HasPrefix(line, want) {
				t.Errorf("early %v: %q, %v, want %s", early, line, err, want)
			}
		}
		other := hello("msrp://127.0.0.1:9/another;tcp")
		if early {
			time.AfterFunc(50*time.Millisecond, func() { a.B().SetRemote(msrp.Path{uri(t, bobAt)}) })
		}
		answered(other, "MSRP abcd 481")
		answered(hello(bobAt), "MSRP abcd 200")
	}
}
