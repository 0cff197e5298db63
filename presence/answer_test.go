package presence_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey"
	"latchkey/internal/sipua"
	"latchkey/presence"
)

// B3.02: A's client asks about the guest and learns that it can chat. Two gateways ask each
// other, over real sockets.
func TestGatewayAnswersForItsGuests(t *testing.T) {
	listen := func() *sipua.Endpoint {
		e, err := sipua.Listen(sipua.Options{Listen: []string{"udp:127.0.0.1:0", "tcp:127.0.0.1:0"}, ServeAll: true})
		if err != nil {
			t.Fatalf("Listen = %v", err)
		}
		t.Cleanup(func() { _ = e.Close() })
		return e
	}
	asks, answers := listen(), listen()
	uri := "sip:" + answers.Addrs()[0].HostPort
	there := presence.New(answers, presence.Options{Core: uri, Allow: "INVITE, ACK"})
	heard := make(chan *sip.Request, 2)
	answers.Handle(func(tx *sipua.Transaction) {
		heard <- tx.Request
		if err := there.Answer(tx); err != nil {
			t.Errorf("Answer = %v", err)
		}
	})
	here := presence.New(asks, presence.Options{Core: uri, Timeout: time.Minute})
	t.Cleanup(func() { _ = here.Close(); _ = there.Close() })
	got, err := here.Status(t.Context(), bob, alice)
	if err != nil || got.State != latchkey.StatusOnline || !got.Chat {
		t.Errorf("Status = %+v, %v, want online with chat", got, err)
	}
	if req := <-heard; req.Method != sip.OPTIONS || req.Recipient.String() != "sip:a@cc.com" {
		t.Errorf("heard %s", req.StartLine())
	}

	req, err := sipua.NewRequest(sip.OPTIONS, "sip:b_at_cc.com@guest.example", "sip:a@cc.com", "sip:b_at_cc.com@guest.example")
	if err != nil {
		t.Fatal(err)
	}
	sipua.AddRoute(req, sipua.LooseRoute(uri))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	res, err := asks.Do(ctx, req)
	if err != nil {
		t.Fatalf("Do = %v", err)
	}
	if c := res.Contact(); !strings.HasPrefix(c.Value(), "<sip:b_at_cc.com@127.0.0.1:") || res.GetHeader("Allow").Value() != "INVITE, ACK" {
		t.Errorf("answer:\n%s", res)
	}
}
