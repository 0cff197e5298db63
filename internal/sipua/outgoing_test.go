package sipua

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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
	return listenWith(t, Options{DNS: n.addr, ServeAll: true}, nil)
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
	p.Go(func() {
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
				req := toCore(t, method)
				res, err := e.Do(bounded(t), req)
				if err != nil || res.StatusCode != 200 || res.Source() != good.addr {
					t.Fatalf("Do = %v, %v", res, err)
				}
				its := func(a arrival) bool { return get(a.text, "Call-ID") == req.CallID().Value() } // others are late repeats of the one before
				a := <-second
				for !its(a) {
					a = <-second
				}
				tried := i == 0 || !c.shunned
				for !tried && len(first) > 0 {
					if b := <-first; its(b) {
						t.Errorf("the bad server was asked again: %s", firstLine(b.text))
					}
				}
				if !tried || !c.tcp {
					continue
				}
				b := <-first
				for !its(b) {
					b = <-first
				}
				if get(a.text, "Via") == get(b.text, "Via") || strings.Replace(a.text, get(a.text, "Via"), get(b.text, "Via"), 1) != b.text {
					t.Errorf("first\n%s\nthen\n%s", b.text, a.text)
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
	tx, err := e.Start(bounded(t), toCore(t, sip.INVITE))
	if err != nil {
		t.Fatal(err)
	}
	no := bad.fresh()
	no.reply(answer(no.text, "503 Busy"))
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
	if ack := bad.fresh(); !strings.HasPrefix(ack.text, "ACK ") { // of the 503
		t.Errorf("%s", ack.text)
	}
	tx.Terminate()
	<-tx.Done()

	settled, err := e.Start(bounded(t), toCore(t, sip.INVITE))
	if err != nil {
		t.Fatal(err)
	}
	settled.Settle()
	no = bad.fresh()
	no.reply(answer(no.text, "503 Busy"))
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
	e := listenWith(t, Options{Listen: []string{"tcp:127.0.0.1:0"}, DNS: n.addr}, nil)
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

// pairOfCores are two peers of which the second stands in for the first.
func pairOfCores(t *testing.T, first, second *peer, params string) (*Endpoint, func(sip.RequestMethod) *sip.Request) {
	t.Helper()
	var hops []sip.Uri
	for _, p := range []*peer{first, second} {
		var u sip.Uri
		if err := sip.ParseUri("sip:"+p.addr+params, &u); err != nil {
			t.Fatal(err)
		}
		hops = append(hops, u)
	}
	e, err := Listen(Options{Listen: []string{"udp:127.0.0.1:0", "tcp:127.0.0.1:0"}, StandIns: hops, ServeAll: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e, func(method sip.RequestMethod) *sip.Request {
		req, err := NewRequest(method, "sip:guest.example", "sip:b@guest.example", "sip:b@guest.example")
		if err != nil {
			t.Fatal(err)
		}
		AddRoute(req, LooseRoute(hops[0].String()))
		AddRoute(req, "<sip:behind.example;lr>")
		return req
	}
}

// B1.22, B2.08: where the core fails, or hears nothing of its registrar, its stand-in takes over, with itself in the Route and what stands behind
// it unchanged; and the core is asked first again when its time is over.
func TestStandInTakesOver(t *testing.T) {
	for _, c := range []struct {
		name, params, status string
		fields               []string
		method               sip.RequestMethod
		tcp, over            bool
	}{
		{"503", "", "503 Busy", []string{"Retry-After: 1"}, sip.REGISTER, true, true},
		{"408 to REGISTER", "", "408 Request Timeout", nil, sip.REGISTER, true, true},
		{"408 to another", "", "408 Request Timeout", nil, sip.MESSAGE, true, false},
		{"403", "", "403 Forbidden", nil, sip.REGISTER, true, false},
		{"silence", "", "", nil, sip.REGISTER, true, true},
		{"refused", ";transport=tcp", "", nil, sip.REGISTER, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			bad, good := newPeer(t, c.tcp), newPeer(t, true)
			e, request := pairOfCores(t, bad, good, c.params)
			answerAll(bad, c.status, c.fields...)
			second := answerAll(good, "200 OK")
			res, err := e.Do(bounded(t), request(c.method))
			if err != nil || (res.Source() == good.addr) != c.over {
				t.Fatalf("Do = %v, %v; want the stand-in asked: %v", res, err, c.over)
			}
			if !c.over {
				return
			}
			text := (<-second).text
			if want := "Route: <sip:" + good.addr + c.params + ";lr>\r\nRoute: <sip:behind.example;lr>\r\n"; !strings.Contains(text, want) {
				t.Errorf("%s\nhas not %s", text, want)
			}
			if n := strings.Count(text, "\r\nRoute:"); n != 2 {
				t.Errorf("%d Routes, want 2", n)
			}
		})
	}
	t.Run("back again", func(t *testing.T) {
		t.Parallel()
		first, second := newPeer(t, true), newPeer(t, true)
		e, request := pairOfCores(t, first, second, "")
		told := make(chan struct{})
		first.Go(func() {
			for {
				select {
				case a := <-first.in:
					select {
					case <-told:
						a.reply(answer(a.text, "200 OK"))
					default:
						a.reply(answer(a.text, "503 Busy", "Retry-After: 2"))
						close(told)
					}
				case <-t.Context().Done():
					return
				}
			}
		})
		taken := answerAll(second, "200 OK")
		begin, tick := time.Now(), time.NewTicker(200*time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			res, err := e.Do(bounded(t), request(sip.REGISTER))
			if err != nil || res.StatusCode != 200 {
				t.Fatalf("Do = %v, %v", res, err)
			}
			if res.Source() == first.addr {
				if waited := time.Since(begin); i == 0 || waited < 2*time.Second {
					t.Errorf("the core is asked again after %v, want 2 s", waited)
				}
				return
			}
			if time.Since(begin) > patience {
				t.Fatal("the core is not asked again")
			}
			<-taken
			<-tick.C
		}
	})
}

// RFC 3263 §4.3: a server that stays silent is left alone longer and longer, until it has answered. Others that find it so meanwhile don't count.
func TestSilentServerIsLeftAloneLongerAndLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s shunned
		bad, good := target{network: "udp", host: "bad"}, target{network: "udp", host: "good"}
		good.addr = netip.MustParseAddrPort("127.0.0.1:5060")
		bad.addr = netip.MustParseAddrPort("127.0.0.1:5070")
		first := func() target { return s.last([]target{bad, good})[0] }
		for _, d := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, longestFor, longestFor} {
			s.silent(bad)
			s.silent(bad)
			time.Sleep(d - time.Second)
			if first() != good {
				t.Errorf("the bad server comes back before %v", d)
			}
			if time.Sleep(2 * time.Second); first() != bad {
				t.Errorf("the bad server is not back after %v", d)
			}
		}
		s.back(bad)
		s.silent(bad)
		if time.Sleep(31 * time.Second); first() != bad {
			t.Error("a silence after an answer counts more than the first one")
		}
	})
}
