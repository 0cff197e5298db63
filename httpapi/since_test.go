package httpapi

import (
	"context"
	"testing"

	"latchkey"
)

// overtaken is a hall in which a relation ends between two looks, and a desk that has none by then.
type overtaken struct {
	Hall
	Desk
	looks int
}

func (o *overtaken) Events(context.Context, latchkey.AccountID, int64, int) ([]latchkey.Event, error) {
	if o.looks++; o.looks == 1 {
		return nil, nil
	}
	return []latchkey.Event{{ID: 7, Type: latchkey.InviterEvent, State: "removed", Reason: "inviter-left"}}, nil
}

func (o *overtaken) Relations(context.Context, latchkey.AccountID) ([]latchkey.Relation, error) {
	return nil, nil
}

// X4, R30: a relation that ends between the look at the events and the one at the relations is told before the stream ends.
func TestStreamTellsTheEndThatOvertookIt(t *testing.T) {
	w := newWorld(t, Options{})
	o := &overtaken{}
	w.api.ports.Hall, w.api.ports.Desk = o, o
	events, over, err := w.api.since(t.Context(), "sip:b@guest.example", 0, true)
	if err != nil || !over || len(events) != 2 || events[0].State != "removed" || events[1].Reason != "inviter-left" {
		t.Errorf("since = %+v, %v, %v; want the removal, then the end", events, over, err)
	}
}
