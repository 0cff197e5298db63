package sipua

import (
	"fmt"
	"testing"

	"github.com/emiago/sipgo/sip"
)

// B1.08: which Routes lead to us, by address, by name and behind a listener on all addresses.
func TestOwnAddressesAreKnown(t *testing.T) {
	for _, listen := range []string{"127.0.0.1", "0.0.0.0"} {
		e, err := Listen(Options{Listen: []string{"udp:" + listen + ":0"}})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		_, port := splitHostPort(e.Addrs()[0].HostPort)
		for uri, want := range map[string]bool{
			fmt.Sprintf("sip:127.0.0.1:%d;lr", port): true, fmt.Sprintf("sip:x@localhost:%d;lr", port): true, fmt.Sprintf("sip:127.0.0.1:%d;lr", port+1): false,
			"sip:127.0.0.1;lr": false, fmt.Sprintf("sip:192.0.2.1:%d", port): false, fmt.Sprintf("sip:nobody.invalid:%d", port): false,
		} {
			var u sip.Uri
			if err := sip.ParseUri(uri, &u); err != nil {
				t.Fatal(err)
			}
			if got := e.Owns(u); got != want {
				t.Errorf("on %s: Owns(%s) = %v", listen, uri, got)
			}
		}
	}
}
