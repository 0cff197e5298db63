package registrar

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey"
)

// oneSighting is a Sightings with one row.
type oneSighting struct {
	row  latchkey.Sighting
	full bool // nothing can be saved
}

func (m *oneSighting) SaveSighting(_ context.Context, s latchkey.Sighting) error {
	if m.full {
		return errors.New("the disk is full")
	}
	m.row = s
	return nil
}

func (m *oneSighting) Sighting(context.Context, latchkey.InviterID) (latchkey.Sighting, error) {
	if m.row.State == "" {
		return m.row, latchkey.Errorf(latchkey.KindNotFound, "")
	}
	return m.row, nil
}

func (m *oneSighting) LeavingSightings(context.Context) ([]latchkey.InviterID, error) {
	return nil, nil
}
func (m *oneSighting) LapsedSightings(context.Context, time.Time, int) ([]latchkey.Sighting, error) {
	return nil, nil
}
func (m *oneSighting) LatestSCSCF(context.Context) (string, error)     { return "", nil }
func (m *oneSighting) PurgeSightings(context.Context, time.Time) error { return nil }

// F57, B1.06: an inviter who comes and leaves before anybody has looked has left all the same; one who was never there has not. A store that
// fails meanwhile loses nothing.
func TestWhoComesAndGoesBetweenTwoLooksHasLeft(t *testing.T) {
	for _, full := range []bool{false, true} {
		store, gone := &oneSighting{}, 0
		l := NewLookout(store, nil, LookoutOptions{
			RegEvent: Standing,
			Related:  func(context.Context, latchkey.Address) (bool, error) { return true, nil },
			Gone:     func(context.Context, latchkey.Address) error { gone++; return nil },
		})
		w := watching{"sip:a@cc.com", false}
		sub := l.open(w)
		tell := func(text string) {
			sub.mu.Lock()
			defer sub.mu.Unlock()
			l.hear(sub, sip.NewRequest(sip.NOTIFY, sip.Uri{Scheme: "sip", Host: "127.0.0.1"}), mustParse(t, text))
		}
		look := func() error {
			_, err := l.actForInviter(t.Context(), w, sub)
			return err
		}
		tell(doc(0, "full", "init"))
		if err := look(); err != nil || gone != 0 {
			t.Fatalf("who was never there is gone %d times, %v", gone, err)
		}
		tell(doc(1, "partial", "active", contactOf("c", "active", "registered")))
		tell(doc(2, "partial", "terminated", contactOf("c", "terminated", "unregistered")))
		if store.full = full; full && look() == nil {
			t.Fatal("a full disk is no error")
		}
		store.full = false
		for range 2 {
			if err := look(); err != nil || gone != 1 || store.row.State != latchkey.Gone {
				t.Errorf("gone %d times, state %q, %v, want once", gone, store.row.State, err)
			}
		}
	}
}
