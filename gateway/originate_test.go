package gateway_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

// F16, B1.01, B1.09, B1.12, B1.13, B1.14, B1.15: an application server registers nobody. What it sends for a guest goes to the
// S-CSCF as originating, says whose it is, and can be billed; and who calls the guest reaches it.
func TestGuestsWithoutREGISTER(t *testing.T) {
	t.Parallel()
	for _, service := range []string{"true", "false"} {
		sip := gatewaytest.FreePort(t)
		w := gatewaytest.New(t, gatewaytest.Plan{
			SIP:  sip,
			Args: []string{"--guest-mode=as", "--asserted-service=" + service},
			Core: func(o *imstest.CoreOptions) {
				o.Trusted, o.PSI, o.Domains = []string{"127.0.0.1"}, map[string]string{"guest.example": sip}, []string{"cc.com"}
			},
		})
		a := w.Phone(gatewaytest.Alice, imstest.Manner{})
		b := w.Guest()
		b.Login().Wants(200)
		b.Do("GET", "/rcsgw/invitee/status/"+gatewaytest.Alice, "").Wants(200)
		sent := b.Send(gatewaytest.Alice, "from a PSI")
		got, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1)
		if err != nil || got[0].ID != sent.ID || got[0].Peer != gatewaytest.GuestURI {
			t.Fatalf("Alice got %+v, %v", got, err)
		}
		b.Delivery(sent.ID, "delivered")
		icids := map[string]bool{}
		vector := regexp.MustCompile(`^icid-value=(\S+);icid-generated-at=127\.0\.0\.1;orig-ioi="Type 3guest\.example"$`)
		for _, method := range []string{"OPTIONS", "INVITE"} {
			all := w.Core.Requests(method)
			if len(all) == 0 {
				t.Fatalf("no %s", method)
			}
			m := all[0].Request
			v := vector.FindStringSubmatch(m.Get("P-Charging-Vector"))
			if v == nil || icids[v[1]] {
				t.Errorf("%s with P-Charging-Vector %q, want a fresh one", method, m.Get("P-Charging-Vector"))
			} else {
				icids[v[1]] = true
			}
			wantService := ""
			if method == "INVITE" && service == "true" {
				wantService = "urn:urn-7:3gpp-service.ims.icsi.oma.cpm.session"
			}
			for name, want := range map[string]string{
				"Route": "<" + w.Core.URI() + ";lr;orig>", "P-Asserted-Identity": "<" + gatewaytest.GuestURI + ">",
				"P-Preferred-Identity": "", "P-Preferred-Service": "", "P-Asserted-Service": wantService,
			} {
				if m.Get(name) != want {
					t.Errorf("%s with %s: %s, want %q", method, name, m.Get(name), want)
				}
			}
			if len(m.All("Route")) != 1 || !strings.Contains(m.Get("Accept-Contact"), `urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session`) {
				t.Errorf("%s with Route %q, Accept-Contact %s", method, m.All("Route"), m.Get("Accept-Contact"))
			}
		}
		// B1.13: the whole dialog is one charge.
		b.Do("DELETE", b.SessionPath(), "").Wants(204)
		if _, err := a.Wait(w.Within(gatewaytest.Patience), "hangup", 1); err != nil {
			t.Fatal(err)
		}
		invite, bye := w.Core.Requests("INVITE")[0].Request, w.Core.Requests("BYE")
		if len(bye) != 1 || bye[0].Request.Get("P-Charging-Vector") != invite.Get("P-Charging-Vector") {
			t.Errorf("%d BYEs, want one with the INVITE's P-Charging-Vector", len(bye))
		}
		if n := len(w.Core.Requests("REGISTER")) + len(w.IM.Requests("REGISTER")); n != 1 {
			t.Errorf("%d REGISTERs, want the phone's alone", n)
		}
	}
}

// F16, B1.10, B1.13: who calls a number of the domain that nobody registered reaches its guest, and what the gateway then says in that dialog is charged
// as the call is (TS 24.229 §5.7.2).
func TestWildcardedPSIIsCalled(t *testing.T) {
	t.Parallel()
	sip := gatewaytest.FreePort(t)
	w := gatewaytest.New(t, gatewaytest.Plan{
		SIP:  sip,
		Args: []string{"--guest-mode=as"},
		Core: func(o *imstest.CoreOptions) {
			o.PSI, o.Domains = map[string]string{"guest.example": sip}, []string{"cc.com"}
		},
	})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	b := w.Guest()
	b.Login().Wants(200)
	if _, err := a.Send(w.Within(gatewaytest.Patience), gatewaytest.GuestURI, "to a PSI"); err != nil {
		t.Fatal(err)
	}
	b.Message("to a PSI")
	// B1.13: the call that came in is one charge, too.
	b.Do("DELETE", b.SessionPath(), "").Wants(204)
	if _, err := a.Wait(w.Within(gatewaytest.Patience), "hangup", 1); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`icid-value="%s";icid-generated-at=%s;orig-ioi="Type 3guest.example"`, w.Core.Requests("INVITE")[0].Request.Get("Call-ID"), strings.TrimPrefix(w.Core.URI(), "sip:"))
	if bye := a.Requests("BYE"); len(bye) != 1 || bye[0].Get("P-Charging-Vector") != want {
		t.Errorf("%d BYEs, the first with %q, want %s", len(bye), bye[0].Get("P-Charging-Vector"), want)
	}
}

// B1.09: where no S-CSCF is configured, it is the one that a third-party REGISTER told of, also after a restart.
func TestSCSCFIsLearntFromThirdPartyREGISTER(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--guest-mode=as", "--sip-core=sip:127.0.0.1:9", "--sip-trusted=127.0.0.1"}})
	w.Phone(gatewaytest.Alice, imstest.Manner{})
	b := w.Guest()
	thirdParty(t, w, imstest.ThirdParty{User: "sip:z@cc.com", Expires: 600})
	w.Stop()
	w.Start()
	b.Do("GET", "/rcsgw/invitee/status/"+gatewaytest.Alice, "").Wants(200)
	all := w.Core.Requests("OPTIONS")
	if len(all) != 1 || all[0].Request.Get("Route") != "<"+w.Core.URI()+";lr;orig>" {
		t.Errorf("%d OPTIONS at the S-CSCF, want one", len(all))
	}
}
