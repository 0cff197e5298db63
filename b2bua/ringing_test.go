package b2bua

import (
	"testing"
	"time"
)

// RFC 3261 §16.6 step 11, §16.7 step 2, §16.8: a call that rings on for three minutes after the last word of it gets 408, and its INVITE
// CANCEL. What still comes then is no call: a refusal is taken, and a 200 hung up.
func TestCallThatRingsForTooLongEnds(t *testing.T) {
	for _, last := range []string{"487 Request Terminated", "200 OK"} {
		timedTest(t, func(t *testing.T, x *crossroads) {
			c := x.begin("call", offer1)
			c.invite.answer("180 Ringing", "b1", "", x.contact())
			x.a.expect("180 INVITE")
			time.Sleep(ringing - time.Second)
			c.invite.answer("183 Session Progress", "b1", "", x.contact())
			x.a.expect("183 INVITE")
			x.a.drop()
			no := x.a.after(ringing, "408 INVITE")
			c.a.acknowledge(no)
			x.w.expect("CANCEL").answer("200 OK", "", "")
			c.invite.answer(last, "b1", "", x.contact())
			x.w.expect("ACK")
			if last == "200 OK" {
				x.w.expect("BYE").answer("200 OK", "", "")
			}
			time.Sleep(time.Minute)
			if n := x.engine.Bridged(); n > 0 {
				t.Errorf("%d pairs are left", n)
			}
		})
	}
}
