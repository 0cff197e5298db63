package imstest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
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
	Algorithms   []string           // of challenges, in order of preference; default MD5
	MinExpires   time.Duration
	ServiceRoute bool
	Trusted      []string // hosts whose P-Asserted-Identity stays, such as application servers
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
	nonces   map[string]bool
	forwards map[string]*forward // INVITEs under way by upstream branch
}

type binding struct {
	contact string
	expires time.Time
	src     source
}

// Seen is a request that reached the core.
type Seen struct {
	Time    time.Time
	Request *Message
	Status  int // what the core itself answered; 0: forwarded
}

// Fault makes the core answer a method in its own way.
type Fault struct {
	Code    int // 0: no answer at all
	Reason  string
	Fields  []Field
	Times   int // how often; 0: always
	Delay   time.Duration
	OnlyFor string // the To URI that it is for; "": all
}

type forward struct {
	req      *Message
	src      source
	mu       sync.Mutex
	branches []*branchOut
	best     *Message
	open     int
	answered bool
}

type branchOut struct {
	req  *Message
	to   source
	seen bool
}

// NewCore starts a core.
func NewCore(opt CoreOptions) (*Core, error) {
	if opt.Listen == "" {
		opt.Listen = "127.0.0.1:0"
	}
	if len(opt.Algorithms) == 0 {
		opt.Algorithms = []string{"MD5"}
	}
	c := &Core{opt: opt, bindings: map[string][]binding{}, faults: map[string]*Fault{}, nonces: map[string]bool{}, forwards: map[string]*forward{}}
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

func (c *Core) note(m *Message, status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = append(c.seen, Seen{time.Now(), m.Clone(), status})
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
	if f, ok := c.fault(m); ok {
		c.note(m, f.Code)
		if f.Delay > 0 {
			select {
			case <-time.After(f.Delay):
			case <-c.done:
				return
			}
		}
		if f.Code != 0 {
			res := reply(m, f.Code, f.Reason, token())
			res.Fields = append(res.Fields, f.Fields...)
			c.respond(m, src, res)
		}
		return
	}
	switch {
	case m.Method == "REGISTER":
		c.register(m, src)
	case m.Method == "CANCEL":
		c.note(m, 200)
		c.cancel(m, src)
	default:
		c.route(m, src)
	}
}

// register is the registrar (RFC 3261 §10.3).
func (c *Core) register(m *Message, src source) {
	answer := func(code int, reason string, fields ...Field) {
		c.note(m, code)
		res := reply(m, code, reason, token())
		res.Fields = append(res.Fields, fields...)
		c.respond(m, src, res)
	}
	of := aor(uriOf(m.Get("To")))
	if strings.Contains(m.URI, "@") {
		c.violation("REGISTER with a user in its R-URI %q (RFC 3261 §10.2)", m.URI)
	}
	if aor(uriOf(m.Get("From"))) != of {
		c.violation("REGISTER: From %q differs from To %q", m.Get("From"), m.Get("To"))
	}
	user, known := c.opt.Users[of]
	domain := of[strings.LastIndexByte(of, '@')+1:]
	if !known && (!c.opt.Open || !slices.Contains(c.opt.Domains, domain)) {
		answer(404, "Not Found")
		return
	}
	if c.opt.Auth && !c.authenticated(m, user) {
		nonce := token()
		c.mu.Lock()
		c.nonces[nonce] = true
		c.mu.Unlock()
		var challenges []Field
		for _, a := range c.opt.Algorithms {
			challenges = append(challenges, Field{"WWW-Authenticate", fmt.Sprintf(`Digest realm="%s", nonce="%s", algorithm=%s, qop="auth"`, domain, nonce, a)})
		}
		answer(401, "Unauthorized", challenges...)
		return
	}
	expires := 3600 * time.Second
	if e := m.Get("Expires"); e != "" {
		n, _ := strconv.Atoi(e)
		expires = time.Duration(n) * time.Second
	}
	contact := m.Get("Contact")
	if e := param(contact, "expires"); e != "" {
		n, _ := strconv.Atoi(e)
		expires = time.Duration(n) * time.Second
	}
	if expires > 0 && expires < c.opt.MinExpires {
		answer(423, "Interval Too Brief", Field{"Min-Expires", fmt.Sprint(int(c.opt.MinExpires.Seconds()))})
		return
	}
	c.mu.Lock()
	kept := c.bindings[of][:0:0]
	for _, b := range c.bindings[of] {
		if contact != "*" && b.contact != uriOf(contact) && b.expires.After(time.Now()) {
			kept = append(kept, b)
		}
	}
	if expires > 0 && contact != "" && contact != "*" {
		kept = append(kept, binding{uriOf(contact), time.Now().Add(expires), src})
	}
	c.bindings[of] = kept
	c.mu.Unlock()
	var fields []Field
	for _, b := range kept {
		fields = append(fields, Field{"Contact", fmt.Sprintf("<%s>;expires=%d", b.contact, int(time.Until(b.expires).Seconds()+0.5))})
	}
	if c.opt.ServiceRoute {
		fields = append(fields, Field{"Service-Route", "<sip:orig@" + c.addr + ";lr>"})
	}
	answer(200, "OK", append(fields, Field{"P-Associated-URI", "<" + of + ">"})...)
}

// authenticated checks the digest of a REGISTER.
func (c *Core) authenticated(m *Message, user Account) bool {
	p := digestParams(m.Get("Authorization"))
	c.mu.Lock()
	known := c.nonces[p["nonce"]]
	delete(c.nonces, p["nonce"])
	c.mu.Unlock()
	if !known {
		return false
	}
	password := user.Password
	if password == "" {
		password = c.opt.Shared
	}
	if c.opt.Ephemeral != "" {
		if e, ok := ephemeralPassword(c.opt.Ephemeral, p["username"], time.Now()); ok {
			password = e
		}
	}
	return p["uri"] == m.URI && p["response"] == digestResponse(p, m.Method, password)
}

// route is the proxy (RFC 3261 §16).
func (c *Core) route(m *Message, src source) {
	refuse := func(code int, reason string) {
		c.note(m, code)
		if m.Method != "ACK" {
			c.respond(m, src, reply(m, code, reason, token()))
		}
	}
	c.note(m, 0)
	hops, err := strconv.Atoi(m.Get("Max-Forwards"))
	if err != nil || hops <= 0 {
		refuse(483, "Too Many Hops")
		return
	}
	out := m.Clone()
	out.Set("Max-Forwards", fmt.Sprint(hops-1))
	if r := firstOf(out, "Route"); r != "" {
		if addr, _ := hostPort(uriOf(r)); addr == c.addr {
			out.Pop("Route")
		}
	}
	if m.Method == "INVITE" {
		c.respond(m, src, reply(m, 100, "Trying", ""))
	}
	c.assert(out, src)
	if param(m.Get("To"), "tag") == "" && (m.Method == "INVITE" || m.Method == "SUBSCRIBE") {
		rr := "<sip:" + c.addr + ";lr>"
		if src.network == "tcp" {
			rr = "<sip:" + c.addr + ";transport=tcp;lr>"
		}
		out.Push("Record-Route", rr)
	}
	var targets []string
	if next := firstOf(out, "Route"); next != "" {
		targets = []string{""}
	} else if of := aor(out.URI); c.serves(of) {
		if targets = c.Bindings(of); len(targets) == 0 {
			if _, known := c.opt.Users[of]; known || c.opt.Open {
				refuse(480, "Temporarily Unavailable")
			} else {
				refuse(404, "Not Found")
			}
			return
		}
	} else {
		targets = []string{""}
	}
	if m.Method == "ACK" { // of a 2xx: it has no response
		to := c.next(out)
		out.Push("Via", c.via(to.network, "z9hG4bK"+token()))
		_ = c.write(out, to)
		return
	}
	f := &forward{req: m, src: src, open: len(targets)}
	if m.Method == "INVITE" {
		c.mu.Lock()
		c.forwards[param(firstOf(m, "Via"), "branch")] = f
		c.mu.Unlock()
	}
	for _, t := range targets {
		o := out.Clone()
		if t != "" {
			o.URI = t
		}
		c.running.Go(func() { c.branch(f, o) })
	}
}

func (c *Core) serves(of string) bool {
	return slices.Contains(c.opt.Domains, of[strings.LastIndexByte(of, '@')+1:])
}

// next is where a request goes: its first Route, else its R-URI.
func (c *Core) next(m *Message) source {
	uri := m.URI
	if r := firstOf(m, "Route"); r != "" {
		uri = uriOf(r)
	}
	addr, network := hostPort(uri)
	if network == "udp" && len(m.Bytes()) > 1100 {
		network = "tcp" // RFC 3261 §18.1.1
	}
	return source{network: network, addr: addr}
}

// assert is the trust border (RFC 3325 §5): the core says who a registered sender is.
func (c *Core) assert(m *Message, src source) {
	host, _, _ := net.SplitHostPort(src.addr)
	if param(m.Get("To"), "tag") != "" {
		return
	}
	if m.Get("P-Asserted-Identity") != "" && slices.Contains(c.opt.Trusted, host) {
		return
	}
	m.Del("P-Asserted-Identity")
	from := aor(uriOf(m.Get("From")))
	if p := m.Get("P-Preferred-Identity"); p != "" {
		from = aor(uriOf(p))
	}
	m.Del("P-Preferred-Identity")
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.bindings[from] {
		bound, _, _ := net.SplitHostPort(b.src.addr)
		if bound == host && b.expires.After(time.Now()) {
			m.Add("P-Asserted-Identity", "<"+from+">")
			return
		}
	}
}

// branch forwards a request to one target and its responses back.
func (c *Core) branch(f *forward, out *Message) {
	to := c.next(out)
	b := &branchOut{req: out, to: to}
	f.mu.Lock()
	f.branches = append(f.branches, b)
	f.mu.Unlock()
	tx := c.send(context.Background(), out, to, "")
	timeout := time.After(64 * t1)
	if f.req.Method == "INVITE" {
		timeout = time.After(3 * time.Minute)
	}
	finished := false
	for {
		select {
		case res := <-tx.responses:
			b.seen = true
			c.upstream(f, b, res, &finished)
			if finished && (f.req.Method != "INVITE" || res.Status >= 300) {
				return
			}
		case <-timeout:
			if !finished {
				c.upstream(f, b, reply(out, 408, "Request Timeout", token()), &finished)
			}
			return
		case <-c.done:
			return
		}
	}
}

func (c *Core) upstream(f *forward, b *branchOut, res *Message, finished *bool) {
	res = res.Clone()
	res.Pop("Via")
	if res.Status == 100 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case res.Status < 200:
		c.respond(f.req, f.src, res)
	case res.Status < 300:
		// RFC 3261 §16.7: every 2xx to an INVITE goes back, and the other branches are cancelled.
		*finished = true
		first := !f.answered
		f.answered = true
		c.respond(f.req, f.src, res)
		if first && f.req.Method == "INVITE" {
			for _, o := range f.branches {
				if o != b {
					c.cancelBranch(o)
				}
			}
		}
	default:
		if f.req.Method == "INVITE" { // the ACK of a refusal is hop by hop
			ack := &Message{Method: "ACK", URI: b.req.URI}
			ack.Add("Via", firstOf(b.req, "Via"))
			for _, name := range []string{"From", "Call-ID"} {
				ack.Add(name, b.req.Get(name))
			}
			ack.Add("To", res.Get("To")).Add("CSeq", strings.Fields(b.req.Get("CSeq"))[0]+" ACK").Add("Max-Forwards", "70")
			for _, r := range b.req.All("Route") {
				ack.Add("Route", r)
			}
			_ = c.write(ack, b.to)
		}
		if *finished {
			return
		}
		*finished = true
		f.open--
		if f.best == nil || res.Status < f.best.Status {
			f.best = res
		}
		if f.open == 0 && !f.answered {
			f.answered = true
			c.respond(f.req, f.src, f.best)
		}
	}
}

// cancel cancels all branches of an INVITE.
func (c *Core) cancel(m *Message, src source) {
	c.mu.Lock()
	f := c.forwards[param(firstOf(m, "Via"), "branch")]
	c.mu.Unlock()
	if f == nil {
		c.respond(m, src, reply(m, 481, "Call/Transaction Does Not Exist", token()))
		return
	}
	c.respond(m, src, reply(m, 200, "OK", token()))
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range f.branches {
		c.cancelBranch(b)
	}
}

func (c *Core) cancelBranch(b *branchOut) {
	cancel := cancelOf(b.req)
	branch := param(firstOf(b.req, "Via"), "branch")
	c.running.Go(func() {
		ctx, done := context.WithTimeout(context.Background(), 5*time.Second)
		defer done()
		tx := c.send(ctx, cancel, b.to, branch)
		select {
		case <-tx.final:
		case <-ctx.Done():
		case <-c.done:
		}
	})
}

// cancelOf makes the CANCEL of an INVITE without its Via (RFC 3261 §9.1).
func cancelOf(invite *Message) *Message {
	c := &Message{Method: "CANCEL", URI: invite.URI}
	for _, name := range []string{"From", "To", "Call-ID"} {
		c.Add(name, invite.Get(name))
	}
	c.Add("CSeq", strings.Fields(invite.Get("CSeq"))[0]+" CANCEL").Add("Max-Forwards", "70")
	for _, r := range invite.All("Route") {
		c.Add("Route", r)
	}
	return c
}
