package imstest

import (
	"context"
	"errors"
	"testing"
	"time"
)

// patience is how long anything may take that happens at once on a quiet machine.
const patience = time.Minute

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func pair(t *testing.T, network string) (*Core, *Phone, *Phone) {
	core, err := NewCore(CoreOptions{Domains: []string{"cc.com"}, Auth: true, Algorithms: []string{"SHA-256", "MD5"},
		Users: map[string]Account{"sip:a@cc.com": {"pa"}, "sip:b@cc.com": {"pb"}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(core.Close)
	var phones []*Phone
	for _, u := range []struct{ uri, password string }{{"sip:a@cc.com", "pa"}, {"sip:b@cc.com", "pb"}} {
		p, err := NewPhone(PhoneOptions{URI: u.uri, Password: u.password, Core: core.Addr(), Network: network, Manner: Manner{Tags: ChatTags}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		if err := p.Register(within(t)); err != nil {
			t.Fatal(err)
		}
		phones = append(phones, p)
	}
	return core, phones[0], phones[1]
}

func TestTwoPhonesChatThroughTheCore(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		for _, setup := range []string{"active", "passive"} {
			t.Run(network+" "+setup, func(t *testing.T) {
				core, a, b := pair(t, network)
				b.Behave(func(m *Manner) { m.Setup = setup })
				ctx := within(t)
				id, err := a.Send(ctx, b.URI(), "hello")
				if err != nil {
					t.Fatal(err)
				}
				got, err := b.Wait(ctx, "message", 1)
				if err != nil || got[0].Text != "hello" || got[0].Peer != a.URI() {
					t.Fatalf("b got %+v, %v", got, err)
				}
				if r, err := a.Wait(ctx, "receipt", 1); err != nil || r[0].ID != id || r[0].Status != "delivered" {
					t.Fatalf("a's receipts %+v, %v", r, err)
				}
				if _, err := b.Send(ctx, a.URI(), "back"); err != nil {
					t.Fatal(err)
				}
				if got, err := a.Wait(ctx, "message", 1); err != nil || got[0].Text != "back" {
					t.Fatalf("a got %+v, %v", got, err)
				}
				if err := a.HangUp(ctx, b.URI()); err != nil {
					t.Fatal(err)
				}
				if _, err := b.Wait(ctx, "hangup", 1); err != nil {
					t.Fatal(err)
				}
				for _, v := range [][]string{core.Violations(), a.Violations(), b.Violations()} {
					if len(v) > 0 {
						t.Errorf("violations: %q", v)
					}
				}
			})
		}
	}
}

func TestPhoneIsRefusedAsTheOtherBehaves(t *testing.T) {
	_, a, b := pair(t, "udp")
	b.Behave(func(m *Manner) { m.AnswerCode = 486 })
	_, err := a.Send(within(t), b.URI(), "x")
	var refused *Refusal
	if !errors.As(err, &refused) || refused.Status != 486 {
		t.Fatalf("Send = %v, want a refusal with 486", err)
	}
}

// RFC 4975 §5.4, RFC 5438 §7.2.1: a receipt that was cut off before its 200 and comes again by MESSAGE is a repeat; one that is made anew
// was told twice.
func TestReceiptOnTwoWaysIsARepeat(t *testing.T) {
	_, a, b := pair(t, "udp")
	ctx := within(t)
	b.Behave(func(m *Manner) { m.NoReceipts = true })
	id, err := a.Send(ctx, b.URI(), "hello")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Wait(ctx, "message", 1); err != nil {
		t.Fatal(err)
	}
	body := writeEnvelope(b.URI(), a.URI(), "receipt", "", "message/imdn+xml", imdnDocument(id, b.URI(), "delivery", "delivered"))
	b.pmu.Lock()
	c := b.calls[a.URI()]
	b.pmu.Unlock()
	if err := c.endpoint().send(ctx, token(), "message/cpim", body); err != nil {
		t.Fatal(err)
	}
	if err := b.Page(ctx, a.URI(), "message/cpim", body); err != nil {
		t.Fatal(err)
	}
	// What follows is told twice.
	if err := c.endpoint().send(ctx, token(), "message/cpim", body); err != nil {
		t.Fatal(err)
	}
	if err := b.receipt(nil, a.URI(), id, "delivery", "delivered"); err != nil {
		t.Fatal(err)
	}
	Eventually(t, patience, func() bool { return len(a.Violations()) >= 2 })
	if r, v := a.Events("receipt"), a.Violations(); len(r) != 1 || len(v) != 2 {
		t.Errorf("%d receipts, violations %q, want one and two", len(r), v)
	}
}
