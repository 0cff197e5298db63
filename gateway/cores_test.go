package gateway_test

import (
	"slices"
	"testing"

	"latchkey/gateway"
	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

// B1.22: a second core is trusted as the first one is, and tried by check, too.
func TestSecondCoreIsACore(t *testing.T) {
	c, err := gateway.Load([]string{"--directory=file:x", "--sip-core=sip:10.0.0.1,sips:core2.example;transport=tcp", "--im-server=sip:core2.example"}, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	if c.SIPCore != "sip:10.0.0.1" || !slices.Equal(c.SIPTrusted, []string{"10.0.0.1", "core2.example"}) || c.FileServer != c.SIPCore {
		t.Errorf("core %s, trusted %v, file server %s", c.SIPCore, c.SIPTrusted, c.FileServer)
	}
	want := []gateway.Hop{{Option: "sip-core", URI: "sip:10.0.0.1"}, {Option: "sip-core", URI: "sips:core2.example;transport=tcp"}, {Option: "im-server", URI: "sip:core2.example"}}
	if got := c.Hops(); !slices.Equal(got, want) {
		t.Errorf("hops %v, want %v", got, want)
	}
}

// B1.22, F12: a core that is overloaded is followed by the other one, for guests' registrations and for all that they do; the first one is used
// again when it has had its time.
func TestSecondCoreTakesOver(t *testing.T) {
	t.Parallel()
	opt := imstest.CoreOptions{Domains: []string{"cc.com", "guest.example"}, Open: true}
	core, spare := gatewaytest.NewCore(t, opt), gatewaytest.NewCore(t, opt)
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--sip-core=" + core.URI() + "," + spare.URI()}})
	core.Fault("REGISTER", &imstest.Fault{Code: 503, Fields: []imstest.Field{{Name: "Retry-After", Value: "1"}}})
	b := w.Guest()
	if n := len(spare.Bindings(gatewaytest.GuestURI)); n != 1 || len(core.Bindings(gatewaytest.GuestURI)) != 0 {
		t.Errorf("%d bindings at the second core, want the account there", n)
	}
	core.Fault("REGISTER", nil)
	imstest.Eventually(t, gatewaytest.Patience, func() bool {
		b.Login().Wants(200)
		return len(core.Bindings(gatewaytest.GuestURI)) == 1
	})
}
