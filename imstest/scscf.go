package imstest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

// ThirdParty is a REGISTER that the core sends to an application server as an S-CSCF does: to tell that a user has
// registered, or is gone.
type ThirdParty struct {
	User        string // public identity
	Expires     int    // seconds; 0: the user is gone
	CallID      string // default: a fresh one
	CSeq        int    // default: 1
	Fields      []Field
	ContentType string
	Body        string
}

// ThirdParty sends a third-party REGISTER to the application server and returns its answer.
func (c *Core) ThirdParty(ctx context.Context, server string, r ThirdParty) (*Message, error) {
	if r.CallID == "" {
		r.CallID = token()
	}
	m := &Message{Method: "REGISTER", URI: "sip:" + server, Body: []byte(r.Body)}
	m.Add("Max-Forwards", "70").Add("From", "<"+c.URI()+">;tag="+token()).Add("To", "<"+r.User+">").Add("Call-ID", r.CallID).
		Add("CSeq", fmt.Sprintf("%d REGISTER", max(1, r.CSeq))).Add("Contact", "<"+c.URI()+">").Add("Expires", fmt.Sprint(r.Expires))
	if r.ContentType != "" {
		m.Add("Content-Type", r.ContentType)
	}
	m.Fields = append(m.Fields, r.Fields...)
	return c.do(ctx, m, source{network: "udp", addr: server})
}

// regSubscription is a subscription to the core's notifier of registrations (RFC 3680).
type regSubscription struct {
	turn                    sync.Mutex // one NOTIFY at a time, so that none overtakes another
	of                      string
	callID, local, remote   string // of the dialog; the tags
	subscriber, as, target  string
	routes                  []string
	version, seq, remoteSeq int
	expires                 time.Time
	gone                    map[string]string // contacts that ended since the last document, with the event
}

// subscribe is the notifier: 200 and the full state at once (RFC 6665 §4.2.1, RFC 3680 §4.7).
func (c *Core) subscribe(m *Message, src source) {
	respond := func(code int, reason, tag string, fields ...Field) {
		res := reply(m, code, reason, tag)
		res.Fields = append(res.Fields, fields...)
		c.respond(m, src, res)
	}
	answer := func(code int, reason, tag string) {
		c.note(m, code)
		respond(code, reason, tag)
	}
	if m.Get("Event") != "reg" {
		answer(489, "Bad Event", token())
		return
	}
	if !strings.Contains(m.Get("Accept"), "application/reginfo+xml") || len(m.All("Contact")) != 1 || m.Get("Expires") == "" {
		c.violation("SUBSCRIBE with Accept %q, Contact %q, Expires %q", m.Get("Accept"), m.All("Contact"), m.Get("Expires"))
	}
	c.mu.Lock()
	s := c.subs[m.Get("Call-ID")]
	tag := param(m.Get("To"), "tag")
	switch {
	case tag != "" && (s == nil || s.local != tag):
		c.mu.Unlock()
		answer(481, "Subscription Does Not Exist", "")
		return
	case tag != "" && number(m) <= s.remoteSeq:
		c.violation("SUBSCRIBE with CSeq %d after %d", number(m), s.remoteSeq)
	case tag == "":
		s = &regSubscription{
			of: c.canonical(m.URI), callID: m.Get("Call-ID"), local: token(), remote: param(m.Get("From"), "tag"), version: -1,
			subscriber: uriOf(m.Get("From")), as: uriOf(m.Get("To")), gone: map[string]string{},
		}
		c.subs[s.callID] = s
	}
	s.remoteSeq, s.target, s.routes = number(m), uriOf(m.Get("Contact")), m.All("Record-Route")
	d := asked(m, "")
	s.expires = time.Now().Add(d)
	c.noted(m, 200)
	c.mu.Unlock()
	respond(200, "OK", s.local, Field{"Expires", fmt.Sprint(int(d.Seconds()))}, Field{"Contact", "<" + c.URI() + ">"})
	state := fmt.Sprintf("active;expires=%d", int(d.Seconds()))
	if d == 0 {
		state = "terminated;reason=timeout"
	}
	c.spawn(func() { c.notify(s, state, func() string { return c.document(s, true) }) })
}

// Subscribers lists who subscribes to the registration of a user at present: their From.
func (c *Core) Subscribers(of string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for _, s := range c.subs {
		if s.of == of && s.expires.After(time.Now()) {
			all = append(all, s.subscriber)
		}
	}
	return all
}

// Notify sends a document of the test's own to all who subscribe to a user, and returns what they answered. %d in it
// becomes the next version. A state that is terminated ends the subscription.
func (c *Core) Notify(of, state, doc string) []int {
	c.mu.Lock()
	var all []*regSubscription
	for _, s := range c.subs {
		if s.of == of && s.expires.After(time.Now()) {
			all = append(all, s)
		}
	}
	c.mu.Unlock()
	var codes []int
	for _, s := range all {
		codes = append(codes, c.notify(s, state, func() string {
			c.mu.Lock()
			defer c.mu.Unlock()
			if strings.Contains(doc, "%d") {
				s.version++
			}
			return strings.ReplaceAll(doc, "%d", fmt.Sprint(s.version))
		}))
	}
	return codes
}

// Deregister takes all contacts of a user away, as the network does it: event says why (RFC 3680 §4.7.1).
func (c *Core) Deregister(of, event string) {
	c.mu.Lock()
	ended := c.bindings[of]
	c.bindings[of] = nil
	c.mu.Unlock()
	for _, b := range ended {
		c.changedContact(of, b.contact, event)
	}
}

// changedContact tells the subscribers of a user that a contact came, stayed or went.
func (c *Core) changedContact(of, contact, event string) {
	c.mu.Lock()
	var all []*regSubscription
	for _, s := range c.subs {
		if s.of == of && s.expires.After(time.Now()) {
			if event != "registered" && event != "refreshed" {
				s.gone[contact] = event
			}
			all = append(all, s)
		}
	}
	c.mu.Unlock()
	for _, s := range all {
		c.spawn(func() { c.notify(s, "active", func() string { return c.document(s, false) }) })
	}
}

// document writes what there is to know of a user, all contacts in either case: those that are there, and those that went since.
func (c *Core) document(s *regSubscription, full bool) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.version++
	state, kind := "terminated", "partial"
	if full {
		kind = "full"
	}
	var contacts strings.Builder
	add := func(contact, state, event string) {
		fmt.Fprintf(&contacts, `<contact id="%x" state="%s" event="%s"><uri>%s</uri></contact>`, contact, state, event, strings.ReplaceAll(contact, "&", "&amp;"))
	}
	for _, b := range c.bindings[s.of] {
		if b.expires.After(time.Now()) {
			state = "active"
			add(b.contact, "active", "registered")
			delete(s.gone, b.contact)
		}
	}
	for contact, event := range s.gone {
		add(contact, "terminated", event)
	}
	clear(s.gone)
	return fmt.Sprintf(`<?xml version="1.0"?><reginfo xmlns="urn:ietf:params:xml:ns:reginfo" version="%d" state="%s"><registration aor="%s" id="r1" state="%s">%s</registration></reginfo>`,
		s.version, kind, s.of, state, contacts.String())
}

// notify sends one NOTIFY and returns how it was answered; 0: not at all. The document is written when its turn has come, so that
// the versions have the order of the CSeqs.
func (c *Core) notify(s *regSubscription, state string, write func() string) int {
	s.turn.Lock()
	defer s.turn.Unlock()
	doc := write()
	c.mu.Lock()
	s.seq++
	m := &Message{Method: "NOTIFY", URI: s.target, Body: []byte(doc)}
	m.Add("Max-Forwards", "70").Add("From", "<"+s.as+">;tag="+s.local).Add("To", "<"+s.subscriber+">;tag="+s.remote).Add("Call-ID", s.callID).
		Add("CSeq", fmt.Sprintf("%d NOTIFY", s.seq)).Add("Contact", "<"+c.URI()+">").Add("Event", "reg").Add("Subscription-State", state)
	if doc != "" {
		m.Add("Content-Type", "application/reginfo+xml")
	}
	if strings.HasPrefix(state, "terminated") {
		s.expires = time.Time{}
	}
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 64*t1)
	defer cancel()
	addr, network := hostPort(s.target)
	res, err := c.do(ctx, m, source{network: network, addr: addr})
	if err != nil {
		return 0
	}
	return res.Status
}

// Reorder makes the next NOTIFY about a user one with the number of an earlier one.
func (c *Core) Reorder(of string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.subs {
		if s.of == of {
			s.seq--
		}
	}
}

// Ask sends OPTIONS about of to an application server, on behalf of a user whom the core asserts, and returns the answer.
func (c *Core) Ask(ctx context.Context, server, of, by string) (*Message, error) {
	m := &Message{Method: "OPTIONS", URI: of}
	m.Add("Max-Forwards", "70").Add("From", "<"+by+">;tag="+token()).Add("To", "<"+of+">").Add("Call-ID", token()).Add("CSeq", "1 OPTIONS").
		Add("Contact", "<"+c.URI()+">").Add("P-Asserted-Identity", "<"+by+">").Add("Accept", "application/sdp")
	return c.do(ctx, m, source{network: "udp", addr: server})
}

// ForgetSubscriptions makes the notifier lose all subscriptions, as a restart does.
func (c *Core) ForgetSubscriptions() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.subs)
}
