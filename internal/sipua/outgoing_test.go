package sipua

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
)

// servers are two peers behind one name, the first of which is asked first.
func servers(t *testing.T, network string, first, second *peer) *Endpoint {
	t.Helper()
	var zone []string
	for i, p := range []*peer{first, second} {
		_, port, _ := net.SplitHostPort(p.addr)
		zone = append(zone, fmt.Sprintf("_sip._%s.core.example. 60 IN SRV %d 0 %s p.core.example.", network, i+1, port))
	}
	n := newNameServer(t, append(zone, "p.core.example. 60 IN A 127.0.0.1")...)
	e, err := Listen(Options{Listen: []string{"udp:127.0.0.1:0", "tcp:127.0.0.1:0"}, UserAgent: "Latchkey", DNS: n.addr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

func toCore(t *testing.T, method sip.RequestMethod) *sip.Request {
	t.Helper()
	req, err := NewRequest(method, "sip:a@cc.com", "sip:b@guest.example", "sip:a@cc.com")
	if err != nil {
		t.Fatal(err)
	}
	AddRoute(req, "sip:core.example;lr")
	return req
}

// answerAll answers what comes until the test ends, and tells of it.
func answerAll(p *peer, status string, fields ...string) <-chan arrival {
	seen := make(chan arrival, 64)
	p.running.Go(func() {
		for {
			select {
			case a := <-p.in:
				seen <- a
				if !strings.HasPrefix(a.text, "ACK ") && status != "" {
					a.reply(answer(a.text, status, fields...))
				}
			case <-p.t.Context().Done():
				return
			}
		}
	})
	return seen
}

// B2.08, RFC 3263 §4.3, RFC 3261 §21.5.4: a server that says 503, that says nothing, or that can't be connected to, is followed by the next
// one; the request is the same but for its branch; and the next request passes the bad server over.
func TestNextServerAnswersWhereOneFails(t *testing.T) {
	for _, c := range []struct {
		name, network, status string
		fields                []string
		tcp, shunned          bool
	}{
		{"503 with Retry-After", "udp", "503 Busy", []string{"Retry-After: 60 (busy)"}, true, true},
		{"503 without", "udp", "503 Busy", nil, true, false},
		{"503 over TCP", "tcp", "503 Busy", []string{"Retry-After: 60"}, true, true},
		{"silence", "udp", "", nil, true, true},
		{"refused", "tcp", "", nil, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			bad, good := newPeer(t, c.tcp), newPeer(t, true)
			e := servers(t, c.network, bad, good)
			first, second := answerAll(bad, c.status, c.fields...), answerAll(good, "200 OK")
			for i, method := range []sip.RequestMethod{sip.OPTIONS, sip.MESSAGE} {
				res, err := e.Do(bounded(t), toCore(t, method))
				if err != nil || res.StatusCode != 200 || res.Source() != good.addr {
					t.Fatalf("Do = %v, %v", res, err)
				}
				a := <-second
				tried := i == 0 || !c.shunned
				if !tried && len(first) > 0 {
					t.Errorf("the bad server was asked again: %s", firstLine((<-first).text))
				}
				if !tried || !c.tcp {
					continue
				}
				b := <-first
				if get(a.text, "Via") == get(b.text, "Via") || strings.Replace(a.text, get(a.text, "Via"), get(b.text, "Via"), 1) != b.text {
					t.Errorf("first\n%s\nthen\n%s", b.text, a.text)
				}
				for len(first) > 0 { // repeats
					<-first
				}
			}
		})
	}
}

// Nobody is left out when all are bad: the last answer counts.
func TestLastServersAnswerCounts(t *testing.T) {
	t.Parallel()
	one, two := newPeer(t, true), newPeer(t, true)
	e := servers(t, "udp", one, two)
	answerAll(one, "503 Busy", "Retry-After: 60")
	answerAll(two, "503 Busy too", "Retry-After: 60")
	for range 2 {
		res, err := e.Do(bounded(t), toCore(t, sip.OPTIONS))
		if err != nil || res.StatusCode != 503 {
			t.Errorf("Do = %v, %v", res, err)
		}
	}
	deaf, dumb := newPeer(t, false), newPeer(t, false)
	if _, err := servers(t, "tcp", deaf, dumb).Do(bounded(t), toCore(t, sip.OPTIONS)); !errors.Is(err, ErrTransport) {
		t.Errorf("Do = %v", err)
	}
}

// B2.03, B2.08: an INVITE goes on at the next server, with its CANCEL and its ACK; a final response other than 503 is final, and one that was
// settled stays where it is.
func TestInviteGoesOnAtTheNextServer(t *testing.T) {
	t.Parallel()
	bad, good := newPeer(t, true), newPeer(t, true)
	e := servers(t, "udp", bad, good)
	first := answerAll(bad, "503 Busy")
	tx, err := e.Start(bounded(t), toCore(t, sip.INVITE))
	if err != nil {
		t.Fatal(err)
	}
	a := good.fresh()
	a.reply(answer(a.text, "180 Ringing"))
	if res := <-tx.Responses(); res.StatusCode != 180 {
		t.Errorf("%v", res)
	}
	if get(tx.Sent().String(), "Via") != get(a.text, "Via") {
		t.Errorf("Sent = %v, but there came\n%s", tx.Sent(), a.text)
	}
	a.reply(answer(a.text, "486 Busy Here"))
	if res := <-tx.Responses(); res.StatusCode != 486 {
		t.Errorf("%v", res)
	}
	if ack := good.fresh(); !strings.HasPrefix(ack.text, "ACK ") || get(ack.text, "Via") != get(a.text, "Via") {
		t.Errorf("%s", ack.text)
	}
	for got := <-first; !strings.HasPrefix(got.text, "ACK "); got = <-first { // of the 503
	}
	tx.Terminate()
	<-tx.Done()

	settled, err := e.Start(bounded(t), toCore(t, sip.INVITE))
	if err != nil {
		t.Fatal(err)
	}
	settled.Settle()
	if res := <-settled.Responses(); res.StatusCode != 503 {
		t.Errorf("%v", res)
	}
	settled.Terminate()
	<-settled.Done()
	if err := EndError(settled); !errors.Is(err, ErrTransport) {
		t.Errorf("EndError = %v", err)
	}
}

// RFC 8305 §5: where an address doesn't answer at all, the next one of the same host is tried beside it.
func TestDeafAddressDelaysLittle(t *testing.T) {
	t.Parallel()
	p := newPeer(t, true)
	seen := answerAll(p, "200 OK")
	_, port, _ := net.SplitHostPort(p.addr)
	// An address where SYNs vanish can't be had on loopback; one that refuses shows the order, v6 first.
	n := newNameServer(t, "core.example. 60 IN AAAA ::1", "core.example. 60 IN A 127.0.0.1")
	e, err := Listen(Options{Listen: []string{"tcp:127.0.0.1:0"}, DNS: n.addr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	req, _ := NewRequest(sip.OPTIONS, "sip:core.example:"+port+";transport=tcp", "sip:b@guest.example", "sip:a@cc.com")
	if res, err := e.Do(bounded(t), req); err != nil || res.StatusCode != 200 {
		t.Errorf("Do = %v, %v", res, err)
	}
	if a := <-seen; a.network != "tcp" {
		t.Errorf("%v", a)
	}
}

// The caller's end ends the search.
func TestCancelledWhileSearching(t *testing.T) {
	t.Parallel()
	bad, good := newPeer(t, true), newPeer(t, true)
	e := servers(t, "udp", bad, good)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Do(ctx, toCore(t, sip.OPTIONS)); !errors.Is(err, context.Canceled) && !errors.Is(err, ErrTransport) {
		t.Errorf("Do = %v", err)
	}
}
