package imstest

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// binding is a contact of an address of record.
type binding struct {
	contact string
	path    []string // RFC 3327: the way to it
	expires time.Time
	callID  string
	cseq    int
	src     source
}

// canonical is the address of record that a URI means: aliases resolved, escapes undone.
func (c *Core) canonical(uri string) string {
	of := aor(uri)
	if plain, err := url.PathUnescape(of); err == nil && strings.Count(plain, "@") == strings.Count(of, "@") {
		of = plain
	}
	if strings.HasPrefix(of, "tel:") {
		of = strings.NewReplacer("-", "", ".", "", "(", "", ")", "").Replace(of)
	}
	if to := c.opt.Aliases[of]; to != "" {
		return to
	}
	return of
}

// register is the registrar (RFC 3261 §10.3).
func (c *Core) register(m *Message, src source) {
	respond := func(code int, reason string, fields ...Field) {
		res := reply(m, code, reason, token())
		res.Fields = append(res.Fields, fields...)
		c.respond(m, src, res)
	}
	answer := func(code int, reason string, fields ...Field) {
		c.note(m, code)
		respond(code, reason, fields...)
	}
	of := c.canonical(uriOf(m.Get("To")))
	c.checkRegister(m, of)
	user, known := c.opt.Users[of]
	domain := of[strings.LastIndexByte(of, '@')+1:]
	if !known && (!c.opt.Open || !slices.Contains(c.opt.Domains, domain)) {
		answer(404, "Not Found")
		return
	}
	if c.opt.Auth {
		if code, fields := c.authenticate(m, of, user); code != 0 {
			answer(code, map[int]string{401: "Unauthorized", 403: "Forbidden"}[code], fields...)
			return
		}
	}
	contacts := m.All("Contact")
	longest := time.Duration(0)
	for _, v := range contacts {
		if e := asked(m, v); e > 0 && e < c.opt.MinExpires { // RFC 3261 §10.3 item 7
			answer(423, "Interval Too Brief", Field{"Min-Expires", fmt.Sprint(int(c.opt.MinExpires.Seconds()))})
			return
		}
		longest = max(longest, asked(m, v))
	}
	kept, ok := c.bind(m, of, contacts, src)
	if !ok {
		answer(500, "Server Internal Error")
		return
	}
	var fields []Field
	if c.opt.Auth && c.opt.NextNonce {
		nonce := token()
		c.mu.Lock()
		c.nonces[nonce] = 0
		c.mu.Unlock()
		fields = append(fields, Field{"Authentication-Info", `nextnonce="` + nonce + `"`})
	}
	for _, b := range kept {
		fields = append(fields, Field{"Contact", fmt.Sprintf("<%s>;expires=%d", b.contact, int(time.Until(b.expires).Seconds()+0.5))})
	}
	if longest > 0 {
		if c.opt.ServiceRoute {
			fields = append(fields, Field{"Service-Route", "<sip:orig@" + c.addr + ";lr>"})
		}
		for _, p := range m.All("Path") {
			fields = append(fields, Field{"Path", p})
		}
		fields = append(fields, Field{"P-Associated-URI", "<" + of + ">"})
		for alias, to := range c.opt.Aliases {
			if to == of {
				fields = append(fields, Field{"P-Associated-URI", "<" + alias + ">"})
			}
		}
	}
	respond(200, "OK", fields...)
	for _, v := range contacts {
		event := "registered"
		if asked(m, v) == 0 {
			event = "unregistered"
		}
		c.changedContact(of, uriOf(v), event)
	}
}

// checkRegister notes what a REGISTER has that it must not have (RFC 3261 §10.2).
func (c *Core) checkRegister(m *Message, of string) {
	if strings.Contains(m.URI, "@") {
		c.violation("REGISTER with a user in its R-URI %q (RFC 3261 §10.2)", m.URI)
	}
	if c.canonical(uriOf(m.Get("From"))) != of {
		c.violation("REGISTER: From %q differs from To %q", m.Get("From"), m.Get("To"))
	}
	if param(m.Get("To"), "tag") != "" {
		c.violation("REGISTER with a tag in To")
	}
	if slices.Contains(m.All("Contact"), "*") && (len(m.All("Contact")) > 1 || m.Get("Expires") != "0") {
		c.violation("REGISTER with Contact * and more, or without Expires 0 (RFC 3261 §10.2.2)")
	}
	for _, v := range m.All("Contact") {
		if strings.Contains(uriOf(v), ";lr") {
			c.violation("REGISTER with lr in Contact %q", v)
		}
	}
}

// asked is for how long a REGISTER wants a contact bound: the contact's own expires, else the Expires field, else an hour.
func asked(m *Message, contact string) time.Duration {
	e := param(contact, "expires")
	if e == "" {
		e = m.Get("Expires")
	}
	n, err := strconv.ParseUint(e, 10, 32)
	if err != nil {
		return time.Hour
	}
	return time.Duration(n) * time.Second
}

// bind changes the bindings of an address of record, and notes the REGISTER that did so. It reports false, and changes nothing, where the
// request is older than what stands (RFC 3261 §10.3 item 7).
func (c *Core) bind(m *Message, of string, contacts []string, src source) (kept []binding, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	replaced := func(b binding) bool {
		return slices.ContainsFunc(contacts, func(v string) bool { return v == "*" || uriOf(v) == b.contact })
	}
	for _, b := range c.bindings[of] {
		if !b.expires.After(time.Now()) {
			continue
		}
		if replaced(b) && b.callID == m.Get("Call-ID") && number(m) <= b.cseq {
			c.violation("REGISTER with CSeq %d after %d in Call-ID %s (RFC 3261 §10.2.4)", number(m), b.cseq, b.callID)
			return nil, false
		}
		if !replaced(b) {
			kept = append(kept, b)
		}
	}
	for _, v := range contacts {
		d := asked(m, v)
		if v == "*" || d == 0 {
			continue
		}
		if c.opt.MaxExpires > 0 {
			d = min(d, c.opt.MaxExpires)
		}
		kept = append(kept, binding{contact: uriOf(v), path: m.All("Path"), expires: time.Now().Add(d), callID: m.Get("Call-ID"), cseq: number(m), src: src})
	}
	c.bindings[of] = kept
	c.noted(m, 200)
	return kept, true
}

// Unbind takes all bindings of an address of record away, as a network does that lost them.
func (c *Core) Unbind(of string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bindings[of] = nil
}

// ExpireNonces makes the core answer the next use of every nonce with stale=true.
func (c *Core) ExpireNonces() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.nonces)
}

// authenticate checks the digest of a REGISTER (RFC 7616 §3.4, RFC 8760). Code 0: the sender is who To says.
func (c *Core) authenticate(m *Message, of string, user Account) (code int, fields []Field) {
	domain := of[strings.LastIndexByte(of, '@')+1:]
	p := map[string]string{}
	for _, v := range valuesOf(m, "Authorization") {
		if q := digestParams(v); q["realm"] == domain {
			p = q
		}
	}
	stale := false
	if p["response"] != "" {
		password, ok := c.passwordFor(p["username"], of, user)
		if !ok {
			return 403, nil // RFC 3261 §10.3 item 3: known, but not allowed to change these bindings
		}
		good := p["uri"] == m.URI && p["response"] == digestResponse(p, m.Method, password)
		fresh := c.count(p)
		if good && fresh {
			return 0, nil
		}
		stale = good // RFC 7616 §3.3: the password is right, only the nonce is not
	}
	nonce := token()
	c.mu.Lock()
	c.nonces[nonce] = 0
	c.mu.Unlock()
	for _, a := range c.opt.Algorithms {
		v := fmt.Sprintf(`Digest realm="%s", nonce="%s", algorithm=%s, qop="auth"`, domain, nonce, a)
		if stale {
			v += ", stale=true"
		}
		fields = append(fields, Field{"WWW-Authenticate", v})
	}
	return 401, fields
}

// count accepts a nonce that the core made, with a count that was not used (RFC 7616 §3.4.5).
func (c *Core) count(p map[string]string) bool {
	nc, err := strconv.ParseInt(p["nc"], 16, 32)
	if p["qop"] == "auth" && (err != nil || len(p["nc"]) != 8) {
		c.violation("digest with nc %q (RFC 7616 §3.4)", p["nc"])
		return false
	}
	if p["qop"] != "auth" {
		c.violation("digest without qop=auth, which was offered")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	used, known := c.nonces[p["nonce"]]
	if !known || int(nc) <= used && p["qop"] == "auth" {
		return false
	}
	c.nonces[p["nonce"]] = int(nc)
	return true
}

// passwordFor is what a user name must prove to know to speak for an address of record.
func (c *Core) passwordFor(username, of string, user Account) (password string, ok bool) {
	name := username
	ephemeral, timely := "", false
	if c.opt.Ephemeral != "" {
		if ephemeral, timely = ephemeralPassword(c.opt.Ephemeral, username, time.Now()); timely {
			_, name, _ = strings.Cut(username, ":")
		}
	}
	own := strings.TrimPrefix(of, "sip:")
	if name != own && name != of && name != own[:max(0, strings.LastIndexByte(own, '@'))] {
		return "", false
	}
	switch {
	case user.Password != "":
		return user.Password, true
	case timely:
		return ephemeral, true
	case c.opt.Shared != "":
		return c.opt.Shared, true
	}
	return "", false
}

// valuesOf lists the fields of a name whole, for values that hold commas of their own.
func valuesOf(m *Message, name string) []string {
	var all []string
	for _, f := range m.Fields {
		if strings.EqualFold(f.Name, name) {
			all = append(all, f.Value)
		}
	}
	return all
}
