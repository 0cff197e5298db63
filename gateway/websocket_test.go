package gateway_test

import (
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
