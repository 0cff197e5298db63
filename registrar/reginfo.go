package registrar

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"latchkey"
)

// reginfoSpace is the namespace of reg-event documents (RFC 3680 §5.1).
const reginfoSpace = "urn:ietf:params:xml:ns:reginfo"

// Limits of what is kept of one reg-event document.
const (
	maxRegistrations = 64
	maxContacts      = 64 // of one registration
)

// reginfo is a document of application/reginfo+xml (RFC 3680 §5).
type reginfo struct {
	version       uint64
	full          bool
	registrations []reginfoRegistration
}

// reginfoRegistration is one address of record.
type reginfoRegistration struct {
	id, aor  string
	state    string // init, active, terminated
	contacts []reginfoContact
}

// reginfoContact is one contact of a registration.
type reginfoContact struct {
	id, uri    string
	state      string // active, terminated
	event      string // registered, created, refreshed, shortened, expired, deactivated, probation, unregistered, rejected
	retryAfter time.Duration
	expires    time.Duration
	callID     string // of the REGISTER that it came of last; with cseq, which is 0 where it is not told
	cseq       uint32
	features   string // unknown-params as they stood in Contact
}

// parseReginfo reads a document. Elements of other namespaces are passed over (RFC 3680 §5.1).
func parseReginfo(doc []byte) (*reginfo, error) {
	root, err := parseXML(doc)
	if err != nil {
		return nil, err
	}
	if root.name != "reginfo" || root.space != reginfoSpace {
		return nil, fmt.Errorf("%w: root is %q", errDocument, root.name)
	}
	info := &reginfo{}
	if info.version, err = strconv.ParseUint(root.attr["version"], 10, 63); err != nil {
		return nil, fmt.Errorf("%w: version %q", errDocument, root.attr["version"])
	}
	switch root.attr["state"] {
	case "full":
		info.full = true
	case "partial":
	default:
		return nil, fmt.Errorf("%w: state %q", errDocument, root.attr["state"])
	}
	found := root.all("registration")
	if len(found) > maxRegistrations {
		return nil, fmt.Errorf("%w: %d registrations", errDocument, len(found))
	}
	for _, e := range found {
		reg, err := parseRegistration(e)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(info.registrations, func(r reginfoRegistration) bool { return r.id == reg.id }) {
			return nil, fmt.Errorf("%w: two registrations %q", errDocument, reg.id)
		}
		info.registrations = append(info.registrations, reg)
	}
	return info, nil
}

func parseRegistration(e *element) (reginfoRegistration, error) {
	reg := reginfoRegistration{id: e.attr["id"], aor: e.attr["aor"], state: e.attr["state"]}
	if reg.id == "" || reg.aor == "" || !slices.Contains([]string{"init", "active", "terminated"}, reg.state) {
		return reg, fmt.Errorf("%w: registration with id %q, aor %q, state %q", errDocument, reg.id, reg.aor, reg.state)
	}
	found := e.all("contact")
	if len(found) > maxContacts {
		return reg, fmt.Errorf("%w: %d contacts", errDocument, len(found))
	}
	for _, e := range found {
		c := reginfoContact{id: e.attr["id"], state: e.attr["state"], event: e.attr["event"], retryAfter: seconds(e.attr["retry-after"]), expires: seconds(e.attr["expires"])}
		if n, err := strconv.ParseUint(e.attr["cseq"], 10, 31); err == nil {
			c.callID, c.cseq = e.attr["callid"], uint32(n)
		}
		if c.id == "" || c.state != "active" && c.state != "terminated" {
			return reg, fmt.Errorf("%w: contact with id %q, state %q", errDocument, c.id, c.state)
		}
		uri, err := e.one("uri")
		if err != nil {
			return reg, err
		}
		if uri != nil {
			c.uri = uri.text
		}
		var features []string
		for _, p := range e.all("unknown-param") {
			features = append(features, featureParam(p.attr["name"], p.text))
		}
		c.features = cleanFeatures(strings.Join(features, ";"))
		if slices.ContainsFunc(reg.contacts, func(other reginfoContact) bool { return other.id == c.id }) {
			return reg, fmt.Errorf("%w: two contacts %q", errDocument, c.id)
		}
		reg.contacts = append(reg.contacts, c)
	}
	return reg, nil
}

// featureParam writes an unknown-param as it stands in a Contact. Some notifiers keep the quotes, others don't.
func featureParam(name, value string) string {
	if value == "" {
		return name
	}
	return name + `="` + strings.Trim(value, `"`) + `"`
}

// maxFeatures bounds what is kept of the parameters of a user's Contacts.
const maxFeatures = 4096

// cleanFeatures is text that may go into a row and be read by presence.ParseTags, or "".
func cleanFeatures(s string) string {
	if len(s) > maxFeatures || strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' }) {
		return ""
	}
	return s
}

// reglog is what a subscription knows of a user: the documents so far, put together (RFC 3680 §5.2).
type reglog struct {
	heard     bool // a full state was
	restarted bool // the next document begins a count of its own
	version   uint64
	regs      map[string]reginfoRegistration // by id
}

// take adds a document. gap: something between is missing, and the full state must be asked for anew.
// stale: it is older than what is known, and nothing was changed.
func (l *reglog) take(info *reginfo) (gap, stale bool) {
	switch {
	case l.heard && !l.restarted && info.version <= l.version:
		return false, true
	case !info.full && (!l.heard || l.restarted || info.version != l.version+1):
		return true, false
	}
	if info.full {
		l.regs = map[string]reginfoRegistration{}
	}
	l.heard, l.restarted, l.version = true, false, info.version
	for _, reg := range info.registrations {
		old, known := l.regs[reg.id]
		if !known && len(l.regs) >= maxRegistrations {
			continue
		}
		// A partial document has the contacts that changed.
		contacts := slices.Clone(old.contacts)
		for _, c := range reg.contacts {
			i := slices.IndexFunc(contacts, func(o reginfoContact) bool { return o.id == c.id })
			switch {
			case i >= 0:
				contacts[i] = c
			case len(contacts) < maxContacts:
				contacts = append(contacts, c)
			}
		}
		reg.contacts = contacts
		l.regs[reg.id] = reg
	}
	return false, false
}

// about lists the registrations of one identity: those whose address of record is it, or, where a notifier names only
// another one of the same implicit set, all.
func (l *reglog) about(identity string) []reginfoRegistration {
	var own, all []reginfoRegistration
	for _, id := range slices.Sorted(maps.Keys(l.regs)) {
		reg := l.regs[id]
		all = append(all, reg)
		if a, err := latchkey.ParseAddress(reg.aor); err == nil && a.Identity() == identity {
			own = append(own, reg)
		}
	}
	if len(own) > 0 {
		return own
	}
	return all
}

// verdict is what a subscription says of a user.
type verdict int

const (
	undecided verdict = iota // nothing was heard, or contacts are on their way back
	present                  // a contact is active
	absent                   // none is, and none was asked to come back
)

// verdict judges the state: only contacts in state active count (PROTOCOLS B1.06). A contact that the network
// threw out for a moment (deactivated, probation: RFC 3680 §4.7.1) will register again, so who has
// such a one has not left.
func (l *reglog) verdict(identity string) (v verdict, features string) {
	if !l.heard {
		return undecided, ""
	}
	v = absent
	var params []string
	for _, reg := range l.about(identity) {
		for _, c := range reg.contacts {
			switch {
			case c.state == "active" && reg.state != "terminated":
				v = present
				if c.features != "" {
					params = append(params, c.features)
				}
			case c.event == "deactivated" || c.event == "probation":
				if v == absent {
					v = undecided
				}
			}
		}
	}
	if v != present {
		return v, ""
	}
	return v, cleanFeatures(strings.Join(params, ";"))
}
