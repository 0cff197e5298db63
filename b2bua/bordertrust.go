package b2bua

import (
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"

	"latchkey/internal/dialog"
)

// fate is what becomes of a field at the border.
//
//	fate      trusted -> trusted   untrusted ->   -> untrusted
//	free      stays                stays          stays
//	within    stays                dropped        dropped
//	identity  stays                dropped        stays, unless Privacy asks for id
//	forFirst  dropped              dropped        dropped
//	replaced  ours stands instead
type fate uint8

const (
	free fate = iota
	within
	identity
	forFirst
	replaced
)

// fates are those of the fields that don't just pass; all others do, known or not (B1.10).
var fates = map[string]fate{
	"p-asserted-identity":  identity, // RFC 3325 §5, §7
	"p-asserted-service":   within,   // RFC 6050 §4.1
	"p-preferred-identity": forFirst, // RFC 3325 §9.2: for the first proxy only
	"p-preferred-service":  forFirst, // RFC 6050 §4.2

	"p-served-user":                 within, // RFC 5502 §7
	"p-charging-vector":             within, // RFC 7315 §4.6
	"p-charging-function-addresses": within, // RFC 7315 §4.5
	"p-called-party-id":             within,
	"p-associated-uri":              within,
	"p-visited-network-id":          within,
	"p-access-network-info":         within,
	"p-profile-key":                 within, // RFC 5002
	"p-user-database":               within, // RFC 4457
	"p-private-network-indication":  within, // RFC 7316
	"p-early-media":                 within, // RFC 5009
	"feature-caps":                  within, // RFC 6809 §4.2.2; TS 24.229 §4.4 (unverified)
	"response-source":               within, // TS 24.229 §4.4 (unverified)
	"relayed-charge":                within, // TS 24.229 §4.4 (unverified)
	"restoration-info":              within, // TS 24.229 §4.4 (unverified)
	"cellular-network-info":         within, // TS 24.229 §4.4 (unverified)
	"history-info":                  within, // RFC 7044 §10.1
	"x-latchkey-passed":             within,

	"user-agent": replaced, // B2.15: what software one side runs is nothing for the other
	"server":     replaced,
}

// crossed is what of the fields passes from one side to the other.
func crossed(all []sip.Header, from, to, private bool) []sip.Header {
	passed := make([]sip.Header, 0, len(all)+6)
	for _, h := range all {
		ok := true
		switch fates[lower(h.Name())] {
		case within:
			ok = from && to
		case identity:
			ok = from && (to || !private)
		case forFirst, replaced:
			ok = false
		}
		if ok {
			passed = append(passed, h)
		}
	}
	return passed
}

// hidesIdentity reports whether Privacy asks that PAI stays within the trust domain (RFC 3325 §9.3).
func hidesIdentity(m interface{ Headers() []sip.Header }) bool {
	for h := range dialog.All(m, "Privacy") {
		for v := range strings.FieldsFuncSeq(h.Value(), func(r rune) bool { return r == ';' || r == ',' || r == ' ' }) {
			if strings.EqualFold(v, "id") {
				return true
			}
		}
	}
	return false
}

// Served says whom a request on ISC serves (B1.07).
type Served struct {
	User         string // URI; "" if nobody says
	Originating  bool   // sescase=orig
	Unregistered bool   // regstate=unreg
	Said         bool   // P-Served-User was there; else it is read from P-Asserted-Identity and the Route
}

// servedBy reads P-Served-User (RFC 5502 §6). Without it, which is what some S-CSCFs send, the Route with the parameter orig, or
// an asserted identity beside an R-URI that is somebody else's, means that the caller is served; else it is the one in the R-URI.
func servedBy(in *sip.Request, trusted bool) Served {
	if !trusted {
		return Served{User: in.Recipient.String()}
	}
	if v := first(in, "P-Served-User"); v != "" {
		s := Served{User: dialog.URI(v), Said: true}
		for name, value := range params(v) {
			switch name {
			case "sescase":
				s.Originating = strings.EqualFold(value, "orig")
			case "regstate":
				s.Unregistered = strings.EqualFold(value, "unreg")
			}
		}
		if s.User != "" {
			return s
		}
	}
	if originates(in) {
		if h := dialog.First(in, "P-Asserted-Identity"); h != nil {
			if ids := dialog.Split(h.Value()); len(ids) > 0 {
				return Served{User: dialog.URI(ids[0]), Originating: true}
			}
		}
		return Served{User: in.From().Address.String(), Originating: true}
	}
	return Served{User: in.Recipient.String()}
}

// originates reports whether the Route to us has the parameter orig, as it has towards an S-CSCF (TS 24.229 §5.4.3.1), or the S-CSCF's own Route
// says so in the way of Kamailio's ims_isc: d=0 (modules/ims_isc/mark.c).
func originates(in *sip.Request) bool {
	for h := range dialog.All(in, "Route") {
		for _, r := range dialog.Split(h.Value()) {
			var u sip.Uri
			if sip.ParseUri(dialog.URI(r), &u) != nil {
				continue
			}
			if u.UriParams.Has("orig") {
				return true
			}
			if u.User == "iscmark" {
				d, _ := u.UriParams.Get("d")
				return d == "0"
			}
		}
	}
	return false
}

// params are the parameters of a value behind its URI.
func params(value string) func(yield func(name, value string) bool) {
	if i := strings.LastIndexByte(value, '>'); i >= 0 {
		value = value[i+1:]
	} else if _, rest, ok := strings.Cut(value, ";"); ok {
		value = ";" + rest
	}
	return func(yield func(name, value string) bool) {
		for p := range strings.SplitSeq(value, ";") {
			name, v, _ := strings.Cut(strings.TrimSpace(p), "=")
			if name != "" && !yield(strings.ToLower(strings.TrimSpace(name)), strings.Trim(strings.TrimSpace(v), `"`)) {
				return
			}
		}
	}
}

// withHistory adds an entry of ours behind those that are there (RFC 7044 §9.2, §10.3): the request goes on to the same R-URI, so
// the entry's index is the next below the last one, and np says that nothing was changed. Without history none begins here.
func withHistory(all []sip.Header, recipient string) []sip.Header {
	last := -1
	for i, h := range all {
		if named(h, "History-Info") {
			last = i
		}
	}
	if last < 0 {
		return all
	}
	entries, index := dialog.Split(all[last].Value()), ""
	if len(entries) == 0 {
		return all
	}
	for name, v := range params(entries[len(entries)-1]) {
		if name == "index" {
			index = v
		}
	}
	if index == "" {
		return all
	}
	return slices.Insert(slices.Clone(all), last+1, sip.Header(sip.NewHeader("History-Info", "<"+recipient+">;index="+index+".1;np="+index)))
}
