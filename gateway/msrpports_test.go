package gateway

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"latchkey/imstest"
	"latchkey/msrp"
)

func selfSigned(t *testing.T) *tls.Certificate {
	t.Helper()
	c, err := msrp.SelfSigned()
	if err != nil {
		t.Fatal(err)
	}
	return &c
}

func openPorts(t *testing.T, web func() *tls.Certificate, listen ...string) *msrpPorts {
	t.Helper()
	p, err := openMSRP(listen, nil, web, netip.MustParseAddr("127.0.0.1"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- p.serve(t.Context()) }() // ends with close
	t.Cleanup(func() {
		p.close()
		if err := <-served; err != nil {
			t.Errorf("serve = %v", err)
		}
	})
	return p
}

// B4.22: the certificate is that of HTTPS, also after a reload, and the description has its fingerprint; without HTTPS it is one of the gateway's own.
func TestMSRPShowsTheCertificateThatItDescribes(t *testing.T) {
	var current atomic.Pointer[tls.Certificate]
	current.Store(selfSigned(t))
	for _, web := range []func() *tls.Certificate{nil, current.Load} {
		p := openPorts(t, web, "tls:127.0.0.1:0", "wss:127.0.0.1:0")
		for i := range 4 {
			port := p.all[i%2]
			c, err := tls.Dial("tcp", port.Addr().String(), &tls.Config{InsecureSkipVerify: true})
			if err != nil {
				t.Fatal(err)
			}
			shown := c.ConnectionState().PeerCertificates[0].Raw
			_ = c.Close()
			d := p.describe(port, port.NewURI())
			if !d.TLS || !d.URI.Secure || !d.Fingerprint.Matches(shown) {
				t.Errorf("described: %+v, which is not what is shown", d)
			}
			if web != nil && !msrp.FingerprintOf(*current.Load()).Matches(shown) {
				t.Error("the certificate shown is not that of HTTPS")
			}
			current.Store(selfSigned(t))
		}
	}
}

// The order of msrp-listen says what calls offer; an answer takes TLS where it is offered, and the peer's address family.
func TestPortsAreChosenAsTheHelpSays(t *testing.T) {
	at := func(listen ...string) *msrpPorts {
		p := &msrpPorts{}
		for _, l := range listen {
			network, host, _ := strings.Cut(l, " ")
			port := &msrpPort{secure: network == "tls" || network == "wss", host: host}
			if strings.HasPrefix(network, "ws") {
				port.web = &webPort{}
			}
			p.all = append(p.all, port)
		}
		return p
	}
	text := func(all ...*msrpPort) string {
		var s []string
		for _, p := range all {
			s = append(s, p.network()+" "+p.host)
		}
		return strings.Join(s, ", ")
	}
	offer := func(addr string) []byte {
		return []byte("v=0\r\no=- 1 1 IN IP4 x.example\r\ns=-\r\nc=IN IP4 " + addr + "\r\nt=0 0\r\nm=message 7000 TCP/MSRP *\r\na=accept-types:*\r\na=path:msrp://x.example:7000/s1;tcp\r\n")
	}
	for _, c := range []struct {
		listen                  []string
		first, plain, four, six string
	}{
		{[]string{"tcp 192.0.2.1"}, "tcp 192.0.2.1", "tcp 192.0.2.1", "tcp 192.0.2.1", "tcp 192.0.2.1"},
		{[]string{"tls 192.0.2.1"}, "tls 192.0.2.1", "tls 192.0.2.1", "tls 192.0.2.1", "tls 192.0.2.1"},
		{[]string{"tcp 192.0.2.1", "tls 192.0.2.1"}, "tcp 192.0.2.1", "tcp 192.0.2.1", "tls 192.0.2.1, tcp 192.0.2.1", "tls 192.0.2.1, tcp 192.0.2.1"},
		{[]string{"tls 192.0.2.1", "tcp 192.0.2.2", "tcp 192.0.2.3"}, "tls 192.0.2.1", "tcp 192.0.2.2", "tls 192.0.2.1, tcp 192.0.2.2", "tls 192.0.2.1, tcp 192.0.2.2"},
		{[]string{"tcp 2001:db8::1", "tcp 192.0.2.1", "tls 192.0.2.2", "tls 2001:db8::2"}, "tcp 2001:db8::1", "tcp 2001:db8::1", "tls 192.0.2.2, tcp 192.0.2.1", "tls 2001:db8::2, tcp 2001:db8::1"},
	} {
		p := at(c.listen...)
		if first, plain, four, six := text(p.offering(false)), text(p.offering(true)), text(p.answering(offer("192.0.2.7"))...), text(p.answering(offer("2001:db8::7"))...); first != c.first || plain != c.plain || four != c.four || six != c.six {
			t.Errorf("%q: calls offer %s, then %s; answers to IPv4 %s, to IPv6 %s; want %+v", c.listen, first, plain, four, six, c)
		}
	}
	// RFC 7977 §5.1: what a browser can take is offered at last, unless it stands first, and answers by it come behind all others.
	for _, c := range []struct {
		listen           []string
		offered, answers string
	}{
		{[]string{"tcp 192.0.2.1"}, "tcp cema, tcp", "tcp"},
		{[]string{"tls 192.0.2.1"}, "tls cema, tls", "tls"},
		{[]string{"tls 192.0.2.1", "tcp 192.0.2.1", "ws 192.0.2.1", "wss 192.0.2.1"}, "tls cema, tcp, ws", "tls, tcp, wss, ws"},
		{[]string{"tcp 192.0.2.1", "wss 192.0.2.1"}, "tcp cema, tcp, wss", "tcp, wss"},
		{[]string{"wss 192.0.2.1", "tls 192.0.2.1", "tcp 192.0.2.1"}, "wss, tcp", "tls, tcp, wss"},
		{[]string{"wss 192.0.2.1"}, "wss", "wss"},
	} {
		p := at(c.listen...)
		var offered, answers []string
		for _, w := range p.ways() {
			offered = append(offered, w.port.network()+map[bool]string{true: " cema"}[w.cema])
		}
		for _, l := range p.answering(offer("192.0.2.7")) {
			answers = append(answers, l.network())
		}
		if strings.Join(offered, ", ") != c.offered || strings.Join(answers, ", ") != c.answers {
			t.Errorf("%q: calls offer %q, answers are by %q; want %+v", c.listen, offered, answers, c)
		}
	}
	p := at("tcp 192.0.2.1", "ws 192.0.2.2", "tls 192.0.2.3", "wss 192.0.2.4", "wss 2001:db8::4")
	for _, c := range []struct {
		secure, web bool
		addr, want  string
	}{
		{false, false, "192.0.2.9", "tcp 192.0.2.1"}, {true, false, "2001:db8::9", "tls 192.0.2.3"}, {false, true, "192.0.2.9", "ws 192.0.2.2"},
		{true, true, "x.invalid", "wss 192.0.2.4"}, {true, true, "2001:db8::9", "wss 2001:db8::4"},
	} {
		if got := text(p.like(c.secure, c.web, c.addr)); got != c.want {
			t.Errorf("a leg like %+v is at %s", c, got)
		}
	}
	if got := text(at("tcp 192.0.2.1").answering([]byte("no SDP"))...); got != "tcp 192.0.2.1" {
		t.Errorf("no SDP: %s", got)
	}
}

// Nobody can connect to a wildcard address: descriptions name the one that leads to the core.
func TestWildcardListenersNameAnAddress(t *testing.T) {
	loopback, six := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("2001:db8::1")
	for _, c := range []struct {
		listen string
		core   netip.Addr
		want   string
	}{
		{"127.0.0.1:2855", loopback, "127.0.0.1"}, {"192.0.2.1:2855", loopback, "192.0.2.1"}, {"[::1]:2855", loopback, "::1"},
		{"0.0.0.0:2855", loopback, "127.0.0.1"}, {"[::]:2855", loopback, "127.0.0.1"}, {"0.0.0.0:2855", six, "0.0.0.0"}, {"0.0.0.0:2855", netip.Addr{}, "0.0.0.0"},
	} {
		if got := mediaHost(c.listen, c.core); got != c.want {
			t.Errorf("%s, core at %s: %s, want %s", c.listen, c.core, got, c.want)
		}
	}
	p := openPorts(t, nil, "tcp:0.0.0.0:0", "tls:127.0.0.1:0")
	if u := p.all[0].NewURI(); u.Host != "127.0.0.1" || u.Secure || p.describe(p.all[0], u).Port != p.all[0].Addr().(*net.TCPAddr).Port {
		t.Errorf("NewURI = %s", u)
	}
	// Browsers ask the certificate for the name of the listener, so that stands in paths (RFC 7977 §5.2).
	w := openPorts(t, nil, "wss:localhost:0", "ws:0.0.0.0:0")
	if a, b := w.all[0].NewURI(), w.all[1].NewURI(); a.Host != "localhost" || !a.Secure || a.Transport != "ws" || b.Host != "127.0.0.1" || b.Secure || b.Port != w.all[1].Addr().(*net.TCPAddr).Port {
		t.Errorf("NewURI = %s, %s", a, b)
	}
	if got := w.addrs(); !strings.HasPrefix(got[0], "wss:127.0.0.1:") && !strings.HasPrefix(got[0], "wss:[::1]:") || !strings.HasPrefix(got[1], "ws:") {
		t.Errorf("addrs = %q", got)
	}
	if want := []string{"tcp:" + p.all[0].Addr().String(), "tls:" + p.all[1].Addr().String()}; !slices.Equal(p.addrs(), want) {
		t.Errorf("addrs = %q, want %q", p.addrs(), want)
	}
}

// A listener that can't be bound leaves none open.
func TestPortsAreBoundTogetherOrNotAtAll(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	free := imstest.FreePort(t)
	if p, err := openMSRP([]string{"wss:" + free, "tls:" + taken.Addr().String()}, nil, nil, netip.Addr{}, nil); err == nil {
		p.close()
		t.Fatal("a port was bound twice")
	}
	again, err := net.Listen("tcp", free)
	if err != nil {
		t.Fatalf("the first port stays open: %v", err)
	}
	_ = again.Close()
}
