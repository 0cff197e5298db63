package b2bua

import (
	"cmp"
	"context"
	"errors"

	"github.com/emiago/sipgo/sip"

	"latchkey/internal/sipua"
)

// maxPage is the size of a MESSAGE in octets above which it may not leave without knowing every hop: RFC 3428 §8, "the
// size of MESSAGE requests outside of a media session MUST NOT exceed 1300 bytes". hopSize is what is still added: Via and
// User-Agent. Credentials don't count: what they make too long goes over TCP to the proxy, which takes them out (RFC 3261 §22.3).
const (
	maxPage = 1300
	hopSize = 140
)

// ErrLongPage says that a Page is too long for a MESSAGE; nothing was sent.
var ErrLongPage = errors.New("page: longer than a MESSAGE may be")

// Page is one message outside of any dialog.
type Page struct {
	From        string   // our URI
	To          string   // the peer's sip: or tel: URI, also the R-URI
	Hop         string   // first hop in place of the core; "": the core
	Route       []string // behind the core's own Route, e.g. Service-Route values
	Header      []Field
	ContentType string
	Body        []byte
	AnyLength   bool // for what has no other way: the transport changes to TCP then (RFC 3261 §18.1.1)
	Credentials sipua.Credentials
}

// Page sends a MESSAGE (RFC 3428) and returns nil when it was accepted by any 2xx. Anything from 300 is a
// *Refused, and ErrLongPage says that the message needs another way.
func (g *Engine) Page(ctx context.Context, p Page) error {
	req, err := sipua.NewRequest(sip.MESSAGE, p.To, p.From, p.To)
	if err != nil {
		return err
	}
	sipua.AddRoute(req, cmp.Or(p.Hop, g.core))
	for _, r := range p.Route {
		sipua.AddRoute(req, r)
	}
	if err := addFields(req, p.Header); err != nil {
		return err
	}
	// RFC 3428 §4: no Contact, since no dialog follows.
	req.AppendHeader(sip.NewHeader("Content-Type", p.ContentType))
	req.SetBody(p.Body)
	if len(req.String())+hopSize > maxPage && !p.AnyLength {
		return ErrLongPage
	}
	if !g.begin() {
		return errShutDown
	}
	defer g.calls.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(g.stopped, cancel)()
	res, err := g.sip.DoAuth(ctx, req, p.Credentials)
	if err != nil {
		return err
	}
	if !res.IsSuccess() {
		return refusedBy(res)
	}
	return nil
}
