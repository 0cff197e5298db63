package sipua

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey/imstest"
)

// RFC 3261 §8.1.1, §18.1.1, RFC 3581: a request leaves from the listening socket, with its Via, and the answer is handed back.
func TestRequestAndResponse(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, true)
			e := listen(t, nil)
			req := request(t, p, ";transport="+network)
			go func() { // ends with the answer
				a := <-p.in
				if a.network != network || network == "udp" && a.from != e.at("udp") {
					t.Errorf("it came from %s by %s", a.from, a.network)
				}
				via := get(a.text, "Via")
				if !strings.HasPrefix(via, "SIP/2.0/"+strings.ToUpper(network)+" "+e.at(network)+";branch=z9hG4bK") || !strings.HasSuffix(via, ";rport") ||
					get(a.text, "User-Agent") != "Latchkey" || get(a.text, "Content-Length") != "0" || get(a.text, "CSeq") != "1 OPTIONS" || get(a.text, "Max-Forwards") != "70" {
					t.Errorf("request\n%s", a.text)
				}
				a.reply(answer(a.text, "100 Trying"))
				a.reply(answer(a.text, "404 Not Found", "Warning: x"))
			}()
			res, err := e.Do(bounded(t), req)
			if err != nil || res.StatusCode != 404 || res.GetHeader("Warning") == nil {
				t.Errorf("Do = %v, %v", res, err)
			}
			if req.Via() != nil {
				t.Error("Do has changed the request")
			}
		})
	}
}

// A final response that belongs to something else is an error, not an answer and not a panic.
func TestResponseThatDoesNotFit(t *testing.T) {
	t.Parallel()
	p := newPeer(t, true)
	e := listen(t, nil)
	go func() {
		a := <-p.in
		a.reply(strings.Replace(answer(a.text, "183 Soon"), ";tag=", ";tag=x", 1))
		a.reply(strings.Replace(answer(a.text, "200 OK"), ";tag=", ";tag=x", 1))
	}()
	if res, err := e.Do(bounded(t), request(t, p, "")); !errors.Is(err, ErrMisfit) || res != nil {
		t.Errorf("Do = %v, %v", res, err)
	}
}

// Do may be called again with the same request.
func TestDoCanBeRepeated(t *testing.T) {
	t.Parallel()
	p := newPeer(t, true)
	e := listen(t, nil)
	req := request(t, p, ";transport=tcp") // no repeats to tell apart
	branches := map[string]bool{}
	for range 3 {
		go func() {
			a := <-p.in
			branches[get(a.text, "Via")] = true
			a.reply(answer(a.text, "183 Soon"))
			a.reply(answer(a.text, "404 Not Found", "Warning: x"))
		}()
		res, err := e.Do(bounded(t), req)
		if err != nil || res.StatusCode != 404 || res.GetHeader("Warning") == nil {
			t.Fatalf("Do = %v, %v", res, err)
		}
	}
	if len(branches) != 3 {
		t.Errorf("%d branches for 3 transactions", len(branches))
	}
}

// RFC 3261 §18.1.1: above 1300 bytes a request goes over TCP with a Via that says so; to a peer without TCP, or from
// us without TCP, it goes over UDP after all.
func TestLargeRequestGoesOverTCP(t *testing.T) {
	t.Parallel()
	both, onlyUDP := listen(t, nil), listen(t, nil, "udp:127.0.0.1:0")
	for _, c := range []struct {
		name string
		e    *Endpoint
		tcp  bool
		size int
		want string
	}{
		{"1300", both, true, 1300, "udp"}, {"1301", both, true, 1301, "tcp"}, {"peer without TCP", both, false, 20000, "udp"}, {"we without TCP", onlyUDP, true, 20000, "udp"},
	} {
		p := newPeer(t, c.tcp)
		send := func(pad int) arrival {
			req := request(t, p, "")
			req.AppendHeader(sip.NewHeader("Subject", strings.Repeat("x", pad)))
			got := make(chan arrival, 1)
			go func() { // ends with the request; those before it may be repeated
				for {
					a := p.next()
					a.reply(answer(a.text, "200 OK"))
					if get(a.text, "Call-ID") == req.CallID().Value() {
						got <- a
						return
					}
				}
			}()
			if _, err := c.e.Do(bounded(t), req); err != nil {
				t.Fatalf("%s: Do = %v", c.name, err)
			}
			return <-got
		}
		small := send(1)
		a := send(1 + c.size - len(small.text))
		if len(a.text) != c.size || a.network != c.want || !strings.HasPrefix(get(a.text, "Via"), "SIP/2.0/"+strings.ToUpper(c.want)+" ") {
			t.Errorf("%s: %d bytes came by %s with Via %s, want %s", c.name, len(a.text), a.network, get(a.text, "Via"), c.want)
		}
	}
}

// RFC 3261 §18.2.2: a response goes the way its request came, however long it is.
func TestLargeResponseGoesOverUDP(t *testing.T) {
	t.Parallel()
	p := newPeer(t, true)
	e := listen(t, func(tx *Transaction) {
		res := tx.Response(200, "")
		res.AppendHeader(sip.NewHeader("Content-Type", "text/plain"))
		res.SetBody([]byte(strings.Repeat("x", 9000)))
		if err := tx.Send(res); err != nil {
			t.Errorf("Send = %v", err)
		}
	})
	p.send("udp", e, p.options("large"))
	if a := p.next(); a.network != "udp" || len(a.text) < 9000 || get(a.text, "Content-Length") != "9000" {
		t.Errorf("%d bytes by %s", len(a.text), a.network)
	}
}

// RFC 3261 §18.2.1, RFC 3581: to where a response goes, and what its Via says.
func TestResponseFindsItsWay(t *testing.T) {
	t.Parallel()
	p := newPeer(t, true)
	other := newPeer(t, true)
	e := listen(t, func(tx *Transaction) { _ = tx.Respond(200, "") })
	_, port, _ := net.SplitHostPort(p.addr)
	p.send("udp", e, p.options("rport", "Via: SIP/2.0/UDP 192.0.2.1:9;branch=z9hG4bKr;rport"))
	a := p.fresh()
	if v := get(a.text, "Via"); !strings.Contains(v, ";rport="+port) || !strings.Contains(v, ";received=127.0.0.1") || get(a.text, "Server") != "Latchkey" {
		t.Errorf("Via = %q", v)
	}
	// Without rport the port is the Via's.
	p.send("udp", e, p.options("no-rport", "Via: SIP/2.0/UDP "+other.addr+";branch=z9hG4bKn"))
	if a := other.fresh(); get(a.text, "Call-ID") != "no-rport" {
		t.Errorf("%s", a.text)
	}
	// All Vias are returned in their order.
	p.send("udp", e, p.options("two", "Via: SIP/2.0/UDP "+p.addr+";branch=z9hG4bKt;rport, SIP/2.0/TCP 192.0.2.9;branch=z9hG4bKu"))
	if a := p.fresh(); strings.Count(a.text, "Via: ") != 2 || !strings.Contains(a.text, "Via: SIP/2.0/TCP 192.0.2.9;branch=z9hG4bKu\r\n") {
		t.Errorf("%s", a.text)
	}
}

// RFC 3261 §17.2.2: a repeat is answered by the transaction, not by the handler again.
func TestRepeatedRequestIsServedOnce(t *testing.T) {
	t.Parallel()
	p := newPeer(t, true)
	var served atomic.Int32
	e := listen(t, func(tx *Transaction) { served.Add(1); _ = tx.Respond(404, "") })
	text := p.options("once")
	p.send("udp", e, text)
	first := p.next()
	for range 3 {
		p.send("udp", e, text)
		if a := p.next(); a.text != first.text {
			t.Errorf("the repeat is answered by\n%s\nwant\n%s", a.text, first.text)
		}
	}
	if n := served.Load(); n != 1 {
		t.Errorf("served %d times", n)
	}
}

// A panic of a handler is a 500 and a line in the log; what comes next is served. After an answer it is the line only.
func TestHandlerPanics(t *testing.T) {
	t.Parallel()
	p := newPeer(t, true)
	e := listen(t, func(tx *Transaction) {
		switch tx.Request.CallID().Value() {
		case "answered":
			_ = tx.Respond(404, "")
			panic("after")
		case "fine":
			_ = tx.Respond(200, "")
		default:
			panic("before")
		}
	})
	for _, c := range []struct{ id, method, want string }{
		{"panics", "OPTIONS", "SIP/2.0 500 Server Internal Error"}, {"answered", "OPTIONS", "SIP/2.0 404 Not Found"}, {"again", "INVITE", "SIP/2.0 500 Server Internal Error"}, {"fine", "OPTIONS", "SIP/2.0 200 OK"},
	} {
		text := strings.ReplaceAll(p.options(c.id, "Contact: <sip:a@"+p.addr+">"), "OPTIONS", c.method)
		p.send("udp", e, text)
		if a := p.final(); firstLine(a.text) != c.want {
			t.Errorf("%s: %s, want %s", c.id, firstLine(a.text), c.want)
		}
		if c.method == "INVITE" {
			p.send("udp", e, strings.ReplaceAll(text, "INVITE", "ACK"))
			p.send("udp", e, strings.Replace(strings.ReplaceAll(text, "INVITE", "ACK"), "branch=z9hG4bK", "branch=z9hG4bKx", 1))
			continue
		}
		p.send("udp", e, text)
		for {
			a := p.next()
			if get(a.text, "Call-ID") != c.id {
				continue // the 500 of the INVITE, until its ACK is there
			}
			if firstLine(a.text) != c.want {
				t.Errorf("%s, repeated: %s, want %s", c.id, firstLine(a.text), c.want)
			}
			break
		}
	}
}

// Without a handler there is 503.
func TestNobodyServes(t *testing.T) {
	t.Parallel()
	p := newPeer(t, true)
	e := listen(t, nil)
	p.send("tcp", e, p.options("x", "Via: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKx"))
	if a := p.next(); firstLine(a.text) != "SIP/2.0 503 Service Unavailable" || get(a.text, "Retry-After") != "5" {
		t.Errorf("%s", a.text)
	}
}

// RFC 3261 §8.2.6.2, §9.2: one tag is in all responses, in the 487 that sipgo sends as well, and the
// caller's leaving is told. OnEnd tells of any end.
func TestOneTagIsInAllResponses(t *testing.T) {
	t.Parallel()
	p := newPeer(t, true)
	chosen := make(chan string, 1)
	cancelled, over, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	e := listen(t, func(tx *Transaction) {
		chosen <- tx.Tag
		if !tx.OnCancel(func(*sip.Request) { close(cancelled) }) || !tx.OnEnd(func() { close(ended) }) {
			t.Error("it is over already")
		}
		_ = tx.Respond(180, "")
		<-over
	})
	text := strings.ReplaceAll(p.options("x", "Contact: <sip:a@"+p.addr+">"), "OPTIONS", "INVITE")
	p.send("udp", e, text)
	ringing := p.final()
	p.send("udp", e, strings.ReplaceAll(text, "INVITE", "CANCEL"))
	if a := p.fresh(); firstLine(a.text) != "SIP/2.0 200 OK" || get(a.text, "CSeq") != "1 CANCEL" {
		t.Errorf("%s", a.text)
	}
	no := p.fresh()
	if firstLine(no.text) != "SIP/2.0 487 Request Terminated" || get(no.text, "To") != "<sip:b@guest.example>;tag="+<-chosen || get(ringing.text, "To") != get(no.text, "To") {
		t.Errorf("180 to %s, then\n%s", get(ringing.text, "To"), no.text)
	}
	<-cancelled
	close(over)
	p.send("udp", e, strings.ReplaceAll(text, "INVITE", "ACK"))
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("OnEnd is not called")
	}
}

// RFC 3261 §9.2: a CANCEL has 200 where what it is for is there, whatever its method, and 481 is for its room to say where it is not. What is no INVITE goes on.
func TestCancelIsAnsweredForAnyMethod(t *testing.T) {
	t.Parallel()
	p := newPeer(t, true)
	let := make(chan struct{})
	e := listen(t, func(tx *Transaction) {
		if tx.Request.Method == sip.CANCEL {
			_ = tx.Respond(481, "")
			return
		}
		<-let
		_ = tx.Respond(200, "")
	})
	for i, method := range []string{"OPTIONS", "MESSAGE", "REFER", "BYE"} {
		asked, other := fmt.Sprint("asked", i), fmt.Sprint("other", i)
		text := strings.ReplaceAll(p.options(asked), "OPTIONS", method)
		if method == "REFER" {
			text = strings.Replace(text, "CSeq:", "Refer-To: <sip:d@cc.com>\r\nContact: <sip:a@"+p.addr+">\r\nCSeq:", 1)
		}
		p.send("udp", e, text)
		imstest.Eventually(t, patience, func() bool { return e.Overload().Serving == 1 })
		for _, c := range []struct{ branch, want string }{{asked, "SIP/2.0 200 OK"}, {other, "SIP/2.0 481 Call/Transaction Does Not Exist"}} {
			p.send("udp", e, strings.ReplaceAll(p.options(c.branch), "OPTIONS", "CANCEL"))
			if a := p.fresh(); firstLine(a.text) != c.want || get(a.text, "CSeq") != "1 CANCEL" {
				t.Errorf("CANCEL of %s: %s", method, a.text)
			}
		}
		let <- struct{}{}
		if a := p.fresh(); firstLine(a.text) != "SIP/2.0 200 OK" || get(a.text, "CSeq") != "1 "+method {
			t.Errorf("%s after its CANCEL: %s", method, a.text)
		}
	}
}

// RFC 3261 §17.1.2.2 and the transports: why there is no answer.
func TestNoAnswer(t *testing.T) {
	t.Parallel()
	p := newPeer(t, true)
	deaf := newPeer(t, false)
	e := listen(t, nil)
	short, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	gone, leave := context.WithCancel(t.Context())
	leave()
	for _, c := range []struct {
		name string
		ctx  context.Context
		req  func() *sip.Request
		want error
	}{
		{"timer F", bounded(t), func() *sip.Request { return request(t, p, "") }, ErrTimeout},
		{"deadline", short, func() *sip.Request { return request(t, p, "") }, ErrTimeout},
		{"cancelled", gone, func() *sip.Request { return request(t, p, "") }, context.Canceled},
		{"nobody listens", bounded(t), func() *sip.Request { return request(t, deaf, ";transport=tcp") }, ErrTransport},
		{"TLS", bounded(t), func() *sip.Request { return request(t, deaf, ";transport=tls") }, ErrTransport},
		{"sips", bounded(t), func() *sip.Request {
			req, _ := NewRequest(sip.OPTIONS, "sips:a@"+deaf.addr, "sip:b@guest.example", "sip:a@cc.com")
			return req
		}, ErrTransport},
		{"tel without route", bounded(t), func() *sip.Request {
			req, _ := NewRequest(sip.OPTIONS, "tel:+86138", "sip:b@guest.example", "tel:+86138")
			return req
		}, ErrTransport},
	} {
		if res, err := e.Do(c.ctx, c.req()); !errors.Is(err, c.want) || res != nil {
			t.Errorf("%s: Do = %v, %v, want %v", c.name, res, err, c.want)
		}
	}
	// The connection breaks.
	go func() {
		for a := p.next(); a.network != "tcp"; a = p.next() {
		}
		p.HangUp()
	}()
	if res, err := e.Do(bounded(t), request(t, p, ";transport=tcp")); !errors.Is(err, ErrTransport) || res != nil {
		t.Errorf("broken connection: Do = %v, %v", res, err)
	}
}

// Close ends what is under way, with an error for those who wait, and connections with it.
func TestCloseEndsWhatWaits(t *testing.T) {
	t.Parallel()
	p := newPeer(t, true)
	e := listen(t, func(tx *Transaction) { _ = tx.Respond(200, "") })
	waiting := make(chan error, 20)
	for i := range cap(waiting) {
		transport := []string{"", ";transport=tcp"}[i%2]
		go func() { // ends by Close
			res, err := e.Do(context.Background(), request(t, p, transport))
			if res != nil {
				t.Errorf("Do = %v", res)
			}
			waiting <- err
		}()
	}
	seen := map[string]bool{}
	for len(seen) < cap(waiting) {
		seen[get(p.next().text, "Call-ID")] = true
	}
	p.send("tcp", e, p.options("x", "Via: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKx"))
	for !strings.HasPrefix(p.next().text, "SIP/2.0 200 ") {
	}
	if err := e.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	for range cap(waiting) {
		select {
		case err := <-waiting:
			if !errors.Is(err, ErrTransport) {
				t.Errorf("Do = %v, want %v", err, ErrTransport)
			}
		case <-time.After(patience):
			t.Fatal("Do outlives Close")
		}
	}
	if err := e.Close(); err != nil {
		t.Errorf("second Close = %v", err)
	}
	p.UDP.Close() // the readers of connections end by themselves
	p.TCP.Close()
	over := make(chan struct{})
	go func() { p.Wait(); close(over) }() // ends with the last reader
	select {
	case <-over:
	case <-time.After(patience):
		t.Error("a connection outlives Close")
	}
}

// What can't be listened on is said, and nothing stays open.
func TestListenFails(t *testing.T) {
	t.Parallel()
	e := listen(t, nil)
	for _, l := range [][]string{{"tls:127.0.0.1:0"}, {"wss:127.0.0.1:0"}, {"sctp:127.0.0.1:0"}, {"127.0.0.1:0"}, {"udp:127.0.0.1:99999"}, {"udp:127.0.0.1:0", "tcp:" + e.at("tcp")}, {"udp:" + e.at("udp")}} {
		if f, err := Listen(Options{Listen: l}); err == nil {
			t.Errorf("Listen(%q) is fine", l)
			f.Close()
		}
	}
}

// A request right after Listen leaves from the listening socket.
func TestListenIsReadyWhenItReturns(t *testing.T) {
	t.Parallel()
	p := newPeer(t, false)
	for range 50 {
		e := listen(t, nil, "udp:127.0.0.1:0")
		req := request(t, p, "")
		tx, err := e.Start(bounded(t), req)
		if err != nil {
			t.Fatalf("Start = %v", err)
		}
		a := p.next()
		for get(a.text, "Call-ID") != req.CallID().Value() {
			a = p.next()
		}
		if a.from != e.at("udp") {
			t.Errorf("it came from %s, want %s", a.from, e.at("udp"))
		}
		tx.Terminate()
		_ = e.Close()
	}
}

// A listener on all addresses tells peers one that they can reach.
func TestListenerOnAllAddresses(t *testing.T) {
	t.Parallel()
	e := listen(t, nil, "udp:0.0.0.0:0", "tcp:0.0.0.0:0")
	for _, network := range []string{"udp", "tcp"} {
		p := newPeer(t, true)
		_, port, _ := net.SplitHostPort(e.at(network))
		go func() {
			a := <-p.in
			if want := fmt.Sprintf("SIP/2.0/%s 127.0.0.1:%s;", strings.ToUpper(network), port); !strings.HasPrefix(get(a.text, "Via"), want) {
				t.Errorf("Via = %q, want %s", get(a.text, "Via"), want)
			}
			a.reply(answer(a.text, "200 OK"))
		}()
		req := request(t, p, ";transport="+network)
		if _, err := e.Do(bounded(t), req); err != nil {
			t.Errorf("Do = %v", err)
		}
		c := e.Contact("b", req.Route().Address)
		if want := "sip:b@127.0.0.1:" + port; !strings.HasPrefix(c.String(), want) {
			t.Errorf("Contact = %s, want %s", c.String(), want)
		}
	}
}

func TestContact(t *testing.T) {
	t.Parallel()
	both, onlyTCP, none := listen(t, nil), listen(t, nil, "tcp:127.0.0.1:0"), &Endpoint{stopped: context.Background()}
	for _, c := range []struct {
		e         *Endpoint
		hop, want string
	}{
		{both, "sip:core", "sip:b@" + both.at("udp")}, {both, "sip:core;transport=TCP", "sip:b@" + both.at("tcp") + ";transport=tcp"},
		{both, "sip:core;transport=ws", "sip:b@" + both.at("udp")}, {onlyTCP, "sip:core", "sip:b@" + onlyTCP.at("tcp") + ";transport=tcp"}, {none, "sip:core", "sip:b@127.0.0.1:5060"},
	} {
		var hop sip.Uri
		if err := sip.ParseUri(c.hop, &hop); err != nil {
			t.Fatal(err)
		}
		if got := c.e.Contact("b", hop); got.String() != c.want {
			t.Errorf("Contact by %s = %s, want %s", c.hop, got.String(), c.want)
		}
	}
}

// S7: no text of somebody else's makes another field or URI.
func TestNewRequestRefusesWhatIsNoURI(t *testing.T) {
	for _, uri := range []string{"", "a@cc.com", "sip:a@cc.com\r\nX: y", "sip:a@cc.com\n", "sip:a b@cc.com", "sip:a@cc.com>", `sip:"a"@cc.com`, "sip:a@cc.com\x00", "*x"} {
		for i := range 3 {
			u := []string{"sip:a@cc.com", "sip:b@guest.example", "sip:a@cc.com"}
			u[i] = uri
			if _, err := NewRequest(sip.OPTIONS, u[0], u[1], u[2]); err == nil {
				t.Errorf("NewRequest with %q is fine", u)
			}
		}
	}
	req, err := NewRequest(sip.MESSAGE, "tel:+86138", "sip:b@guest.example", "tel:+86138")
	if err != nil || !strings.HasPrefix(req.String(), "MESSAGE tel:+86138 SIP/2.0\r\nFrom: <sip:b@guest.example>;tag=") {
		t.Errorf("NewRequest = %v, %v", req, err)
	}
}

func TestRoutes(t *testing.T) {
	req := sip.NewRequest(sip.OPTIONS, sip.Uri{})
	for _, r := range []string{"", "sip:p1;lr", "<sip:p2>"} {
		AddRoute(req, r)
	}
	if got := req.String(); !strings.Contains(got, "Route: <sip:p1;lr>\r\nRoute: <sip:p2>\r\n") {
		t.Errorf("%s", got)
	}
	for uri, want := range map[string]string{"sip:p1": "sip:p1;lr", "sip:p1;lr;x=1": "sip:p1;lr;x=1", "sip:p1:5070;transport=tcp": "sip:p1:5070;transport=tcp;lr", "": "", "nonsense": "nonsense"} {
		if got := LooseRoute(uri); got != want {
			t.Errorf("LooseRoute(%q) = %q, want %q", uri, got, want)
		}
	}
}

func TestReasonHasAPhraseForEachCode(t *testing.T) {
	for code, want := range map[int]string{100: "Trying", 199: "Session Progress", 204: "OK", 305: "Redirected", 486: "Busy Here", 499: "Request Failure", 599: "Server Failure", 699: "Global Failure", 481: "Call/Transaction Does Not Exist"} {
		if got := Reason(code); got != want {
			t.Errorf("Reason(%d) = %q, want %q", code, got, want)
		}
	}
}
