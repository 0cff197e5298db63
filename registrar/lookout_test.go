package registrar_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey"
	"latchkey/internal/sipua"
	"latchkey/registrar"
	"latchkey/storage"
	"latchkey/storage/storagetest"
)

var _ registrar.Sightings = (*storage.DB)(nil)

// sightings is a Sightings.
type sightings struct {
	mu   sync.Mutex
	rows map[latchkey.InviterID]latchkey.Sighting
}

func (m *sightings) SaveSighting(_ context.Context, s latchkey.Sighting) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rows[s.Identity] = s
	return nil
}

func (m *sightings) Sighting(_ context.Context, id latchkey.InviterID) (latchkey.Sighting, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.rows[id]
	if !ok {
		return s, latchkey.Errorf(latchkey.KindNotFound, "")
	}
	return s, nil
}

func (m *sightings) LeavingSightings(context.Context) (all []latchkey.InviterID, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, s := range m.rows {
		if s.State == latchkey.Leaving {
			all = append(all, id)
		}
	}
	return all, nil
}

func (m *sightings) LapsedSightings(_ context.Context, t time.Time, _ int) (all []latchkey.Sighting, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.rows {
		if s.State == latchkey.Seen && !s.Expires.IsZero() && s.Expires.Before(t) {
			all = append(all, s)
		}
	}
	return all, nil
}

func (m *sightings) LatestSCSCF(context.Context) (string, error)     { return "", nil }
func (m *sightings) PurgeSightings(context.Context, time.Time) error { return nil }
func (m *sightings) state(id latchkey.InviterID) latchkey.SightingState {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rows[id].State
}

// notifier is a Wire whose core answers SUBSCRIBEs with one code.
type notifier struct {
	mu   sync.Mutex
	code int // 0: no answer
	seen []time.Time
	with []string // Expires
}

func (n *notifier) Contact(user string, _ sip.Uri) sip.Uri {
	return sip.Uri{Scheme: "sip", User: user, Host: "127.0.0.1", Port: 5080}
}

func (n *notifier) DoAuth(ctx context.Context, req *sip.Request, _ sipua.Credentials) (*sip.Response, error) {
	n.mu.Lock()
	n.seen, n.with = append(n.seen, time.Now()), append(n.with, req.GetHeader("Expires").Value())
	code, first := n.code, len(n.seen) == 1
	n.mu.Unlock()
	if code == 0 {
		<-ctx.Done()
		return nil, fmt.Errorf("%w: %w", sipua.ErrTimeout, ctx.Err())
	}
	if code == 423 && !first {
		code = 480
	}
	res := sip.NewResponseFromRequest(req, code, "Whatever", nil)
	if code == 423 {
		res.AppendHeader(sip.NewHeader("Min-Expires", "7200"))
	}
	return res, nil
}

func (n *notifier) requests() []time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.seen)
}

const alice = latchkey.InviterID("sip:a@cc.com")

// B1.02, B1.04: a third-party registration that is not renewed lapses, with two minutes of grace; what follows is repeated until
// it is done.
func TestLapsedRegistrationIsALeaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		store := &sightings{rows: map[latchkey.InviterID]latchkey.Sighting{alice: {Identity: alice, State: latchkey.Seen, Expires: begin.Add(time.Hour)}}}
		var mu sync.Mutex // guards gone: a goroutine that a timer wakes does not come behind what we have read
		var gone []time.Duration
		times := func() []time.Duration {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(gone)
		}
		l := registrar.NewLookout(store, &notifier{}, registrar.LookoutOptions{
			Core: coreURI, Self: "sip:latchkey@guest.example", RegEvent: registrar.None,
			Related: func(context.Context, latchkey.Address) (bool, error) { return true, nil },
			Gone: func(context.Context, latchkey.Address) error {
				mu.Lock()
				defer mu.Unlock()
				if gone = append(gone, time.Since(begin)); len(gone) == 1 {
					return errors.New("the disk is full")
				}
				return nil
			},
		})
		stop := watch(t, l)
		time.Sleep(time.Hour + 119*time.Second)
		synctest.Wait()
		if early := times(); len(early) != 0 {
			t.Errorf("gone after %v, within the grace", early)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if all := times(); len(all) != 2 || all[0] > time.Hour+151*time.Second || store.state(alice) != latchkey.Gone {
			t.Errorf("gone after %v, state %s", all, store.state(alice))
		}
		stop()
	})
}

// B1.04, B1.06, RFC 5626 §4.5: a confirmation that can't be had is asked for again, later and later, and nothing follows meanwhile. A
// subscription without NOTIFY is none.
func TestConfirmationIsAskedForAgain(t *testing.T) {
	for _, code := range []int{0, 200, 423, 480, 500} {
		synctest.Test(t, func(t *testing.T) {
			store := &sightings{rows: map[latchkey.InviterID]latchkey.Sighting{alice: {Identity: alice, State: latchkey.Leaving}}}
			n := &notifier{code: code}
			l := registrar.NewLookout(store, n, registrar.LookoutOptions{
				Core: coreURI, Self: "sip:latchkey@guest.example",
				Related: func(context.Context, latchkey.Address) (bool, error) { return true, nil },
				Gone: func(context.Context, latchkey.Address) error {
					t.Errorf("%d: gone without confirmation", code)
					return nil
				},
			})
			if err := l.Resume(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			stop := watch(t, l)
			time.Sleep(6 * time.Hour)
			synctest.Wait()
			all := n.requests()
			if len(all) < 5 || len(all) > 6*3600/25 {
				t.Errorf("%d: %d SUBSCRIBEs in 6 hours", code, len(all))
			}
			if code == 423 && n.with[1] != "7200" {
				t.Errorf("after 423 a SUBSCRIBE asks for %s s", n.with[1])
			}
			if last := all[len(all)-1].Sub(all[len(all)-2]); last < 15*time.Minute {
				t.Errorf("%d: the last wait was %v, want it to have grown", code, last)
			}
			if store.state(alice) != latchkey.Leaving {
				t.Errorf("%d: state %s", code, store.state(alice))
			}
			stop()
		})
	}
}

// watch starts Run and returns what stops it.
func watch(t *testing.T, l *registrar.Lookout) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	}
}

// B1.02: the real store remembers.
func TestLookoutLivesOnTheRealStore(t *testing.T) {
	db := storagetest.Open(t, storage.Options{})
	if err := db.SaveSighting(t.Context(), latchkey.Sighting{Identity: alice, State: latchkey.Seen, SCSCF: "sip:scscf.cc.com:6060"}); err != nil {
		t.Fatal(err)
	}
	l := registrar.NewLookout(db, &notifier{}, registrar.LookoutOptions{Core: coreURI, Self: "sip:latchkey@guest.example"})
	if err := l.Resume(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	for _, account := range []latchkey.AccountID{bob, latchkey.AccountID(alice)} {
		if got, err := l.SCSCF(t.Context(), account); err != nil || got != "sip:scscf.cc.com:6060" {
			t.Errorf("SCSCF of %s = %q, %v", account, got, err)
		}
	}
}
