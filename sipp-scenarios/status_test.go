package scenarios

import (
	"fmt"
	"net"
	"testing"
	"time"

	"latchkey"
)

func status(t *testing.T, us *side, of string) latchkey.Status {
	t.Helper()
	s, err := us.presence.Status(t.Context(), bob, latchkey.MustAddress(of))
	if err != nil {
		t.Fatalf("Status of %s = %v", of, err)
	}
	return s
}

// F26, R23: A's phone answers through the core with the tags of RCS.
func TestPhoneWithRCSIsOnlineAndCanChat(t *testing.T) {
	for _, c := range []struct {
		name, user, of string
		defines        []string
		opt            options
	}{
		{"name", "a", "sip:a@cc.com", nil, options{}},
		{"by TCP", "a", "sip:a@cc.com", nil, options{transport: "tcp"}},
		{"number", "+8613800000001", "tel:+8613800000001", nil, options{}}, // F26d
		{"Service-Route and challenge", "a", "sip:a@cc.com", []string{`AUTH_SHARED="s3cret"`, "AUTH_CALLS", "SERVICE_ROUTE"}, options{auth: "shared:s3cret"}},
		{"ephemeral challenge", "a", "sip:a@cc.com", []string{`AUTH_EPHEMERAL="t0p"`, "AUTH_CALLS"}, options{auth: "ephemeral:t0p"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := startCore(t, c.defines...)
			us := newSide(t, k, c.opt)
			us.keep(t)
			a := newPhone(t, k, c.user)
			a.register()
			answer := a.start("options-uas.xml")
			got := status(t, us, c.of)
			answer.wait()
			if got.State != latchkey.StatusOnline || !got.Chat || !got.File {
				t.Errorf("status %+v, want online with chat and files", got)
			}
			if n := answer.requests("OPTIONS", ""); n != 1 {
				t.Errorf("%d OPTIONS reached the phone, want 1", n)
			}
		})
	}
}

// F26, B3.01, B5.03: the other answers.
func TestOtherAnswersOfPhoneAndCore(t *testing.T) {
	k := startCore(t)
	us := newSide(t, k, options{})

	if got := status(t, us, "sip:early@cc.com"); got.State != latchkey.StatusUnknown {
		t.Errorf("asked by an account that is not registered: %s, want unknown", got.State)
	}
	us.keep(t)
	if got := status(t, us, "sip:nobody@elsewhere.example"); got.State != latchkey.StatusNotRCS {
		t.Errorf("404 of the core: %s, want not-rcs", got.State)
	}
	if got := status(t, us, "sip:a@cc.com"); got.State != latchkey.StatusOffline {
		t.Errorf("480 of the core: %s, want offline", got.State)
	}

	plain := newPhone(t, k, "plain")
	plain.register()
	answer := plain.start("options-plain.xml")
	if got := status(t, us, "sip:plain@cc.com"); got.State != latchkey.StatusOnline || got.Chat {
		t.Errorf("200 without tags: %+v, want online without chat", got)
	}
	answer.wait()

	away := newPhone(t, k, "away")
	away.register()
	answer = away.start("options-480.xml")
	if got := status(t, us, "sip:away@cc.com"); got.State != latchkey.StatusOffline {
		t.Errorf("480 of the phone: %s, want offline", got.State)
	}
	answer.wait()
}

// F26: the core gives a phone up that doesn't answer, and says 408: offline. That is not the
// silence of the core itself.
func TestSilentPhoneIsOfflineBecauseTheCoreSaysSo(t *testing.T) {
	t.Parallel() // it waits for two timers of SIP
	k := startCore(t)
	us := newSide(t, k, options{timeout: 15 * time.Second}) // the core gives up after 4 s, if the machine lets it
	us.keep(t)
	dead := newPhone(t, k, "dead")
	dead.register()
	silence, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", dead.port))
	if err != nil {
		t.Fatal(err)
	}
	defer silence.Close()
	if got := status(t, us, "sip:dead@cc.com"); got.State != latchkey.StatusOffline {
		t.Errorf("silent phone: %s, want offline", got.State)
	}
	k.stop()
	if got := status(t, us, "sip:other@cc.com"); got.State != latchkey.StatusUnknown {
		t.Errorf("silent core: %s, want unknown", got.State)
	}
}
