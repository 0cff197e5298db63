package httpapi

import (
	"testing"

	"latchkey"
)

const statusPath = "/rcsgw/invitee/status/"

// R23, F26, F26d: the network's word in the guest's terms. URIs stand plain or percent-encoded.
func TestStatusIsToldInTheGuestsTerms(t *testing.T) {
	for state, want := range map[latchkey.StatusState]string{
		latchkey.StatusOnline:  `"status":"online","chat":true`,
		latchkey.StatusOffline: `"status":"offline"`,
		latchkey.StatusNotRCS:  `"status":"offline"`,
		latchkey.StatusUnknown: `"status":"unknown"`,
	} {
		w := newWorld(t, Options{})
		w.board.states[aliceURI], w.board.states["tel:"+aliceTel] = state, state
		for path, uri := range map[string]string{
			"sip:a@cc.com": aliceURI, "sip%3Aa%40cc.com": aliceURI, "a@cc.com": aliceURI, "SIP:a@CC.com:5070;transport=tcp": aliceURI,
			"tel:" + aliceTel: "tel:" + aliceTel, "tel%3A%2B86-138-0000-0001": "tel:" + aliceTel,
		} {
			r := w.do("GET", statusPath+path, "", asGuest).wants(200)
			if want := `{"uri":"` + uri + `",` + want + `,"checked":"2030-01-02T03:04:05.123Z"}`; r.body != want {
				t.Errorf("%s: %s, want %s", path, r.body, want)
			}
			asked := w.board.questions()
			if last := asked[len(asked)-1]; last != account+" of "+uri {
				t.Errorf("%s: asked %s", path, last)
			}
		}
	}
}

// F26b, R31: about who isn't related nobody is asked.
func TestStatusOfAStrangerAsksNobody(t *testing.T) {
	w := newWorld(t, Options{})
	for _, uri := range []string{carolURI, "sip:a@cc.org", "sips:a@cc.com", "tel:+8613800000002", account} {
		w.do("GET", statusPath+uri, "", asGuest).problem(latchkey.KindNoRelation)
	}
	for _, uri := range []string{"sip:", "%3Csip:a@cc.com%3E", "sip:a@cc.com%0d%0aVia:x", "sip:a@cc.com;maddr=10.0.0.1", "tel:911"} {
		w.do("GET", statusPath+uri, "", asGuest).problem(latchkey.KindBadRequest)
	}
	if got := w.board.questions(); len(got) != 0 {
		t.Errorf("asked %v", got)
	}
}
