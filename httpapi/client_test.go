package httpapi

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"latchkey"
	"latchkey/guestclient"
)

// R32: the stand-alone client, which shares no code with the gateway, does a guest's whole life.
func TestGuestClientLivesWithTheFacade(t *testing.T) {
	w := newWorld(t, Options{})
	s := w.serve()
	ctx, cancel := contextOf(t)
	defer cancel()
	c, err := guestclient.Open(s.URL+sessionPath+"?passwd="+password, guestclient.Options{FirstBack: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	l, err := c.Login(ctx)
	if err != nil || l.Account != account || !l.Expires.After(then) || len(l.Inviters) != 1 || l.Inviters[0].URI != aliceURI || l.Inviters[0].Status != "online" {
		t.Fatalf("Login = %+v, %v", l, err)
	}
	if st, err := c.Status(ctx, aliceURI); err != nil || st.URI != aliceURI || st.Status != "online" || st.Checked.IsZero() {
		t.Errorf("Status = %+v, %v", st, err)
	}
	if _, err := c.Status(ctx, carolURI); !errors.Is(err, guestclient.ErrNoRelation) {
		t.Errorf("Status of a stranger = %v", err)
	}
	m, err := c.SendAs(ctx, "mine", aliceURI, "hello")
	if again, err2 := c.SendAs(ctx, "mine", aliceURI, "hello"); err != nil || err2 != nil || again != m || m.State != "accepted" || m.To != aliceURI {
		t.Errorf("SendAs = %+v, %v and then %+v, %v", m, err, again, err2)
	}
	if _, err := c.SendAs(ctx, "mine", aliceURI, "other"); !errors.Is(err, guestclient.ErrConflict) {
		t.Errorf("SendAs of another text = %v", err)
	}
	if all, err := c.History(ctx, aliceURI, "", 10); err != nil || len(all) != 1 || all[0].ID != m.ID || all[0].From != account || all[0].Text != "hello" {
		t.Errorf("History = %+v, %v", all, err)
	}
	if err := c.Composing(ctx, aliceURI, true); err != nil {
		t.Error(err)
	}
	const n = 20
	go func() { // ends by itself
		for range n {
			w.hall.say("x")
		}
	}()
	var last int64
	heard := 0
	for e, err := range c.Events(ctx, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if last = e.ID; e.Type != "message" {
			continue
		}
		if heard++; heard == 7 {
			s.CloseClientConnections() // the client comes back by itself
		}
		if heard == n {
			break
		}
	}
	if err := c.Ack(ctx, last); err != nil || w.hall.ackedTo() < last {
		t.Errorf("Ack = %v, acknowledged %d of %d", err, w.hall.ackedTo(), last)
	}
	if err := c.Read(ctx, "in"); err != nil || !slices.Contains(w.hall.noted(), "read in by "+account) {
		t.Errorf("Read = %v, %v", err, w.hall.noted())
	}
	// A stream that is open at the logout ends for good.
	eventually(t, func() bool { return w.openRequests() == 0 }) // the one that was left is closed
	ended := make(chan error, 1)
	go func() { // ends with the logout
		var err error
		state := ""
		for e, failure := range c.Events(context.WithoutCancel(ctx), last) {
			if err = failure; e.Type == "session" {
				state = e.State
			}
		}
		if state != "ended" {
			err = errors.Join(err, errors.New("the end was not told"))
		}
		ended <- err
	}()
	eventually(t, func() bool { return w.openRequests() == 1 })
	if err := c.Logout(ctx); err != nil {
		t.Errorf("Logout = %v", err)
	}
	if err := <-ended; !errors.Is(err, guestclient.ErrUnauthorized) || err.Error() != (&guestclient.Problem{Title: latchkey.KindUnauthorized.Row().Title}).Error() {
		t.Errorf("Events after the logout = %v", err)
	}
	if err := c.Logout(ctx); err != nil {
		t.Errorf("second Logout = %v", err)
	}
	if _, err := c.Login(ctx); !errors.Is(err, guestclient.ErrUnauthorized) {
		t.Errorf("Login after the logout = %v", err)
	}
}
