package sipua

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"
)

// invite is an INVITE of ours to the peer.
func invite(t *testing.T, p *peer) *sip.Request {
	t.Helper()
	req, err := NewRequest(sip.INVITE, "sip:a@cc.com", "sip:b@guest.example", "sip:a@cc.com")
	if err != nil {
		t.Fatal(err)
	}
	AddRoute(req, "sip:"+p.addr+";lr")
	return req
}

// B2.01: each repeat of a refusal gets an ACK at once, with the INVITE's branch (RFC 3261 §17.1.1.2, §17.1.1.3).
func TestRefusalIsAcknowledgedEachTime(t *testing.T) {
	t.Parallel()
	p := newPeer(t, true)
	e := listen(t, nil)
	tx, err := e.Start(bounded(t), invite(t, p))
	if err != nil {
		t.Fatal(err)
	}
	a := p.next()
	for n := range 3 {
		a.reply(answer(a.text, "486 Busy Here"))
		ack := p.next()
		for strings.HasPrefix(ack.text, "INVITE") { // was repeated before
			ack = p.next()
		}
		if !strings.HasPrefix(ack.text, "ACK ") || get(ack.text, "Via") != get(a.text, "Via") || !strings.Contains(get(ack.text, "To"), "tag=p1") || get(ack.text, "CSeq") != "1 ACK" {
			t.Fatalf("after refusal %d there comes %q", n, ack.text)
		}
	}
	if res := <-tx.Responses(); res.StatusCode != 486 {
		t.Errorf("response = %d", res.StatusCode)
	}
	if n := len(tx.Responses()); n != 0 {
		t.Errorf("%d more responses for one refusal", n)
	}
}

// Whoever reads late gets the final response, however many provisional ones came before it.
func TestFinalResponseWaitsForItsReader(t *testing.T) {
	t.Parallel()
	p := newPeer(t, true)
	e := listen(t, nil)
	tx, err := e.Start(bounded(t), invite(t, p))
	if err != nil {
		t.Fatal(err)
	}
	a := p.next()
	for n := range 5 * roomFor1xx {
		a.reply(answer(a.text, "183 Soon", fmt.Sprint("X-N: ", n)))
	}
	a.reply(answer(a.text, "480 Away"))
	for a.text = ""; !strings.HasPrefix(a.text, "ACK "); a = p.next() { // by then all have been taken
	}
	for {
		res := <-tx.Responses()
		if res.StatusCode == 480 {
			return
		}
		if res.GetHeader("X-N").Value() == "0" {
			t.Error("the oldest has been kept")
		}
	}
}

// Who answers and hangs up has answered, however late that is read (RFC 3261 §17.1.2.2).
func TestAnswerOutlivesItsConnection(t *testing.T) {
	t.Parallel()
	p := newPeer(t, true)
	e := listen(t, nil)
	for range 20 { // a race that is lost half of the time
		tx, err := e.Start(bounded(t), request(t, p, ";transport=tcp"))
		if err != nil {
			t.Fatal(err)
		}
		a := p.next()
		a.reply(answer(a.text, "200 OK"))
		p.HangUp()
		e.mu.Lock()
		link := tx.tx.out.(*link)
		e.mu.Unlock()
		for alive := true; alive; {
			e.mu.Lock()
			_, alive = e.streams[link]
			e.mu.Unlock()
		}
		e.table.lost(link) // it may be about to
		select {
		case res := <-tx.Responses():
			if res.StatusCode != 200 {
				t.Errorf("response = %d", res.StatusCode)
			}
		case <-tx.Done():
			t.Fatalf("answered, it ends with %v", tx.Err())
		}
		tx.Terminate()
	}
}

// RFC 3261 §17.2.1: a 100 has no tag of ours, be it the room's or the transaction's own; all others have the same.
func TestTryingHasNoTag(t *testing.T) {
	t.Parallel()
	p := newPeer(t, true)
	for branch, late := range map[string]bool{"soon": false, "late": true} {
		seen := make(chan struct{})
		e := listen(t, func(tx *Transaction) {
			if !late {
				_ = tx.Respond(100, "")
			}
			<-seen
			_ = tx.Respond(486, "")
		})
		p.send("udp", e, p.options(branch, "first=INVITE sip:b@guest.example SIP/2.0", "CSeq: 1 INVITE", "+Contact: <sip:a@"+p.addr+">"))
		trying := p.fresh().text
		close(seen)
		busy := p.final().text
		if firstLine(trying) != "SIP/2.0 100 Trying" || strings.Contains(get(trying, "To"), "tag=") || !strings.Contains(get(busy, "To"), "tag=") {
			t.Errorf("%s: To is %q, and then %q", firstLine(trying), get(trying, "To"), get(busy, "To"))
		}
	}
}

// An ACK for a 2xx with its INVITE's branch, as some of RFC 2543's time send it, reaches the dialog (RFC 3261 §13.3.1.4).
func TestACKWithTheBranchOfItsINVITE(t *testing.T) {
	t.Parallel()
	p := newPeer(t, true)
	acks := make(chan *sip.Request, 1)
	e := listen(t, func(tx *Transaction) {
		if tx.Request.IsAck() {
			acks <- tx.Request
			return
		}
		_ = tx.Respond(200, "", sip.NewHeader("Contact", "<sip:b@guest.example>"))
	})
	p.send("udp", e, p.options("same", "first=INVITE sip:b@guest.example SIP/2.0", "CSeq: 1 INVITE", "+Contact: <sip:a@"+p.addr+">"))
	to := get(p.final().text, "To")
	p.send("udp", e, p.options("same", "first=ACK sip:b@guest.example SIP/2.0", "CSeq: 1 ACK", "To: "+to))
	select {
	case ack := <-acks:
		if tag, _ := ack.To().Params.Get("tag"); tag == "" {
			t.Error("its To has lost its tag")
		}
	case <-time.After(patience):
		t.Fatal("the ACK is lost")
	}
}

// A request that nobody waits for is repeated until it is answered, and then forgotten (RFC 3261 §17.1.2).
func TestReleasedRequestIsRepeated(t *testing.T) {
	t.Parallel()
	p := newPeer(t, true)
	e := listen(t, nil)
	tx, err := e.Start(context.Background(), request(t, p, ""))
	if err != nil {
		t.Fatal(err)
	}
	tx.Release()
	a := p.next()
	if again := p.next(); again.text != a.text {
		t.Fatalf("%q is followed by %q", a.text, again.text)
	}
	a.reply(answer(a.text, "200 OK"))
	select {
	case <-tx.Done():
	case <-time.After(patience):
		t.Fatal("its transaction stays")
	}
}

// sleeper notes when it was woken.
type sleeper struct{ woken atomic.Int64 }

func (s *sleeper) rested() { s.woken.Store(time.Now().UnixNano()) }

// Those who rest are woken when their time is over, never before, and as many at once as may be (RFC 3261 §17.1.1.2: "at least").
func TestRestIsLongEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r resting
		var all []*sleeper
		var due []time.Time
		for n := range 1000 {
			d := 5 * time.Second
			if n%3 == 0 {
				d = 32 * time.Second
			}
			s := &sleeper{}
			all, due = append(all, s), append(due, time.Now().Add(d))
			r.add(d, s)
			time.Sleep(7 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		for n, s := range all {
			woken := time.Unix(0, s.woken.Load())
			if late := woken.Sub(due[n]); late < 0 || late > pause+time.Millisecond {
				t.Fatalf("sleeper %d was woken at %v, due at %v", n, woken, due[n])
			}
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, l := range r.lines {
			if l.timer != nil || l.queue != nil {
				t.Errorf("the line of %v holds %d", l.time, len(l.queue))
			}
		}
	})
}

// nowhere is an outlet that counts.
type nowhere struct{ written int }

func (n *nowhere) write([]byte) error { n.written++; return nil }
func (n *nowhere) reliable() bool     { return true }

// RFC 3261 §17.1: a request that is about to leave when its endpoint closes stays at home, and is no crash.
func TestRequestIntoAClosingEndpointEnds(t *testing.T) {
	req, err := NewRequest(sip.OPTIONS, "sip:a@cc.com", "sip:b@guest.example", "sip:a@cc.com")
	if err != nil {
		t.Fatal(err)
	}
	b, out := &table{}, &nowhere{}
	b.open()
	tx := newClientTx(b, "key", req, out)
	b.clients["key"] = tx
	b.close()
	if err := tx.begin(); !errors.Is(err, errTerminated) || out.written != 0 {
		t.Errorf("begin = %v, %d writes, want %v and none", err, out.written, errTerminated)
	}
}
