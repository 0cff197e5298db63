package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"latchkey/b2bua"
	"latchkey/msrp/msrpsdp"
)

// testAnchor gives an anchor on listeners of 127.0.0.1, by default one of TCP.
func testAnchor(t *testing.T, listen ...string) (a *anchor, hungUp chan string) {
	t.Helper()
	core := netip.MustParseAddr("127.0.0.1")
	if listen == nil {
		listen = []string{"tcp:127.0.0.1:0"}
	}
	ports, err := openMSRP(listen, nil, nil, core, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { // ends with the ports
		_ = ports.serve(context.Background())
		close(served)
	}()
	hungUp = make(chan string, 1)
	a = (&wire{ports: ports, peers: newPeerPolicy(nil, core), log: slog.New(slog.DiscardHandler)}).newAnchor([2]bool{}, func(reason string) { hungUp <- reason })
	t.Cleanup(func() {
		a.Close()
		ports.close()
		<-served
	})
	return a, hungUp
}

// description has a chat and a phone's voice in it.
func description(version, port int, id, setup string, more ...string) []byte {
	lines := []string{
		"v=0", "o=x 1 " + string(rune('0'+version)) + " IN IP4 10.0.0.1", "s=-", "c=IN IP4 10.0.0.1", "t=0 0", "m=audio 4000 RTP/AVP 0", "a=rtpmap:0 PCMU/8000",
		"m=message " + map[bool]string{true: "7394", false: "0"}[port != 0] + " TCP/MSRP *", "a=accept-types:message/cpim", "a=path:msrp://10.0.0.1:7394/" + id + ";tcp", "a=setup:" + setup,
	}
	return []byte(strings.Join(append(append(lines, more...), ""), "\r\n"))
}

// chat is the MSRP medium of a description that the anchor wrote.
func chat(t *testing.T, sdp []byte, err error) msrpsdp.Medium {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	all, err := msrpsdp.All(sdp)
	if err != nil || len(all) != 1 || all[0].Index != 1 {
		t.Fatalf("%+v, %v in %s", all, err, sdp)
	}
	if !strings.Contains(string(sdp), "\r\nm=audio 4000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n") {
		t.Errorf("the voice has changed: %s", sdp)
	}
	return all[0]
}

// F49, RFC 6714 §4.2, §6.2: whoever has changed c=/m= may answer the offer without CEMA in the peer's place. The leg waits for that one then, and what
// came for it meanwhile waits on; a refusal leaves all as it was.
func TestFallBackIsAnsweredBySomebodyBetween(t *testing.T) {
	for _, refused := range []bool{false, true} {
		a, _ := testAnchor(t)
		type ask struct {
			to       b2bua.Side
			offer    func() ([]byte, error)
			answered func(string, []byte, error)
		}
		asked := make(chan ask, 1)
		a.reoffer = func(to b2bua.Side, offer func() ([]byte, error), answered func(string, []byte, error)) {
			asked <- ask{to, offer, answered}
		}
		elsewhere := func(sdp []byte) []byte {
			return []byte(strings.Replace(string(sdp), "c=IN IP4 10.0.0.1", "c=IN IP4 10.9.9.9", 1))
		}
		o, err := a.Offer("", b2bua.SideA, description(1, 1, "alice-1", "actpass", "a=msrp-cema"))
		toB := chat(t, o, err)
		r, err := a.Answer("b", b2bua.SideB, elsewhere(description(1, 1, "bob-1", "active")))
		chat(t, r, err)
		a.Kept("b")
		first := a.streams[1]
		q := <-asked
		o, err = q.offer()
		again := chat(t, o, err)
		if q.to != b2bua.SideB || !toB.CEMA || again.CEMA || again.Path.String() != toB.Path.String() || !strings.Contains(string(o), "\r\no=x 1 2 IN ") {
			t.Errorf("to %v: %s", q.to, o)
		}
		want := "msrp://10.0.0.1:7394/between-1;tcp"
		if refused {
			want = "msrp://10.0.0.1:7394/bob-1;tcp"
			q.answered("b", nil, errors.New("488"))
		} else {
			q.answered("b", description(2, 1, "between-1", "active"), nil)
		}
		if got := a.streams[1].legs[b2bua.SideB].theirs.Path.String(); a.streams[1] != first || first.joined.Err() != nil || got != want {
			t.Errorf("refused %v: the stream is another one (%v), over (%v), or goes to %s, want %s", refused, a.streams[1] != first, first.joined.Err(), got, want)
		}
		// What Alice offers later counts on from there.
		o, err = a.Offer("b", b2bua.SideA, description(2, 1, "alice-1", "actpass"))
		if later := chat(t, o, err); later.CEMA || !strings.Contains(string(o), "\r\no=x 1 3 IN ") {
			t.Errorf("refused %v: later %s", refused, o)
		}
		if len(asked) > 0 {
			t.Errorf("refused %v: it falls back again", refused)
		}
	}
}

// X2, B4.16, B4.19, RFC 3264 §8: what re-offers do to the legs: a refresh and a hold leave them, a new path makes a new one on its own side alone, port 0
// ends them, and a medium may come again.
func TestReoffersAndTheirLegs(t *testing.T) {
	a, _ := testAnchor(t)
	exchange := func(from b2bua.Side, offer, answer []byte) (there, back msrpsdp.Medium) {
		t.Helper()
		o, err := a.Offer("b", from, offer)
		there = chat(t, o, err)
		r, err := a.Answer("b", from.Other(), answer)
		return there, chat(t, r, err)
	}
	o, err := a.Offer("", b2bua.SideA, description(1, 1, "alice-1", "actpass"))
	toB := chat(t, o, err)
	r, err := a.Answer("b", b2bua.SideB, description(1, 1, "bob-1", "active"))
	toA := chat(t, r, err)
	a.Kept("b")
	if toB.Addr != "127.0.0.1" || toB.Path[0].SessionID == "alice-1" || toB.Setup != msrpsdp.ActPass || toA.Setup != msrpsdp.Passive || toA.Path[0].SessionID == "bob-1" {
		t.Fatalf("towards B %+v, towards A %+v", toB, toA)
	}
	first := a.streams[1]

	hold, held := exchange(b2bua.SideA, description(2, 1, "alice-1", "actpass", "a=sendonly"), description(2, 1, "bob-1", "active", "a=recvonly"))
	if hold.Direction != "sendonly" || held.Direction != "recvonly" || hold.Path.String() != toB.Path.String() || held.Path.String() != toA.Path.String() || a.streams[1] != first {
		t.Errorf("hold: %+v, %+v, want the legs as they are", hold, held)
	}

	there, back := exchange(b2bua.SideB, description(3, 1, "bob-2", "actpass"), description(3, 1, "alice-1", "active"))
	if there.Path.String() != toA.Path.String() || back.Path.String() == toB.Path.String() || a.streams[1] == first {
		t.Errorf("B has moved: towards A %v, towards B %v, want a new path towards B alone", there.Path, back.Path)
	}
	moved := a.streams[1]

	if _, err := a.Offer("b", b2bua.SideA, description(4, 1, "alice-2", "actpass")); err != nil {
		t.Fatal(err)
	}
	a.Rejected("b", b2bua.SideA)
	if a.streams[1] != moved || moved.joined.Err() != nil {
		t.Error("an offer that was rejected has changed the session")
	}

	off, gone := exchange(b2bua.SideA, description(5, 0, "alice-1", "actpass"), description(5, 0, "bob-2", "active"))
	if off.Port != 0 || gone.Port != 0 || len(a.streams) != 0 || moved.joined.Err() == nil {
		t.Errorf("port 0: %+v, %+v, and %d streams", off, gone, len(a.streams))
	}
	exchange(b2bua.SideA, description(6, 1, "alice-3", "actpass"), description(6, 1, "bob-3", "active"))
	if len(a.streams) != 1 {
		t.Error("a medium that comes again has no stream")
	}
	a.Close()
	if len(a.streams) != 0 {
		t.Error("Close leaves a stream")
	}
}

// B2.04, B2.06, RFC 4975 §11.7: of several phones the one that is kept has the session; with a late offer the answer comes last.
func TestForksAndLateOffersAreJoinedOnce(t *testing.T) {
	a, _ := testAnchor(t)
	if _, err := a.Offer("", b2bua.SideA, description(1, 1, "alice", "actpass")); err != nil {
		t.Fatal(err)
	}
	for _, fork := range []string{"b1", "b2"} {
		if _, err := a.Answer(fork, b2bua.SideB, description(1, 1, "at-"+fork, "active")); err != nil {
			t.Fatal(err)
		}
	}
	if len(a.streams) != 0 {
		t.Error("joined before anybody was kept")
	}
	a.Kept("b2")
	if s := a.streams[1]; s == nil || s.legs[b2bua.SideB].theirs.Path[0].SessionID != "at-b2" {
		t.Errorf("stream %+v, want that of b2", s)
	}

	late, _ := testAnchor(t)
	o, err := late.Offer("b", b2bua.SideB, description(1, 1, "bob", "actpass"))
	chat(t, o, err)
	late.Kept("b")
	if len(late.streams) != 0 {
		t.Error("joined without an answer")
	}
	r, err := late.Answer("b", b2bua.SideA, description(1, 1, "alice", "active"))
	chat(t, r, err)
	if s := late.streams[1]; s == nil || s.legs[b2bua.SideA].theirs.Path[0].SessionID != "alice" {
		t.Errorf("stream %+v", s)
	}
}

// X3, X2, RFC 5547: a file's description passes with all that it says; bodies without MSRP pass as they are.
func TestWhatIsNotAboutPlacesPasses(t *testing.T) {
	a, _ := testAnchor(t)
	lines := []string{`a=file-selector:name:"photo 1.jpg" type:image/jpeg size:32349 hash:sha-1:72:24:5F`, "a=file-transfer-id:vBnG916bdberum2fFEABR1FR3ExZMUrd", "a=sendonly", "a=file-range:1-*", "a=max-size:9"}
	o, err := a.Offer("", b2bua.SideA, description(1, 1, "alice", "active", lines...))
	chat(t, o, err)
	if !strings.Contains(string(o), strings.Join(lines, "\r\n")) {
		t.Errorf("the file's lines have changed: %s", o)
	}
	voice := []byte("v=0\r\no=x 1 1 IN IP4 10.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n")
	for _, body := range [][]byte{voice, []byte("nothing of the kind")} {
		if got, err := a.Offer("x", b2bua.SideA, body); err != nil || string(got) != string(body) {
			t.Errorf("%q became %q, %v", body, got, err)
		}
	}
	if _, err := a.Offer("y", b2bua.SideA, []byte(strings.Replace(string(description(1, 1, "alice", "actpass")), "c=IN IP4 10.0.0.1", "c=IN IP4 10.0.0.9", 1))); err == nil {
		t.Error("c=/m= and a=path differ without CEMA, and the offer goes on (RFC 6714 §4.3)")
	}
}

// B4.21, RFC 7977 §5.1: the far side is offered WebSocket where its signalling is by it, or it has refused TCP, and TCP where not, whatever stands first in msrp-listen; a side that came by WebSocket
// is offered it again, and an answer must be of the transport that was offered.
func TestLegsByWebSocket(t *testing.T) {
	browser := func(version int, id string) []byte {
		return []byte(strings.NewReplacer("msrp://10.0.0.1:7394/", "msrp://x.invalid:2855/", ";tcp", ";ws").Replace(string(description(version, 1, id, "active"))))
	}
	phone := func(v int, id string) []byte { return description(v, 1, id, "active") }
	webFirst, tcpFirst := []string{"ws:127.0.0.1:0", "tcp:127.0.0.1:0"}, []string{"tcp:127.0.0.1:0", "ws:127.0.0.1:0"}
	for _, c := range []struct {
		listen      []string
		web         bool // the far side's signalling is by WebSocket
		refuses     bool // it takes the second offer
		far         string
		fits, other func(version int, id string) []byte // who can answer on the far side, and who can't
	}{
		{webFirst, false, false, "tcp", phone, browser}, {tcpFirst, false, false, "tcp", phone, browser},
		{webFirst, true, false, "ws", browser, phone}, {tcpFirst, true, false, "ws", browser, phone},
		{webFirst, false, true, "ws", browser, phone}, {tcpFirst, false, true, "ws", browser, phone},
		{tcpFirst, true, true, "tcp", phone, browser},
	} {
		a, _ := testAnchor(t, c.listen...)
		a.web[b2bua.SideB] = c.web
		o, err := a.Offer("", b2bua.SideA, browser(1, "alice-1"))
		if c.refuses {
			first := a.offers[""].next[1].joined
			if o = a.Again(); o == nil {
				t.Fatalf("%q: there is no other offer", c.listen)
			}
			if a.Again() != nil {
				t.Errorf("%q: there is a third offer", c.listen)
			}
			if first.Err() == nil {
				t.Errorf("%q: the legs of the first offer are waited for", c.listen)
			}
		}
		if far := chat(t, o, err); far.Path[0].Transport != c.far || far.CEMA != (c.far == "tcp") {
			t.Errorf("%q: the far side is offered\n%s", c.listen, o)
		}
		if _, err := a.Answer("b", b2bua.SideB, c.other(1, "bob-1")); !errors.Is(err, msrpsdp.ErrNotAcceptable) {
			t.Errorf("%q: an answer of another transport: %v", c.listen, err)
		}
		r, err := a.Answer("b", b2bua.SideB, c.fits(1, "bob-1"))
		near := chat(t, r, err)
		if near.Path[0].Transport != "ws" || near.Setup != msrpsdp.Passive {
			t.Errorf("%q: the browser is answered\n%s", c.listen, r)
		}
		a.Kept("b")
		if a.Again() != nil {
			t.Errorf("%q: there is another offer once somebody has taken one", c.listen)
		}
		// The connections are lost, and the far side comes again: the browser is offered what it can take.
		_ = a.streams[1].joined.Close()
		o, err = a.Offer("b", b2bua.SideB, c.fits(2, "bob-2"))
		if again := chat(t, o, err); again.Path[0].Transport != "ws" || again.Path.String() == near.Path.String() || again.CEMA {
			t.Errorf("%q: the browser is offered\n%s", c.listen, o)
		}
	}
	// Without a listener for it a browser is refused.
	a, _ := testAnchor(t)
	if _, err := a.Offer("", b2bua.SideA, browser(1, "alice-1")); !errors.Is(err, msrpsdp.ErrNotAcceptable) {
		t.Errorf("without a listener: %v", err)
	}
	if _, err := a.Offer("", b2bua.SideA, phone(1, "alice-1")); err != nil || a.Again() != nil {
		t.Errorf("without a listener there is another offer, or %v", err)
	}
}
