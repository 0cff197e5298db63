package gateway_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

// Issue 8, line 1, F34: what could not be told to Alice, and would wait for most of an hour, is told when the core says that she is there, and when
// something comes from her.
func TestInviterWhoIsBackIsToldAtOnce(t *testing.T) {
	t.Parallel()
	for name, shows := range map[string]func(w *gatewaytest.World, a *imstest.Phone, account string){
		"third-party REGISTER": func(w *gatewaytest.World, _ *imstest.Phone, _ string) {
			thirdParty(t, w, imstest.ThirdParty{User: gatewaytest.Alice, Expires: 600})
		},
		"a message": func(w *gatewaytest.World, a *imstest.Phone, account string) {
			if _, err := a.SendPage(w.Within(gatewaytest.Patience), account, "Are you there?"); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := gatewaytest.New(t, gatewaytest.Plan{})
			w.Mail.RefuseTo("nobody@cc.com", 550, "5.1.1")
			var invited struct{ Account string }
			w.Do("POST", "/rcsgw/invitee/user", gatewaytest.Alice, gatewaytest.Password, `{"email":"nobody@cc.com"}`).Wants(http.StatusCreated).Into(&invited)
			imstest.Eventually(t, gatewaytest.Patience, func() bool {
				return strings.Contains(w.Log.String(), `msg="notice is tried again"`) && w.Count("SELECT count(*) FROM outcome WHERE told = 0 AND attempts = 1") == 1
			})
			w.Stop()
			w.Change(fmt.Sprintf("UPDATE outcome SET due = %d", time.Now().Add(50*time.Minute).UnixMicro()))
			a := w.Phone(gatewaytest.Alice, imstest.Manner{})
			w.Start()
			shows(w, a, invited.Account)
			imstest.Eventually(t, gatewaytest.Patience, func() bool { return w.Count("SELECT count(*) FROM outcome WHERE told > 0 AND attempts = 2") == 1 })
			if got, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1); err != nil || len(got) != 1 || !strings.HasPrefix(got[0].Text, "The invitation to nobody@cc.com could not be delivered") {
				t.Errorf("Alice got %+v, %v", got, err)
			}
		})
	}
}

// Issue 8, line 1: an inviter whose phone is silent, and to whom much is owed, keeps nobody else waiting for what is owed to them.
func TestSilentInviterHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	const owed = 40
	w := gatewaytest.New(t, gatewaytest.Plan{})
	a, c := w.Phone(gatewaytest.Alice, imstest.Manner{PageMute: true}), w.Phone(gatewaytest.Carol, imstest.Manner{})
	for i := range owed {
		who := fmt.Sprintf("n%d@cc.com", i)
		w.Mail.RefuseTo(who, 550, "5.1.1")
		w.Do("POST", "/rcsgw/invitee/user", gatewaytest.Alice, gatewaytest.Password, fmt.Sprintf(`{"email":%q}`, who)).Wants(http.StatusCreated)
	}
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return w.Count("SELECT count(*) FROM outcome") == owed })
	w.Mail.RefuseTo("nobody@cc.com", 550, "5.1.1")
	w.Do("POST", "/rcsgw/invitee/user", gatewaytest.Carol, gatewaytest.Password, `{"email":"nobody@cc.com"}`).Wants(http.StatusCreated)
	begun := time.Now()
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return len(c.Events("message")) == 1 })
	if took := time.Since(begun); took > 20*time.Second { // a MESSAGE is given up after 32 s (RFC 3261 §17.1.2.2)
		t.Errorf("Carol was told after %v", took)
	}
	if n := len(a.Events("message")); n != 0 {
		t.Errorf("Alice got %d", n)
	}
}
