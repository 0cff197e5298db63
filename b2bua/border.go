package b2bua

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"

	"latchkey/internal/dialog"
	"latchkey/internal/sipua"
)

// ISCOptions are what a border on ISC knows of the network around it.
type ISCOptions struct {
	Own            func(route string) bool // whether a Route value's URI leads to this endpoint
	Trusted        func(host string) bool  // whether a host belongs to the trust domain (RFC 3325 §2.3)
	IOI            string                  // our network's name in type 3 orig-ioi and term-ioi (RFC 7315 §4.6); "": the neighbour's stay
	Services       bool                    // requests that come without P-Asserted-Service get one
	ResponseSource string                  // value of Response-Source in failures of ours; "": none (TS 24.229 §5.7.1.0, §7.2.17)
	Core           string                  // host to which a request without further Route goes
	Host           string                  // stands where a host of the other side would: warn-agent, icid-generated-at
}

// ISC is the border of a routeing B2BUA on an IMS core's ISC interface (TS 24.229 §5.7.5). It makes a Crossing of each request that
// is carried through; what it decides with are pure functions: header fields in, header fields out.
type ISC struct {
	opt    ISCOptions
	secret [32]byte // of loop tokens
}

// NewISC makes a border.
func NewISC(opt ISCOptions) *ISC {
	b := &ISC{opt: opt}
	_, _ = rand.Read(b.secret[:]) // never fails
	return b
}

// Crossing is the border of one call, or of one request outside of dialogs. It keeps what later messages repeat: the first
// request's icid (B1.13).
type Crossing struct {
	isc      *ISC
	Served   Served
	trusted  [2]bool // by side
	charging vector  // of the first request
	charged  bool    // it had one, or we made one
	first    *sip.Request
}

// passedField is the field in which we know our own requests again. Other fields of that kind don't outlive a B2BUA, or are not there.
const passedField = "X-Latchkey-Passed"

// Open judges a request that is to be carried on: loops and hops, and whom it serves. The Refusal, if any, is its answer.
func (b *ISC) Open(in *sip.Request, fromTrusted bool) (*Crossing, *Refusal) {
	if code, header := hopsLeft(in); code != 0 {
		return nil, b.refusal(code, header...)
	}
	if b.passed(in) {
		return nil, b.refusal(482) // RFC 3261 §16.3 step 4
	}
	c := &Crossing{isc: b, Served: servedBy(in, fromTrusted), first: in}
	c.trusted[SideA] = fromTrusted
	next := hopAfter(restRoutes(in, b.opt.Own), b.opt.Core)
	// The neighbour may also be sent back to by another of the names that its certificate is for (RFC 5922 §7.1).
	c.trusted[SideB] = b.opt.Trusted(next) || fromTrusted && slices.Contains(sipua.Identities(in), canonicalHost(next))
	if v := first(in, "P-Charging-Vector"); v != "" && fromTrusted {
		c.charging, c.charged = readVector(v), true
	}
	if c.charging.get("icid-value") == "" {
		// RFC 7315 §4.6: the first one in the trust domain makes the icid.
		c.charging.set("icid-value", newICID())
		c.charging.set("icid-generated-at", b.opt.Host)
		c.charged = true
	}
	return c, nil
}

func (b *ISC) refusal(code int, header ...Field) *Refusal {
	if b.opt.ResponseSource != "" {
		header = append(header, Field{"Response-Source", b.opt.ResponseSource})
	}
	return &Refusal{Code: code, Header: header}
}

// Refusal is a failure of ours, with what the operator wants said of where it comes from (B1.17).
func (b *ISC) Refusal(code int, header ...Field) *Refusal { return b.refusal(code, header...) }

// ICID is the call's charging id, for records.
func (c *Crossing) ICID() string { return c.charging.get("icid-value") }

var (
	_ Border     = (*Crossing)(nil)
	_ Originator = (*Crossing)(nil)
)

// Request changes the fields of a request that goes on.
func (c *Crossing) Request(in, out *sip.Request, toward Side) *Refusal {
	if code, header := hopsLeft(in); code != 0 && in.Method != sip.ACK {
		return c.isc.refusal(code, header...)
	}
	setHeaders(out, c.fields(in, out.Headers(), toward))
	return nil
}

// Own gives a request of the bridge's own what all requests of the dialog have.
func (c *Crossing) Own(out *sip.Request, toward Side) {
	if c.trusted[toward] {
		out.AppendHeader(c.charge())
	}
}

// charge is the P-Charging-Vector of requests: the initial icid, and a type 3 orig-ioi of ours (TS 24.229 §5.7.5.1, unverified).
func (c *Crossing) charge() sip.Header {
	v := c.charging.clone()
	v.del("term-ioi")
	if c.isc.opt.IOI != "" {
		v.set("orig-ioi", c.isc.opt.IOI)
	}
	return sip.NewHeader("P-Charging-Vector", v.String())
}

// fields are out's fields as they leave.
func (c *Crossing) fields(in *sip.Request, out []sip.Header, toward Side) []sip.Header {
	from, to := c.trusted[toward.Other()], c.trusted[toward]
	out = crossed(out, from, to, hidesIdentity(in))
	out = append(without(out, "Max-Forwards"), sip.NewHeader("Max-Forwards", strconv.Itoa(max(forwards(in), 1)-1)))
	if to {
		out = append(without(out, "P-Charging-Vector"), c.charge())
	}
	if in != c.first {
		return out
	}
	if rest := restRoutes(in, c.isc.opt.Own); len(rest) > 0 {
		routes := make([]sip.Header, 0, len(rest)+len(out))
		for _, r := range rest {
			routes = append(routes, sip.NewHeader("Route", r))
		}
		out = append(routes, without(out, "Route")...)
	}
	out = withBreadth(out)
	if to {
		if c.isc.opt.Services {
			out = withService(out, in)
		}
		out = withHistory(out, in.Recipient.String())
		out = append(out, sip.NewHeader(passedField, c.isc.token(in)))
	}
	return out
}

// Response changes the fields of a response that goes back.
func (c *Crossing) Response(in, out *sip.Response, toward Side) {
	from, to := c.trusted[toward.Other()], c.trusted[toward]
	all := crossed(out.Headers(), from, to, hidesIdentity(in))
	for i, h := range all {
		if strings.EqualFold(h.Name(), "Warning") {
			all[i] = sip.NewHeader("Warning", warnings(h.Value(), c.isc.opt.Host))
		}
	}
	if to && in.StatusCode > 100 {
		v := c.charging.clone()
		if theirs := first(in, "P-Charging-Vector"); theirs != "" && from {
			v = readVector(theirs)
			v.set("icid-value", c.ICID())
			if o := c.charging.get("orig-ioi"); o != "" {
				v.set("orig-ioi", o)
			} else {
				v.del("orig-ioi")
			}
		}
		if c.isc.opt.IOI != "" { // type 3: between S-CSCF and AS
			v.set("term-ioi", c.isc.opt.IOI)
		}
		all = append(without(all, "P-Charging-Vector"), sip.NewHeader("P-Charging-Vector", v.String()))
	}
	setHeaders(out, all)
}

// setHeaders makes all the fields of a message.
func setHeaders(m interface {
	Headers() []sip.Header
	RemoveHeader(string) bool
	AppendHeader(sip.Header)
}, all []sip.Header) {
	for _, h := range append([]sip.Header(nil), m.Headers()...) {
		m.RemoveHeader(h.Name())
	}
	for _, h := range all {
		m.AppendHeader(h)
	}
}

// without is fields less those called name.
func without(all []sip.Header, names ...string) []sip.Header {
	kept := make([]sip.Header, 0, len(all)+4)
	for _, h := range all {
		if !named(h, names...) {
			kept = append(kept, h)
		}
	}
	return kept
}

func named(h sip.Header, names ...string) bool {
	for _, n := range names {
		if strings.EqualFold(h.Name(), n) {
			return true
		}
	}
	return false
}

// first is the value of the first field called name, "" if there is none.
func first(m interface{ Headers() []sip.Header }, name string) string {
	if h := dialog.First(m, name); h != nil {
		return h.Value()
	}
	return ""
}

// restRoutes are the Route values of a request, as they are written, behind those at its top that lead to us (B1.08). Everything in
// them is the S-CSCF's: its original dialog identifier may be any part of its URI.
func restRoutes(in interface{ Headers() []sip.Header }, own func(string) bool) []string {
	var rest []string
	for h := range dialog.All(in, "Route") {
		rest = append(rest, dialog.Split(h.Value())...)
	}
	for len(rest) > 0 && own(dialog.URI(rest[0])) {
		rest = rest[1:]
	}
	return rest
}

// hopAfter is the host to which a request goes with those routes; without any it goes to the core.
func hopAfter(routes []string, core string) string {
	if len(routes) == 0 {
		return core
	}
	var u sip.Uri
	if err := sip.ParseUri(dialog.URI(routes[0]), &u); err != nil {
		return ""
	}
	return u.Host
}

// forwards is a request's Max-Forwards, 70 where it has none (RFC 3261 §16.6 step 3, with one to be taken off).
func forwards(in *sip.Request) int {
	if mf := in.MaxForwards(); mf != nil {
		return int(mf.Val())
	}
	return 71
}

// hopsLeft says with which code a request is refused that has come too far: 483 (RFC 3261 §16.3 step 3) or 440 (RFC 5393 §5.3.3.1).
func hopsLeft(in *sip.Request) (int, []Field) {
	if forwards(in) == 0 {
		return 483, nil
	}
	if v := strings.TrimSpace(first(in, "Max-Breadth")); v != "" {
		if n, err := strconv.Atoi(v); err != nil || n < 0 {
			return 400, nil
		} else if n == 0 {
			return 440, nil
		}
	}
	return 0, nil
}

// withService says of which service a request is, where nobody has yet: an AS may (RFC 6050 §4.1). What a phone would prefer counts only
// as far as the feature tags that it asks for bear it out (TS 24.229 §5.4.3.2, unverified).
func withService(all []sip.Header, in *sip.Request) []sip.Header {
	for _, h := range all {
		if named(h, "P-Asserted-Service") {
			return all
		}
	}
	for _, v := range dialog.Values(in, "Accept-Contact") {
		for name, value := range params(v) {
			if strings.EqualFold(name, "+g.3gpp.icsi-ref") {
				ref, _, _ := strings.Cut(strings.Trim(value, `"`), ",")
				if icsi, err := url.PathUnescape(ref); err == nil && strings.HasPrefix(icsi, "urn:urn-7:3gpp-service.") && sipua.Clean(icsi) {
					return append(all, sip.NewHeader("P-Asserted-Service", icsi))
				}
			}
		}
	}
	return all
}

// withBreadth keeps Max-Breadth, since one request goes on as one, and begins with 60 (RFC 5393 §5.3.3).
func withBreadth(all []sip.Header) []sip.Header {
	for _, h := range all {
		if named(h, "Max-Breadth") {
			return all
		}
	}
	return append(all, sip.NewHeader("Max-Breadth", "60"))
}

// token knows a request again that comes back unchanged: as the hash in a proxy's branch (RFC 3261 §16.6 step 8), it has what
// decides about its way. A request that an S-CSCF sends a second time, for the one who is called, has another Route or R-URI, and
// is no loop.
func (b *ISC) token(in *sip.Request) string {
	m := hmac.New(sha256.New, b.secret[:])
	_, _ = m.Write([]byte(in.Method.String() + "\x00" + in.Recipient.String() + "\x00" + strings.Join(restRoutes(in, b.opt.Own), ",") + "\x00" + first(in, "P-Served-User")))
	return hex.EncodeToString(m.Sum(nil)[:8])
}

func (b *ISC) passed(in *sip.Request) bool {
	if dialog.First(in, passedField) == nil {
		return false
	}
	mine := b.token(in)
	for h := range dialog.All(in, passedField) {
		for _, t := range dialog.Split(h.Value()) {
			if hmac.Equal([]byte(t), []byte(mine)) {
				return true
			}
		}
	}
	return false
}

// warnings hides who warned: a pseudonym may stand for a host (RFC 3261 §20.43).
func warnings(value, host string) string {
	all := dialog.Split(value)
	for i, w := range all {
		if code, rest, ok := strings.Cut(w, " "); ok {
			if _, text, ok := strings.Cut(rest, " "); ok {
				all[i] = code + " " + host + " " + text
			}
		}
	}
	return strings.Join(all, ", ")
}
