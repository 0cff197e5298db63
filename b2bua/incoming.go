package b2bua

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey/internal/dialog"
	"latchkey/internal/sipua"
)

// supported lists the option tags that we understand (RFC 3261 §8.2.2.3).
var supported = []string{"100rel", "path"}

// Incoming is an INVITE that asks for a dialog and has no final answer yet.
type Incoming struct {
	engine *Engine
	t      *sipua.Transaction
	tag    string // our To tag
	ctx    context.Context
	cancel context.CancelFunc

	mu     sync.Mutex
	final  bool
	rseq   uint32
	pracks map[uint32]chan struct{} // open reliable responses
}

func (g *Engine) serveInvite(t *sipua.Transaction) {
	req := t.Request
	g.mu.Lock()
	h, draining := g.handler, g.draining
	g.mu.Unlock()
	if h == nil || draining {
		_ = t.Respond(503, "", sip.NewHeader("Retry-After", "5"))
		return
	}
	// RFC 3261 §8.2.2.3: what we can't do must be said.
	var unknown []string
	for _, o := range dialog.Tokens(req, "Require") {
		if !slices.Contains(supported, strings.ToLower(o)) {
			unknown = append(unknown, o)
		}
	}
	if len(unknown) > 0 {
		_ = t.Respond(420, "", sip.NewHeader("Unsupported", strings.Join(unknown, ", ")))
		return
	}
	_ = t.Respond(100, "") // at once: an S-CSCF waits 5 s only (B1.04)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	in := &Incoming{engine: g, t: t, tag: sipua.NewToken(), ctx: ctx, cancel: cancel, pracks: map[uint32]chan struct{}{}}
	if !t.OnCancel(func(*sip.Request) { in.cancelled() }) {
		return
	}
	key := dialog.Key(req.CallID().Value(), in.tag)
	g.mu.Lock()
	g.pending[key] = in
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		delete(g.pending, key)
		g.mu.Unlock()
	}()
	h.ServeInvite(in)
	_ = in.Refuse(500, "") // a handler that forgot; no-op otherwise
}

func (in *Incoming) cancelled() {
	in.mu.Lock()
	in.final = true // sipgo has sent the 487
	in.mu.Unlock()
	in.cancel()
}

// Request is the INVITE.
func (in *Incoming) Request() *sip.Request { return in.t.Request }

// Context ends when the caller cancels.
func (in *Incoming) Context() context.Context { return in.ctx }

// CallID is the INVITE's Call-ID.
func (in *Incoming) CallID() string { return in.t.Request.CallID().Value() }

// Header is the value of the first field called name, or "".
func (in *Incoming) Header(name string) string {
	if h := in.t.Request.GetHeader(name); h != nil {
		return h.Value()
	}
	return ""
}

// Asserted lists the caller's identities that a trusted neighbour asserts (RFC 3325 §5). It is empty
// when the INVITE came from anybody else, whatever it says.
func (in *Incoming) Asserted() []string { return in.engine.Asserted(in.t.Request) }

// Asserted lists the URIs of P-Asserted-Identity of a request from a trusted host.
func (g *Engine) Asserted(req *sip.Request) []string {
	if !g.Trusts(req) {
		return nil
	}
	var uris []string
	for _, h := range req.GetHeaders("P-Asserted-Identity") {
		for v := range strings.SplitSeq(h.Value(), ",") {
			if u := uriOf(v); u != "" {
				uris = append(uris, u)
			}
		}
	}
	return uris
}

// uriOf takes the URI out of a name-addr or addr-spec.
func uriOf(value string) string {
	value = strings.TrimSpace(value)
	if i := strings.LastIndexByte(value, '<'); i >= 0 {
		value = value[i+1:]
		end := strings.IndexByte(value, '>')
		if end < 0 {
			return ""
		}
		return value[:end]
	}
	uri, _, _ := strings.Cut(value, ";")
	return uri
}

// Called lists the URIs that may name the one who is called, most telling first: P-Called-Party-ID
// of a trusted neighbour (RFC 7315 §4.2: the R-URI before the registrar changed it), the R-URI and To.
func (in *Incoming) Called() []string { return in.engine.Called(in.t.Request) }

// Called is Incoming.Called for any request.
func (g *Engine) Called(req *sip.Request) []string {
	var uris []string
	if h := req.GetHeader("P-Called-Party-ID"); h != nil && g.Trusts(req) {
		uris = append(uris, uriOf(h.Value()))
	}
	return append(uris, req.Recipient.String(), req.To().Address.String())
}

// Offer is the INVITE's session description, nil if it has none (a late offer).
func (in *Incoming) Offer() []byte { return in.BodyPart("application/sdp") }

// BodyPart is the first body part of the type; nil if there is none. multipart/mixed is
// searched one level deep (RFC 5621 §3.1).
func (in *Incoming) BodyPart(contentType string) []byte {
	h := in.t.Request.GetHeader("Content-Type")
	if h == nil {
		return nil
	}
	body := in.t.Request.Body()
	t, params, err := mime.ParseMediaType(h.Value())
	switch {
	case err != nil:
		return nil
	case strings.EqualFold(t, contentType):
		return bytes.Clone(body)
	case !strings.HasPrefix(t, "multipart/"):
		return nil
	}
	parts := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	for range 16 {
		p, err := parts.NextRawPart()
		if err != nil {
			return nil
		}
		if t, _, err := mime.ParseMediaType(p.Header.Get("Content-Type")); err == nil && strings.EqualFold(t, contentType) {
			b, err := io.ReadAll(p)
			if err != nil {
				return nil
			}
			return b
		}
	}
	return nil
}

func (in *Incoming) response(code int, reason string) *sip.Response {
	res := in.t.Response(code, reason)
	to := res.To()
	to.Params.Remove("tag")
	to.Params.Add("tag", in.tag)
	return res
}

// Progress sends a 1xx, reliably if the caller requires that (RFC 3262 §3).
func (in *Incoming) Progress(code int) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.final {
		return errors.New("progress: answered already")
	}
	res := in.response(code, "")
	res.AppendHeader(in.engine.contactHeader(in.t.Request.To().Address, in.t.Request))
	if !dialog.HasToken(in.t.Request, "Require", "100rel") {
		return in.t.Send(res)
	}
	in.rseq++
	res.AppendHeader(sip.NewHeader("Require", "100rel"))
	res.AppendHeader(sip.NewHeader("RSeq", fmt.Sprint(in.rseq)))
	acked := make(chan struct{})
	in.pracks[in.rseq] = acked
	if err := in.t.Send(res); err != nil {
		return err
	}
	in.engine.running.Go(func() { // until the PRACK, the final response or the caller's leaving
		for wait, end := t1, time.After(timerH); ; wait *= 2 {
			select {
			case <-acked:
				return
			case <-in.ctx.Done():
				return
			case <-end:
				return
			case <-time.After(wait):
				in.mu.Lock()
				if !in.final {
					_ = in.t.Send(res)
				}
				in.mu.Unlock()
			}
		}
	})
	return nil
}

func (in *Incoming) servePRACK(t *sipua.Transaction) {
	var rseq, cseq uint32
	var method string
	h := t.Request.GetHeader("RAck")
	if h == nil {
		_ = t.Respond(400, "Bad Request - no RAck")
		return
	}
	if _, err := fmt.Sscan(h.Value(), &rseq, &cseq, &method); err != nil {
		_ = t.Respond(400, "Bad Request - RAck")
		return
	}
	in.mu.Lock()
	acked := in.pracks[rseq]
	if cseq != in.t.Request.CSeq().SeqNo || method != string(sip.INVITE) {
		acked = nil
	}
	delete(in.pracks, rseq)
	in.mu.Unlock()
	if acked == nil {
		_ = t.Respond(481, "") // RFC 3262 §3: matches nothing
		return
	}
	close(acked)
	_ = t.Respond(200, "")
}

// Refuse sends a final response of 300 and up. After an answer or a CANCEL it does nothing.
func (in *Incoming) Refuse(code int, reason string, header ...Field) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.final {
		return nil
	}
	in.final = true
	res := in.response(code, reason)
	for _, f := range header {
		res.AppendHeader(sip.NewHeader(f.Name, f.Value))
	}
	return in.t.Send(res)
}

// AnswerOptions are what a 200 carries.
type AnswerOptions struct {
	ContentType string
	Body        []byte // the answer, or our offer where the INVITE had none
	Header      []Field
	OnReoffer   func(offer []byte) (answer []byte, err error)
}

// Answer accepts the call. It repeats the 200 until the ACK is there (RFC 3261 §13.3.1.4) and
// returns the leg; without an ACK in 64*T1 it hangs up and returns an error.
func (in *Incoming) Answer(ctx context.Context, opt AnswerOptions) (*Leg, error) {
	in.mu.Lock()
	if in.final {
		in.mu.Unlock()
		return nil, errors.New("answer: cancelled or answered already")
	}
	in.final = true
	req := in.t.Request
	res := in.response(200, "")
	res.AppendHeader(in.engine.contactHeader(req.To().Address, req))
	res.AppendHeader(sip.NewHeader("Allow", allow))
	for _, f := range opt.Header {
		res.AppendHeader(sip.NewHeader(f.Name, f.Value))
	}
	if len(opt.Body) > 0 {
		res.AppendHeader(sip.NewHeader("Content-Type", opt.ContentType))
	}
	res.SetBody(opt.Body)
	offer := in.Offer()
	leg := in.engine.newLeg(dialog.FromRequest(req, in.tag), opt.Body, offer, sipua.Credentials{})
	leg.post(func() { leg.reoffer = opt.OnReoffer })
	err := in.t.Send(res)
	in.mu.Unlock()
	if err != nil {
		leg.end("error")
		return nil, err
	}
	end := time.NewTimer(timerH)
	defer end.Stop()
	for wait := t1; ; wait = min(2*wait, t2) {
		select {
		case sdp := <-leg.acked:
			if offer == nil {
				leg.post(func() { leg.remote = sdp })
			}
			return leg, nil
		case <-leg.Done():
			return nil, errors.New("answer: the caller hung up")
		case <-ctx.Done():
			// The caller of Answer gives up: the dialog stands, so it is hung up.
			in.engine.running.Go(func() { _ = leg.Bye(context.Background(), "") })
			return nil, ctx.Err()
		case <-end.C:
			in.engine.running.Go(func() { _ = leg.Bye(context.Background(), "") })
			return nil, fmt.Errorf("answer: no ACK: %w", sipua.ErrTimeout)
		case <-time.After(wait):
			_ = in.t.Send(res)
		}
	}
}
