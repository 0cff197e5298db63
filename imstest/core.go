package imstest

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// Account is a user of the core.
type Account struct {
	Password string // for digest; "": the core's shared password
}

// CoreOptions make a Core.
type CoreOptions struct {
	Listen       string             // host:port for UDP and TCP; default 127.0.0.1:0
	Domains      []string           // whose users register here
	Users        map[string]Account // by address of record; who is not here registers only under Open
	Open         bool               // any user of the domains may register
	Auth         bool               // REGISTER is challenged
	Shared       string             // password of accounts that have none
	Ephemeral    string             // secret of time-limited user names, tried where it is set
	NextNonce    bool               // each 200 to a REGISTER with credentials gives the nonce for the next one
	Algorithms   []string           // of challenges, in order of preference; default MD5
	MinExpires   time.Duration
	MaxExpires   time.Duration     // what is granted at most
	Aliases      map[string]string // other identities of users, such as tel: URIs, to their address of record
	IMServer     string            // host:port of an interaction server that INVITEs pass (see IMServer)
	Unregistered string            // host:port of who takes INVITE and MESSAGE to people whom the core does not know, such as an application server
	ServiceRoute bool
	NoRegEvent   bool              // SUBSCRIBE is routed like any request, instead of answered by the core's notifier
	PSI          map[string]string // domains whose users nobody registers, to host:port of the application server that has them
	Trusted      []string          // hosts whose P-Asserted-Identity stays, such as application servers
	Log          *slog.Logger
}

// Core is a registrar and proxy: what an IMS core is to a user agent.
type Core struct {
	*node
	opt CoreOptions

	mu       sync.Mutex
	bindings map[string][]binding
	seen     []Seen
	faults   map[string]*Fault
	nonces   map[string]int              // nonce counts that were used
	forwards map[string]*forward         // INVITEs under way by upstream branch
	subs     map[string]*regSubscription // by Call-ID
	changed  chan struct{}               // closed and replaced when seen grows
	as       string                      // host:port of the application server of all users
}

// Seen is a request that reached the core.
type Seen struct {
	Time    time.Time
	Request *Message
	Status  int // what the core itself answered; 0: forwarded
	Final   int // the final response that went back, the core's own or another's; 0: none yet
}

// Fault makes the core answer a method in its own way.
type Fault struct {
	Code    int // 0: no answer at all
	Reason  string
	Fields  []Field
	Body    string
	Times   int // how often; 0: always
	Delay   time.Duration
	OnlyFor string // the To URI that it is for; "": all
}

// NewCore starts a core.
func NewCore(opt CoreOptions) (*Core, error) {
	if opt.Listen == "" {
		opt.Listen = "127.0.0.1:0"
	}
	if len(opt.Algorithms) == 0 {
		opt.Algorithms = []string{"MD5"}
	}
	c := &Core{opt: opt, bindings: map[string][]binding{}, faults: map[string]*Fault{}, nonces: map[string]int{}, forwards: map[string]*forward{}, subs: map[string]*regSubscription{}, changed: make(chan struct{})}
	n, err := newNode(opt.Listen, opt.Log)
	if err != nil {
		return nil, err
	}
	c.node = n
	n.start(c.serve)
	return c, nil
}

// Close stops the core.
func (c *Core) Close() { c.close() }

// Addr is host:port of the core.
func (c *Core) Addr() string { return c.addr }

// URI is the core's SIP URI.
func (c *Core) URI() string { return "sip:" + c.addr }

// ServedBy makes an application server (host:port) part of the way of all requests that open something, as an S-CSCF does by initial
// filter criteria; "": none.
func (c *Core) ServedBy(as string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.as = as
}

// ISCMark is the Route that an application server must give back byte for byte. The core knows a request again by it.
func (c *Core) ISCMark() string {
	return "<sip:iscmark@" + c.addr + ";lr;s=1;h=0;d=0;a=7369703A%61;X=>"
}

// toServer puts an application server into the way of an originating request.
func (c *Core) toServer(m, out *Message) {
	c.mu.Lock()
	as := c.as
	c.mu.Unlock()
	if as == "" || param(m.Get("To"), "tag") != "" || strings.Contains(firstOf(m, "Via"), " "+as) {
		return
	}
	switch m.Method {
	case "INVITE", "MESSAGE", "OPTIONS", "SUBSCRIBE", "PUBLISH", "REFER":
	default:
		return
	}
	out.Push("Route", c.ISCMark())
	out.Push("Route", "<sip:"+as+";lr>")
	if pai := firstOf(out, "P-Asserted-Identity"); pai != "" {
		out.Set("P-Served-User", pai+";sescase=orig;regstate=reg")
	}
	out.Set("P-Charging-Vector", "icid-value="+token()+";icid-generated-at="+c.addr+";orig-ioi=home.example")
}

// Requests lists the requests of a method that reached the core, oldest first; "": all.
func (c *Core) Requests(method string) []Seen {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []Seen
	for _, s := range c.seen {
		if method == "" || s.Request.Method == method {
			all = append(all, s)
		}
	}
	return all
}

// Bindings lists the contacts that are registered for an address of record.
func (c *Core) Bindings(aor string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for _, b := range c.bindings[aor] {
		if b.expires.After(time.Now()) {
			all = append(all, b.contact)
		}
	}
	return all
}

// Fault makes the core answer a method in its own way; nil ends that.
func (c *Core) Fault(method string, f *Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f == nil {
		delete(c.faults, method)
		return
	}
	g := *f
	c.faults[method] = &g
}

// Forget empties the list of requests that were seen.
func (c *Core) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = nil
}

// WaitRequests waits until n requests of a method have reached the core and had their final
// response, and returns all of that method.
func (c *Core) WaitRequests(ctx context.Context, method string, n int) ([]Seen, error) {
	for {
		c.mu.Lock()
		changed := c.changed
		c.mu.Unlock()
		all, done := c.Requests(method), 0
		for _, s := range all {
			if s.Final != 0 || s.Request.Method == "ACK" {
				done++
			}
		}
		if done >= n {
			return all, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return all, fmt.Errorf("%d %s were answered, want %d: %w", done, method, n, ctx.Err())
		}
	}
}

// note records a request; status is the core's own answer, 0 where it is forwarded.
func (c *Core) note(m *Message, status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.noted(m, status)
}

// noted is note for who holds c.mu, so that nobody sees what a request has done before the request.
func (c *Core) noted(m *Message, status int) {
	c.seen = append(c.seen, Seen{time.Now(), m.Clone(), status, status})
	c.grown()
}

// noteFinal adds to the record of a forwarded request how it was answered.
func (c *Core) noteFinal(m *Message, status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := len(c.seen) - 1; i >= 0; i-- {
		if s := &c.seen[i]; s.Final == 0 && s.Request.Method == m.Method && firstOf(s.Request, "Via") == firstOf(m, "Via") {
			s.Final = status
			c.grown()
			return
		}
	}
}

func (c *Core) grown() {
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *Core) fault(m *Message) (Fault, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.faults[m.Method]
	if f == nil || f.OnlyFor != "" && aor(uriOf(m.Get("To"))) != f.OnlyFor {
		return Fault{}, false
	}
	g := *f
	if f.Times > 0 {
		if f.Times--; f.Times == 0 {
			delete(c.faults, m.Method)
		}
	}
	return g, true
}

func (c *Core) serve(m *Message, src source) {
	if m.Method == "ACK" {
		c.route(m, src)
		return
	}
	if f, ok := c.fault(m); ok {
		c.note(m, f.Code)
		c.spawn(func() { c.fail(m, src, f) })
		return
	}
	switch m.Method {
	case "OPTIONS":
		if at, _ := hostPort(m.URI); at == c.addr && !strings.Contains(m.URI, "@") { // itself (RFC 3261 §11), which it isn't to forward to
			c.note(m, 200)
			c.respond(m, src, reply(m, 200, "OK", token()))
			return
		}
		c.route(m, src)
	case "REGISTER":
		c.register(m, src)
	case "SUBSCRIBE":
		if c.opt.NoRegEvent {
			c.route(m, src)
		} else {
			c.subscribe(m, src)
		}
	case "CANCEL":
		c.note(m, 200)
		c.cancel(m, src)
	default:
		c.route(m, src)
	}
}

// fail answers as the fault says.
func (c *Core) fail(m *Message, src source, f Fault) {
	if f.Delay > 0 {
		select {
		case <-time.After(f.Delay):
		case <-c.done:
			return
		}
	}
	if f.Code == 0 {
		return
	}
	if f.Reason == "" {
		f.Reason = "Fault"
	}
	res := reply(m, f.Code, f.Reason, token())
	res.Fields = append(res.Fields, f.Fields...)
	res.Body = []byte(f.Body)
	c.respond(m, src, res)
}
