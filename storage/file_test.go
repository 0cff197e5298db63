package storage_test

import (
	"testing"
	"time"

	"latchkey"
	"latchkey/storage"
)

func fileOf(r latchkey.Relation, d latchkey.Direction) latchkey.StoredFile {
	return latchkey.StoredFile{
		ID: latchkey.NewFileID(), Relation: r.ID, Account: r.Account, Inviter: r.Inviter, Direction: d, Name: "x.png", Size: 7, Type: "image/png",
		State: latchkey.FileReceiving, Time: now(), Touched: now(), Expires: now().Add(time.Hour),
	}
}

func keep(t *testing.T, db *storage.DB, f latchkey.StoredFile) latchkey.StoredFile {
	t.Helper()
	if _, repeated, err := db.AddFile(t.Context(), f, 0); err != nil || repeated {
		t.Fatalf("AddFile = %v, %v", repeated, err)
	}
	f.SHA1 = "1"
	f, err := db.CompleteFile(t.Context(), f, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// X3: an inviter's file is receipted as a message is: delivered when the guest's client acknowledged its event, displayed when it said so, each once.
func TestFilesAreReceipted(t *testing.T) {
	db := fresh(t)
	r := live(t, db, bob, alice)
	f := fileOf(r, latchkey.ToGuest)
	f.RemoteID, f.WantDelivered, f.WantDisplayed = "theirs", true, true
	f = keep(t, db, f)
	silent := keep(t, db, fileOf(r, latchkey.ToGuest))
	for range 2 {
		all := numbers(t, db, bob)
		if _, err := db.Acknowledge(t.Context(), bob, all[len(all)-1]); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		for _, id := range []latchkey.FileID{f.ID, silent.ID} {
			if _, err := db.Displayed(t.Context(), bob, latchkey.MessageID(id)); err != nil {
				t.Fatal(err)
			}
		}
	}
	_, receipts, err := db.Waiting(t.Context(), r.ID)
	if err != nil || len(receipts) != 2 || receipts[0].RemoteID != "theirs" || receipts[0].Displayed || !receipts[1].Displayed || receipts[1].Message != latchkey.MessageID(f.ID) {
		t.Errorf("receipts %+v, %v", receipts, err)
	}
	if got, err := db.File(t.Context(), f.ID); err != nil || got.State != latchkey.FileDisplayed {
		t.Errorf("file %+v, %v", got, err)
	}
	if busy, err := db.Busy(t.Context()); err != nil || len(busy) != 1 {
		t.Errorf("Busy = %v, %v", busy, err)
	}
	if _, err := db.Displayed(t.Context(), "sip:other@guest.example", latchkey.MessageID(f.ID)); !latchkey.Is(err, latchkey.KindNotFound) {
		t.Errorf("Displayed of another guest's file = %v", err)
	}
}

// R33: a guest's file waits until it was sent, moves forward only, and each move is told.
func TestGuestsFileWaitsAndMovesForward(t *testing.T) {
	db := fresh(t)
	r := live(t, db, bob, alice)
	f := fileOf(r, latchkey.ToInviter)
	f.Key = "key"
	f = keep(t, db, f)
	coming := fileOf(r, latchkey.ToInviter)
	if _, _, err := db.AddFile(t.Context(), coming, 0); err != nil {
		t.Fatal(err)
	}
	if waiting, err := db.WaitingFiles(t.Context(), r.ID); err != nil || len(waiting) != 1 || waiting[0] != f {
		t.Errorf("WaitingFiles = %+v, %v", waiting, err)
	}
	if busy, err := db.Busy(t.Context()); err != nil || len(busy) != 1 || busy[0].ID != r.ID {
		t.Errorf("Busy = %v, %v", busy, err)
	}
	for _, step := range []struct {
		to    latchkey.FileState
		moved bool
	}{{latchkey.FileDelivered, true}, {latchkey.FileSent, false}, {latchkey.FileFailed, false}, {latchkey.FileDisplayed, true}, {latchkey.FileDisplayed, false}} {
		if moved, err := db.MoveFile(t.Context(), r.ID, f.ID, step.to, ""); err != nil || moved != step.moved {
			t.Errorf("MoveFile(%s) = %v, %v", step.to, moved, err)
		}
	}
	if _, err := db.MoveFile(t.Context(), "another", f.ID, latchkey.FileFailed, ""); !latchkey.Is(err, latchkey.KindNotFound) {
		t.Errorf("MoveFile by another relation = %v", err)
	}
	events, err := db.Events(t.Context(), bob, 0, 10)
	if err != nil || len(events) != 2 || events[0].Type != latchkey.DeliveryEvent || events[0].File.ID != f.ID || events[1].File.State != latchkey.FileDisplayed || events[0].Message != nil {
		t.Errorf("events %+v, %v", events, err)
	}
	if got, err := db.FileByKey(t.Context(), "key"); err != nil || got.ID != f.ID {
		t.Errorf("FileByKey = %+v, %v", got, err)
	}
}

// R30: with the conversation end the events and receipts of its files, though the rows stay until the bytes are gone; nothing begins or completes any more.
func TestEndedConversationTellsOfNoFiles(t *testing.T) {
	db := fresh(t)
	r := live(t, db, bob, alice)
	keep(t, db, fileOf(r, latchkey.ToGuest))
	coming := fileOf(r, latchkey.ToGuest)
	if _, _, err := db.AddFile(t.Context(), coming, 0); err != nil {
		t.Fatal(err)
	}
	ending(t, db, r, latchkey.GuestLeft)
	if _, err := db.CompleteFile(t.Context(), coming, 0); !latchkey.Is(err, latchkey.KindNoRelation) {
		t.Errorf("CompleteFile = %v", err)
	}
	if _, _, err := db.AddFile(t.Context(), fileOf(r, latchkey.ToGuest), 0); !latchkey.Is(err, latchkey.KindNoRelation) {
		t.Errorf("AddFile = %v", err)
	}
	if err := db.EndConversation(t.Context(), r, latchkey.Event{Type: latchkey.InviterEvent, Account: bob}); err != nil {
		t.Fatal(err)
	}
	events, err := db.Events(t.Context(), bob, 0, 10)
	rows, err2 := db.FilesOf(t.Context(), r.ID)
	if err != nil || err2 != nil || len(events) != 1 || events[0].Type != latchkey.InviterEvent || len(rows) != 2 {
		t.Errorf("events %+v, rows %v, %v, %v", events, rows, err, err2)
	}
}

// R33: what is held are the files that did not fail, with the bytes that are known of them.
func TestHeldFilesAreCounted(t *testing.T) {
	db := fresh(t)
	r := live(t, db, bob, alice)
	held := func(files, bytes int64) {
		t.Helper()
		if n, sum, err := db.HeldFiles(t.Context()); n != files || sum != bytes || err != nil {
			t.Errorf("HeldFiles = %d, %d, %v, want %d, %d", n, sum, err, files, bytes)
		}
	}
	held(0, 0)
	keep(t, db, fileOf(r, latchkey.ToGuest))
	f := keep(t, db, fileOf(r, latchkey.ToInviter))
	coming := fileOf(r, latchkey.ToInviter)
	coming.Size = latchkey.UnknownSize
	if _, _, err := db.AddFile(t.Context(), coming, 0); err != nil {
		t.Fatal(err)
	}
	held(3, 14)
	if moved, err := db.MoveFile(t.Context(), r.ID, f.ID, latchkey.FileFailed, "x"); err != nil || !moved {
		t.Fatalf("MoveFile = %v, %v", moved, err)
	}
	held(2, 7)
}
