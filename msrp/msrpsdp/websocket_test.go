package msrpsdp_test

import (
	"strings"
	"testing"

	"latchkey/msrp"
	"latchkey/msrp/msrpsdp"
)

// B4.21, RFC 7977 §5.2: over WebSocket the m-line stays that of TCP, the path alone says ws, and the browser is the one to connect.
func TestPathsOfWebSocketsAreReadAndWritten(t *testing.T) {
	for _, c := range []struct {
		name, proto, theirs, ours string
		tls                       bool
	}{
		{"wss", "TCP/TLS/MSRP", "msrps://df7jal23ls0d.invalid:9/browser;ws", "msrps://chat.example:443/ours;ws", true},
		{"ws", "TCP/MSRP", "msrp://df7jal23ls0d.invalid:9/browser;ws", "msrp://chat.example:80/ours;ws", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			uri, err := msrp.ParseURI(c.ours)
			if err != nil {
				t.Fatal(err)
			}
			own := us()
			own.Addr, own.Port, own.URI, own.TLS = uri.Host, uri.Port, uri, c.tls

			answer, role, err := msrpsdp.Answer(offer("m=message 9 "+c.proto+" *", types, "a=setup:active", "a=path:"+c.theirs), own, msrpsdp.Active)
			if err != nil {
				t.Fatal(err)
			}
			if role.Active || role.Remote.String() != c.theirs || role.Remote[0].Transport != "ws" {
				t.Errorf("the role is %+v", role)
			}
			if a := attributes(t, answer, 0); a["path"] != c.ours || a["setup"] != "passive" || !strings.Contains(string(answer), " "+c.proto+" *") {
				t.Errorf("the answer is\n%s", answer)
			}

			mine, err := msrpsdp.Offer(own)
			if err != nil {
				t.Fatal(err)
			}
			if a := attributes(t, mine, 0); a["path"] != c.ours || !strings.Contains(string(mine), " "+c.proto+" *") {
				t.Errorf("the offer is\n%s", mine)
			}
			role, _, err = msrpsdp.Conclude(mine, offer("m=message 9 "+c.proto+" *", types, "a=setup:active", "a=path:"+c.theirs))
			if err != nil || role.Active || role.Remote.String() != c.theirs {
				t.Errorf("the browser's answer is concluded with %+v, %v", role, err)
			}
		})
	}
}
