package gateway_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

const browserPage = "https://chat.example.com"

// browserWorld is a gateway whose core and phone speak nothing but WebSocket: SIP (RFC 7118) and MSRP (RFC 7977).
func browserWorld(t *testing.T, msrpListen string) (*gatewaytest.World, *imstest.Browser) {
	t.Helper()
	a := imstest.NewBrowser(t, gatewaytest.Alice, browserPage)
	sip := gatewaytest.FreePort(t)
	w := gatewaytest.New(t, gatewaytest.Plan{SIP: sip, Args: []string{
		"--sip-listen=wss:" + sip, "--sip-core=" + a.Core(), "--im-server=" + a.Core(), "--sip-tls-cert=" + a.Cert, "--sip-tls-key=" + a.Key, "--sip-tls-ca=" + a.Cert,
		"--msrp-listen=" + msrpListen, "--ws-origins=" + browserPage, "--reg-event=none",
	}})
	if got := a.Do("dial", "address", sip).Text; got != "sip" {
		t.Fatalf("the subprotocol is %q", got)
	}
	return w, a
}

// offered are the transports in the paths of the INVITEs that came to a browser.
func offered(a *imstest.Browser) (all []string) {
	for _, e := range a.Events("invite") {
		for l := range strings.SplitSeq(e.SDP, "\r\n") {
			if p, ok := strings.CutPrefix(l, "a=path:"); ok {
				all = append(all, p[:strings.IndexByte(p, ':')]+p[strings.LastIndexByte(p, ';'):])
			}
		}
	}
	return all
}

// B2.09, B4.21: a guest's call to a browser. What the gateway offers to others comes first, and then what a browser can take; texts go both ways,
// keep-alives are answered, and the browser hangs up.
func TestGuestCallsABrowser(t *testing.T) {
	t.Parallel()
	w, a := browserWorld(t, "tcp:127.0.0.1:0,wss:127.0.0.1:0")
	b := w.Guest()
	sent := b.Send(gatewaytest.Alice, "Grüße 👋")
	if got := a.Wait("message", 1)[0]; got.Text != "Grüße 👋" || !strings.HasPrefix(got.Type, "text/plain") {
		t.Fatalf("the browser got %+v", got)
	}
	b.Delivery(sent.ID, "sent")
	if got, want := offered(a), []string{"msrp;tcp", "msrp;tcp", "msrps;ws"}; !slices.Equal(got, want) {
		t.Errorf("offered: %q, want %q", got, want)
	}
	if last := a.Events("invite")[2].SDP; strings.Contains(last, "msrp-cema") {
		t.Errorf("c=/m= are no place for a browser (RFC 6714), and it is told so:\n%s", last)
	}
	if got := a.Do("say", "text", "hello").Status; got != 200 {
		t.Errorf("SEND is answered %d", got)
	}
	b.Message("hello")
	long := strings.Repeat("0123456789", 9_000) // more than one chunk
	b.Send(gatewaytest.Alice, long)
	if got := a.Wait("message", 2)[1].Text; got != long {
		t.Errorf("a long message arrives with %d octets", len(got))
	}
	a.Do("ping")
	a.Wait("pong", 1)
	if got := a.Do("bye").Status; got != 200 {
		t.Errorf("BYE is answered %d", got)
	}
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return w.Dialogs() == 0 })
}

// B2.09, B4.21, F38: a browser's call to a guest, over the connection that it opened. The MSRP connection is cut in the midst of a message, which goes again under its
// Message-ID over the path of a re-INVITE; the browser moves by a re-INVITE of its own; its SIP connection is cut, and once it is back under its
// made-up name (RFC 7118 Appendix B.1), the guest's logout ends the call there.
func TestBrowserCallsAGuestAndConnectionsAreCut(t *testing.T) {
	t.Parallel()
	w, a := browserWorld(t, "wss:127.0.0.1:0")
	b := w.Guest()
	b.Login().Wants(200)
	a.Do("behave", "manner", map[string]any{"address": "192.0.2.1"}) // whatever c=/m= say, nobody connects there
	if got := a.Do("call", "to", b.Account); got.Status != 200 || !strings.Contains(got.Text, "m=message ") || !strings.Contains(got.Text, "a=setup:passive") {
		t.Fatalf("the call is answered %+v", got)
	}
	if got := a.Wait("bound", 1)[0].Status; got != 200 {
		t.Fatalf("bound: %d", got)
	}
	a.Do("say", "text", "first")
	b.Message("first")

	a.Do("behave", "manner", map[string]any{"cut": true})
	sent := b.Send(gatewaytest.Alice, "through a tunnel")
	cut := a.Wait("cut", 1)[0]
	if got := a.Wait("message", 1)[0]; got.Text != "through a tunnel" || got.ID != cut.ID {
		t.Errorf("the message came again as %+v, and was %s", got, cut.ID)
	}
	b.Delivery(sent.ID, "sent")
	if got := len(a.Events("reinvite")); got != 1 {
		t.Errorf("%d re-INVITEs", got)
	}

	if got := a.Do("again"); got.Status != 200 {
		t.Fatalf("a re-INVITE is answered %+v", got)
	}
	a.Wait("bound", 3)
	a.Do("say", "text", "second")
	b.Message("second")

	a.Do("drop", "text", "sip")
	a.Wait("edgeclosed", 1)
	a.Do("say", "text", "SIP is away")
	b.Message("SIP is away")
	a.Do("dial", "address", w.SIP)
	a.Do("moved")
	if got := a.Do("again"); got.Status != 200 {
		t.Fatalf("a re-INVITE over another connection is answered %+v", got)
	}
	a.Wait("bound", 4)
	b.Do("DELETE", b.SessionPath(), "").Wants(204)
	a.Wait("bye", 1)
}

// X2, B2.09, B4.17, B4.21, F38: a browser calls a subscriber's phone through the gateway, which anchors WebSocket on one side and TCP on the other. What the phone sends
// in one piece is divided; after a cut the browser comes again by re-INVITE, and the phone's connection stays.
func TestBrowserChatsWithAPhoneThroughTheGateway(t *testing.T) {
	t.Parallel()
	for _, listen := range []string{"tcp:127.0.0.1:0,wss:127.0.0.1:0", "wss:127.0.0.1:0,tcp:127.0.0.1:0"} {
		t.Run(listen[:3]+" first", func(t *testing.T) {
			t.Parallel()
			browserChatsWithAPhone(t, listen)
		})
	}
}

func browserChatsWithAPhone(t *testing.T, listen string) {
	a := imstest.NewBrowser(t, gatewaytest.Alice, browserPage)
	sip, web := gatewaytest.FreePort(t), gatewaytest.FreePort(t)
	w := gatewaytest.New(t, gatewaytest.Plan{SIP: sip, Args: []string{
		"--sip-listen=udp:" + sip + ",tcp:" + sip + ",wss:" + web, "--sip-tls-cert=" + a.Cert, "--sip-tls-key=" + a.Key,
		"--msrp-listen=" + listen, "--ws-origins=" + browserPage,
	}})
	carol := w.Phone(gatewaytest.Carol, imstest.Manner{})
	a.Do("dial", "address", web)
	got := a.Do("call", "to", gatewaytest.Carol, "routes", []string{"sip:" + web + ";transport=ws;lr", w.Core.URI() + ";lr;orig"})
	if got.Status != 200 || !strings.Contains(got.Text, ";ws\r\n") || !strings.Contains(got.Text, "TCP/TLS/MSRP") {
		t.Fatalf("the call is answered %+v", got)
	}
	if !strings.Contains(got.Contact, web+";transport=ws") {
		t.Errorf("the browser's requests are to go to %s, where it can't connect to", got.Contact)
	}
	if sdp := string(carol.Invites()[0].Body); !strings.Contains(sdp, ";tcp\r\n") || !strings.Contains(sdp, " TCP/MSRP ") {
		t.Errorf("the phone is offered\n%s", sdp)
	}
	a.Wait("bound", 1)
	a.Do("say", "text", "hello Carol")
	if got := texts(t, w, carol, 1); got[0] != "hello Carol" {
		t.Errorf("Carol reads %q", got)
	}
	long := strings.Repeat("0123456789", 20_000)
	for i, text := range []string{"hello Alice", long} {
		if _, err := carol.Send(w.Within(gatewaytest.Patience), gatewaytest.Alice, text); err != nil {
			t.Fatal(err)
		}
		if got := a.Wait("message", i+1)[i].Text; got != text {
			t.Errorf("Alice reads %.20q, %d octets", got, len(got))
		}
	}
	before := carol.Peers()
	a.Do("drop", "text", "msrp")
	a.Wait("msrpclosed", 1)
	again := a.Do("again")
	if again.Status != 200 || !strings.Contains(again.Text, ";ws\r\n") {
		t.Fatalf("the re-INVITE is answered %+v", again)
	}
	// RFC 3264 §8: Carol's phone has changed nothing, but the gateway has, so the version of o= counts on.
	if line := func(sdp string) string { return strings.Split(sdp, "\r\n")[1] }; line(again.Text) == line(got.Text) {
		t.Errorf("another path under the same %s", line(got.Text))
	}
	a.Wait("bound", 2)
	a.Do("say", "text", "back again")
	if got := texts(t, w, carol, 2); got[1] != "back again" {
		t.Errorf("Carol reads %q", got)
	}
	if now := carol.Peers(); !slices.Equal(now, before) {
		t.Errorf("Carol's connections were %q and are %q", before, now)
	}
	if got := a.Do("bye").Status; got != 200 {
		t.Errorf("BYE is answered %d", got)
	}
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return !carol.Chatting(gatewaytest.Alice) })
}

// X2, B4.21, RFC 7977 §5.1: a phone calls a browser through the gateway. Where the way to it says WebSocket, that is what it is offered at first.
func TestPhoneChatsWithABrowserThroughTheGateway(t *testing.T) {
	t.Parallel()
	for _, listen := range []string{"tcp:127.0.0.1:0,wss:127.0.0.1:0", "wss:127.0.0.1:0,tcp:127.0.0.1:0"} {
		t.Run(listen[:3]+" first", func(t *testing.T) {
			t.Parallel()
			a := imstest.NewBrowser(t, gatewaytest.Alice, browserPage)
			w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--sip-tls-ca=" + a.Cert, "--msrp-listen=" + listen, "--ws-origins=" + browserPage}})
			l := newTrunk(t, w)
			l.say(l.offer(w, "browser", gatewaytest.Alice, a.Core()+";lr"))
			ok := l.hear("SIP/2.0 200 ", "Call-ID: browser\r\n")
			if got := offered(a); !slices.Equal(got, []string{"msrps;ws"}) {
				t.Errorf("the browser is offered %q", got)
			}
			if !strings.Contains(ok, ";tcp\r\n") || !strings.Contains(ok, " TCP/MSRP ") {
				t.Errorf("the phone is answered\n%s", ok)
			}
			target := strings.Trim(field(ok, "Contact"), "<>")
			l.say(l.request("ACK", target, "browser", 1, "To: "+field(ok, "To")))
			a.Wait("ack", 1)
			l.say(l.request("BYE", target, "browser", 2, "To: "+field(ok, "To")))
			l.hear("SIP/2.0 200 ", "CSeq: 2 BYE")
		})
	}
}

// offer is an INVITE with MSRP over TCP, that goes on by a Route.
func (l *trunk) offer(w *gatewaytest.World, call, target, route string) string {
	sdp := "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=message 9 TCP/MSRP *\r\na=accept-types:message/cpim text/plain\r\na=setup:active\r\n" +
		"a=path:msrp://127.0.0.1:9/" + call + ";tcp\r\na=msrp-cema\r\n"
	text := l.request("INVITE", target, call, 1, "To: <"+target+">", "Route: <sip:"+w.SIP+";lr>, <"+route+">", "Content-Type: application/sdp")
	return strings.Replace(text, "Content-Length: 0\r\n\r\n", fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(sdp), sdp), 1)
}

// X2, B4.21, RFC 3261 §21.4.26: where nothing tells that who is called is a browser, as behind a core, its 488 does: it is offered a WebSocket, and the caller hears of the second refusal only. Who has no WebSocket
// listener offers once.
func TestBrowserBehindACoreIsOfferedAWebSocketAtLast(t *testing.T) {
	t.Parallel()
	for listen, want := range map[string][]string{
		"tcp:127.0.0.1:0,ws:127.0.0.1:0": {";tcp\r\n", ";ws\r\n"}, "ws:127.0.0.1:0,tcp:127.0.0.1:0": {";tcp\r\n", ";ws\r\n"}, "tcp:127.0.0.1:0": {";tcp\r\n"},
	} {
		w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--msrp-listen=" + listen}})
		l := newTrunk(t, w)
		here := l.conn.LocalAddr().String()
		l.say(l.offer(w, "behind", "sip:c@cc.com", "sip:"+here+";lr"))
		for i, path := range want {
			m := l.hear("INVITE sip:c@cc.com ", fmt.Sprintf("CSeq: %d INVITE", i+1))
			if !strings.Contains(m, path) {
				t.Errorf("%s: offer %d is\n%s", listen, i+1, m)
			}
			l.say(strings.Replace(ok(m, here), "200 OK", "488 Not Acceptable Here", 1))
			l.hear("ACK ", fmt.Sprintf("CSeq: %d ACK", i+1))
		}
		l.hear("SIP/2.0 488 ", "Call-ID: behind\r\n")
		l.say(l.request("ACK", "sip:c@cc.com", "behind", 1, "To: <sip:c@cc.com>"))
	}
}

// B4.21, S5, RFC 6455 §10.2: pages of other sites get no connection, neither for SIP nor for MSRP.
func TestPagesOfOthersMayNotConnect(t *testing.T) {
	t.Parallel()
	w, a := browserWorld(t, "wss:127.0.0.1:0")
	b := w.Guest()
	a.Do("behave", "manner", map[string]any{"origin": "https://evil.example"})
	if got := a.Do("call", "to", b.Account).Status; got != 200 {
		t.Fatalf("the call is answered %d", got)
	}
	if got := a.Wait("msrperror", 1)[0].Text; !strings.Contains(got, "403") {
		t.Errorf("MSRP: %s", got)
	}
	if got := a.Do("dial", "address", w.SIP).Text; !strings.Contains(got, "403") {
		t.Errorf("SIP: %s", got)
	}
}
