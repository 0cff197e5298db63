package httpapi

import (
	"context"
	"testing"

	"latchkey"
)

// overtaken is a hall in which the last relation ends between two looks.
type overtaken struct {
	Hall
	looks int
}

func (o *overtaken) Events(_ context.Context, _ latchkey.AccountID, after int64, _ int) ([]latchkey.Event, error) {
	if o.looks++; o.looks == 1 || after >= 7 {
		return nil, nil
	}
	return []latchkey.Event{{ID: 7, Type: latchkey.InviterEvent, State: "removed", Reason: "inviter-left"}}, nil
}

func (o *overtaken) Over(context.Context, latchkey.AccountID) (bool, error) { return true, nil }

// X4, R30: a relation that ends between the look at the events and the one at what stands is told before the stream ends.
func TestStreamTellsTheEndThatOvertookIt(t *testing.T) {
	w := newWorld(t, Options{})
	w.api.ports.Hall = &overtaken{}
	events, over, err := w.api.since(t.Context(), "sip:b@guest.example", 0, true)
	if err != nil || !over || len(events) != 2 || events[0].State != "removed" || events[1].Reason != "inviter-left" {
		t.Errorf("since = %+v, %v, %v; want the removal, then the end", events, over, err)
	}
}
