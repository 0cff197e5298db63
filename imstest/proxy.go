package imstest

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// timerC is how long an INVITE may ring (RFC 3261 §16.6 step 11).
	timerC = 3 * time.Minute
	// returned marks INVITEs that come back from the interaction server.
	returned = "term"
)

// forward is one request on its way to one contact or more (RFC 3261 §16).
type forward struct {
	req *Message
	src source

	mu       sync.Mutex
	branches []*branchOut
	best     *Message // of the refusals
	open     int
	answered bool // a final response went back
}

// branchOut is a forward's way to one contact.
type branchOut struct {
	req       *Message
	to        source
	tx        *clientTx
	heard     bool // any response came
	final     bool // a final response came
	cancel    bool // to be cancelled
	cancelled bool
}

// target is where a request is forwarded to.
type target struct {
	uri  string // "": as it stands
	path []string
}

// route is the proxy (RFC 3261 §16).
func (c *Core) route(m *Message, src source) {
	out := m.Clone()
	back := false
	for { // RFC 3261 §16.4
		r := uriOf(firstOf(out, "Route"))
		if addr, _ := hostPort(r); r == "" || addr != c.addr {
			break
		}
		if back = back || strings.HasPrefix(r, "sip:"+returned+"@"); strings.HasPrefix(r, "sip:iscmark@") {
			if back = true; "<"+r+">" != c.ISCMark() {
				c.violation("the ISC mark came back as %q (TS 24.229 §5.7.5)", r)
			}
		}
		out.Pop("Route")
	}
	refuse := func(code int, reason string) {
		if m.Method == "ACK" {
			return
		}
		if !back {
			c.note(m, code)
		}
		c.respond(m, src, reply(m, code, reason, token()))
	}
	hops, err := strconv.Atoi(m.Get("Max-Forwards"))
	switch {
	case m.Get("Max-Forwards") == "":
		hops = 71 // RFC 3261 §16.6 step 3
	case err != nil:
		refuse(400, "Bad Max-Forwards")
		return
	case hops <= 0:
		refuse(483, "Too Many Hops")
		return
	}
	out.Set("Max-Forwards", fmt.Sprint(hops-1))
	if !back {
		c.assert(out, src)
	}
	inDialog := param(m.Get("To"), "tag") != ""
	if !inDialog && (m.Method == "INVITE" || m.Method == "SUBSCRIBE") {
		rr := "<sip:" + c.addr + ";lr>"
		if src.network == "tcp" {
			rr = "<sip:" + c.addr + ";transport=tcp;lr>"
		}
		out.Push("Record-Route", rr)
	}
	if c.opt.IMServer != "" && m.Method == "INVITE" && !inDialog && !back {
		out.Push("Route", "<sip:"+returned+"@"+c.addr+";lr>")
		out.Push("Route", "<sip:"+c.opt.IMServer+";lr>")
	}
	if !back {
		c.toServer(m, out)
	}
	targets, code := c.targets(out, inDialog)
	if code != 0 {
		refuse(code, map[int]string{403: "Relaying Denied", 404: "Not Found", 480: "Temporarily Unavailable"}[code])
		return
	}
	if !back {
		c.note(m, 0)
	}
	if m.Method == "ACK" { // of a 2xx: it has no response
		to := c.widen(out, c.next(out))
		out.Push("Via", c.via(to.network, "z9hG4bK"+token()))
		_ = c.write(out, to)
		return
	}
	c.forward(m, src, out, targets)
}

// targets is where a request goes: along its Route, to the contacts of a user of the core, or
// to its R-URI. A code refuses it.
func (c *Core) targets(m *Message, inDialog bool) (all []target, code int) {
	if firstOf(m, "Route") != "" {
		return []target{{}}, 0
	}
	of := c.canonical(m.URI)
	if server := c.opt.PSI[of[strings.LastIndexByte(of, '@')+1:]]; server != "" {
		if !inDialog { // an S-CSCF gives each request that it hands over a charging id
			m.Set("P-Charging-Vector", fmt.Sprintf(`icid-value="%s";icid-generated-at=%s;orig-ioi=home.example`, m.Get("Call-ID"), c.addr))
		}
		return []target{{uri: m.URI, path: []string{"<sip:" + server + ";lr>"}}}, 0
	}
	elsewhere := c.opt.Unregistered != "" && !inDialog && (m.Method == "INVITE" || m.Method == "MESSAGE")
	unknown := []target{{path: []string{"<sip:" + c.opt.Unregistered + ";lr>"}}}
	if elsewhere && strings.HasPrefix(of, "tel:") {
		return unknown, 0
	}
	if !c.serves(of) {
		// Only what belongs to a dialog, or names a host by its address, is relayed.
		if host, _ := hostPort(m.URI); !inDialog && net.ParseIP(strings.Trim(host[:strings.LastIndexByte(host, ':')], "[]")) == nil {
			return nil, 403
		}
		return []target{{}}, 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.bindings[of] {
		if b.expires.After(time.Now()) {
			all = append(all, target{b.contact, b.path})
		}
	}
	if len(all) > 0 {
		return all, 0
	}
	_, listed := c.opt.Users[of]
	if elsewhere && !listed {
		return unknown, 0
	}
	if _, registered := c.bindings[of]; listed || registered {
		return nil, 480
	}
	return nil, 404
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
	from := c.canonical(uriOf(m.Get("From")))
	if p := m.Get("P-Preferred-Identity"); p != "" {
		from = c.canonical(uriOf(p))
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

// forward sends a request to all targets at once.
func (c *Core) forward(m *Message, src source, out *Message, targets []target) {
	f := &forward{req: m, src: src, open: len(targets)}
	if m.Method == "INVITE" {
		c.respond(m, src, reply(m, 100, "Trying", ""))
		c.mu.Lock()
		c.forwards[param(firstOf(m, "Via"), "branch")] = f
		c.mu.Unlock()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range targets {
		o := out.Clone()
		if t.uri != "" {
			o.URI = t.uri
		}
		for _, p := range slices.Backward(t.path) {
			o.Push("Route", p)
		}
		b := &branchOut{req: o, to: c.next(o)}
		b.to = c.widen(o, b.to)
		b.tx = c.send(context.Background(), o, b.to, "")
		f.branches = append(f.branches, b)
		c.spawn(func() { c.follow(f, b) })
	}
}

// follow takes the responses of one branch. It ends some time after the final one, so that repeats of
// that find somebody, or with the core.
func (c *Core) follow(f *forward, b *branchOut) {
	invite := f.req.Method == "INVITE"
	limit := 64 * t1
	if invite {
		limit = timerC
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		select {
		case res := <-b.tx.responses:
			c.upstream(f, b, res)
			if res.Status < 200 {
				continue
			}
			if !invite {
				return
			}
			timer.Reset(64 * t1)
		case <-timer.C:
			f.mu.Lock()
			silent := !b.final
			if silent {
				c.cancelBranch(b)
			}
			f.mu.Unlock()
			if silent {
				c.upstream(f, b, reply(b.req, 408, "Request Timeout", token()))
			}
			return
		case <-c.done:
			return
		}
	}
}

// upstream treats a response of a branch (RFC 3261 §16.7).
func (c *Core) upstream(f *forward, b *branchOut, res *Message) {
	res = res.Clone()
	res.Pop("Via")
	f.mu.Lock()
	defer f.mu.Unlock()
	invite := f.req.Method == "INVITE"
	b.heard = true
	if b.cancel && !b.cancelled && res.Status < 200 {
		c.cancelBranch(b) // RFC 3261 §9.1: not before a response came
	}
	switch {
	case res.Status == 100:
	case res.Status < 200:
		if !f.answered {
			c.respond(f.req, f.src, res)
		}
	case res.Status < 300:
		b.final = true
		if f.answered && !invite {
			return
		}
		c.finish(f, res) // every 2xx of an INVITE goes back (step 5)
		c.cancelOthers(f, b)
	default:
		if invite {
			_ = c.write(ackOf(b.req, res), b.to) // the ACK of a refusal is hop by hop
		}
		if b.final {
			return
		}
		b.final = true
		f.open--
		if f.best == nil || better(res.Status, f.best.Status) {
			f.best = res
		}
		if res.Status >= 600 {
			c.cancelOthers(f, b)
		}
		if f.open == 0 && !f.answered {
			c.finish(f, f.best)
		}
	}
}

func (c *Core) finish(f *forward, res *Message) {
	f.answered = true
	if branch := param(firstOf(f.req, "Via"), "branch"); f.req.Method == "INVITE" {
		time.AfterFunc(64*t1, func() {
			c.mu.Lock()
			delete(c.forwards, branch)
			c.mu.Unlock()
		})
	}
	c.noteFinal(f.req, res.Status)
	c.respond(f.req, f.src, res)
}

// better reports whether a refusal is to be preferred (RFC 3261 §16.7 step 6): 6xx, else the lowest class.
func better(a, b int) bool {
	if a >= 600 || b >= 600 {
		return a >= 600 && b < 600
	}
	return a < b
}

func (c *Core) cancelOthers(f *forward, b *branchOut) {
	if f.req.Method != "INVITE" {
		return
	}
	for _, o := range f.branches {
		if o != b {
			c.cancelBranch(o)
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
	if m.URI != f.req.URI || number(m) != number(f.req) || m.Get("Call-ID") != f.req.Get("Call-ID") || m.Get("To") != f.req.Get("To") || m.Get("From") != f.req.Get("From") {
		c.violation("CANCEL differs from its INVITE in R-URI, Call-ID, To, From or CSeq (RFC 3261 §9.1)")
	}
	c.respond(m, src, reply(m, 200, "OK", token()))
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range f.branches {
		c.cancelBranch(b)
	}
}

// cancelBranch cancels a branch once a response came on it. f.mu is held.
func (c *Core) cancelBranch(b *branchOut) {
	if b.final || b.cancelled {
		return
	}
	b.cancel = true
	if !b.heard {
		return
	}
	b.cancelled = true
	cancel := cancelOf(b.req)
	c.send(context.Background(), cancel, b.to, param(firstOf(b.req, "Via"), "branch"))
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

// ackOf makes the ACK of a refusal, with the Via of its INVITE (RFC 3261 §17.1.1.3).
func ackOf(invite, res *Message) *Message {
	a := &Message{Method: "ACK", URI: invite.URI}
	a.Add("Via", firstOf(invite, "Via")).Add("From", invite.Get("From")).Add("To", res.Get("To")).Add("Call-ID", invite.Get("Call-ID")).
		Add("CSeq", strings.Fields(invite.Get("CSeq"))[0]+" ACK").Add("Max-Forwards", "70")
	for _, r := range invite.All("Route") {
		a.Add("Route", r)
	}
	return a
}
