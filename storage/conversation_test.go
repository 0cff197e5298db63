package storage_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"latchkey"
	"latchkey/storage"
)

func outgoing(r latchkey.Relation, clientID, text string) latchkey.Message {
	return latchkey.Message{
		ID: latchkey.NewMessageID(), Relation: r.ID, Account: r.Account, Inviter: r.Inviter, Direction: latchkey.ToInviter,
		ContentType: "text/plain", Text: latchkey.Text(text), State: latchkey.MessageAccepted, ClientID: clientID, Time: now(),
	}
}

func incoming(r latchkey.Relation, remoteID, text string) (latchkey.Message, latchkey.Event) {
	m := latchkey.Message{
		ID: latchkey.NewMessageID(), Relation: r.ID, Account: r.Account, Inviter: r.Inviter, Direction: latchkey.ToGuest,
		ContentType: "text/plain", Text: latchkey.Text(text), State: latchkey.MessageAccepted, Time: now(),
		RemoteID: remoteID, WantDelivered: true, WantDisplayed: true,
	}
	return m, latchkey.Event{Type: latchkey.MessageEvent, Time: now(), Account: r.Account, From: string(r.Inviter), Message: &latchkey.EventMessage{ID: m.ID, Text: text}}
}

func take(t *testing.T, db *storage.DB, r latchkey.Relation, remoteID, text string) latchkey.Message {
	t.Helper()
	m, e := incoming(r, remoteID, text)
	if repeated, err := db.AddToGuest(t.Context(), m, e); err != nil || repeated {
		t.Fatalf("AddToGuest(%s) = %v, %v", remoteID, repeated, err)
	}
	return m
}

func put(t *testing.T, db *storage.DB, m latchkey.Message) {
	t.Helper()
	if _, repeated, err := db.AddToInviter(t.Context(), m); err != nil || repeated {
		t.Fatalf("AddToInviter(%s) = %v, %v", m.Text.Reveal(), repeated, err)
	}
}

func numbers(t *testing.T, db *storage.DB, account latchkey.AccountID) (all []int64) {
	t.Helper()
	events, err := db.Events(t.Context(), account, 0, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		all = append(all, e.ID)
	}
	return all
}

// A guest's message is stored once for each id of the client, also when the repeats come at once.
func TestClientIDIsStoredOnce(t *testing.T) {
	db := fresh(t)
	r, other := live(t, db, bob, alice), live(t, db, bob, "sip:a2@cc.com")
	var mu sync.Mutex
	ids := map[latchkey.MessageID]int{}
	firsts := 0
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			stored, repeated, err := db.AddToInviter(t.Context(), outgoing(r, "c1", "hi"))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			ids[stored.ID]++
			if !repeated {
				firsts++
			}
		})
	}
	all.Wait()
	if len(ids) != 1 || firsts != 1 {
		t.Errorf("%d ids, %d firsts, want one of each", len(ids), firsts)
	}
	for name, m := range map[string]latchkey.Message{"text": outgoing(r, "c1", "ho"), "inviter": outgoing(other, "c1", "hi")} {
		if _, _, err := db.AddToInviter(t.Context(), m); !latchkey.Is(err, latchkey.KindConflict) {
			t.Errorf("another %s = %v, want conflict", name, err)
		}
	}
	for range 2 { // without an id, each is one
		put(t, db, outgoing(r, "", "hi"))
	}
	if n := rows(t, db, "message"); n != 3 {
		t.Errorf("%d messages, want 3", n)
	}
	ending(t, db, r, latchkey.GuestLeft)
	if _, _, err := db.AddToInviter(t.Context(), outgoing(r, "c2", "hi")); !latchkey.Is(err, latchkey.KindNoRelation) {
		t.Errorf("on an ending relation = %v, want no relation", err)
	}
	m, e := incoming(r, "r1", "hi")
	if _, err := db.AddToGuest(t.Context(), m, e); !latchkey.Is(err, latchkey.KindNoRelation) {
		t.Errorf("to the guest of an ending relation = %v, want no relation", err)
	}
}

// An inviter's message is an event once for each of its imdn.Message-IDs, which are the inviter's own.
func TestRemoteIDIsToldOnce(t *testing.T) {
	db := fresh(t)
	r, other := live(t, db, bob, alice), live(t, db, bob, "sip:a2@cc.com")
	var mu sync.Mutex
	told := 0
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			m, e := incoming(r, "r1", "hi")
			repeated, err := db.AddToGuest(t.Context(), m, e)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			if !repeated {
				told++
			}
		})
	}
	all.Wait()
	if n := numbers(t, db, bob); told != 1 || len(n) != 1 {
		t.Errorf("told %d times, events %v, want one", told, n)
	}
	take(t, db, other, "r1", "hi")
	take(t, db, r, "", "no id")
	take(t, db, r, "", "no id")
	if n := numbers(t, db, bob); !slices.Equal(n, []int64{1, 2, 3, 4}) {
		t.Errorf("events %v, want 4", n)
	}
}

// Each move goes forward only and is told once; another relation can't make it.
func TestMessageMovesForward(t *testing.T) {
	db := fresh(t)
	r, other := live(t, db, bob, alice), live(t, db, bob, "sip:a2@cc.com")
	m := outgoing(r, "", "hi")
	put(t, db, m)
	if _, err := db.Move(t.Context(), other.ID, m.ID, latchkey.MessageDisplayed, ""); !latchkey.Is(err, latchkey.KindNotFound) {
		t.Errorf("Move in another relation = %v, want not found", err)
	}
	for _, step := range []struct {
		to   latchkey.MessageState
		want bool
	}{
		{latchkey.MessageSent, true}, {latchkey.MessageSent, false}, {latchkey.MessageDisplayed, true}, {latchkey.MessageDelivered, false},
		{latchkey.MessageFailed, false}, {latchkey.MessageAccepted, false},
	} {
		if moved, err := db.Move(t.Context(), r.ID, m.ID, step.to, ""); err != nil || moved != step.want {
			t.Errorf("Move to %s = %v, %v, want %v", step.to, moved, err, step.want)
		}
	}
	failing := outgoing(r, "", "ho")
	put(t, db, failing)
	if moved, err := db.Move(t.Context(), r.ID, failing.ID, latchkey.MessageFailed, "because"); err != nil || !moved {
		t.Errorf("Move to failed = %v, %v", moved, err)
	}
	if moved, _ := db.Move(t.Context(), r.ID, failing.ID, latchkey.MessageDelivered, ""); moved {
		t.Error("a failed message was delivered")
	}
	events, err := db.Events(t.Context(), bob, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range events {
		got = append(got, string(e.Message.State)+e.Message.Reason)
	}
	if want := []string{"sent", "displayed", "failedbecause"}; !slices.Equal(got, want) {
		t.Errorf("told %v, want %v", got, want)
	}
}

// X4: what waits is listed in order, for its relation, until it has gone; Busy lists who waits.
func TestWaitingIsInOrder(t *testing.T) {
	db := fresh(t)
	r, quiet := live(t, db, bob, alice), live(t, db, bob, "sip:a2@cc.com")
	var want []latchkey.MessageID
	for i := range 5 {
		m := outgoing(r, "", fmt.Sprint(i))
		m.Time = m.Time.Add(-time.Duration(i) * time.Hour) // the clock may go back
		put(t, db, m)
		want = append(want, m.ID)
	}
	take(t, db, quiet, "r1", "hi")
	list := func() (got []latchkey.MessageID) {
		t.Helper()
		messages, _, err := db.Waiting(t.Context(), r.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages {
			got = append(got, m.ID)
		}
		return got
	}
	if got := list(); !slices.Equal(got, want) {
		t.Errorf("waiting %v, want %v", got, want)
	}
	if busy, err := db.Busy(t.Context()); err != nil || len(busy) != 1 || !reflect.DeepEqual(busy[0], r) {
		t.Errorf("Busy = %+v, %v, want %+v", busy, err, r)
	}
	for _, id := range want {
		if _, err := db.Move(t.Context(), r.ID, id, latchkey.MessageSent, ""); err != nil {
			t.Fatal(err)
		}
	}
	if got := list(); len(got) != 0 {
		t.Errorf("waiting %v after all was sent", got)
	}
	if _, err := db.Acknowledge(t.Context(), bob, 1); err != nil {
		t.Fatal(err)
	}
	if busy, err := db.Busy(t.Context()); err != nil || len(busy) != 1 || busy[0].ID != quiet.ID {
		t.Errorf("Busy = %+v, %v, want the one that owes a receipt", busy, err)
	}
	ending(t, db, quiet, latchkey.GuestLeft)
	if busy, err := db.Busy(t.Context()); err != nil || len(busy) != 0 {
		t.Errorf("Busy = %+v, %v, want none while ending", busy, err)
	}
}

// B3.09, B3.10: each receipt is owed once, after the guest's client said so.
func TestReceiptIsOwedOnce(t *testing.T) {
	db := fresh(t)
	r := live(t, db, bob, alice)
	var ids []latchkey.MessageID
	for i := range 3 {
		ids = append(ids, take(t, db, r, fmt.Sprintf("r%d", i), "hi").ID)
	}
	owed := func() (all []string) {
		t.Helper()
		_, receipts, err := db.Waiting(t.Context(), r.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range receipts {
			all = append(all, fmt.Sprint(one.RemoteID, " ", one.Displayed))
		}
		return all
	}
	ack := func(upTo int64, want int) {
		t.Helper()
		if relations, err := db.Acknowledge(t.Context(), bob, upTo); err != nil || len(relations) != want {
			t.Errorf("Acknowledge(%d) = %v, %v, want %d relations", upTo, relations, err, want)
		}
	}
	ack(0, 0)
	ack(2, 1)
	ack(2, 0)
	ack(1, 0)
	if got := owed(); !slices.Equal(got, []string{"r0 false", "r1 false"}) {
		t.Errorf("owed %v", got)
	}
	if rel, err := db.Displayed(t.Context(), bob, ids[2]); err != nil || rel.ID != r.ID {
		t.Errorf("Displayed = %v, %v", rel.ID, err)
	}
	if rel, err := db.Displayed(t.Context(), bob, ids[2]); err != nil || rel.ID != "" {
		t.Errorf("second Displayed = %v, %v, want nothing to send", rel.ID, err)
	}
	ack(1<<60, 0) // a client may claim too much
	got := owed()
	slices.Sort(got)
	if want := []string{"r0 false", "r0 true", "r1 false", "r1 true", "r2 false", "r2 true"}; !slices.Equal(got, want) {
		t.Errorf("owed %v, want %v", got, want)
	}
	_, receipts, _ := db.Waiting(t.Context(), r.ID)
	for _, one := range receipts {
		if err := db.ReceiptSent(t.Context(), one); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.Displayed(t.Context(), bob, ids[0]); err != nil {
		t.Fatal(err)
	}
	if got := owed(); len(got) != 0 {
		t.Errorf("owed again: %v", got)
	}
	for _, account := range []latchkey.AccountID{"sip:c@guest.example"} {
		if _, err := db.Displayed(t.Context(), account, ids[0]); !latchkey.Is(err, latchkey.KindNotFound) {
			t.Errorf("Displayed by another = %v, want not found", err)
		}
		if relations, err := db.Acknowledge(t.Context(), account, 10); err != nil || len(relations) != 0 {
			t.Errorf("Acknowledge by another = %v, %v", relations, err)
		}
	}
	// The claim of more than there is must not swallow what comes later.
	take(t, db, r, "r9", "late")
	ack(4, 1)
}

// Events are numbered from 1 for each account, without gaps, and no number is given twice, whatever is deleted
// and whoever writes at the same time.
func TestEventNumbersAreNotUsedAgain(t *testing.T) {
	db := fresh(t)
	r := live(t, db, bob, alice)
	var all sync.WaitGroup
	for range 50 {
		for _, account := range []latchkey.AccountID{bob, "sip:c@guest.example"} {
			all.Go(func() {
				if _, err := db.AddEvent(t.Context(), latchkey.Event{Type: latchkey.StatusEvent, Account: account, Time: now()}); err != nil {
					t.Error(err)
				}
			})
		}
	}
	all.Wait()
	want := make([]int64, 50)
	for i := range want {
		want[i] = int64(i + 1)
	}
	for _, account := range []latchkey.AccountID{bob, "sip:c@guest.example"} {
		if got := numbers(t, db, account); !slices.Equal(got, want) {
			t.Errorf("numbers of %s: %v", account, got)
		}
	}
	take(t, db, r, "r1", "hi") // 51
	ending(t, db, r, latchkey.GuestLeft)
	end := latchkey.Event{Type: latchkey.InviterEvent, Account: bob, State: "removed"}
	for range 3 {
		if err := db.EndConversation(t.Context(), r, end); err != nil { // 52, and 51 is deleted
			t.Fatal(err)
		}
	}
	if got := numbers(t, db, bob); !slices.Equal(got, append(want, 52)) {
		t.Errorf("numbers after the end: %v", got[45:])
	}
	if err := db.End(t.Context(), bob, []latchkey.RelationID{r.ID}, true); err != nil {
		t.Fatal(err)
	}
	// Who is attached hears the end; later there is nothing left of it.
	if got := numbers(t, db, bob); len(got) == 0 {
		t.Error("the last event is gone at once")
	}
	// The account's next life sees nothing of this one.
	next := live(t, db, bob, alice)
	if got := numbers(t, db, bob); len(got) != 0 {
		t.Errorf("a new guest reads events %v", got)
	}
	take(t, db, next, "r1", "hi")
	if got := numbers(t, db, bob); !slices.Equal(got, []int64{53}) {
		t.Errorf("the new life begins with %v, want 53", got)
	}
}

// S14: what nobody may read any more is deleted, the events of others aren't.
func TestPurgeForgetsTheEventsOfTheGone(t *testing.T) {
	db := fresh(t)
	r := live(t, db, bob, alice)
	live(t, db, "sip:c@guest.example", alice)
	for _, account := range []latchkey.AccountID{bob, "sip:c@guest.example"} {
		if _, err := db.AddEvent(t.Context(), latchkey.Event{Type: latchkey.StatusEvent, Account: account}); err != nil {
			t.Fatal(err)
		}
	}
	ending(t, db, r, latchkey.GuestLeft)
	if err := errors.Join(db.End(t.Context(), bob, []latchkey.RelationID{r.ID}, false), db.Purge(t.Context(), now(), time.Hour)); err != nil {
		t.Fatal(err)
	}
	if n := numbers(t, db, bob); len(n) != 1 {
		t.Errorf("events %v, want one for a moment", n)
	}
	if err := db.Purge(t.Context(), now().Add(2*time.Hour), time.Hour); err != nil {
		t.Fatal(err)
	}
	if n := rows(t, db, "event"); n != 1 {
		t.Errorf("%d events left, want the other guest's", n)
	}
	if n, err := db.AddEvent(t.Context(), latchkey.Event{Type: latchkey.StatusEvent, Account: bob}); err != nil || n != 2 {
		t.Errorf("next number %d, %v, want 2", n, err)
	}
}

// A state that nobody repeated is not told after it lapsed, and is deleted.
func TestLapsedEventIsNotTold(t *testing.T) {
	db := fresh(t)
	e := latchkey.Event{Type: latchkey.ComposingEvent, Account: bob, State: "active", Lapses: now().Add(time.Hour)}
	if _, err := db.AddEvent(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	e.Lapses = now().Add(-time.Millisecond)
	if _, err := db.AddEvent(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if n := numbers(t, db, bob); !slices.Equal(n, []int64{1}) {
		t.Errorf("events %v, want the first", n)
	}
	if err := db.Purge(t.Context(), now(), time.Hour); err != nil {
		t.Fatal(err)
	}
	if n := rows(t, db, "event"); n != 1 {
		t.Errorf("%d events left, want 1", n)
	}
}

// F25: acknowledged events stay for a second device, but not for ever.
func TestAcknowledgedEventsAreTrimmed(t *testing.T) {
	db := fresh(t)
	var all sync.WaitGroup // together, for the sake of the disk
	for range 1010 {
		all.Go(func() {
			if _, err := db.AddEvent(t.Context(), latchkey.Event{Type: latchkey.StatusEvent, Account: bob}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := numbers(t, db, bob); len(n) != 1010 {
		t.Errorf("%d events before, want all", len(n))
	}
	if _, err := db.Acknowledge(t.Context(), bob, 1005); err != nil {
		t.Fatal(err)
	}
	if n := numbers(t, db, bob); len(n) != 1005 || n[0] != 6 {
		t.Errorf("%d events from %d on, want 1005 from 6 on", len(n), n[0])
	}
}

// Events come as they went in, but for what is not for clients.
func TestEventComesBackAsItWas(t *testing.T) {
	db := fresh(t)
	want := latchkey.Event{
		Type: latchkey.MessageEvent, Time: now(), Account: bob, From: "sip:a@cc.com", URI: "u", Status: "s", State: "st", Reason: "r", Name: "n",
		Message: &latchkey.EventMessage{ID: "m", Text: "t\u0000\U0001f511", Type: "text/plain", State: latchkey.MessageSent, Reason: "x"},
		File:    &latchkey.EventFile{ID: "f", Name: "n", Size: 1 << 40, Type: "image/png"},
	}
	var err error
	if want.ID, err = db.AddEvent(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	got, err := db.Events(t.Context(), bob, 0, 10)
	if err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if got, err := db.Events(t.Context(), bob, want.ID, 10); err != nil || len(got) != 0 {
		t.Errorf("after the last: %v, %v", got, err)
	}
}

// The conversation so far is read backwards in pages.
func TestHistoryIsReadInPages(t *testing.T) {
	db := fresh(t)
	r, other := live(t, db, bob, alice), live(t, db, bob, "sip:a2@cc.com")
	var want []string
	for i := range 25 {
		text := fmt.Sprint(i)
		want = append(want, text)
		if i%2 == 0 {
			put(t, db, outgoing(r, "", text))
		} else {
			take(t, db, r, text, text)
		}
		put(t, db, outgoing(other, "", "other"))
	}
	var got []string
	before := latchkey.MessageID("")
	for pages := 0; ; pages++ {
		page, err := db.History(t.Context(), bob, alice, before, 10)
		if err != nil || pages > 3 {
			t.Fatalf("page %d: %v", pages, err)
		}
		if len(page) == 0 {
			break
		}
		var texts []string
		for _, m := range page {
			texts = append(texts, m.Text.Reveal())
		}
		got = append(texts, got...)
		before = page[0].ID
	}
	if !slices.Equal(got, want) {
		t.Errorf("read %v", got)
	}
	if page, err := db.History(t.Context(), "sip:c@guest.example", alice, "", 10); err != nil || len(page) != 0 {
		t.Errorf("another guest reads %v, %v", page, err)
	}
	mine, _ := db.History(t.Context(), bob, alice, "", 1)
	if page, err := db.History(t.Context(), "sip:c@guest.example", alice, mine[0].ID, 10); err != nil || len(page) != 0 {
		t.Errorf("another guest reads before a message %v, %v", page, err)
	}
}

// R29: of an ended conversation nothing is left but its neighbours, and the guest is told once.
func TestEndedConversationLeavesNothing(t *testing.T) {
	db := fresh(t)
	r, other := live(t, db, bob, alice), live(t, db, bob, "sip:a2@cc.com")
	for _, one := range []latchkey.Relation{r, other} {
		put(t, db, outgoing(one, "", "hi"))
		m := take(t, db, one, "r1", "hi")
		if _, err := db.Displayed(t.Context(), bob, m.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := db.ConversationID(t.Context(), one.ID); err != nil {
			t.Fatal(err)
		}
	}
	ending(t, db, r, latchkey.GuestLeft)
	for range 2 {
		if err := db.EndConversation(t.Context(), r, latchkey.Event{Type: latchkey.InviterEvent, Account: bob, State: "removed"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.End(t.Context(), bob, []latchkey.RelationID{r.ID}, true); err != nil {
		t.Fatal(err)
	}
	if err := db.EndConversation(t.Context(), r, latchkey.Event{Type: latchkey.InviterEvent, Account: bob, State: "removed"}); err != nil {
		t.Fatal(err)
	}
	for table, want := range map[string]int{"message": 2, "receipt": 2, "conversation": 1, "event": 2} {
		if n := rows(t, db, table); n != want {
			t.Errorf("%d rows in %s, want %d", n, table, want)
		}
	}
}

// R29, R30: an account's conversations are over when the guest's stream says so of the last relation, not before, whatever has begun to end.
func TestConversationsAreOverWhenTheStreamSaysSo(t *testing.T) {
	db := fresh(t)
	r, other := live(t, db, bob, alice), live(t, db, bob, "sip:a2@cc.com")
	live(t, db, "sip:c@guest.example", alice)
	over := func(want bool) {
		t.Helper()
		if got, err := db.ConversationsOver(t.Context(), bob); err != nil || got != want {
			t.Errorf("ConversationsOver = %v, %v, want %v", got, err, want)
		}
	}
	tell := func(r latchkey.Relation) {
		t.Helper()
		if err := db.EndConversation(t.Context(), r, latchkey.Event{Type: latchkey.InviterEvent, Account: bob, State: "removed"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.ConversationID(t.Context(), r.ID); err != nil { // a conversation that was
		t.Fatal(err)
	}
	over(false)
	ending(t, db, r, latchkey.GuestLeft)
	ending(t, db, other, latchkey.GuestLeft)
	over(false)
	tell(r)
	over(false)
	tell(other)
	over(true)
	if err := db.End(t.Context(), bob, []latchkey.RelationID{r.ID, other.ID}, true); err != nil {
		t.Fatal(err)
	}
	over(true)
}

// B3.04: one Conversation-ID for the relation's life, also when many ask at once; none after it.
func TestConversationIDStays(t *testing.T) {
	db := fresh(t)
	r, other := live(t, db, bob, alice), live(t, db, bob, "sip:a2@cc.com")
	var mu sync.Mutex
	names := map[string]int{}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			name, err := db.ConversationID(t.Context(), r.ID)
			mu.Lock()
			defer mu.Unlock()
			if err != nil || name == "" {
				t.Errorf("ConversationID = %q, %v", name, err)
			}
			names[name]++
		})
	}
	all.Wait()
	name, err := db.ConversationID(t.Context(), other.ID)
	if len(names) != 1 || err != nil || names[name] != 0 {
		t.Errorf("names %v and %s, %v", names, name, err)
	}
	ending(t, db, r, latchkey.GuestLeft)
	for _, id := range []latchkey.RelationID{r.ID, "none"} {
		if _, err := db.ConversationID(t.Context(), id); !latchkey.Is(err, latchkey.KindNoRelation) {
			t.Errorf("ConversationID = %v, want no relation", err)
		}
	}
}
