package b2bua

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"
)

// RFC 4028 §7.4, RFC 3262 §4, RFC 3840 §9: what a bridge sends by itself to keep a session says of its sender what the other end has said of itself: Supported, Require, Allow
// and the features of the Contact. The border has its word in it. Who takes UPDATE gets one without a body; a reliable response to a re-INVITE is acknowledged.
func TestRefreshSaysWhatTheOtherEndHasSaid(t *testing.T) {
	const (
		featuresA, featuresB = `+g.oma.sip-im;+g.3gpp.icsi-ref="urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session"`, `isfocus;+g.3gpp.iari-ref="x,y"`
		takesUPDATE          = "Allow: INVITE, ACK, BYE, CANCEL, PRACK, UPDATE"
		takesNone            = "Allow: INVITE, ACK, BYE, CANCEL, PRACK, INFO"
	)
	for _, updates := range []string{"A", "B"} {
		t.Run(updates+" takes UPDATE", func(t *testing.T) {
			timedTest(t, func(t *testing.T, x *crossroads) {
				x.onward(Onward{Border: stamp{}})
				allowA, allowB := takesNone, takesUPDATE
				if updates == "A" {
					allowA, allowB = takesUPDATE, takesNone
				}
				c := x.begin("call", offer1, "k: 100rel, replaces", "Supported: timer", "Require: precondition", "Session-Expires: 90", allowA,
					"Contact: <"+"sip:a@"+x.a.addr+`>;+sip.instance="<urn:uuid:1>";`+featuresA)
				c.invite.answer("200 OK", "b1", answer1, "Contact: <sip:b@"+x.w.addr+">;"+featuresB, "Supported: 100rel, from-change", "Require: timer", "Session-Expires: 120;refresher=uac", allowB)
				ok := c.a.final("INVITE", c.a.seq)
				c.a.opened(ok)
				c.a.send("ACK", "")
				x.w.expect("ACK")
				time.Sleep(44 * time.Second)
				for _, method := range []string{"INFO", "UPDATE"} {
					c.a.send(method, "", "Supported: timer") // and no word on the rest, which stays
					carried := x.w.expect(method)
					if carried.get("X-Own") != "" {
						t.Errorf("carried\n%s", carried.raw)
					}
					carried.answer("200 OK", "", "", x.contact(), "Supported: timer", "Session-Expires: 120;refresher=uac")
					c.a.final(method, c.a.seq)
				}
				for _, end := range []struct {
					w                                           *wire
					takes, supported, require, allows, features string
					was                                         string
				}{
					{x.a, allowA, "100rel, from-change, timer", "", allowB, featuresB, answer1},
					{x.w, allowB, "timer, 100rel, replaces", "precondition", allowA, featuresA, offer1},
				} {
					method := "UPDATE"
					if end.takes == takesNone {
						method = "INVITE"
					}
					m := end.w.expect(method)
					for tag := range strings.SplitSeq(end.supported, ", ") {
						if !strings.Contains(m.get("Supported"), tag) {
							t.Errorf("without %s:\n%s", tag, m.raw)
						}
					}
					if m.get("X-Own") == "" || len(m.all("Supported")) != 1 || !strings.HasSuffix(m.get("Contact"), ">;"+end.features) {
						t.Errorf("refresh\n%s", m.raw)
					}
					if method == "UPDATE" {
						if m.body != "" || m.get("Require") != "" {
							t.Errorf("refresh\n%s", m.raw)
						}
						m.answer("200 OK", "", "", "Session-Expires: 90;refresher=uas")
						continue
					}
					if m.body != end.was || m.get("Require") != end.require || "Allow: "+m.get("Allow") != end.allows {
						t.Errorf("refresh\n%s", m.raw)
					}
					early := m.response("183 Session Progress", "", "", "Require: 100rel", "RSeq: 7")
					m.reply(early)
					prack := end.w.expect("PRACK")
					if want := fmt.Sprintf("7 %d INVITE", m.seq()); prack.get("RAck") != want || prack.seq() != m.seq()+1 || prack.get("X-Own") == "" {
						t.Errorf("want RAck: %s\n%s", want, prack.raw)
					}
					prack.answer("200 OK", "", "")
					m.reply(early)
					m.answer("183 Session Progress", "", "", "Require: 100rel", "RSeq: 9") // one is missing before it
					synctest.Wait()
					end.w.silent()
					m.answer("200 OK", "", "", "Session-Expires: 90;refresher=uas")
					end.w.expect("ACK")
				}
				go x.engine.HangUp("call", "")
				for _, w := range []*wire{x.a, x.w} {
					bye := w.expect("BYE")
					if bye.get("X-Own") == "" {
						t.Errorf("BYE\n%s", bye.raw)
					}
					bye.answer("200 OK", "", "")
				}
			})
		})
	}
}

// stamp is a border that marks what a bridge sends by itself.
type stamp struct{}

func (stamp) Request(_, _ *sip.Request, _ Side) *Refusal { return nil }
func (stamp) Response(_, _ *sip.Response, _ Side)        {}
func (stamp) Own(out *sip.Request, toward Side) {
	out.AppendHeader(sip.NewHeader("X-Own", toward.String()))
}

// RFC 3262 §5, RFC 6337 §2.1: the answer to an offer of ours counts, too, where it comes in a reliable 1xx and not in the 2xx. One Supported is enough.
func TestAnswerToOurOfferMayComeEarly(t *testing.T) {
	t.Parallel()
	bridged(t, func(t *testing.T, x *crossroads) {
		c := x.stand("call", "Supported: 100rel")
		type outcome struct {
			answer string
			err    error
		}
		got := make(chan outcome, 1)
		x.engine.Reoffer("call", SideB, func() ([]byte, error) { return []byte(offer2), nil },
			func(_ string, answer []byte, err error) { got <- outcome{string(answer), err} })
		m := x.w.expect("INVITE")
		if all := m.all("Supported"); len(all) != 1 || all[0] != "100rel, timer" || m.body != offer2 {
			t.Errorf("offer\n%s", m.raw)
		}
		m.answer("183 Session Progress", "", answer2, "Require: 100rel", "RSeq: 1")
		x.w.expect("PRACK").answer("200 OK", "", "")
		m.answer("200 OK", "", "")
		x.w.expect("ACK")
		select {
		case o := <-got:
			if o.answer != answer2 || o.err != nil {
				t.Errorf("%q, %v", o.answer, o.err)
			}
		case <-time.After(patience):
			t.Fatal("no answer")
		}
		c.end()
	})
}
