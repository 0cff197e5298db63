package gateway_test

import (
	"strings"
	"testing"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

// F26, F26d, B3.01, B5.03: what the network says of an inviter, and what the guest is told: the interface has no word for whom the
// network does not know (not-rcs), who can't be reached either.
func TestStatusIsWhatOPTIONSSays(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what, want string
		chat       string // "": not looked at
		behave     func(*gatewaytest.World)
	}{
		{"200 with the chat tag", "online", "true", func(w *gatewaytest.World) { w.Phone(gatewaytest.Alice, imstest.Manner{}) }},
		{"200 without tags", "online", "false", func(w *gatewaytest.World) {
			w.Phone(gatewaytest.Alice, imstest.Manner{}).Behave(func(m *imstest.Manner) { m.Tags = imstest.NoTags })
		}},
		{"480", "offline", "", func(w *gatewaytest.World) { w.Phone(gatewaytest.Alice, imstest.Manner{OptionsCode: 480}) }},
		{"not registered", "offline", "", func(*gatewaytest.World) {}},
		{"408 from the network", "offline", "", func(w *gatewaytest.World) { w.Phone(gatewaytest.Alice, imstest.Manner{OptionsCode: 408}) }},
		{"404", "offline", "", func(w *gatewaytest.World) { w.Phone(gatewaytest.Alice, imstest.Manner{OptionsCode: 404}) }},
		{"604", "offline", "", func(w *gatewaytest.World) { w.Phone(gatewaytest.Alice, imstest.Manner{OptionsCode: 604}) }},
		{"503", "unknown", "", func(w *gatewaytest.World) { w.Phone(gatewaytest.Alice, imstest.Manner{OptionsCode: 503}) }},
		{"no answer", "unknown", "", func(w *gatewaytest.World) { w.Phone(gatewaytest.Alice, imstest.Manner{OptionsMute: true}) }},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			w := gatewaytest.New(t, gatewaytest.Plan{Core: func(o *imstest.CoreOptions) { o.Aliases = map[string]string{"tel:+8613800000001": gatewaytest.Alice} }})
			c.behave(w)
			b := w.Guest()
			for i, uri := range []string{gatewaytest.Alice, "tel:+8613800000001"} {
				var got struct {
					URI, Status, Checked string
					Chat                 *bool
				}
				a := b.Do("GET", "/rcsgw/invitee/status/"+uri, "").Wants(200)
				a.Into(&got)
				if got.URI != uri || got.Status != c.want || got.Checked == "" {
					t.Errorf("%s: %s, want %s", uri, a.Body, c.want)
				}
				if c.chat != "" && (got.Chat == nil || (c.chat == "true") != *got.Chat) {
					t.Errorf("%s: %s, want chat %s", uri, a.Body, c.chat)
				}
				seen := w.Core.Requests("OPTIONS")
				if len(seen) != i+1 {
					t.Fatalf("%d OPTIONS for %d questions", len(seen), i+1)
				}
				m := seen[i].Request
				if m.URI != uri || !strings.Contains(m.Get("P-Asserted-Identity"), gatewaytest.GuestURI) || !strings.Contains(m.Get("From"), gatewaytest.GuestURI) {
					t.Errorf("OPTIONS %s from %s, asserted %s", m.URI, m.Get("From"), m.Get("P-Asserted-Identity"))
				}
			}
		})
	}
}

// F26b, R31: who isn't related isn't asked about.
func TestStatusOfAStrangerCausesNoSIP(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	b := w.Guest()
	for _, uri := range []string{gatewaytest.Carol, gatewaytest.Stranger, "tel:+8613800000004", "sip:a@elsewhere.example", gatewaytest.GuestURI} {
		if a := b.Do("GET", "/rcsgw/invitee/status/"+uri, "").Wants(403); a.Problem() != "no-relation" {
			t.Errorf("%s: problem %s", uri, a.Problem())
		}
	}
	if n := len(w.Core.Requests("OPTIONS")); n != 0 {
		t.Errorf("%d OPTIONS left", n)
	}
}

// R24: a guest who listens is told when the inviter comes and goes.
func TestListeningGuestIsToldWhenTheInviterComes(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	b := w.Guest()
	b.Login().Wants(200)
	b.Events(func(e gatewaytest.Event) bool {
		return e.Type == "status" && e.URI == gatewaytest.Alice && e.Status == "offline"
	})
	w.Phone(gatewaytest.Alice, imstest.Manner{})
	var got struct{ Status string }
	imstest.Eventually(t, gatewaytest.Patience, func() bool { // the last answer is good for a second
		b.Do("GET", "/rcsgw/invitee/status/"+gatewaytest.Alice, "").Into(&got)
		return got.Status == "online"
	})
	b.Events(func(e gatewaytest.Event) bool {
		return e.Type == "status" && e.URI == gatewaytest.Alice && e.Status == "online"
	})
}

// B2.14: OPTIONS to the gateway itself is answered for liveness, to anybody, and makes no dialog.
func TestGatewayAnswersOPTIONSForItself(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	x := w.Phone(gatewaytest.Stranger, imstest.Manner{})
	w.Guest()
	contact := w.Core.Bindings(gatewaytest.GuestURI)[0]
	_, host, _ := strings.Cut(contact, "@")
	res, err := x.Options(w.Within(gatewaytest.Patience), "sip:"+strings.TrimSuffix(host, ">"))
	if err != nil || res.Status != 200 || !strings.Contains(res.Get("Accept"), "message/cpim") || res.Get("Contact") != "" {
		t.Errorf("OPTIONS = %v, %v, want 200 without Contact", res, err)
	}
	if n := w.Dialogs(); n != 0 {
		t.Errorf("%d dialogs", n)
	}
}
