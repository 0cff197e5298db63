package scenarios

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"latchkey/b2bua"
	"latchkey/cpim"
	"latchkey/imstest"
	"latchkey/internal/sipua"
	"latchkey/msrp"
	"latchkey/msrp/msrpsdp"
)

const alice = "sip:a@cc.com"

// caller is a side that makes and takes calls.
type caller struct {
	*side
	engine *b2bua.Engine
	msrp   *msrp.Listener
	creds  func() sipua.Credentials
}

func newCaller(t *testing.T, c *core, opt options) *caller {
	t.Helper()
	us := newSide(t, c, opt)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := msrp.NewListener(ln, msrp.ListenerOptions{})
	served := make(chan error, 1)
	go func() { served <- l.Serve() }() // ends by Shutdown
	engine := b2bua.New(us.sip, b2bua.Options{Core: us.hop, Trusted: []string{"127.0.0.1"}})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := engine.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown of the engine = %v", err)
		}
		_ = l.Shutdown(ctx)
		<-served
	})
	us.keep(t)
	return &caller{side: us, engine: engine, msrp: l, creds: func() sipua.Credentials { return us.auth.Credentials(bob) }}
}

// local describes a fresh MSRP session of ours.
func (u *caller) local() msrpsdp.Local {
	uri := u.msrp.NewURI()
	return msrpsdp.Local{
		Addr: uri.Host, Port: uri.Port, URI: uri, Setup: msrpsdp.ActPass,
		AcceptTypes: []string{"message/cpim"}, AcceptWrappedTypes: []string{"text/plain", "message/imdn+xml"},
	}
}

func (u *caller) invite(t *testing.T) b2bua.Invite {
	t.Helper()
	offer, err := msrpsdp.Offer(u.local())
	if err != nil {
		t.Fatalf("Offer = %v", err)
	}
	return b2bua.Invite{From: string(bob), To: alice, ContentType: "application/sdp", Body: offer, Credentials: u.creds()}
}

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// newMedia is the MSRP half of A's phone, on which SIPp does the other.
func newMedia(t *testing.T) *imstest.Media {
	t.Helper()
	m, err := imstest.NewMedia(alice, string(bob))
	if err != nil {
		t.Fatalf("NewMedia = %v", err)
	}
	t.Cleanup(func() {
		m.Close()
		for _, v := range m.Violations() {
			t.Errorf("against the specifications: %s", v)
		}
	})
	return m
}

// describe is what SIPp puts into a session description that leads to m.
func describe(m *imstest.Media, setup string) []string {
	return []string{"msrp_port", m.Port(), "msrp_id", m.ID(), "setup", setup}
}

// nowhere describes a session that no MSRP comes to: nobody connects. Port 9 would say that A does (RFC 4145 §4.1).
func nowhere(setup string) []string {
	return []string{"msrp_port", "2855", "msrp_id", "nobody-is-there", "setup", setup}
}

// inbox takes what A sends.
type inbox chan *cpim.Message

func (in inbox) ServeMSRP(_ *msrp.Session, m *msrp.IncomingMessage) error {
	body, err := io.ReadAll(m.Body)
	if err != nil {
		return err
	}
	c, err := cpim.Parse(body)
	if err != nil {
		return err
	}
	in <- c
	return nil
}

func (in inbox) next(t *testing.T) *cpim.Message {
	t.Helper()
	select {
	case m := <-in:
		return m
	case <-time.After(patience):
		t.Fatal("nothing came from A")
		return nil
	}
}

// talk sends a text each way on a session that is bound. What A wrote tells that it took ours.
func talk(t *testing.T, s *msrp.Session, in inbox, a *imstest.Media) {
	t.Helper()
	out := &cpim.Message{
		From: cpim.Party{URI: string(bob)}, To: cpim.Party{URI: alice}, DateTime: time.Now(), MessageID: "m1",
		Disposition: []cpim.Disposition{cpim.PositiveDelivery}, ContentType: "text/plain", Body: []byte("abcdefg"),
	}
	body, err := out.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(bounded(t), &msrp.Message{ID: "m1", ContentType: cpim.Type, Body: bytes.NewReader(body), Size: int64(len(body))}); err != nil {
		t.Errorf("Send = %v", err)
	}
	if got, err := a.Wait(bounded(t), "message", 1); err != nil || got[0].Text != "abcdefg" || got[0].ID != "m1" {
		t.Errorf("the phone has %+v, %v, want the text", got, err)
	}
	if n, err := cpim.ParseIMDN(in.next(t).Body); err != nil || n[0].MessageID != "m1" || n[0].Status != cpim.Delivered {
		t.Errorf("the phone says %+v, %v, want m1 delivered", n, err)
	}
	if _, err := a.Send(bounded(t), "hijklmn"); err != nil {
		t.Errorf("the phone's SEND: %v", err)
	}
	if got := in.next(t); string(got.Body) != "hijklmn" {
		t.Errorf("A wrote %q, want hijklmn", got.Body)
	}
}

// F28, F33, R26, R29: the guest's chat to A's phone: INVITE, MSRP to where the answer says, BYE.
func TestGuestsCallReachesThePhone(t *testing.T) {
	for _, c := range []struct {
		name    string
		defines []string
		opt     options
	}{
		{"udp", nil, options{}},
		{"tcp", nil, options{transport: "tcp"}},
		{"challenged", []string{`AUTH_SHARED="s3cret"`, "AUTH_CALLS"}, options{auth: "shared:s3cret"}},
		{"challenged, ephemeral", []string{`AUTH_EPHEMERAL="t0p"`, "AUTH_CALLS"}, options{auth: "ephemeral:t0p"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := startCore(t, c.defines...)
			us := newCaller(t, k, c.opt)
			a := newPhone(t, k, "a")
			a.register()
			phone := newMedia(t)
			phone.Await()
			answer := a.start("invite-uas.xml", describe(phone, "passive")...)

			inv := us.invite(t)
			leg, err := us.engine.Call(bounded(t), inv)
			if err != nil {
				t.Fatalf("Call = %v", err)
			}
			role, media, err := msrpsdp.Conclude(inv.Body, leg.RemoteSDP())
			if err != nil || !role.Active || role.Dial != "127.0.0.1:"+phone.Port() {
				t.Fatalf("Conclude = %+v, %+v, %v, want us to connect to port %s", role, media, err, phone.Port())
			}
			in := make(inbox, 8)
			s := msrp.NewSession(msrp.SessionOptions{Local: own(t, inv.Body), Remote: role.Remote, Handler: in})
			if err := s.Connect(bounded(t), (&net.Dialer{}).DialContext, role.Dial, nil); err != nil {
				t.Fatalf("Connect = %v", err)
			}
			if got, want := phone.RemotePath(), answer.remotePath(phone); got != want {
				t.Errorf("From-Path %s, want %s as in the description", got, want)
			}
			talk(t, s, in, phone)
			answer.await("\nACK sip:")
			_ = s.Close()
			if err := leg.Bye(bounded(t), ""); err != nil {
				t.Errorf("Bye = %v", err)
			}
			answer.wait()
		})
	}
}

// own is our path in a description of ours.
func own(t *testing.T, sdp []byte) msrp.URI {
	t.Helper()
	m, err := msrpsdp.Parse(sdp)
	if err != nil {
		t.Fatalf("Parse = %v", err)
	}
	return m.Path[0]
}

// F32: a phone that answers setup:active connects to us.
func TestPhoneThatConnectsItself(t *testing.T) {
	k := startCore(t)
	us := newCaller(t, k, options{})
	a := newPhone(t, k, "a")
	a.register()
	phone := newMedia(t)
	answer := a.start("invite-uas.xml", describe(phone, "active")...)
	inv := us.invite(t)
	in := make(inbox, 8)
	s := msrp.NewSession(msrp.SessionOptions{Local: own(t, inv.Body), Handler: in})
	us.msrp.Expect(s)
	leg, err := us.engine.Call(bounded(t), inv)
	if err != nil {
		t.Fatalf("Call = %v", err)
	}
	role, _, err := msrpsdp.Conclude(inv.Body, leg.RemoteSDP())
	if err != nil || role.Active {
		t.Fatalf("Conclude = %+v, %v, want us to wait", role, err)
	}
	s.SetRemote(role.Remote)
	if err := phone.Connect(answer.remotePath(phone)); err != nil {
		t.Fatalf("the phone's connection: %v", err)
	}
	talk(t, s, in, phone)
	answer.await("\nACK sip:")
	_ = s.Close()
	if err := leg.Bye(bounded(t), ""); err != nil {
		t.Errorf("Bye = %v", err)
	}
	answer.wait()
}

// F34, F35: refusals come back with their code, the phone's and the core's.
func TestRefusalsComeBack(t *testing.T) {
	k := startCore(t)
	us := newCaller(t, k, options{})
	refused := func(code int, retry time.Duration) {
		t.Helper()
		_, err := us.engine.Call(bounded(t), us.invite(t))
		no, ok := errors.AsType[*b2bua.Refused](err)
		if !ok || no.Code != code || no.RetryAfter != retry {
			t.Errorf("Call = %v, want %d with Retry-After %v", err, code, retry)
		}
	}
	refused(480, 0) // the core: A has no phone
	a := newPhone(t, k, "a")
	a.register()
	for _, c := range []struct {
		scenario string
		code     int
		retry    time.Duration
	}{{"invite-486.xml", 486, 0}, {"invite-480.xml", 480, time.Minute}} {
		r := a.start(c.scenario)
		refused(c.code, c.retry)
		r.wait()
	}
}

// F37: A hangs up.
func TestPhoneHangsUp(t *testing.T) {
	k := startCore(t)
	us := newCaller(t, k, options{})
	a := newPhone(t, k, "a")
	a.register()
	r := a.start("bye.xml", nowhere("passive")...)
	leg, err := us.engine.Call(bounded(t), us.invite(t))
	if err != nil {
		t.Fatalf("Call = %v", err)
	}
	select {
	case <-leg.Done():
	case <-bounded(t).Done():
		t.Fatal("the leg outlives A's BYE")
	}
	r.wait()
	if err := leg.Bye(bounded(t), ""); err != nil {
		t.Errorf("Bye after A's BYE = %v, want nil", err)
	}
}

// B2.05: a reliable 183 is acknowledged by PRACK.
func TestReliableRingingIsAcknowledged(t *testing.T) {
	k := startCore(t)
	us := newCaller(t, k, options{})
	a := newPhone(t, k, "a")
	a.register()
	r := a.start("invite-100rel.xml", nowhere("passive")...)
	inv := us.invite(t)
	var progress []int
	inv.OnProgress = func(code int) { progress = append(progress, code) }
	leg, err := us.engine.Call(bounded(t), inv)
	if err != nil {
		t.Fatalf("Call = %v", err)
	}
	if progress = slices.Compact(progress); !slices.Equal(progress, []int{183}) { // it may have come again before our PRACK did
		t.Errorf("progress %v, want 183", progress)
	}
	r.await("\nACK sip:") // or Kamailio, which has several readers, lets the BYE overtake it
	if err := leg.Bye(bounded(t), ""); err != nil {
		t.Errorf("Bye = %v", err)
	}
	r.wait()
}

// F42: the guest leaves while A's phone rings.
func TestCallIsCancelledWhileItRings(t *testing.T) {
	k := startCore(t)
	us := newCaller(t, k, options{})
	a := newPhone(t, k, "a")
	a.register()
	r := a.start("invite-cancel.xml")
	ctx, leave := context.WithCancel(bounded(t))
	inv := us.invite(t)
	inv.OnProgress = func(int) { leave() }
	if _, err := us.engine.Call(ctx, inv); !errors.Is(err, context.Canceled) {
		t.Errorf("Call = %v, want %v", err, context.Canceled)
	}
	r.wait()
}

// doorkeeper answers calls for bob from alice and refuses all others, and tells what it heard.
type doorkeeper struct {
	t     *testing.T
	us    *caller
	in    inbox
	calls chan heard // of one
}

func newDoorkeeper(t *testing.T, us *caller) *doorkeeper {
	d := &doorkeeper{t, us, make(inbox, 8), make(chan heard, 1)}
	us.engine.Handle(d)
	return d
}

// heard is one call and what became of it.
type heard struct {
	leg              *b2bua.Leg
	session          *msrp.Session
	asserted, called []string
	remote           []byte // A's description
	active           bool   // we are to connect
	err              error
}

func (d *doorkeeper) ServeInvite(in *b2bua.Incoming) {
	h := heard{asserted: in.Asserted(), called: in.Called()}
	defer func() { d.calls <- h }()
	if !slices.Contains(h.asserted, alice) {
		_ = in.Refuse(404, "")
		return
	}
	local := d.us.local()
	h.session = msrp.NewSession(msrp.SessionOptions{Local: local.URI, Handler: d.in})
	d.us.msrp.Expect(h.session)
	offer := in.Offer()
	var role msrpsdp.Role
	var body []byte
	if offer == nil {
		body, h.err = msrpsdp.Offer(local)
	} else {
		body, role, h.err = msrpsdp.Answer(offer, local, "")
	}
	if h.err != nil {
		_ = in.Refuse(488, "")
		return
	}
	if h.leg, h.err = in.Answer(bounded(d.t), b2bua.AnswerOptions{ContentType: "application/sdp", Body: body}); h.err != nil {
		return
	}
	h.remote = h.leg.RemoteSDP()
	if offer == nil {
		role, _, h.err = msrpsdp.Conclude(body, h.remote)
	}
	h.session.SetRemote(role.Remote)
	h.active = role.Active
}

func (d *doorkeeper) call() heard {
	d.t.Helper()
	select {
	case h := <-d.calls:
		if h.err != nil {
			d.t.Fatalf("the call was not taken: %v", h.err)
		}
		return h
	case <-time.After(patience):
		d.t.Fatal("no call came")
		return heard{}
	}
}

// F31, R27, B2.06: A's phone calls the guest, with an offer and without, and hangs up.
func TestPhonesCallReachesTheGuest(t *testing.T) {
	for _, c := range []struct {
		scenario, setup, transport string
		active                     bool // we connect
	}{
		{"invite-uac.xml", "actpass", "", false}, {"invite-uac.xml", "active", "tcp", false}, {"invite-late-offer.xml", "passive", "", true},
	} {
		t.Run(c.scenario+" "+c.setup, func(t *testing.T) {
			k := startCore(t)
			us := newCaller(t, k, options{transport: c.transport})
			d := newDoorkeeper(t, us)
			a := newPhone(t, k, "a")
			a.register()
			r := a.start(c.scenario, append(nowhere(c.setup), "called", bobAOR)...)
			h := d.call()
			if !slices.Equal(h.asserted, []string{alice}) || len(h.called) == 0 || h.called[0] != string(bob) {
				t.Errorf("asserted %v, called %v, want %s for %s", h.asserted, h.called, alice, bob)
			}
			if h.leg == nil {
				t.Fatal("no leg")
			}
			if m, err := msrpsdp.Parse(h.remote); err != nil || m.Path[0].SessionID != "nobody-is-there" || h.active != c.active {
				t.Errorf("A's description %+v, %v; we connect: %v, want %v", m, err, h.active, c.active)
			}
			select {
			case <-h.leg.Done(): // by A's BYE
			case <-bounded(t).Done():
				t.Error("the leg outlives A's BYE")
			}
			r.wait()
		})
	}
}

// F31, R27, R29: A's phone calls, messages go both ways, and the guest's side hangs up.
func TestPhonesCallCarriesMessages(t *testing.T) {
	k := startCore(t)
	us := newCaller(t, k, options{})
	d := newDoorkeeper(t, us)
	a := newPhone(t, k, "a")
	a.register()
	phone := newMedia(t)
	r := a.start("invite-uac-stays.xml", append(describe(phone, "active"), "called", bobAOR)...)
	h := d.call()
	if h.leg == nil || h.active {
		t.Fatalf("heard %+v, want a call on which we wait", h)
	}
	if err := phone.Connect(r.remotePath(phone)); err != nil {
		t.Fatalf("the phone's connection: %v", err)
	}
	talk(t, h.session, d.in, phone)
	_ = h.session.Close()
	if err := h.leg.Bye(bounded(t), ""); err != nil {
		t.Errorf("Bye = %v", err)
	}
	r.wait()
}

// F31, R31: a stranger gets 404.
func TestStrangersCallIsRefused(t *testing.T) {
	k := startCore(t)
	us := newCaller(t, k, options{})
	d := newDoorkeeper(t, us)
	x := newPhone(t, k, "x")
	x.register()
	r := x.start("stranger.xml", append(nowhere("actpass"), "called", bobAOR)...)
	if h := d.call(); !slices.Equal(h.asserted, []string{"sip:x@cc.com"}) || h.leg != nil {
		t.Errorf("heard %+v, want the stranger's own name and no call", h)
	}
	r.wait()
}
