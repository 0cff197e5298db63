package storage_test

import (
	"testing"
	"time"

	"latchkey"
)

// B3.13: an upload is one for each transaction id of an inviter, counts for its inviter, is found by its key, and is forgotten when it fails.
func TestDepositsAreTheirInvitersAlone(t *testing.T) {
	db := fresh(t)
	up := db.Deposits()
	deposit := func(inviter latchkey.InviterID, tid string, size int64) latchkey.StoredFile {
		return latchkey.StoredFile{
			ID: latchkey.NewFileID(), Inviter: inviter, Direction: latchkey.Deposit, Name: "x.png", Size: size, Type: "image/png", State: latchkey.FileReceiving, ClientID: tid,
			Key: latchkey.Secret(latchkey.NewToken()), Time: now(), Touched: now(), Expires: now().Add(time.Hour),
		}
	}
	const carol = latchkey.InviterID("sip:carol@cc.com")
	first := deposit(alice, "t", 60)
	if stored, repeated, err := up.AddFile(t.Context(), first, 100); err != nil || repeated || stored != first {
		t.Fatalf("AddFile = %+v, %v, %v", stored, repeated, err)
	}
	if stored, repeated, err := up.AddFile(t.Context(), deposit(alice, "t", 60), 100); err != nil || !repeated || stored != first {
		t.Errorf("AddFile again = %+v, %v, %v", stored, repeated, err)
	}
	if _, repeated, err := up.AddFile(t.Context(), deposit(carol, "t", 60), 100); err != nil || repeated {
		t.Errorf("AddFile of another inviter = %v, %v", repeated, err)
	}
	if _, _, err := up.AddFile(t.Context(), deposit(alice, "u", 41), 100); !latchkey.Is(err, latchkey.KindQuota) {
		t.Errorf("AddFile above the quota = %v", err)
	}
	if _, _, err := up.AddFile(t.Context(), deposit(alice, "", 20), 100); err != nil {
		t.Error(err)
	}
	if _, repeated, err := up.AddFile(t.Context(), deposit(alice, "", 20), 100); err != nil || repeated {
		t.Errorf("AddFile without a transaction id = %v, %v", repeated, err)
	}
	whole := first
	whole.Size, whole.SHA1 = 61, "1"
	if _, err := up.CompleteFile(t.Context(), whole, 100); !latchkey.Is(err, latchkey.KindQuota) {
		t.Errorf("CompleteFile above the quota = %v", err)
	}
	whole.Size = 60
	stored, err := up.CompleteFile(t.Context(), whole, 100)
	if err != nil || stored.State != latchkey.FileAccepted || stored.SHA1 != "1" {
		t.Errorf("CompleteFile = %+v, %v", stored, err)
	}
	if _, err := up.CompleteFile(t.Context(), whole, 0); !latchkey.Is(err, latchkey.KindNotFound) {
		t.Errorf("CompleteFile again = %v", err)
	}
	for name, find := range map[string]func() (latchkey.StoredFile, error){
		"File":      func() (latchkey.StoredFile, error) { return up.File(t.Context(), first.ID) },
		"FileByKey": func() (latchkey.StoredFile, error) { return up.FileByKey(t.Context(), first.Key) },
		"Transfer":  func() (latchkey.StoredFile, error) { return up.Transfer(t.Context(), alice, "t") },
	} {
		if f, err := find(); err != nil || f != stored {
			t.Errorf("%s = %+v, %v", name, f, err)
		}
	}
	if _, err := up.Transfer(t.Context(), alice, ""); !latchkey.Is(err, latchkey.KindNotFound) {
		t.Errorf("Transfer of no id = %v", err)
	}
	if stale, err := up.StaleFiles(t.Context(), now(), now().Add(time.Minute), 10); err != nil || len(stale) != 3 {
		t.Errorf("%d deposits that don't come on, %v; want all but the whole one", len(stale), err)
	}
	if stale, err := up.StaleFiles(t.Context(), now().Add(2*time.Hour), now().Add(-time.Hour), 10); err != nil || len(stale) != 4 {
		t.Errorf("%d deposits that are over, %v", len(stale), err)
	}
	if moved, err := up.MoveFile(t.Context(), "", first.ID, latchkey.FileFailed, "x"); err != nil || !moved {
		t.Errorf("MoveFile = %v, %v", moved, err)
	}
	if _, err := up.File(t.Context(), first.ID); !latchkey.Is(err, latchkey.KindNotFound) {
		t.Errorf("a deposit that failed: %v", err)
	}
}
