package b2bua

import (
	"bytes"
	"fmt"
	"net/textproto"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"

	"latchkey/internal/dialog"
)

// legs are the fields that belong to one leg, short forms included; all others are carried. Require, Supported and the fields
// of RFC 3262 and 4028 are written anew.
var legs = map[string]bool{
	"via": true, "v": true, "route": true, "record-route": true, "contact": true, "m": true, "from": true, "f": true, "to": true, "t": true,
	"call-id": true, "i": true, "cseq": true, "max-forwards": true, "content-length": true, "l": true, "timestamp": true,
	"rseq": true, "rack": true, "session-expires": true, "x": true, "min-se": true, "supported": true, "k": true, "require": true,
}

// spelled are the names of fields as nearly everybody writes them, and in lower case.
var spelled = func() map[string]string {
	m := map[string]string{"CSeq": "cseq", "Call-ID": "call-id", "RSeq": "rseq", "RAck": "rack", "Min-SE": "min-se"}
	add := func(name string) { m[textproto.CanonicalMIMEHeaderKey(name)], m[name] = name, name }
	for name := range legs {
		add(name)
	}
	for name := range fates {
		add(name)
	}
	for _, name := range []string{
		"accept", "accept-contact", "accept-encoding", "accept-language", "allow", "allow-events", "content-disposition", "content-encoding", "content-type",
		"contribution-id", "conversation-id", "date", "event", "expires", "organization", "priority", "privacy", "reason", "subject", "user-agent", "warning",
	} {
		add(name)
	}
	return m
}()

// lower is a field's name in lower case, without a copy where it is usual.
func lower(name string) string {
	if l, ok := spelled[name]; ok {
		return l
	}
	return sip.HeaderToLower(name)
}

type message interface {
	Headers() []sip.Header
	GetHeaders(string) []sip.Header
	AppendHeader(sip.Header)
	RemoveHeader(string) bool
	Contact() *sip.ContactHeader
	CSeq() *sip.CSeqHeader
	Body() []byte
	SetBody([]byte)
}

// carry copies what is end to end from one message to the next. The session timer's option tag is each leg's own.
func carry(in, out message) {
	for _, h := range in.Headers() {
		if !legs[lower(h.Name())] {
			out.AppendHeader(sip.HeaderClone(h))
		}
	}
	others := func(names ...string) (tags []string) {
		for _, name := range names {
			tags = append(tags, dialog.Tokens(in, name)...)
		}
		return slices.DeleteFunc(tags, func(tag string) bool { return strings.EqualFold(tag, "timer") })
	}
	if require := others("Require"); len(require) > 0 {
		out.AppendHeader(sip.NewHeader("Require", strings.Join(require, ", ")))
	}
	if supported := others("Supported", "k"); len(supported) > 0 || timed(in) {
		out.RemoveHeader("Supported") // the one of dialog.State
		out.AppendHeader(sip.NewHeader("Supported", strings.Join(append(supported, "timer"), ", ")))
	}
	out.SetBody(in.Body())
}

// timed reports whether m belongs to a method that has to do with session timers.
func timed(m message) bool {
	req, ok := m.(*sip.Request)
	return ok && (req.Method == sip.INVITE || req.Method == sip.UPDATE)
}

// carryRequest fills a request of a leg, and shows it to the border.
func (b *bridge) carryRequest(in, out *sip.Request, toward Side) *Refusal {
	if mf := in.MaxForwards(); mf != nil {
		left := *mf
		if left == 0 {
			return &Refusal{Code: 483}
		}
		left--
		out.ReplaceHeader(&left)
	}
	carry(in, out)
	if in.Contact() != nil {
		b.engine.contact(out, out.From().Address)
		b.features(in, out)
	}
	if b.border == nil {
		return nil
	}
	return b.border.Request(in, out, toward)
}

// features carries what a Contact says of its owner beside the address (RFC 3840 §9).
func (b *bridge) features(in, out message) {
	if from, to := in.Contact(), out.Contact(); from != nil && to != nil && len(from.Params) > 0 {
		to.Params = from.Params.Clone()
	}
}

// carryResponse fills a response of a leg, and shows it to the border.
func (b *bridge) carryResponse(in, out *sip.Response, req *sip.Request, toward Side) {
	if dialog.First(in, "Server") != nil {
		out.RemoveHeader("Server") // the one carried is enough
	}
	carry(in, out)
	if in.StatusCode == 422 {
		out.AppendHeader(sip.NewHeader("Min-SE", fmt.Sprint(dialog.MinInterval(in)))) // RFC 4028 §6: it tells the least
	}
	switch contact := in.GetHeaders("Contact"); {
	case in.StatusCode >= 300:
		for _, h := range contact { // where else to ask, which is not about the dialog (RFC 3261 §20.10)
			out.AppendHeader(sip.HeaderClone(h))
		}
	case len(contact) > 0:
		out.AppendHeader(b.engine.contactHeader(req.To().Address, req))
		b.features(in, out)
	}
	if b.border != nil {
		b.border.Response(in, out, toward)
	}
}

// withTag gives a response the To tag of one of our dialogs.
func withTag(res *sip.Response, tag string) {
	to := res.To()
	params := to.Params.Clone()
	params.Remove("tag")
	params.Add("tag", tag)
	res.ReplaceHeader(&sip.ToHeader{DisplayName: to.DisplayName, Address: to.Address, Params: params})
}

var partLength = regexp.MustCompile(`(?i)(\ncontent-length[ \t]*:[ \t]*)\d+`)

// replacePart puts another session description into a body, in the place of the one that bodyPart found.
func replacePart(body, part, with []byte) []byte {
	at := bytes.Index(body, part)
	if at < 0 || bytes.Equal(part, with) {
		return body
	}
	head := body[:at]
	if begin := bytes.LastIndex(head, []byte("\n--")); begin >= 0 || bytes.HasPrefix(head, []byte("--")) {
		fields := head[max(0, begin):] // of its part; some write its length there, too
		fields = partLength.ReplaceAll(fields, strconv.AppendInt([]byte("${1}"), int64(len(with)), 10))
		head = append(slices.Clone(head[:max(0, begin)]), fields...)
	}
	return slices.Concat(head, with, body[at+len(part):])
}

// exchange is what one pair knows of an INVITE on it: how its reliable responses are numbered on each leg, and what
// was said in them.
type exchange struct {
	late  bool   // the INVITE has no offer
	first uint32 // RSeq of the callee's first reliable response; 0: there was none
	last  uint32 // of its last one
	base  uint32 // RSeq that the first one got on the asker's leg
	done  uint32 // RSeq of the last one that has its PRACK
	said  []byte // the callee's description, and what became of it
	sent  []byte
}

// number notes a reliable response, and gives it its RSeq on the asker's leg; false: it is not the next one, nor
// a repeat that the asker may need (RFC 3262 §4).
func (x *exchange) number(rseq uint32, start func() uint32) (uint32, bool) {
	switch {
	case x.first == 0:
		x.first, x.last, x.base = rseq, rseq, start()
	case rseq == x.last+1:
		x.last = rseq
	case rseq != x.last || rseq == x.done:
		return 0, false
	}
	return x.base + (rseq - x.first), true
}

// acked finds the callee's number of a response that the asker acknowledges.
func (x *exchange) acked(rseq uint32) (uint32, bool) {
	n := x.first + (rseq - x.base)
	if x.first == 0 || rseq < x.base || n > x.last || n <= x.done {
		return 0, false
	}
	x.done = n
	return n, true
}

// answer takes the description out of a response to an INVITE and puts in what becomes of it.
func (p *pair) answer(c *crossing, x *exchange, res *sip.Response, out *sip.Response) error {
	sdp := bodyPart(res, sdpType)
	if len(sdp) == 0 {
		return nil
	}
	firm := res.IsSuccess() || dialog.RSeq(res) != 0
	from := c.from.Other()
	var becomes []byte
	var err error
	switch {
	case x.said != nil && bytes.Equal(x.said, sdp):
		becomes = x.sent // the 2xx may repeat what a reliable response said (RFC 6337 §2.1)
	case !x.late:
		becomes, err = p.describe(false, from, sdp)
	case !firm || x.said != nil:
		out.SetBody(nil) // RFC 3261 §13.2.1: not an offer
		out.RemoveHeader("Content-Type")
		return nil
	default:
		becomes, err = p.describe(true, from, sdp)
		p.offered = offered{true, from}
	}
	if err != nil {
		return fmt.Errorf("description in a %d: %w", res.StatusCode, err)
	}
	if firm && !x.late {
		p.offered.open = false
	}
	x.said, x.sent = sdp, becomes
	out.SetBody(replacePart(out.Body(), sdp, becomes))
	p.ends[c.from].keep(becomes)
	return nil
}

// describe has the media rewrite a description: an offer, or the answer to one.
func (p *pair) describe(offer bool, from Side, sdp []byte) ([]byte, error) {
	switch {
	case p.media == nil:
		return sdp, nil
	case offer:
		return p.media.Offer(p.fork, from, sdp)
	}
	return p.media.Answer(p.fork, from, sdp)
}

// reject tells the media that an offer has come to nothing.
func (p *pair) reject(from Side) {
	if p.offered.open && p.offered.from == from {
		p.offered.open = false
		if p.media != nil {
			p.media.Rejected(p.fork, from)
		}
	}
}
