package sipua

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey/imstest"
)

func ours(t *testing.T, method sip.RequestMethod, target string) *sip.Request {
	t.Helper()
	req, err := NewRequest(method, target, "sip:b@guest.example", "sip:a@cc.com")
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// B2.12, RFC 7339 §5.9: who has not answered three times in a row gets nothing new but one request after 1 s, 2 s, 4 s and then each 8 s; what belongs to
// a dialog, and emergencies, go all the same; any response ends it.
func TestSilentNextHopIsLeftAlone(t *testing.T) {
	now := time.Now()
	var s silences
	mayGo := func() bool { return s.allows("core", ours(t, sip.INVITE, "sip:a@cc.com"), now) }
	for n := range silentTimes {
		if !mayGo() {
			t.Fatalf("after %d failures it gets nothing", n)
		}
		s.unanswered("core", now)
	}
	for range 97 { // those that were under way
		s.unanswered("core", now)
	}
	for _, hold := range []time.Duration{1, 2, 4, 8, 8} {
		now = now.Add(hold*time.Second - time.Millisecond)
		if mayGo() {
			t.Fatalf("a new request goes within %d s", hold)
		}
		bye := ours(t, sip.BYE, "sip:a@cc.com")
		if !s.allows("core", bye, now) || !s.allows("core", ours(t, sip.INVITE, "urn:service:sos"), now) {
			t.Fatal("a BYE or an emergency is held back")
		}
		if !s.allows("other", ours(t, sip.INVITE, "sip:a@cc.com"), now) {
			t.Fatal("another next hop suffers")
		}
		if now = now.Add(time.Millisecond); !mayGo() || mayGo() {
			t.Fatalf("after %d s not one request goes", hold)
		}
		now = now.Add(hold * time.Second) // its own end
		s.unanswered("core", now)
	}
	if s.count() != 1 {
		t.Errorf("%d are silent", s.count())
	}
	s.answered("core")
	for range 2 {
		if !mayGo() || s.count() != 0 {
			t.Error("it has answered, and gets nothing")
		}
	}
	for n := range 10 * maxSilences { // strangers' hosts fill no memory
		s.unanswered(string(rune(n)), now)
	}
	if len(s.known) > maxSilences {
		t.Errorf("%d are remembered", len(s.known))
	}
}

// The same on the wire: nobody listens, so nothing more is tried; when somebody does, it goes on by itself.
func TestSilentNextHopComesBack(t *testing.T) {
	t.Parallel()
	e := listenLawfully(t, nil)
	held, addr := holdPort(t)
	do := func() error {
		req := ours(t, sip.OPTIONS, "sip:a@cc.com")
		AddRoute(req, "sip:"+addr+";lr;transport=tcp")
		_, err := e.Do(bounded(t), req)
		return err
	}
	for n := range silentTimes {
		if err := do(); err == nil || errors.Is(err, ErrOverload) {
			t.Fatalf("request %d: %v", n, err)
		}
	}
	for err, end := do(), time.Now().Add(patience); !errors.Is(err, ErrOverload); err = do() { // or a slow machine lets the 1 s pass, and then the 2 s
		if err == nil || time.Now().After(end) {
			t.Fatalf("the next one: %v", err)
		}
	}
	if o := e.Overload(); o.Silent != 1 || o.Held[Shed{"OPTIONS", "silence"}] != 1 {
		t.Errorf("overload = %+v", o)
	}
	if err := syscall.Listen(int(held.Fd()), 16); err != nil {
		t.Fatal(err)
	}
	ln, err := net.FileListener(held)
	if err != nil {
		t.Fatal(err)
	}
	held.Close()
	p := &imstest.Wire{TCP: ln, Take: func(w imstest.Writing) { w.Answer(answer(w.Text, "200 OK")) }}
	p.Read()
	t.Cleanup(p.Close)
	for end := time.Now().Add(patience); ; {
		err := do()
		if err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("it is back: %v", err)
		}
		<-time.After(20 * time.Millisecond)
	}
	if n := e.Overload().Silent; n != 0 {
		t.Errorf("%d are silent", n)
	}
}

// F64, B2.12: what is refused is counted by method and reason, with how long requests waited and what neighbours were told.
func TestOverloadIsCounted(t *testing.T) {
	e := &Endpoint{}
	now := time.Now()
	e.load.noteWait(0, 3*time.Millisecond, now)
	e.load.noteWait(0, 3*time.Second, now)
	e.load.mu.Lock()
	d := standing(time.Minute, now)
	e.load.standing, e.load.rate, e.load.in, e.load.begun, e.load.loss = true, d.rate, d.in, d.begun, 0.25
	e.load.mu.Unlock()
	for n, method := range []string{"INVITE", "INVITE", "FETCH", "BYE"} {
		e.load.admit(letterFor(t, ask1(method, n, "")), now)
	}
	e.load.admit(letterFor(t, ask1("INVITE", 9, `;oc;oc-algo="loss"`)), now)
	e.load.hold(maxServing)
	e.load.admit(letterFor(t, ask1("MESSAGE", 10, "")), now)
	o := e.Overload()
	want := map[Shed]uint64{{"INVITE", "queue"}: 3, {"other", "queue"}: 1, {"MESSAGE", "full"}: 1}
	for s, n := range want {
		if o.Shed[s] != n {
			t.Errorf("%v: %d, want %d", s, o.Shed[s], n)
		}
	}
	if len(o.Shed) != len(want) || !o.Rules || o.Percent != 25 || o.Told != 1 || o.Serving != maxServing {
		t.Errorf("overload = %+v", o)
	}
	if o.Waits != 2 || o.WaitSum != 3*time.Second+3*time.Millisecond || o.WaitBelow[time.Millisecond] != 0 || o.WaitBelow[5*time.Millisecond] != 1 || o.WaitBelow[2*time.Second] != 1 {
		t.Errorf("waits %d, %v, %v", o.Waits, o.WaitSum, o.WaitBelow)
	}
}

// F64, B2.14: on the wire, while the law refuses what is new: a dialog's requests and an emergency get through, and who asks whether we are there is
// told so, but by nobody in the rooms.
func TestDialogsAndEmergenciesAreServedUnderOverload(t *testing.T) {
	t.Parallel()
	p := newPeer(t, true)
	var served atomic.Int32
	e := listenLawfully(t, func(tx *Transaction) {
		served.Add(1)
		_ = tx.Respond(200, "", sip.NewHeader("Contact", "<sip:b@guest.example>"))
	})
	e.load.mu.Lock()
	e.load.standing, e.load.rate, e.load.in, e.load.begun, e.load.turned = true, 1, 1000, time.Now().Add(time.Hour), time.Now()
	e.load.admitted[0] = map[uint64]struct{}{}
	e.load.mu.Unlock()
	contact := "+Contact: <sip:a@" + p.addr + ">"
	for n, c := range []struct {
		name    string
		changes []string
		want    string
	}{
		{"a new call", []string{"first=INVITE sip:b@guest.example SIP/2.0", "CSeq: 1 INVITE", contact}, "SIP/2.0 503 Service Unavailable"},
		{"a new message", []string{"first=MESSAGE sip:b@guest.example SIP/2.0", "CSeq: 1 MESSAGE"}, "SIP/2.0 503 Service Unavailable"},
		{"OPTIONS for a guest", nil, "SIP/2.0 503 Service Unavailable"},
		{"OPTIONS on their way", []string{"first=OPTIONS sip:core.example SIP/2.0", "+Route: <sip:guest.example;lr>"}, "SIP/2.0 503 Service Unavailable"},
		{"a ping", []string{"first=OPTIONS sip:guest.example SIP/2.0"}, "SIP/2.0 200 OK"},
		{"an emergency", []string{"first=INVITE urn:service:sos SIP/2.0", "CSeq: 1 INVITE", contact}, "SIP/2.0 200 OK"},
		{"a re-INVITE", []string{"first=INVITE sip:b@guest.example SIP/2.0", "CSeq: 2 INVITE", "To: <sip:b@guest.example>;tag=b", contact}, "SIP/2.0 200 OK"},
		{"a BYE", []string{"first=BYE sip:b@guest.example SIP/2.0", "CSeq: 3 BYE", "To: <sip:b@guest.example>;tag=b"}, "SIP/2.0 200 OK"},
	} {
		p.send("udp", e, p.options(fmt.Sprint("load", n), c.changes...))
		a := p.final()
		if firstLine(a.text) != c.want {
			t.Errorf("%s: %s, want %s", c.name, firstLine(a.text), c.want)
		}
	}
	if n := served.Load(); n != 3 {
		t.Errorf("%d requests are served, want the call's two and the emergency", n)
	}
	if n := e.Overload().Shed[Shed{"OPTIONS", "queue"}]; n != 2 {
		t.Errorf("%d OPTIONS are counted as refused, want 2", n)
	}
}
