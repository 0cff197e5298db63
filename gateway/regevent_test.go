package gateway_test

import (
	"slices"
	"testing"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

const reginfoHead = `<?xml version="1.0"?><reginfo xmlns="urn:ietf:params:xml:ns:reginfo" version="%d" `

// watched starts a world in which the gateway watches Alice.
func watched(t *testing.T) *gatewaytest.World {
	t.Helper()
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--reg-event=standing"}})
	w.Phone(gatewaytest.Alice, imstest.Manner{})
	w.Guest()
	imstest.Eventually(t, gatewaytest.Patience, func() bool {
		return len(w.Core.Subscribers(gatewaytest.Alice)) == 1 && w.Count(`SELECT count(*) FROM sighting WHERE state = 'seen'`) == 1
	})
	return w
}

// callIDs lists the Call-IDs of the SUBSCRIBEs about Alice.
func callIDs(w *gatewaytest.World) []string {
	var all []string
	for _, s := range w.Core.Requests("SUBSCRIBE") {
		if s.Request.Get("P-Asserted-Identity") != "" {
			all = append(all, s.Request.Get("Call-ID"))
		}
	}
	return all
}

// B1.06: a gap in the versions is closed by asking again in the dialog; what can't be read is refused, and asked for again, too.
func TestMissedNotificationsAreAskedFor(t *testing.T) {
	t.Parallel()
	w := watched(t)
	gap := `<?xml version="1.0"?><reginfo xmlns="urn:ietf:params:xml:ns:reginfo" version="77" state="partial"><registration aor="sip:a@cc.com" id="r1" state="terminated"/></reginfo>`
	if codes := w.Core.Notify(gatewaytest.Alice, "active;expires=3600", gap); !slices.Equal(codes, []int{200}) {
		t.Errorf("NOTIFY with a gap is answered %v", codes)
	}
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return len(callIDs(w)) == 2 })
	if ids := callIDs(w); ids[0] != ids[1] {
		t.Errorf("SUBSCRIBEs with Call-IDs %v, want one dialog", ids)
	}
	if n := w.Count(`SELECT count(*) FROM relation WHERE state = 'live'`); n != 1 {
		t.Errorf("%d relations live: what came out of order was believed", n)
	}
	for _, bad := range []string{"<!DOCTYPE a>" + reginfoHead + `state="full"/>`, "rubbish"} {
		if codes := w.Core.Notify(gatewaytest.Alice, "active", bad); !slices.Equal(codes, []int{400}) {
			t.Errorf("NOTIFY %s is answered %v, want 400", bad, codes)
		}
	}
}

// B1.06, RFC 3261 §12.2.2, RFC 6665 §4.1.3: what comes late is refused without an end to the subscription.
func TestLateNotificationEndsNothing(t *testing.T) {
	t.Parallel()
	w := watched(t)
	w.Core.Reorder(gatewaytest.Alice)
	if codes := w.Core.Notify(gatewaytest.Alice, "active;expires=3600", ""); !slices.Equal(codes, []int{500}) {
		t.Errorf("late NOTIFY is answered %v, want 500", codes)
	}
	if codes := w.Core.Notify(gatewaytest.Alice, "active;expires=3600", ""); !slices.Equal(codes, []int{200}) {
		t.Errorf("the next NOTIFY is answered %v, want 200", codes)
	}
	if n := len(callIDs(w)); n != 1 {
		t.Errorf("%d SUBSCRIBEs, want one", n)
	}
}

// B1.06: a subscription that its notifier ends comes back at once with a dialog of its own, or not at all, as the reason says.
func TestEndedSubscriptionsComeBackByTheirReason(t *testing.T) {
	t.Parallel()
	for reason, comes := range map[string]bool{"deactivated": true, "timeout": true, "noresource": false, "rejected": false} {
		w := watched(t)
		if codes := w.Core.Notify(gatewaytest.Alice, "terminated;reason="+reason, ""); !slices.Equal(codes, []int{200}) {
			t.Errorf("%s: NOTIFY is answered %v", reason, codes)
		}
		if !comes {
			// The next third-party REGISTER is the way back.
			thirdParty(t, w, imstest.ThirdParty{User: gatewaytest.Carol, Expires: 60})
			if n := len(callIDs(w)); n != 1 {
				t.Errorf("%s: %d SUBSCRIBEs, want none after the end", reason, n)
			}
			imstest.Eventually(t, gatewaytest.Patience, func() bool {
				thirdParty(t, w, imstest.ThirdParty{User: gatewaytest.Alice, Expires: 60})
				return len(callIDs(w)) == 2
			})
		}
		imstest.Eventually(t, gatewaytest.Patience, func() bool { return len(callIDs(w)) == 2 && len(w.Core.Subscribers(gatewaytest.Alice)) == 1 })
		if ids := callIDs(w); ids[0] == ids[1] {
			t.Errorf("%s: both SUBSCRIBEs have Call-ID %s", reason, ids[0])
		}
	}
}

// B1.06, RFC 6665 §4.1.2.3: a notifier that forgot the subscription gets a new one.
func TestForgottenSubscriptionIsMadeAnew(t *testing.T) {
	t.Parallel()
	w := watched(t)
	w.Core.ForgetSubscriptions()
	thirdParty(t, w, imstest.ThirdParty{User: gatewaytest.Alice}) // a doubt, which asks
	imstest.Eventually(t, gatewaytest.Patience, func() bool {
		return len(w.Core.Subscribers(gatewaytest.Alice)) == 1 && w.Count(`SELECT count(*) FROM sighting WHERE state = 'seen'`) == 1
	})
	if ids := callIDs(w); len(ids) != 3 || ids[0] != ids[1] || ids[1] == ids[2] {
		t.Errorf("SUBSCRIBEs with Call-IDs %v, want the old dialog, and then another", ids)
	}
	if n := w.Count(`SELECT count(*) FROM relation WHERE state = 'live'`); n != 1 {
		t.Errorf("%d relations live, want one: A is there", n)
	}
}

// B1.21: the nonce that a registrar gives for the next request is used for it, without another challenge.
func TestNextNonceIsUsed(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{
		Core: func(o *imstest.CoreOptions) { o.Auth, o.Shared, o.NextNonce = true, "hush", true },
		Args: []string{"--sip-auth=shared:hush"},
	})
	b := w.Guest()
	w.Core.Forget()
	b.Login().Wants(200)
	if got := statuses(w.Core.Requests("REGISTER")); !slices.Equal(got, []int{200}) {
		t.Errorf("REGISTERs of the login were answered %v, want 200 at once", got)
	}
	w.Core.ExpireNonces()
	w.Core.Forget()
	b.Login().Wants(200)
	if got := statuses(w.Core.Requests("REGISTER")); !slices.Equal(got, []int{401, 200}) {
		t.Errorf("with a nonce that is forgotten, REGISTERs were answered %v, want 401 and 200", got)
	}
}
