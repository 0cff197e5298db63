package registrar

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
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

// B1.24, RFC 3680 §5.2: that the core threw the guest's own contact out is not forgotten when the next document, which comes before anybody has
// looked, says nothing of it, nor behind a gap, nor when the subscription has to be made anew; it is when the contact is there again, and not by
// a document that was overtaken. Who has been told of the loss is told then.
func TestLossOfTheOwnContactOutlivesTheNextDocument(t *testing.T) {
	own := `<contact id="o" state="%s" event="%s" callid="c1" cseq="7"><uri>sip:b@127.0.0.1</uri></contact>`
	lost, there := fmt.Sprintf(own, "terminated", "rejected"), fmt.Sprintf(own, "active", "registered")
	const look, renew = "look", "renew"
	for _, c := range []struct {
		docs []string
		want []string // what the registrar is told, in the end and at each look before
	}{
		{[]string{doc(0, "full", "active", fmt.Sprintf(own, "active", "shortened"))}, []string{"shortened"}},
		{[]string{doc(0, "full", "active", there)}, nil},
		{[]string{doc(0, "full", "active", there), doc(1, "partial", "terminated", lost), doc(2, "partial", "terminated")}, []string{"rejected"}},
		{[]string{doc(0, "full", "active", there), doc(1, "partial", "terminated", lost), doc(2, "partial", "active", there)}, nil},
		{[]string{doc(0, "full", "active", there), doc(1, "partial", "active", contactOf("c", "terminated", "rejected"))}, nil},
		{[]string{doc(0, "full", "active", there), doc(3, "partial", "terminated", lost), doc(4, "full", "terminated")}, []string{"rejected"}},
		{[]string{doc(0, "full", "active", there), doc(2, "partial", "terminated", lost), doc(1, "partial", "active", there)}, []string{"rejected"}},
		{[]string{doc(0, "full", "active", there), doc(2, "partial", "active", there), doc(1, "partial", "terminated", lost)}, nil},
		{[]string{doc(0, "full", "active", there), doc(1, "partial", "terminated", lost), renew}, []string{"rejected"}},
		{[]string{doc(0, "full", "active", there), doc(1, "partial", "terminated", lost), look, doc(2, "partial", "active", there), doc(3, "partial", "active", there)}, []string{"rejected", ""}},
		{[]string{doc(0, "full", "active", there), doc(1, "partial", "terminated", lost), look, renew, doc(0, "full", "active", there)}, []string{"rejected", ""}},
		{[]string{doc(0, "full", "active", there), doc(1, "partial", "terminated", lost), look, doc(2, "partial", "active", there), look, doc(3, "partial", "active", there)}, []string{"rejected", ""}},
	} {
		var asked atomic.Int32
		var told []string
		l := NewLookout(&oneSighting{}, askedWire{&asked}, LookoutOptions{Core: "sip:127.0.0.1", RegEvent: Standing,
			Lost: func(_ context.Context, _ latchkey.AccountID, loss Loss) {
				if told = append(told, loss.Event); loss.Heard.IsZero() || loss.Event != "" && (loss.CallID != "c1" || loss.CSeq != 7) {
					t.Errorf("loss %+v, want the REGISTER that it is of, and a time", loss)
				}
			}})
		w := watching{"sip:a@cc.com", true}
		sub := l.open(w)
		actNow := func() {
			if _, err := l.actForGuest(t.Context(), w, sub); err != nil {
				t.Fatal(err)
			}
		}
		for _, text := range c.docs {
			switch text {
			case look:
				actNow()
			case renew:
				sub = l.renewed(sub)
			default:
				sub.mu.Lock()
				l.hear(sub, sip.NewRequest(sip.NOTIFY, sip.Uri{Scheme: "sip", Host: "127.0.0.1"}), mustParse(t, text))
				sub.mu.Unlock()
			}
		}
		if actNow(); !slices.Equal(told, c.want) {
			t.Errorf("after %q: told %q, want %q", c.docs, told, c.want)
		}
	}
}

// notifier is a wire whose core accepts each SUBSCRIBE, for an hour, and says nothing.
type notifier struct {
	askedWire
	mu    sync.Mutex
	asked []*sip.Request
}

func (n *notifier) DoAuth(_ context.Context, req *sip.Request, _ sipua.Credentials) (*sip.Response, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = append(n.asked, req)
	res := sip.NewResponseFromRequest(req, 200, "OK", nil)
	res.To().Params.Add("tag", "n")
	res.AppendHeader(&sip.ContactHeader{Address: sip.Uri{Scheme: "sip", Host: fmt.Sprint("n", len(n.asked))}})
	return res, nil
}

// tell delivers a NOTIFY and returns the code of its adoption.
func (n *notifier) tell(t *testing.T, l *Lookout, sub *subscription, seq int, state, text string) int {
	t.Helper()
	sub.mu.Lock()
	defer sub.mu.Unlock()
	req := sip.NewRequest(sip.NOTIFY, sip.Uri{Scheme: "sip", Host: "127.0.0.1"})
	from, to := sip.NewParams(), sip.NewParams()
	from.Add("tag", "n")
	to.Add("tag", sub.localTag)
	req.AppendHeader(&sip.FromHeader{Address: sip.Uri{Scheme: "sip", User: "a", Host: "cc.com"}, Params: from})
	req.AppendHeader(&sip.ToHeader{Address: sip.Uri{Scheme: "sip", Host: "guest.example"}, Params: to})
	id := sip.CallIDHeader(sub.callID)
	req.AppendHeader(&id)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: uint32(seq), MethodName: sip.NOTIFY})
	req.AppendHeader(sip.NewHeader("Subscription-State", state))
	var info *reginfo
	if text != "" {
		info = mustParse(t, text)
	}
	code := sub.adopt(req)
	if code == 200 && !sub.closed {
		_, due := l.hear(sub, req, info)
		l.schedule.set(sub.of, due)
	}
	return code
}

// callIDs lists those of the SUBSCRIBEs.
func (n *notifier) callIDs() (all []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, req := range n.asked {
		all = append(all, req.CallID().Value())
	}
	return all
}

func watchedBy(n *notifier) (*Lookout, watching) {
	l := NewLookout(&oneSighting{}, n, LookoutOptions{
		Core: "sip:127.0.0.1", Self: "sip:latchkey@guest.example", RegEvent: Standing, Expires: time.Hour,
		Related: func(context.Context, latchkey.Address) (bool, error) { return true, nil },
	})
	return l, watching{"sip:a@cc.com", false}
}

// B1.06, RFC 6665 §4.1.2.2: a refresh that no NOTIFY follows within 64*T1 has failed, and the subscription is made anew; one that a NOTIFY follows, with
// or without a document, goes on in its dialog, at the target of the last 2xx or NOTIFY.
func TestRefreshWithoutNotifyEndsTheSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &notifier{}
		l, w := watchedBy(n)
		begin := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = l.Run(ctx) })
		l.Follow("sip:a@cc.com")
		synctest.Wait()
		sub := l.find(w)
		n.tell(t, l, sub, 1, "active;expires=3600", doc(0, "full", "active", contactOf("c", "active", "registered")))
		for i, doc := range []string{"", doc(1, "full", "active", contactOf("c", "active", "registered")), doc(1, "full", "active")} {
			time.Sleep(3000 * time.Second)
			synctest.Wait()
			if ids := n.callIDs(); len(ids) != i+2 {
				t.Fatalf("%d SUBSCRIBEs after %v", len(ids), time.Since(begin))
			}
			n.tell(t, l, sub, i+2, "active", doc)
		}
		time.Sleep(3000 * time.Second)
		synctest.Wait()
		if ids := n.callIDs(); len(ids) != 5 || ids[4] != ids[0] {
			t.Fatalf("SUBSCRIBEs %v", ids)
		}
		n.mu.Lock()
		if to := n.asked[3].Recipient.Host; to != "n3" {
			t.Errorf("SUBSCRIBE to %s", to)
		}
		n.mu.Unlock()
		time.Sleep(timerN() + backoff(1)*2)
		synctest.Wait()
		if ids := n.callIDs(); len(ids) != 6 || ids[5] == ids[0] {
			t.Errorf("SUBSCRIBEs %v, want another dialog", ids)
		}
		cancel()
		running.Wait()
	})
}

// B1.06: a notifier that ends each subscription as soon as it stands is asked again at once one time, and then less and less.
func TestNotifierThatEndsAllIsNotFlooded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &notifier{}
		l, w := watchedBy(n)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = l.Run(ctx) })
		l.Follow("sip:a@cc.com")
		for end := time.Now().Add(10 * time.Minute); time.Now().Before(end); time.Sleep(time.Second) {
			synctest.Wait()
			sub := l.find(w)
			fresh := false
			sub.set(func() { fresh = !sub.bound && sub.state != nil })
			if fresh {
				n.tell(t, l, sub, 1, "terminated;reason=timeout", doc(0, "full", "active"))
			}
		}
		if ids := n.callIDs(); len(ids) < 3 || len(ids) > 8 || ids[0] == ids[1] {
			t.Errorf("%d SUBSCRIBEs in ten minutes", len(ids))
		}
		cancel()
		running.Wait()
	})
}

// RFC 6665 §4.1.2.3: the NOTIFY that answers the end of a subscription is taken, until it is too late for one.
func TestLastNotifyIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &notifier{}
		l, w := watchedBy(n)
		sub := l.open(w)
		if err := l.subscribe(t.Context(), sub); err != nil {
			t.Fatal(err)
		}
		n.tell(t, l, sub, 1, "active;expires=3600", doc(0, "full", "active"))
		known := func() bool {
			l.mu.Lock()
			defer l.mu.Unlock()
			return len(l.dialogs) > 0
		}
		if err := l.unsubscribe(t.Context(), sub); err != nil || l.find(w) != nil || !known() {
			t.Errorf("unsubscribe = %v, known %v", err, known())
		}
		if code := n.tell(t, l, sub, 2, "terminated;reason=timeout", ""); code != 200 {
			t.Errorf("the last NOTIFY is answered %d", code)
		}
		if time.Sleep(timerN() + time.Second); known() {
			t.Error("the dialog is never forgotten")
		}
	})
}

// RFC 3261 §12.2.2, RFC 6665 §4.1.3: a NOTIFY that was overtaken is refused with 500, since 481 would end the subscription; one of another
// dialog gets that.
func TestOvertakenNotifyDoesNotEndTheSubscription(t *testing.T) {
	l := NewLookout(&oneSighting{}, nil, LookoutOptions{RegEvent: Standing})
	sub := l.open(watching{"sip:a@cc.com", false})
	notify := func(tag string, seq uint32) int {
		req, err := sipua.NewRequest(sip.NOTIFY, "sip:latchkey@127.0.0.1", "sip:a@cc.com", "sip:latchkey@guest.example")
		if err != nil {
			t.Fatal(err)
		}
		req.From().Params.Remove("tag")
		req.From().Params.Add("tag", tag)
		req.CSeq().SeqNo = seq
		sub.mu.Lock()
		defer sub.mu.Unlock()
		return sub.adopt(req)
	}
	for _, c := range []struct {
		tag  string
		seq  uint32
		want int
	}{{"x", 5, 200}, {"x", 7, 200}, {"x", 6, 500}, {"y", 8, 481}, {"x", 8, 200}} {
		if got := notify(c.tag, c.seq); got != c.want {
			t.Errorf("NOTIFY %s %d is refused with %d, want %d", c.tag, c.seq, got, c.want)
		}
	}
}

// B1.04, B1.24: a third-party deregistration of one who is no inviter may be that of a guest's own contact, once.
func TestThirdPartyDeregistrationOfAGuestIsALoss(t *testing.T) {
	store, begin := &oneSighting{}, time.Now()
	var told []Loss
	related := false
	l := NewLookout(store, nil, LookoutOptions{
		Related: func(context.Context, latchkey.Address) (bool, error) { return related, nil },
		Lost:    func(_ context.Context, _ latchkey.AccountID, loss Loss) { told = append(told, loss) },
	})
	w := watching{"sip:b_at_cc.com@guest.example", false}
	look := func(s latchkey.Sighting) {
		s.Identity = w.inviter()
		store.row = s
		if _, err := l.actForInviter(t.Context(), w, nil); err != nil {
			t.Fatal(err)
		}
	}
	look(latchkey.Sighting{State: latchkey.Seen, Expires: begin.Add(time.Hour)})
	if len(told) != 0 {
		t.Errorf("told %+v of one who is there", told)
	}
	look(latchkey.Sighting{State: latchkey.Leaving, Changed: begin})
	look(store.row)
	if len(told) != 1 || told[0].Event == "" || told[0].Event == "rejected" || !told[0].Heard.Equal(begin) {
		t.Errorf("told %+v, want one loss that was heard at %v", told, begin)
	}
	related = true
	look(latchkey.Sighting{State: latchkey.Leaving, Changed: begin})
	if len(told) != 1 {
		t.Error("the leaving of an inviter is told as the loss of a guest")
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
