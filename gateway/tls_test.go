package gateway_test

import (
	"crypto/tls"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

// listens is the option msrp-listen; it wins over the world's own.
func listens(l string) gatewaytest.Plan {
	return gatewaytest.Plan{Args: []string{"--msrp-listen=" + l}}
}

const (
	tlsAlone = "tls:127.0.0.1:0"
	tlsFirst = "tls:127.0.0.1:0,tcp:127.0.0.1:0"
	tcpFirst = "tcp:127.0.0.1:0,tls:127.0.0.1:0"
)

// chat sends a text each way and looks that both arrive.
func chat(t *testing.T, w *gatewaytest.World, a *imstest.Phone, b *gatewaytest.Guest) {
	t.Helper()
	sent := b.Send(gatewaytest.Alice, "to Alice")
	if got, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1); err != nil || got[0].Text != "to Alice" {
		t.Fatalf("Alice got %+v, %v", got, err)
	}
	b.Delivery(sent.ID, "delivered")
	if _, err := a.Send(w.Within(gatewaytest.Patience), b.Account, "to the guest"); err != nil {
		t.Fatal(err)
	}
	b.Message("to the guest")
}

// transports are the m= lines of the INVITEs that came to a phone.
func transports(a *imstest.Phone) []string {
	var all []string
	for _, m := range a.Invites() {
		for l := range strings.SplitSeq(string(m.Body), "\r\n") {
			if f := strings.Fields(l); strings.HasPrefix(l, "m=") && len(f) > 2 {
				all = append(all, f[2])
			}
		}
	}
	return all
}

// B4.22, F50: a chat over TLS with the right fingerprints, whoever connects. The phone's own code compares the gateway's certificate
// with its description and has none of its own signed by anybody.
func TestChatOverTLSGoesByFingerprints(t *testing.T) {
	t.Parallel()
	for _, setup := range []string{"active", "passive"} {
		for _, print := range []string{"", "SHA-1"} {
			t.Run(setup+" "+print, func(t *testing.T) {
				t.Parallel()
				w := gatewaytest.New(t, listens(tlsAlone))
				a := w.Phone(gatewaytest.Alice, imstest.Manner{Setup: setup, Transport: "tls", Fingerprint: print})
				b := w.Guest()
				chat(t, w, a, b)
				if got := transports(a); !slices.Equal(got, []string{"TCP/TLS/MSRP"}) {
					t.Errorf("offered: %q", got)
				}
			})
		}
	}
}

// F31, B4.22: an inviter's own call over TLS is answered with TLS, also where calls of ours offer TCP.
func TestCallOverTLSIsAnsweredWithTLS(t *testing.T) {
	t.Parallel()
	for _, listen := range []string{tlsAlone, tcpFirst} {
		t.Run(listen, func(t *testing.T) {
			t.Parallel()
			w := gatewaytest.New(t, listens(listen))
			a := w.Phone(gatewaytest.Alice, imstest.Manner{Transport: "tls"})
			b := w.Guest()
			b.Login().Wants(200)
			if _, err := a.Send(w.Within(gatewaytest.Patience), b.Account, "hello"); err != nil {
				t.Fatal(err)
			}
			b.Message("hello")
			b.Send(gatewaytest.Alice, "hello to you")
			if got, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1); err != nil || got[0].Text != "hello to you" {
				t.Fatalf("Alice got %+v, %v", got, err)
			}
		})
	}
}

// F50: whoever shows another certificate than the description names gets no chat: the connection is closed, the call ended by BYE, and the
// guest is told. Nothing is sent in plain text instead.
func TestOtherCertificateEndsTheCall(t *testing.T) {
	t.Parallel()
	wrong := "SHA-256" + strings.Replace(strings.Repeat(":00", 32), ":", " ", 1)
	for _, c := range []struct{ setup, print string }{{"active", wrong}, {"passive", wrong}, {"passive", "none"}} {
		t.Run(c.setup+" "+c.print[:4], func(t *testing.T) {
			t.Parallel()
			w := gatewaytest.New(t, listens(tlsFirst))
			a := w.Phone(gatewaytest.Alice, imstest.Manner{Setup: c.setup, Fingerprint: c.print})
			b := w.Guest()
			sent := b.Send(gatewaytest.Alice, "secret")
			if e := b.Delivery(sent.ID, "failed"); e.Message.Reason == "" {
				t.Error("no reason")
			}
			if _, err := a.Wait(w.Within(gatewaytest.Patience), "hangup", 1); err != nil {
				t.Error("no BYE")
			}
			if got := transports(a); !slices.Equal(got, []string{"TCP/TLS/MSRP"}) {
				t.Errorf("offered: %q; a wrong certificate is no reason to go on without", got)
			}
			if got := append(a.Events("message"), a.Events("bound")...); len(got) != 0 {
				t.Errorf("the phone got %+v", got)
			}
			if log := w.Log.String(); c.print == wrong && !strings.Contains(log, "certificate does not match a=fingerprint") {
				t.Error("the log does not say why")
			}
		})
	}
}

// F50: the same where the inviter calls. Nobody hears what such a connection says.
func TestCallerWithAnotherCertificateIsHungUpOn(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, listens(tlsAlone))
	a := w.Phone(gatewaytest.Alice, imstest.Manner{Transport: "tls", Fingerprint: "SHA-1" + strings.Replace(strings.Repeat(":00", 20), ":", " ", 1)})
	b := w.Guest()
	b.Login().Wants(200)
	if _, err := a.Send(w.Within(gatewaytest.Patience), b.Account, "psst"); err == nil {
		t.Error("the message was taken")
	}
	if _, err := a.Wait(w.Within(gatewaytest.Patience), "hangup", 1); err != nil {
		t.Error("no BYE")
	}
	a.Behave(func(m *imstest.Manner) { m.Fingerprint = "" })
	if _, err := a.Send(w.Within(gatewaytest.Patience), b.Account, "it's me"); err != nil {
		t.Fatal(err)
	}
	for _, e := range b.Events(func(e gatewaytest.Event) bool { return e.Type == "message" && e.Message.Text == "it's me" }) {
		if e.Type == "message" && e.Message.Text == "psst" {
			t.Error("the guest got the message of the stranger")
		}
	}
}

// F50, B4.22: who offers what the gateway has no listener for gets 488, and so does a description whose fingerprint can't be read.
func TestOfferWithoutAListenerForItIs488(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ listen, transport, print string }{{tlsAlone, "tcp", ""}, {"tcp:127.0.0.1:0", "tls", ""}, {tcpFirst, "tls", "MD5 00:00"}} {
		w := gatewaytest.New(t, listens(c.listen))
		a := w.Phone(gatewaytest.Alice, imstest.Manner{Transport: c.transport, Fingerprint: c.print})
		b := w.Guest()
		if _, err := a.Call(w.Within(gatewaytest.Patience), b.Account); err == nil || !strings.Contains(err.Error(), "488") {
			t.Errorf("%+v: %v, want 488", c, err)
		}
	}
}

// F35: 488, or an answer with port 0, to a call over TLS leads to one more in plain TCP, where there is a listener for it.
func TestRefusedTLSIsTriedOncePlain(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, listens(tlsFirst))
	a := w.Phone(gatewaytest.Alice, imstest.Manner{Transport: "tcp"})
	b := w.Guest()
	chat(t, w, a, b)
	if got := transports(a); !slices.Equal(got, []string{"TCP/TLS/MSRP", "TCP/MSRP"}) {
		t.Errorf("offered: %q", got)
	}
	if last := string(a.Invites()[1].Body); strings.Contains(last, "msrp-cema") || strings.Contains(last, "fingerprint") {
		t.Errorf("the second offer is not plain:\n%s", last)
	}

	w = gatewaytest.New(t, listens(tcpFirst))
	a = w.Phone(gatewaytest.Alice, imstest.Manner{NoMedia: true})
	b = w.Guest()
	sent := b.Send(gatewaytest.Alice, "hello?")
	if e := b.Delivery(sent.ID, "failed"); e.Message.Reason == "" {
		t.Error("no reason")
	}
	if _, err := a.Wait(w.Within(gatewaytest.Patience), "hangup", 2); err != nil {
		t.Error("calls without a medium are not hung up")
	}
	if got := transports(a); !slices.Equal(got, []string{"TCP/MSRP", "TCP/MSRP"}) {
		t.Errorf("offered: %q", got)
	}
}

var pathPattern = regexp.MustCompile(`a=path:msrps://([^/]+)/`)

// F50, RFC 8996: no TLS below 1.2.
func TestOldTLSIsRefusedByTheListener(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, listens(tlsAlone))
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	b := w.Guest()
	chat(t, w, a, b)
	addr := pathPattern.FindStringSubmatch(string(a.Invites()[0].Body))[1]
	for v, taken := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		c, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", addr, &tls.Config{InsecureSkipVerify: true, MinVersion: v, MaxVersion: v})
		if (err == nil) != taken {
			t.Errorf("%s: %v", tls.VersionName(v), err)
		}
		if err == nil {
			_ = c.Close()
		}
	}
}

// B4.22: two listeners at once, each with its chat; the first of the list is offered.
func TestBothListenersCarryChatsAtOnce(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, listens(tcpFirst))
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	c := w.Phone(gatewaytest.Carol, imstest.Manner{Transport: "tls"})
	b := w.Guest()
	w.InviteAs(gatewaytest.Carol).Wants(201)
	b.Login().Wants(200)
	if _, err := c.Send(w.Within(gatewaytest.Patience), b.Account, "Carol over TLS"); err != nil {
		t.Fatal(err)
	}
	b.Message("Carol over TLS")
	chat(t, w, a, b)
	b.Send(gatewaytest.Carol, "to Carol")
	if got, err := c.Wait(w.Within(gatewaytest.Patience), "message", 1); err != nil || got[0].Text != "to Carol" {
		t.Errorf("Carol got %+v, %v", got, err)
	}
	if got := transports(a); !slices.Equal(got, []string{"TCP/MSRP"}) || len(c.Invites()) != 0 {
		t.Errorf("offered: %q to Alice, %q to Carol", got, transports(c))
	}
}

// B4.01, B4.22: MSRP over IPv6, whoever connects, plain and with TLS; an answer has the caller's address family.
func TestChatOverIPv6(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("needs IPv6 on loopback (ip -6 addr add ::1/128 dev lo): %v", err)
	}
	_ = ln.Close()
	for _, listen := range []string{"tcp:[::1]:0", "tls:[::1]:0"} {
		for _, setup := range []string{"active", "passive"} {
			t.Run(listen+" "+setup, func(t *testing.T) {
				t.Parallel()
				w := gatewaytest.New(t, listens(listen+",tcp:127.0.0.1:0"))
				a := w.Phone(gatewaytest.Alice, imstest.Manner{Setup: setup, Host: "::1"})
				b := w.Guest()
				chat(t, w, a, b)
				sdp := string(a.Invites()[0].Body)
				for _, want := range []string{"c=IN IP6 ::1\r\n", "://[::1]:"} {
					if !strings.Contains(sdp, want) {
						t.Errorf("the offer lacks %q:\n%s", want, sdp)
					}
				}
			})
		}
	}
	w := gatewaytest.New(t, listens("tcp:127.0.0.1:0,tcp:[::1]:0"))
	for host, uri := range map[string]string{"::1": gatewaytest.Alice, "127.0.0.1": gatewaytest.Carol} {
		a := w.Phone(uri, imstest.Manner{Host: host})
		w.InviteAs(uri)
		if _, err := a.Send(w.Within(gatewaytest.Patience), gatewaytest.GuestURI, "hello from "+host); err != nil {
			t.Fatal(err)
		}
		if got := a.Peers(); len(got) != 1 || !strings.HasPrefix(got[0], net.JoinHostPort(host, "")) {
			t.Errorf("a caller at %s is connected to %q", host, got)
		}
	}
}
