package guest_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"latchkey"
	"latchkey/guest"
	"latchkey/storage"
	"latchkey/storage/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// steps is what the desk did outside, in order, with a failure on demand.
type steps struct {
	mu     sync.Mutex
	done   []string
	failAt int   // the step that fails, from 1; 0: none
	broken error // how: an error, or, if errCrash, the process is as if killed there
	before func(step string) error
}

var errCrash = errors.New("killed")

// take notes a step, and fails it where it is told to. What has been done outside stays done.
func (s *steps) take(ctx context.Context, format string, args ...any) error {
	step := fmt.Sprintf(format, args...)
	s.mu.Lock()
	before := s.before
	s.done = append(s.done, step)
	fail := s.failAt > 0 && len(s.done) == s.failAt || s.failAt > 0 && len(s.done) > s.failAt && errors.Is(s.broken, errCrash)
	s.mu.Unlock()
	if fail {
		return s.broken
	}
	if before != nil {
		if err := before(step); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (s *steps) list() []string { s.mu.Lock(); defer s.mu.Unlock(); return slices.Clone(s.done) }
func (s *steps) clear()         { s.mu.Lock(); defer s.mu.Unlock(); s.done = nil }

// count counts the steps that begin with a word.
func (s *steps) count(word string) (n int) {
	for _, step := range s.list() {
		if strings.HasPrefix(step, word) {
			n++
		}
	}
	return n
}

// directory is the user centre.
type directory struct {
	mu   sync.Mutex
	subs []latchkey.Subscriber
	err  error
}

func (d *directory) Find(_ context.Context, id latchkey.Identifier) (latchkey.Subscriber, error) {
	return d.find(func(s latchkey.Subscriber) bool { return s.Email == id.Value || s.Tel == id.Value })
}

func (d *directory) FindURI(_ context.Context, a latchkey.Address) (latchkey.Subscriber, error) {
	return d.find(func(s latchkey.Subscriber) bool { return s.URI.SameIdentity(a) })
}

func (d *directory) find(is func(latchkey.Subscriber) bool) (latchkey.Subscriber, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return latchkey.Subscriber{}, d.err
	}
	for _, s := range d.subs {
		if is(s) {
			return s, nil
		}
	}
	return latchkey.Subscriber{}, latchkey.Errorf(latchkey.KindNotFound, "")
}

// registrar remembers which accounts are registered, as core and interaction servers would.
type registrar struct {
	*steps
	mu   sync.Mutex
	kept map[latchkey.AccountID]bool
}

func (r *registrar) Keep(ctx context.Context, account latchkey.AccountID, interactions []latchkey.Interaction) error {
	if err := r.take(ctx, "keep %s %v", account, interactions); err != nil {
		return err
	}
	r.set(account, true)
	return nil
}

func (r *registrar) Confirm(ctx context.Context, account latchkey.AccountID) error {
	return r.take(ctx, "confirm %s", account)
}

func (r *registrar) Drop(ctx context.Context, account latchkey.AccountID) error {
	if err := r.take(ctx, "drop %s", account); err != nil {
		return err
	}
	r.set(account, false)
	return nil
}

func (r *registrar) set(account latchkey.AccountID, kept bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if kept {
		r.kept[account] = true
	} else {
		delete(r.kept, account)
	}
}

func (r *registrar) registered() int { r.mu.Lock(); defer r.mu.Unlock(); return len(r.kept) }

type conversations struct{ *steps }

func (c conversations) Open(ctx context.Context, rel latchkey.Relation) error {
	return c.take(ctx, "open %s", rel.Inviter)
}

func (c conversations) Close(ctx context.Context, rel latchkey.Relation, cause latchkey.Cause) error {
	return c.take(ctx, "close %s %s", rel.Inviter, cause)
}

// office is a desk on a real store.
type office struct {
	t         *testing.T
	path      string
	db        *storage.DB
	desk      *guest.Desk
	directory *directory
	registrar *registrar
	steps     *steps
	opt       guest.Options
}

var (
	home  = netip.MustParseAddr("192.0.2.1")
	alice = latchkey.Subscriber{URI: latchkey.MustAddress("sip:a@cc.com"), UID: "10001", Tel: "+8613800000001", Email: "a@cc.com", Name: "Alice", Level: 3, State: latchkey.Active}
	anna  = latchkey.Subscriber{URI: latchkey.MustAddress("sip:a2@cc.com"), UID: "10002", Email: "a2@cc.com", Name: "Anna", Level: 3, State: latchkey.Active}
	bob   = latchkey.Identifier{Kind: latchkey.Mail, Value: "b@gmail.example"}
)

const bobsAccount = latchkey.AccountID("sip:b_at_gmail.example@guest.example")

func newOffice(t *testing.T, opt guest.Options) *office {
	t.Helper()
	o := &office{t: t, path: filepath.Join(t.TempDir(), "latchkey.db"), opt: opt, directory: &directory{subs: []latchkey.Subscriber{alice, anna}}, steps: &steps{}}
	o.registrar = &registrar{steps: o.steps, kept: map[latchkey.AccountID]bool{}}
	if o.opt.Domain == "" {
		o.opt.Domain = "guest.example"
	}
	if o.opt.PublicURL == "" {
		o.opt.PublicURL = "https://chat.example/"
	}
	if err := o.opt.Validate(); err != nil {
		t.Fatal(err)
	}
	storagetest.Blank(t, o.path)
	db, err := storage.Open(t.Context(), o.path, storage.Options{Readers: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	o.db = db
	o.restart()
	return o
}

// restart makes a new desk on the same rows, as a process does that begins after a crash.
func (o *office) restart() {
	o.desk = guest.New(o.db, o.directory, o.registrar, conversations{o.steps}, o.opt)
}

func (o *office) invite(inviter latchkey.Subscriber, id latchkey.Identifier) (guest.Invited, error) {
	return o.desk.Invite(o.t.Context(), guest.InviteRequest{Inviter: inviter, Identifier: id})
}

func (o *office) invited(inviter latchkey.Subscriber, id latchkey.Identifier) guest.Invited {
	o.t.Helper()
	v, err := o.invite(inviter, id)
	if err != nil {
		o.t.Fatalf("Invite(%s) = %v", id, err)
	}
	return v
}

// notices takes all that waits in the outbox.
func (o *office) notices() []latchkey.Notice {
	o.t.Helper()
	var all []latchkey.Notice
	for _, ch := range []latchkey.Channel{latchkey.ByMail, latchkey.BySMS} {
		n, err := o.db.ClaimNotices(o.t.Context(), ch, time.Now().Add(time.Second), time.Now().Add(time.Hour), 10_000)
		if err != nil {
			o.t.Fatal(err)
		}
		all = append(all, n...)
	}
	return all
}

// password takes the only notice and reads its password.
func (o *office) password() string {
	o.t.Helper()
	all := o.notices()
	if len(all) != 1 {
		o.t.Fatalf("%d notices, want 1", len(all))
	}
	_, password, _ := strings.Cut(all[0].Link.Reveal(), "passwd=")
	return password
}

func (o *office) rows(table string) (n int) {
	o.t.Helper()
	if err := o.db.Read().QueryRowContext(o.t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err != nil {
		o.t.Fatal(err)
	}
	return n
}

// nothing looks that neither rows nor registrations are left.
func (o *office) nothing(when string) {
	o.t.Helper()
	for _, table := range []string{"guest", "relation", "secret", "login", "outbox", "conversation"} {
		if n := o.rows(table); n != 0 {
			o.t.Errorf("%s: %d rows in %s, want none", when, n, table)
		}
	}
	if n := o.registrar.registered(); n != 0 {
		o.t.Errorf("%s: %d accounts are registered, want none", when, n)
	}
}
