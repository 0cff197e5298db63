package gateway_test

import (
	"testing"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

// R1, X1, F61: as an application server on ISC the gateway has all that Alice's phone sends on its way. Her chat with somebody whom the
// directory does not know stays here as an invitation, by INVITE and by MESSAGE; her chat with Carol goes on.
func TestServedUsersChatInvitesWhomTheDirectoryDoesNotKnow(t *testing.T) {
	t.Parallel()
	for _, by := range []string{"INVITE", "MESSAGE"} {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			w := gatewaytest.New(t, gatewaytest.Plan{})
			w.Core.ServedBy(w.SIP)
			a, c := w.Phone(gatewaytest.Alice, imstest.Manner{}), w.Phone(gatewaytest.Carol, imstest.Manner{})
			var err error
			if by == "INVITE" {
				_, err = a.CallWith(w.Within(gatewaytest.Patience), gatewaytest.GuestURI, "come and see")
			} else {
				err = a.Page(w.Within(gatewaytest.Patience), gatewaytest.GuestURI, "text/plain", []byte("come and see"))
			}
			if err != nil {
				t.Fatal(err)
			}
			b := w.Invited(1)
			b.Login().Wants(200)
			b.Message("come and see")
			if _, err := a.CallWith(w.Within(gatewaytest.Patience), gatewaytest.Carol, "to a registered user"); err != nil {
				t.Fatal(err)
			}
			if got, err := c.Wait(w.Within(gatewaytest.Patience), "message", 1); err != nil || got[0].Text != "to a registered user" {
				t.Errorf("Carol got %+v, %v", got, err)
			}
			if n := w.Rows("relation"); n != 1 {
				t.Errorf("%d relations, want one", n)
			}
		})
	}
}
