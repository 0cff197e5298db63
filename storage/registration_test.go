package storage_test

import (
	"errors"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"latchkey"
	"latchkey/storage"
)

// R5: what a registration needs to go on after a restart comes back as it was.
func TestRegistrationsSurviveARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "latchkey.db")
	open := func() *storage.DB {
		db, err := storage.Open(t.Context(), path, storage.Options{})
		if err != nil {
			t.Fatalf("Open = %v", err)
		}
		return db
	}
	db := open()
	now := time.Now().UTC().Truncate(time.Microsecond)
	core := latchkey.Registration{
		Account: "sip:b_at_cc.com@guest.example", Server: latchkey.CoreServer, State: latchkey.Registered, CallID: "abc", CSeq: 1<<31 - 1,
		MinExpires: 90 * time.Second, Expires: now.Add(time.Hour), Held: now.Add(2 * time.Hour), Due: now.Add(-time.Minute), Failures: 3,
		Sent: now.Add(-time.Hour), Hop: "sip:127.0.0.1:5061;transport=tcp",
		ServiceRoute: []string{"sip:orig@scscf.example;lr", "sip:x.example;lr"}, Associated: []string{"tel:+8613800000000"},
	}
	fresh := latchkey.Registration{Account: core.Account, Server: latchkey.Server(latchkey.IM), State: latchkey.RegistrationWanted, CallID: "def"}
	other := latchkey.Registration{Account: "sip:c@guest.example", Server: latchkey.CoreServer, State: latchkey.RegistrationLeaving, CallID: "ghi"}
	for _, reg := range []latchkey.Registration{{Account: core.Account, Server: core.Server, State: latchkey.RegistrationWanted, CallID: "old"}, core, fresh, other} {
		if err := db.SaveRegistration(t.Context(), reg); err != nil {
			t.Fatalf("SaveRegistration = %v", err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatalf("Close = %v", err)
	}
	db = open()
	defer db.Close()
	got, err := db.Registrations(t.Context(), core.Account)
	if err != nil || len(got) != 2 {
		t.Fatalf("Registrations = %v, %v, want two", got, err)
	}
	for i, want := range []latchkey.Registration{core, fresh} {
		for _, at := range []*time.Time{&got[i].Expires, &got[i].Held, &got[i].Due, &got[i].Sent} {
			*at = at.Round(0)
		}
		if len(got[i].ServiceRoute) == 0 {
			got[i].ServiceRoute, got[i].Associated = nil, nil
		}
		want.Expires, want.Held, want.Due, want.Sent = want.Expires.Round(0), want.Held.Round(0), want.Due.Round(0), want.Sent.Round(0)
		if !reflect.DeepEqual(got[i], want) {
			t.Errorf("read %+v, want %+v", got[i], want)
		}
	}
	for range 2 { // the second time there is nothing
		if err := db.DeleteRegistration(t.Context(), core.Account, latchkey.CoreServer); err != nil {
			t.Errorf("DeleteRegistration = %v", err)
		}
	}
	left := 0
	if err := db.EachRegistration(t.Context(), func(latchkey.Registration) error { left++; return nil }); err != nil || left != 2 {
		t.Errorf("EachRegistration: %d rows, %v, want 2", left, err)
	}
	stop := errors.New("stop")
	if err := db.EachRegistration(t.Context(), func(latchkey.Registration) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("EachRegistration = %v, want %v", err, stop)
	}
}
