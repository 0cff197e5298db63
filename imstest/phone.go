package imstest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
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
	Tags        string        // in Contact of OPTIONS answers and registrations
	OptionsCode int           // 0: 200
	OptionsMute bool          // no answer to OPTIONS at all
	AnswerCode  int           // to INVITE; 0: 200
	RingFor     time.Duration // 180 before the answer
	Setup       string        // of answers and offers: "" lets the phone choose passive to actpass; active, passive
	NoCEMA      bool
	NoReceipts  bool          // no IMDN
	MuteMSRP    bool          // never connects and never listens: MSRP does not come up
	LateMSRP    time.Duration // connects that late
	Path        string        // a=path with another authority, "notresolvable.invalid:9" (F49a)
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
	Type   string // message, receipt, composing, call, hangup
	Peer   string
	ID     string
	Text   string
	Status string // of a receipt: delivered or displayed
	Active bool   // of composing
	Wants  string // which notifications the sender asked for
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
	invites   []*Message
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
	seq           int
	remoteSeq     int
	invite        *Message
	ep            *endpoint
	over          chan struct{}
	once          sync.Once
	acked         chan struct{}
	onceAck       sync.Once
	cancelled     chan struct{}
	onceCancel    sync.Once
}

// NewPhone starts a phone; it is not registered yet.
func NewPhone(opt PhoneOptions) (*Phone, error) {
	if opt.Network == "" {
		opt.Network = "udp"
	}
	if opt.Expires == 0 {
		opt.Expires = time.Hour
	}
	p := &Phone{opt: opt, manner: opt.Manner, calls: map[string]*phoneCall{}, dialogs: map[string]*phoneCall{}, ringing: map[string]*phoneCall{}, changed: make(chan struct{}), regCallID: token()}
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
	for _, c := range p.dialogs {
		c.end()
	}
	p.pmu.Unlock()
	p.close()
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
func (p *Phone) Invites() []*Message {
	p.pmu.Lock()
	defer p.pmu.Unlock()
	return append([]*Message{}, p.invites...)
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

// Register registers at the core; Unregister ends that.
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
			return nil
		case res.Status == 401 && try == 0:
			user := p.opt.URI[strings.IndexByte(p.opt.URI, ':')+1:]
			auth = authorization(res.Get("WWW-Authenticate"), "REGISTER", m.URI, user, p.opt.Password)
		default:
			return fmt.Errorf("register: %d %s", res.Status, res.Reason)
		}
	}
}

func (p *Phone) serve(m *Message, src source) {
	switch m.Method {
	case "OPTIONS":
		manner := p.mannered()
		if manner.OptionsMute {
			return
		}
		code, reason := manner.OptionsCode, "Answer"
		if code == 0 {
			code, reason = 200, "OK"
		}
		res := reply(m, code, reason, token())
		if code == 200 {
			res.Add("Contact", p.contact(true)).Add("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, MESSAGE")
		}
		p.respond(m, src, res)
	case "INVITE":
		if param(m.Get("To"), "tag") != "" {
			p.reinvited(m, src)
			return
		}
		p.invited(m, src)
	case "ACK":
		if c := p.dialog(m); c != nil {
			c.onceAck.Do(func() { close(c.acked) })
		}
	case "CANCEL":
		p.pmu.Lock()
		c := p.ringing[param(firstOf(m, "Via"), "branch")]
		p.pmu.Unlock()
		if c == nil {
			p.respond(m, src, reply(m, 481, "Call/Transaction Does Not Exist", token()))
			return
		}
		p.respond(m, src, reply(m, 200, "OK", c.localTag))
		c.onceCancel.Do(func() { close(c.cancelled) })
	case "BYE":
		c := p.dialog(m)
		if c == nil {
			p.respond(m, src, reply(m, 481, "Call/Transaction Does Not Exist", token()))
			return
		}
		p.ordered(c, m)
		p.respond(m, src, reply(m, 200, "OK", ""))
		p.forget(c)
		p.tell(PhoneEvent{Type: "hangup", Peer: c.peer})
	default:
		p.respond(m, src, reply(m, 405, "Method Not Allowed", token()))
	}
}

// ordered notes a CSeq that does not grow (RFC 3261 §12.2.2).
func (p *Phone) ordered(c *phoneCall, m *Message) {
	n, _ := strconv.Atoi(strings.Fields(m.Get("CSeq"))[0])
	if n <= c.remoteSeq && c.remoteSeq != 0 {
		p.violation("%s with CSeq %d after %d", m.Method, n, c.remoteSeq)
	}
	c.remoteSeq = n
}

func (p *Phone) dialog(m *Message) *phoneCall {
	p.pmu.Lock()
	defer p.pmu.Unlock()
	c := p.dialogs[m.Get("Call-ID")+" "+param(m.Get("To"), "tag")]
	if c != nil && param(m.Get("From"), "tag") != c.remoteTag {
		return nil
	}
	return c
}

func (c *phoneCall) end() {
	c.once.Do(func() {
		close(c.over)
		if c.ep != nil {
			c.ep.close()
		}
	})
}

func (p *Phone) forget(c *phoneCall) {
	p.pmu.Lock()
	delete(p.dialogs, c.callID+" "+c.localTag)
	if p.calls[c.peer] == c {
		delete(p.calls, c.peer)
	}
	p.pmu.Unlock()
	c.end()
}

// sdp writes the phone's session description.
func (p *Phone) sdp(ep *endpoint, setup string) []byte {
	manner := p.mannered()
	host, port, _ := net.SplitHostPort(strings.TrimPrefix(strings.Split(ep.local, "/")[2], "msrp://"))
	if manner.Path != "" {
		ep.local = "msrp://" + manner.Path + "/" + ep.id + ";tcp"
	}
	s := fmt.Sprintf("v=0\r\no=- %d 1 IN IP4 %s\r\ns=-\r\nc=IN IP4 %s\r\nt=0 0\r\nm=message %s TCP/MSRP *\r\n"+
		"a=accept-types:message/cpim application/im-iscomposing+xml\r\na=accept-wrapped-types:text/plain message/imdn+xml application/im-iscomposing+xml\r\n"+
		"a=setup:%s\r\na=path:%s\r\na=sendrecv\r\n", time.Now().Unix(), host, host, port, setup, ep.local)
	if !manner.NoCEMA {
		s += "a=msrp-cema\r\n"
	}
	return []byte(s)
}

type remoteMedia struct {
	addr, path, setup string
	cema              bool
}

func readSDP(b []byte) (remoteMedia, error) {
	var r remoteMedia
	host, port := "", ""
	for l := range strings.SplitSeq(string(b), "\n") {
		l = strings.TrimRight(l, "\r")
		switch {
		case strings.HasPrefix(l, "c=IN IP4 "):
			host = strings.TrimPrefix(l, "c=IN IP4 ")
		case strings.HasPrefix(l, "m=message "):
			port = strings.Fields(l)[1]
		case strings.HasPrefix(l, "a=path:"):
			r.path = strings.TrimSpace(strings.TrimPrefix(l, "a=path:"))
		case strings.HasPrefix(l, "a=setup:"):
			r.setup = strings.TrimSpace(strings.TrimPrefix(l, "a=setup:"))
		case strings.HasPrefix(l, "a=msrp-cema"):
			r.cema = true
		}
	}
	if r.path == "" || port == "" || port == "0" {
		return r, errors.New("no msrp media in the session description")
	}
	r.addr = net.JoinHostPort(host, port)
	if !r.cema {
		r.addr = strings.Split(r.path, "/")[2]
	}
	return r, nil
}
