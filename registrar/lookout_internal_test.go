package registrar

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey"
	"latchkey/internal/sipua"
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

// B1.06: a notifier that has nothing more to say is not asked again by a look that was on its way, but is when there is other news.
func TestLookOnItsWayDoesNotSubscribeAnew(t *testing.T) {
	var asked atomic.Int32
	l := NewLookout(&oneSighting{}, askedWire{&asked}, LookoutOptions{
		Core: "sip:127.0.0.1", Self: "sip:latchkey@guest.example", RegEvent: Standing,
		Related: func(context.Context, latchkey.Address) (bool, error) { return true, nil },
	})
	w := watching{"sip:a@cc.com", false}
	sub := l.open(w)
	over := sip.NewRequest(sip.NOTIFY, sip.Uri{Scheme: "sip", Host: "127.0.0.1"})
	over.AppendHeader(sip.NewHeader("Subscription-State", "terminated;reason=noresource"))
	sub.mu.Lock()
	l.hear(sub, over, nil)
	sub.mu.Unlock()
	for range 3 {
		if err := l.act(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("%d SUBSCRIBEs after the end, want none", n)
	}
	l.Follow("sip:a@cc.com")
	if _ = l.act(t.Context(), w); asked.Load() != 1 {
		t.Errorf("%d SUBSCRIBEs after other news, want one", asked.Load())
	}
}

// B1.24: that the core threw the guest's own contact out is not forgotten when the next document, which comes before anybody has looked, says
// nothing of it; it is when the contact is there again.
func TestLossOfTheOwnContactOutlivesTheNextDocument(t *testing.T) {
	own := `<contact id="o" state="%s" event="%s"><uri>sip:b@127.0.0.1</uri></contact>`
	lost, there := fmt.Sprintf(own, "terminated", "rejected"), fmt.Sprintf(own, "active", "registered")
	for _, c := range []struct {
		docs []string
		want string
	}{
		{[]string{doc(0, "full", "active", there), doc(1, "partial", "terminated", lost), doc(2, "partial", "terminated")}, "rejected"},
		{[]string{doc(0, "full", "active", there), doc(1, "partial", "terminated", lost), doc(2, "partial", "active", there)}, ""},
		{[]string{doc(0, "full", "active", there), doc(1, "partial", "active", contactOf("c", "terminated", "rejected"))}, ""},
	} {
		var asked atomic.Int32
		l := NewLookout(&oneSighting{}, askedWire{&asked}, LookoutOptions{Core: "sip:127.0.0.1", RegEvent: Standing})
		sub := l.open(watching{"sip:a@cc.com", true})
		for _, text := range c.docs {
			sub.mu.Lock()
			l.hear(sub, sip.NewRequest(sip.NOTIFY, sip.Uri{Scheme: "sip", Host: "127.0.0.1"}), mustParse(t, text))
			sub.mu.Unlock()
		}
		if event, _ := sub.lostContact(); event != c.want {
			t.Errorf("after %q: %q, want %q", c.docs, event, c.want)
		}
	}
}

// askedWire counts requests and answers none.
type askedWire struct{ asked *atomic.Int32 }

func (askedWire) Contact(user string, _ sip.Uri) sip.Uri {
	return sip.Uri{Scheme: "sip", User: user, Host: "127.0.0.1"}
}

func (a askedWire) DoAuth(context.Context, *sip.Request, sipua.Credentials) (*sip.Response, error) {
	a.asked.Add(1)
	return nil, sipua.ErrTimeout
}
