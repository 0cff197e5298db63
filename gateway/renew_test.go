package gateway_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

// F38, RFC 4975 §5.4: the connection is cut in the middle of a guest's message. Alice's phone, or the gateway, offers another path within the
// call, and the message goes again under its Message-ID; she sees it once, and nobody hangs up. It is the same whoever has called.
func TestMessageThatIsCutGoesAgainInTheSameCall(t *testing.T) {
	t.Parallel()
	for _, renews := range []bool{true, false} {
		for _, calls := range []string{"guest", "inviter"} {
			for _, setup := range []string{"active", "passive"} {
				t.Run(fmt.Sprintf("phone renews %v, %s calls, %s", renews, calls, setup), func(t *testing.T) {
					t.Parallel()
					w := gatewaytest.New(t, gatewaytest.Plan{})
					a := w.Phone(gatewaytest.Alice, imstest.Manner{Setup: setup, CutAt: 20_000, Renews: renews})
					b := w.Guest()
					b.Login().Wants(200)
					if calls == "inviter" {
						if _, err := a.Send(w.Within(gatewaytest.Patience), b.Account, "first"); err != nil {
							t.Fatal(err)
						}
						b.Message("first")
					}
					long := strings.Repeat("no word of it is lost ", 4000)
					sent := b.Send(gatewaytest.Alice, long)
					cut, err := a.Wait(w.Within(gatewaytest.Patience), "cut", 1)
					if err != nil || cut[0].ID != sent.ID {
						t.Fatalf("cut in %+v, %v", cut, err)
					}
					got, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1)
					if err != nil || got[0].ID != sent.ID || got[0].Text != long {
						t.Fatalf("Alice got %d messages, %v, want the one that was cut", len(got), err)
					}
					imstest.Eventually(t, gatewaytest.Patience, func() bool { return a.Took(b.Account, sent.ID) })
					b.Delivery(sent.ID, "delivered")
					// The new path carries both ways.
					if _, err := a.Send(w.Within(gatewaytest.Patience), b.Account, "and back"); err != nil {
						t.Fatal(err)
					}
					b.Message("and back")
					b.Send(gatewaytest.Alice, "one more")
					if got, err = a.Wait(w.Within(gatewaytest.Patience), "message", 2); err != nil || got[1].Text != "one more" {
						t.Fatalf("Alice got %+v, %v", got, err)
					}
					if n := len(a.Requests("BYE")) + len(a.Events("repeat")); n != 0 || w.Dialogs() != 1 {
						t.Errorf("%d BYEs and repeats, %d dialogs, want the one call", n, w.Dialogs())
					}
				})
			}
		}
	}
}

// F38, F37: a phone that takes no other path, or hangs up, gets a new call, in which the message comes, under its Message-ID.
func TestPhoneThatIsNotRenewedIsCalledAnew(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{CutAt: 20_000, ReofferCode: 488})
	b := w.Guest()
	b.Login().Wants(200)
	long := strings.Repeat("no word of it is lost ", 4000)
	sent := b.Send(gatewaytest.Alice, long)
	got, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1)
	if err != nil || got[0].ID != sent.ID || got[0].Text != long {
		t.Fatalf("Alice got %d messages, %v, want the one that was cut", len(got), err)
	}
	calls := map[string]int{}
	for _, m := range a.Invites() {
		calls[m.Get("Call-ID")]++
	}
	if len(calls) != 2 || !slices.Contains([]int{2}, calls[a.Invites()[0].Get("Call-ID")]) {
		t.Errorf("INVITEs by call %v, want one with a re-INVITE, and then another", calls)
	}
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return len(a.Requests("BYE")) > 0 })
	if byes := a.Requests("BYE"); len(byes) != 1 || byes[0].Get("Call-ID") != a.Invites()[0].Get("Call-ID") {
		t.Errorf("%d BYEs, want that of the call that was cut", len(byes))
	}
}

// RFC 3264 §8, RFC 4028: a re-INVITE that changes nothing about the path leaves the connection as it is, and one with port 0 ends the chat.
func TestReofferThatMovesNothingKeepsTheConnection(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	b := w.Guest()
	b.Login().Wants(200)
	b.Send(gatewaytest.Alice, "one")
	if _, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ change, want string }{
		{"a=sendrecv", "a=sendrecv"}, {"a=max-size:30000", "a=sendrecv"}, {"a=sendonly", "a=recvonly"},
	} {
		res, err := a.Reoffer(w.Within(gatewaytest.Patience), b.Account, c.change)
		if err != nil || res.Status != 200 || !strings.Contains(string(res.Body), c.want) {
			t.Fatalf("re-INVITE with %s: %v, %+v", c.change, err, res)
		}
	}
	a.Reoffer(w.Within(gatewaytest.Patience), b.Account, "a=max-size:30000")
	b.Send(gatewaytest.Alice, "two")
	if got, err := a.Wait(w.Within(gatewaytest.Patience), "message", 2); err != nil || got[1].Text != "two" {
		t.Fatalf("Alice got %+v, %v", got, err)
	}
	b.Delivery(b.Send(gatewaytest.Alice, strings.Repeat("too long ", 5000)).ID, "failed") // as a=max-size says by now
	if up, err := a.Wait(w.Within(gatewaytest.Patience), "media", 1); err != nil || len(up) != 1 {
		t.Errorf("MSRP came up %d times, %v, want once", len(up), err)
	}
	res, err := a.Reoffer(w.Within(gatewaytest.Patience), b.Account, "m=message 0 TCP/MSRP *")
	if err != nil || res.Status != 200 || !strings.Contains(string(res.Body), "m=message 0 ") {
		t.Fatalf("re-INVITE with port 0: %v, %+v", err, res)
	}
	if _, err := a.Wait(w.Within(gatewaytest.Patience), "hangup", 1); err != nil {
		t.Error("no BYE after the end of the medium")
	}
}
