package storage_test

import (
	"testing"
	"time"

	"latchkey"
	"latchkey/storage"
	"latchkey/storage/storagetest"
)

const (
	alice = latchkey.InviterID("sip:a@cc.com")
	bob   = latchkey.AccountID("sip:b_at_cc.com@guest.example")
)

// now is what rows can hold: times are kept to the microsecond.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

func open(t *testing.T, path string) *storage.DB {
	t.Helper()
	db, err := storage.Open(t.Context(), path, storage.Options{})
	if err != nil {
		t.Fatalf("Open = %v", err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func fresh(t *testing.T) *storage.DB {
	t.Helper()
	return storagetest.Open(t, storage.Options{})
}

func guestOf(account latchkey.AccountID) latchkey.Guest {
	return latchkey.Guest{Account: account, Identifier: latchkey.Identifier{Kind: latchkey.Mail, Value: "of-" + string(account)}, Created: now()}
}

func relation(account latchkey.AccountID, inviter latchkey.InviterID) latchkey.Relation {
	return latchkey.Relation{
		ID: latchkey.NewRelationID(), Account: account, Inviter: inviter, InviterUID: "10001", InviterName: "Alice", InviterTel: "+8613800000001",
		Interactions: []latchkey.Interaction{latchkey.IM, latchkey.File}, Note: "Hello", Created: now(), Expires: now().Add(time.Hour), State: latchkey.Asked,
	}
}

func notice(r latchkey.Relation) latchkey.Notice {
	return latchkey.Notice{
		ID: latchkey.NewToken(), Relation: r.ID, Channel: latchkey.ByMail, Recipient: "b@cc.com", GuestName: "Bob", Account: r.Account, Inviter: r.Inviter,
		InviterName: r.InviterName, Note: "Hello", Link: "http://x/" + latchkey.Secret(latchkey.NewToken()), Created: now(), Expires: r.Expires,
	}
}

// live makes a live relation with one password, whose salt is the relation's id.
func live(t *testing.T, db *storage.DB, account latchkey.AccountID, inviter latchkey.InviterID) latchkey.Relation {
	t.Helper()
	return liveSince(t, db, account, inviter, now())
}

func liveSince(t *testing.T, db *storage.DB, account latchkey.AccountID, inviter latchkey.InviterID, at time.Time) latchkey.Relation {
	t.Helper()
	want := relation(account, inviter)
	want.Created = at
	_, r, err := db.Ask(t.Context(), guestOf(account), want)
	if err != nil {
		t.Fatalf("Ask = %v", err)
	}
	r.State = latchkey.Live
	n := notice(r)
	n.Created = at
	if err := db.Settle(t.Context(), r, string(r.ID), "hash", n); err != nil {
		t.Fatalf("Settle = %v", err)
	}
	return r
}

func ending(t *testing.T, db *storage.DB, r latchkey.Relation, cause latchkey.Cause) {
	t.Helper()
	if turned, err := db.BeginEnding(t.Context(), []latchkey.RelationID{r.ID}, cause); err != nil || len(turned) != 1 {
		t.Fatalf("BeginEnding = %v, %v", turned, err)
	}
}

// rows counts a table.
func rows(t *testing.T, db *storage.DB, table string) (n int) {
	t.Helper()
	if err := db.Read().QueryRowContext(t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
