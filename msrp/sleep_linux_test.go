package msrp_test

import (
	"net"
	"strings"
	"testing"

	"latchkey/imstest"
	"latchkey/msrp"
)

// sleeps waits until all have connections without a reader.
func sleeps(t *testing.T, those ...interface{ Asleep() bool }) {
	t.Helper()
	for _, a := range those {
		imstest.Eventually(t, patience, a.Asleep)
	}
}

// Issue 5: where nothing is said for a while no goroutine waits, and what is said then goes through all the same, be it in pieces
// with more than that while between them; keep-alives wake nobody for long.
func TestIdleLegsSleepAndWake(t *testing.T) {
	t.Parallel()
	an, alice, bob := anchored(t, msrp.AnchorOptions{}, dials, dialed)
	const rest = "Message-ID: m1.a\nByte-Range: 1-5/5\nContent-Type: text/plain\n\nhello\n"
	sleeps(t, an.A(), an.B())
	alice.write(spell("a001", "SEND", alice.us, alice.from, rest, '$'))
	bob.wants(spell("a001", "SEND", bob.from, bob.us, rest, '$'))
	bob.write(spell("a001", "200 OK", bob.us, bob.from, "", '$'))
	alice.wants(spell("a001", "200 OK", alice.from, alice.us, "", '$'))

	whole := spell("a002", "SEND", alice.us, alice.from, rest, '$')
	alice.write(whole[:100])
	sleeps(t, an.B())
	bob.write(spell("b002", "REPORT", bob.us, bob.from, "Message-ID: m1.a\nByte-Range: 1-5/5\nStatus: 000 200 OK\n", '$') + "\n\n")
	alice.wants(spell("b002", "REPORT", alice.from, alice.us, "Message-ID: m1.a\nByte-Range: 1-5/5\nStatus: 000 200 OK\n", '$'))
	sleeps(t, an.B()) // alice's reader has waited for longer
	if an.A().Asleep() {
		t.Error("a leg sleeps within a frame")
	}
	alice.write(whole[100:])
	bob.wants(spell("a002", "SEND", bob.from, bob.us, rest, '$'))
	if err := an.Err(); err != nil {
		t.Errorf("Err = %v", err)
	}
}

// Issue 5: who sleeps hears that the peer has gone, and is closed as others are.
func TestSleepersEnd(t *testing.T) {
	t.Parallel()
	left, alice, bob := anchored(t, msrp.AnchorOptions{}, dials, dialed)
	closed, carol, dave := anchored(t, msrp.AnchorOptions{}, dialed, dials)
	sleeps(t, left.A(), left.B(), closed.A(), closed.B())
	_ = alice.nc.Close()
	bob.closed()
	<-left.Done()
	if err := left.Err(); err == nil || !strings.Contains(err.Error(), "leg A: msrp connection lost") {
		t.Errorf("Err = %v", err)
	}
	_ = closed.Close()
	carol.closed()
	dave.closed()
}

// Issue 5: a session whose connection sleeps sends and receives.
func TestIdleSessionsSleepAndWake(t *testing.T) {
	t.Parallel()
	l, ours, theirs := listen(t, msrp.ListenerOptions{}), newInbox(), newInbox()
	passive := msrp.NewSession(msrp.SessionOptions{Local: l.NewURI(), Handler: theirs})
	s := msrp.NewSession(msrp.SessionOptions{Local: msrp.URI{Host: "127.0.0.1", Port: 9, SessionID: msrp.NewSessionID(), Transport: "tcp"}, Remote: msrp.Path{passive.Local()}, Handler: ours})
	passive.SetRemote(msrp.Path{s.Local()})
	t.Cleanup(func() { _, _ = s.Close(), passive.Close() })
	l.Expect(passive)
	if err := s.Connect(within(t), (&net.Dialer{}).DialContext, l.Addr().String(), nil); err != nil {
		t.Fatal(err)
	}
	sleeps(t, s, passive)
	if err := passive.Send(within(t), &msrp.Message{ContentType: "text/plain", Body: strings.NewReader("good morning"), Size: 12}); err != nil {
		t.Errorf("Send = %v", err)
	}
	if got := ours.next(t); !strings.Contains(got, "good morning") {
		t.Errorf("got %q", got)
	}
}
