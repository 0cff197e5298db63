package storage_test

import (
	"fmt"
	"testing"
	"time"

	"latchkey"
)

func browser(account latchkey.AccountID, n int) latchkey.PushSubscription {
	return latchkey.PushSubscription{
		ID: latchkey.NewToken(), Account: account, Endpoint: latchkey.Secret(fmt.Sprint("https://push.example/", n)), P256dh: "key", Auth: "auth",
		Created: now().Add(time.Duration(n) * time.Second),
	}
}

// X5: a guest has a handful of browsers; one that asks again keeps its name, and belongs to the guest who used it last.
func TestPushSubscriptionsAreAHandful(t *testing.T) {
	db := fresh(t)
	carol := latchkey.AccountID("sip:c_at_cc.com@guest.example")
	live(t, db, bob, alice)
	live(t, db, carol, alice)
	var first latchkey.PushSubscription
	for n := range 7 {
		p, known, err := db.AddPush(t.Context(), browser(bob, n), 5)
		if err != nil || known {
			t.Fatal(known, err)
		}
		if n == 2 {
			first = p
		}
	}
	again := browser(bob, 2)
	again.Auth, again.Created, again.Expires = "new", now().Add(time.Hour), now().Add(time.Minute)
	p, known, err := db.AddPush(t.Context(), again, 5)
	again.ID = first.ID
	if err != nil || !known || p != again {
		t.Errorf("AddPush once more = %+v, %v, %v, want %+v", p, known, err, again)
	}
	all, err := db.PushSubscriptions(t.Context(), bob, now())
	if err != nil || len(all) != 5 || all[0].Endpoint != "https://push.example/3" || all[4] != again {
		t.Errorf("%+v, %v", all, err)
	}
	if all, err = db.PushSubscriptions(t.Context(), bob, now().Add(time.Hour)); err != nil || len(all) != 4 {
		t.Errorf("%d are there of which one is over, %v", len(all), err)
	}
	if p, known, err := db.AddPush(t.Context(), browser(carol, 3), 5); err != nil || known || p.Account != carol {
		t.Errorf("another guest's = %+v, %v, %v", p, known, err)
	}
	if all, _ = db.PushSubscriptions(t.Context(), bob, now()); len(all) != 4 {
		t.Errorf("bob still has %d", len(all))
	}
	if err := db.DropPush(t.Context(), carol, again.ID); !latchkey.Is(err, latchkey.KindNotFound) {
		t.Errorf("DropPush of somebody else's = %v", err)
	}
	if err := db.DropPush(t.Context(), bob, again.ID); err != nil {
		t.Error(err)
	}
	if err := db.DropPush(t.Context(), bob, again.ID); !latchkey.Is(err, latchkey.KindNotFound) {
		t.Errorf("DropPush once more = %v", err)
	}
}

// R29, F58: subscriptions end with the guest's last relation, and when the browser said.
func TestPushSubscriptionsEndWithTheLastRelation(t *testing.T) {
	db := fresh(t)
	one, two := live(t, db, bob, alice), live(t, db, bob, "sip:d@cc.com")
	lasting, short := browser(bob, 1), browser(bob, 2)
	short.Expires = now().Add(time.Minute)
	for _, p := range []latchkey.PushSubscription{lasting, short} {
		if _, _, err := db.AddPush(t.Context(), p, 5); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Purge(t.Context(), now().Add(2*time.Minute), time.Hour); err != nil {
		t.Fatal(err)
	}
	if n := rows(t, db, "push_subscription"); n != 1 {
		t.Errorf("%d are left of which one is over", n)
	}
	ending(t, db, one, latchkey.Withdrawn)
	if n := rows(t, db, "push_subscription"); n != 1 {
		t.Errorf("%d are left while there is a relation", n)
	}
	ending(t, db, two, latchkey.GuestLeft)
	if n := rows(t, db, "push_subscription"); n != 0 {
		t.Errorf("%d are left without a relation", n)
	}
	if _, _, err := db.AddPush(t.Context(), lasting, 5); !latchkey.Is(err, latchkey.KindNotFound) {
		t.Errorf("AddPush without a relation = %v", err)
	}
}

// A message is unheard until some client of the guest has acknowledged it.
func TestUnheardUntilAcknowledged(t *testing.T) {
	db := fresh(t)
	r := live(t, db, bob, alice)
	m := latchkey.Message{ID: "m", Relation: r.ID, Account: bob, Inviter: alice, Direction: latchkey.ToGuest, ContentType: "text/plain", State: latchkey.MessageAccepted, RemoteID: "x", Time: now()}
	e := latchkey.Event{Type: latchkey.MessageEvent, Account: bob, From: string(alice), Time: now(), Message: &latchkey.EventMessage{ID: "m"}}
	if _, err := db.AddToGuest(t.Context(), m, e); err != nil {
		t.Fatal(err)
	}
	if unheard, err := db.Unheard(t.Context(), e); err != nil || !unheard {
		t.Errorf("before: %v, %v", unheard, err)
	}
	events, err := db.Events(t.Context(), bob, 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Acknowledge(t.Context(), bob, events[len(events)-1].ID); err != nil {
		t.Fatal(err)
	}
	for _, e := range []latchkey.Event{e, {Message: &latchkey.EventMessage{ID: "gone"}}, {File: &latchkey.EventFile{ID: "gone"}}, {}} {
		if unheard, err := db.Unheard(t.Context(), e); err != nil || unheard {
			t.Errorf("%+v is unheard: %v, %v", e, unheard, err)
		}
	}
}
