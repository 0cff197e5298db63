package storage_test

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"latchkey"
)

// B1.02: what the core told of an inviter is there after a restart, and the newest of it only.
func TestSightingsSurviveARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "latchkey.db")
	db := open(t, path)
	if _, err := db.Sighting(t.Context(), alice); !latchkey.Is(err, latchkey.KindNotFound) {
		t.Errorf("Sighting of nobody = %v, want not found", err)
	}
	want := latchkey.Sighting{
		Identity: alice, State: latchkey.Seen, Changed: now(), Expires: now().Add(time.Hour), CallID: "abc", CSeq: 1<<31 - 1, SCSCF: "sip:scscf.example:6060;lr",
		ICID: "icid-1", OrigIOI: "Type 3cc.com", Charging: "ccf=192.0.2.1", Features: "+g.oma.sip-im", ServiceInfo: "gold",
	}
	carol := latchkey.Sighting{Identity: "sip:c@cc.com", State: latchkey.Leaving, Changed: now().Add(-time.Minute), SCSCF: "sip:other.example"}
	gone := latchkey.Sighting{Identity: "sip:g@cc.com", State: latchkey.Gone, Changed: now().Add(-time.Hour)}
	for _, s := range []latchkey.Sighting{{Identity: alice, State: latchkey.Gone}, want, carol, gone} {
		if err := db.SaveSighting(t.Context(), s); err != nil {
			t.Fatalf("SaveSighting = %v", err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = open(t, path)
	if got, err := db.Sighting(t.Context(), alice); err != nil || got != want {
		t.Errorf("Sighting = %+v, %v, want %+v", got, err, want)
	}
	if got, err := db.LeavingSightings(t.Context()); err != nil || !slices.Equal(got, []latchkey.InviterID{carol.Identity}) {
		t.Errorf("LeavingSightings = %v, %v", got, err)
	}
	if got, err := db.LapsedSightings(t.Context(), want.Expires, 9); err != nil || len(got) != 0 {
		t.Errorf("LapsedSightings at the last moment = %v, %v, want none", got, err)
	}
	if got, err := db.LapsedSightings(t.Context(), want.Expires.Add(time.Second), 9); err != nil || len(got) != 1 || got[0] != want {
		t.Errorf("LapsedSightings = %v, %v", got, err)
	}
	if got, err := db.LatestSCSCF(t.Context()); err != nil || got != want.SCSCF {
		t.Errorf("LatestSCSCF = %q, %v", got, err)
	}
	if err := db.PurgeSightings(t.Context(), now()); err != nil || rows(t, db, "sighting") != 2 {
		t.Errorf("PurgeSightings = %v, and %d rows, want those who are not gone", err, rows(t, db, "sighting"))
	}
}

// R30: an inviter's relations are found by the identity and by the number, live ones only.
func TestRelationsAreFoundByTheirInviter(t *testing.T) {
	db := fresh(t)
	first := live(t, db, bob, alice)
	other := live(t, db, "sip:d_at_cc.com@guest.example", "sip:z@cc.com") // has the same number
	over := live(t, db, "sip:e_at_cc.com@guest.example", alice)
	ending(t, db, over, latchkey.Withdrawn)
	for _, c := range []struct {
		inviter latchkey.InviterID
		tel     string
		want    []latchkey.RelationID
	}{
		{alice, "", []latchkey.RelationID{first.ID}},
		{alice, "+8613800000001", []latchkey.RelationID{first.ID, other.ID}},
		{"tel:+8613800000001", "+8613800000001", []latchkey.RelationID{first.ID, other.ID}},
		{"sip:nobody@cc.com", "", nil},
	} {
		all, err := db.RelationsOf(t.Context(), c.inviter, c.tel)
		var got []latchkey.RelationID
		for _, r := range all {
			got = append(got, r.ID)
		}
		slices.Sort(got)
		slices.Sort(c.want)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("RelationsOf(%s, %q) = %v, %v, want %v", c.inviter, c.tel, got, err, c.want)
		}
	}
	if got, err := db.Inviters(t.Context()); err != nil || !slices.Equal(got, []latchkey.InviterID{alice, "sip:z@cc.com"}) {
		t.Errorf("Inviters = %v, %v", got, err)
	}
}
