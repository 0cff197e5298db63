package scenarios

import (
	"fmt"
	"strings"
	"testing"

	"latchkey/imstest"
)

// F57, F62, B1.02, B1.03, B1.04: Kamailio tells the gateway of A's registration and of its end by third-party REGISTER, with A's own
// REGISTER inside. The end is believed where the core has no reg-event, else confirmed by its notifier, which SIPp plays.
func TestKamailioTellsOfAnInviterWhoComesAndGoes(t *testing.T) {
	for _, mode := range []string{"none", "confirm"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			sip, notifier := freePort(t), freePort(t)
			w := newWorldAt(t, sip, []string{"--reg-event", mode}, "none", fmt.Sprintf(`ISC_AS="sip:127.0.0.1:%d"`, sip), fmt.Sprintf(`REG_EVENT="sip:127.0.0.1:%d"`, notifier))
			a := newPhone(t, w.core, "a")
			a.register()
			seen := func(where string) func() bool {
				return func() bool {
					return w.count("SELECT count(*) FROM sighting WHERE identity = 'sip:a@cc.com' AND "+where) == 1
				}
			}
			imstest.Eventually(t, patience, seen("state = 'seen' AND features LIKE '%cpm.session%' AND icid <> '' AND orig_ioi = 'cc.com' AND expires > 0"))
			w.invited()
			var told *run
			if mode == "confirm" {
				told = (&phone{t: t, core: w.core, user: "a", port: notifier}).start("reg-notifier.xml")
			}
			a.start("unregister.xml").wait()
			imstest.Eventually(t, patience, func() bool {
				rows := w.rows()
				return rows["relation"]+rows["guest"]+rows["registration"] == 0
			})
			if told != nil {
				told.wait()
			}
			if left := w.core.registered(bobAOR); len(left) != 0 {
				t.Errorf("the core still has %+v", left)
			}
			imstest.Eventually(t, patience, seen("state = 'gone'"))
			if n := strings.Count(w.core.log.String(), "third-party REGISTER of sip:a@cc.com answered 200"); n != 2 {
				t.Errorf("Kamailio's third-party REGISTERs had %d times 200, want 2", n)
			}
		})
	}
}
