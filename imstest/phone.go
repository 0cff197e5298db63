package imstest

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Feature tags of RCS clients, as they stand in Contact.
const (
	ChatTags = `+g.3gpp.icsi-ref="urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session";+g.3gpp.iari-ref="urn%3Aurn-7%3A3gpp-application.ims.iari.rcse.im,urn%3Aurn-7%3A3gpp-application.ims.iari.rcse.ft"`
	NoTags   = ""
)

// Manner is how a phone behaves. It may be changed at any time by Phone.Behave.
type Manner struct {
	Tags          string        // in Contact of OPTIONS answers and registrations
	OptionsCode   int           // 0: 200
	OptionsMute   bool          // no answer to OPTIONS at all
	AnswerCode    int           // to INVITE; 0: 200
	PageCode      int           // to MESSAGE; 0: 200
	PageMute      bool          // no answer to MESSAGE at all
	Language      string        // Accept-Language of INVITE and MESSAGE
	RingFor       time.Duration // 180 before the answer, whichever it is
	Reliable      bool          // the 180 wants a PRACK where the caller supports that (RFC 3262)
	Setup         string        // of answers and offers: "" lets the phone choose passive to actpass; active, passive
	NoCEMA        bool
	NoReceipts    bool          // no IMDN
	NoWrappedIMDN bool          // a=accept-wrapped-types lists no IMDN
	MuteMSRP      bool          // never connects and never listens: MSRP does not come up
	LateMSRP      time.Duration // connects that late
	Path          string        // a=path with another authority, "notresolvable.invalid:9" (F49a)
	DiscardPort   bool          // m= has port 9 where the phone is active, as some clients do (RFC 4145 §4.1)
	MaxSize       int           // a=max-size; longer messages get 413 and are violations
	Transport     string        // of MSRP: "" takes what is offered and offers TCP; tcp or tls: that alone, the other one gets 488
	Fingerprint   string        // of TLS: "" is the right one by SHA-256, SHA-1 the right one by that; none: it is left out; others stand as they are
	Host          string        // address of MSRP; "": 127.0.0.1
	NoMedia       bool          // answers INVITE with 200 and port 0 (RFC 3264 §6)
	MSRPCode      int           // answers each SEND that has a body; 0: 200
	CutAt         int           // closes the connection in the middle of each text, the first time that it comes, after so many octets of it; 0: not
	Renews        bool          // offers another path at once when it has done so (F38)
	ReofferCode   int           // to re-INVITEs; 0: 200
	LostACK       bool          // the ACKs of its own INVITEs are lost on the way
	Hasty         bool          // connects behind its 200 without waiting for the ACK, and a CANCEL comes too late for it (F41)
	Files         FileManner
}

// PhoneOptions make a Phone.
type PhoneOptions struct {
	URI      string // public identity
	Password string
	Core     string // host:port of the core
	Network  string // udp (default) or tcp
	Expires  time.Duration
	Manner   Manner
	Log      *slog.Logger
}

// PhoneEvent is something that happened on a phone.
type PhoneEvent struct {
	Type   string // message, repeat (a message that was there before), receipt, composing, call, bound (the peer's first MSRP request, Text is its Byte-Range), media (MSRP is up), cut (the connection was closed within the message of this MSRP Message-ID), hangup
	Peer   string
	ID     string
	Text   string
	Status string     // of a receipt: delivered or displayed
	Active bool       // of composing
	Wants  string     // which notifications the sender asked for
	File   *PhoneFile // of file (one came whole) and filecut (it did not)
	Time   time.Time
}

// Phone is an RCS client with one identity.
type Phone struct {
	*node
	opt PhoneOptions

	pmu       sync.Mutex
	manner    Manner
	calls     map[string]*phoneCall // by peer
	dialogs   map[string]*phoneCall // by Call-ID and own tag
	ringing   map[string]*phoneCall // INVITEs not answered, by Via branch
	events    []PhoneEvent
	changed   chan struct{}
	observers []func(PhoneEvent)
	regCallID string
	regSeq    int
	received  []*Message
	noticed   map[string]bool     // messages that came, by id, and calls that ended
	notices   map[string]notice   // notifications that came, by what they say
	parts     map[string]*os.File // files, whole or not, by the hash that was offered
	refresh   *time.Timer         // of the registration
	cert      tls.Certificate     // of MSRP
	onceCert  sync.Once
}

// phoneCall is a chat's dialog and MSRP session.
type phoneCall struct {
	peer          string
	callID        string
	localTag      string
	remoteTag     string
	local, remote string // From and To values without tags
	target        string
	routes        []string
	invite        *Message
	ack           *Message // of the phone's own INVITE, for repeats of its 200
	over          chan struct{}
	once          sync.Once
	cancelled     chan struct{}
	onceCancel    sync.Once

	mu        sync.Mutex
	seq       int // of the phone's own requests
	remoteSeq int
	rseq      int // of the reliable 180
	ep        *endpoint
	renewing  bool                  // a re-INVITE of its own is out
	acks      map[int]chan struct{} // 200s that wait for their ACK, by CSeq; closed by it
	pracked   chan struct{}
}

func newPhoneCall(peer, callID string) *phoneCall {
	return &phoneCall{
		peer: peer, callID: callID, localTag: token(), over: make(chan struct{}), cancelled: make(chan struct{}),
		acks: map[int]chan struct{}{}, pracked: make(chan struct{}),
	}
}

func (c *phoneCall) endpoint() *endpoint {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ep
}

// swap makes ep the call's MSRP session and closes the one before.
func (c *phoneCall) swap(ep *endpoint) {
	c.mu.Lock()
	old := c.ep
	c.ep = ep
	c.mu.Unlock()
	if old != nil && old != ep {
		old.close()
	}
}

func (c *phoneCall) nextSeq() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq++
	return c.seq
}

// NewPhone starts a phone; it is not registered yet.
func NewPhone(opt PhoneOptions) (*Phone, error) {
	if opt.Network == "" {
		opt.Network = "udp"
	}
	if opt.Expires == 0 {
		opt.Expires = time.Hour
	}
	p := &Phone{opt: opt, manner: opt.Manner, calls: map[string]*phoneCall{}, dialogs: map[string]*phoneCall{}, ringing: map[string]*phoneCall{}, changed: make(chan struct{}), noticed: map[string]bool{}, notices: map[string]notice{}, parts: map[string]*os.File{}, regCallID: token()}
	n, err := newNode("127.0.0.1:0", opt.Log)
	if err != nil {
		return nil, err
	}
	p.node = n
	n.start(p.serve)
	return p, nil
}

// Close hangs up nothing and says nothing: the phone is gone.
func (p *Phone) Close() {
	p.pmu.Lock()
	if p.refresh != nil {
		p.refresh.Stop()
	}
	for _, c := range p.dialogs {
		c.end()
	}
	p.pmu.Unlock()
	p.close()
	for _, f := range p.parts {
		f.Close()
		os.Remove(f.Name())
	}
}

// URI is the phone's identity.
func (p *Phone) URI() string { return p.opt.URI }

// Behave changes the phone's manner.
func (p *Phone) Behave(change func(*Manner)) {
	p.pmu.Lock()
	defer p.pmu.Unlock()
	change(&p.manner)
}

func (p *Phone) mannered() Manner {
	p.pmu.Lock()
	defer p.pmu.Unlock()
	return p.manner
}

// OnEvent calls f for each event from now on, in order. f must not block.
func (p *Phone) OnEvent(f func(PhoneEvent)) {
	p.pmu.Lock()
	defer p.pmu.Unlock()
	p.observers = append(p.observers, f)
}

func (p *Phone) tell(e PhoneEvent) {
	e.Time = time.Now().UTC()
	p.pmu.Lock()
	defer p.pmu.Unlock()
	p.events = append(p.events, e)
	close(p.changed)
	p.changed = make(chan struct{})
	for _, f := range p.observers {
		f(e)
	}
}

// Events lists all that happened so far.
func (p *Phone) Events(eventType string) []PhoneEvent {
	p.pmu.Lock()
	defer p.pmu.Unlock()
	var all []PhoneEvent
	for _, e := range p.events {
		if eventType == "" || e.Type == eventType {
			all = append(all, e)
		}
	}
	return all
}

// Invites lists the INVITEs that the phone received.
func (p *Phone) Invites() []*Message { return p.Requests("INVITE") }

// Requests lists the requests of a method that the phone received, oldest first.
func (p *Phone) Requests(method string) []*Message {
	p.pmu.Lock()
	defer p.pmu.Unlock()
	var all []*Message
	for _, m := range p.received {
		if m.Method == method {
			all = append(all, m)
		}
	}
	return all
}

// Wait waits until n events of the type have happened and returns them all.
func (p *Phone) Wait(ctx context.Context, eventType string, n int) ([]PhoneEvent, error) {
	for {
		p.pmu.Lock()
		changed := p.changed
		p.pmu.Unlock()
		if all := p.Events(eventType); len(all) >= n {
			return all, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return p.Events(eventType), fmt.Errorf("%d events of type %s, want %d: %w", len(p.Events(eventType)), eventType, n, ctx.Err())
		}
	}
}

func (p *Phone) core() source { return source{network: p.opt.Network, addr: p.opt.Core} }

func (p *Phone) user() string {
	u := p.opt.URI[strings.IndexByte(p.opt.URI, ':')+1:]
	u, _, _ = strings.Cut(u, "@")
	return u
}

func (p *Phone) contact(tags bool) string {
	c := "<sip:" + p.user() + "@" + p.addr + ">"
	if p.opt.Network == "tcp" {
		c = "<sip:" + p.user() + "@" + p.addr + ";transport=tcp>"
	}
	if t := p.mannered().Tags; tags && t != "" {
		c += ";" + t
	}
	return c
}

// Register registers at the core and keeps the registration fresh; Unregister ends that.
func (p *Phone) Register(ctx context.Context) error { return p.register(ctx, p.opt.Expires) }

// Unregister takes the binding away.
func (p *Phone) Unregister(ctx context.Context) error { return p.register(ctx, 0) }

func (p *Phone) register(ctx context.Context, expires time.Duration) error {
	domain := p.opt.URI[strings.LastIndexByte(p.opt.URI, '@')+1:]
	tag, auth := token(), ""
	for try := 0; ; try++ {
		p.pmu.Lock()
		p.regSeq++
		seq := p.regSeq
		p.pmu.Unlock()
		m := &Message{Method: "REGISTER", URI: "sip:" + domain}
		m.Add("Max-Forwards", "70").Add("From", "<"+p.opt.URI+">;tag="+tag).Add("To", "<"+p.opt.URI+">").Add("Call-ID", p.regCallID).
			Add("CSeq", fmt.Sprintf("%d REGISTER", seq)).Add("Contact", p.contact(true)).Add("Expires", fmt.Sprint(int(expires.Seconds()))).
			Add("Route", "<sip:"+p.opt.Core+";lr>")
		if auth != "" {
			m.Add("Authorization", auth)
		}
		res, err := p.do(ctx, m, p.core())
		switch {
		case err != nil:
			return err
		case res.Status == 200:
			p.keepFresh(p.granted(res))
			return nil
		case res.Status == 423 && try < 3: // RFC 3261 §10.2.8
			n, _ := strconv.Atoi(res.Get("Min-Expires"))
			expires = max(expires, time.Duration(n)*time.Second)
		case res.Status == 401 && auth == "":
			user := p.opt.URI[strings.IndexByte(p.opt.URI, ':')+1:]
			auth = authorization(res.Get("WWW-Authenticate"), "REGISTER", m.URI, user, p.opt.Password)
		default:
			return fmt.Errorf("register: %d %s", res.Status, res.Reason)
		}
	}
}

// granted is for how long the core bound the phone's contact.
func (p *Phone) granted(res *Message) time.Duration {
	for _, v := range res.All("Contact") {
		if uriOf(v) == uriOf(p.contact(false)) {
			n, _ := strconv.Atoi(param(v, "expires"))
			return time.Duration(n) * time.Second
		}
	}
	return 0
}

// keepFresh registers again when half of the time is over; 0: not any more.
func (p *Phone) keepFresh(d time.Duration) {
	p.pmu.Lock()
	defer p.pmu.Unlock()
	if p.refresh != nil {
		p.refresh.Stop()
		p.refresh = nil
	}
	if d == 0 {
		return
	}
	p.refresh = time.AfterFunc(d/2, func() {
		p.spawn(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 32*time.Second)
			defer cancel()
			if err := p.Register(ctx); err != nil {
				p.log.Warn("registration not refreshed", "phone", p.opt.URI, "error", err)
			}
		})
	})
}
