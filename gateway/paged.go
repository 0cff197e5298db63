package gateway

import (
	"context"
	"fmt"
	"mime"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey"
	"latchkey/conversation"
	"latchkey/cpim"
	"latchkey/internal/sipua"
)

// pageTypes are the types of a MESSAGE that a guest takes.
var pageTypes = []string{cpim.Type, "text/plain", cpim.ComposingType}

// pageTimeout bounds the taking of one MESSAGE, an invitation that it brings about included: less than timer F of who
// waits for the answer (RFC 3261 §17.1.2.2).
const pageTimeout = 25 * time.Second

// ServeMessage takes a SIP MESSAGE towards a temporary account, in either interaction mode. What is accepted is on disk.
func (d *doorkeeper) ServeMessage(t *sipua.Transaction) {
	ctx, cancel := context.WithTimeout(context.Background(), pageTimeout)
	defer cancel()
	d.servePage(ctx, t, d.pageOf(t.Request))
}

func (d *doorkeeper) servePage(ctx context.Context, t *sipua.Transaction, m page) {
	rel, word, err := d.take(ctx, m)
	if err != nil {
		code, fields := refusal(err)
		d.log.Info("page refused", latchkey.LogCallID, t.Request.CallID().Value(), "code", code, latchkey.LogError, err)
		var headers []sip.Header
		for _, f := range fields {
			headers = append(headers, sip.NewHeader(f.Name, f.Value))
		}
		_ = t.Respond(code, "", headers...)
		return
	}
	// RFC 3428 §7: 202 is the word of who forwards into a domain without SIP.
	_ = t.Respond(202, "")
	if word != "" {
		d.hall.Tell(rel, word)
	}
}

// take stores what a MESSAGE brings. word is what its sender is to be told besides.
func (d *doorkeeper) take(ctx context.Context, m page) (rel latchkey.Relation, word string, err error) {
	if m.wrong != nil {
		return rel, "", m.wrong
	}
	rel, word, err = d.meet(ctx, m.approach)
	if err != nil {
		return rel, "", err
	}
	return rel, word, d.hall.Arrived(ctx, rel, m.brings)
}

// page is a MESSAGE that was read.
type page struct {
	approach
	brings conversation.Arrival
	wrong  error // why it can't be taken
}

func (d *doorkeeper) pageOf(req *sip.Request) page {
	brings, err := arrivalOf(req)
	return page{approach{
		called: d.wire.engine.Called(req), asserted: d.wire.engine.Asserted(req), languages: field(req, "Accept-Language"),
		chat: err == nil && len(brings.Body) > 0 && isText(brings.ContentType, brings.Body),
	}, brings, err}
}

// arrivalOf reads a MESSAGE. Call-ID and CSeq name one whose content has no name (RFC 3261 §8.1.1.4), so that a repeat from a sender who
// heard no answer is a repeat.
func arrivalOf(req *sip.Request) (conversation.Arrival, error) {
	a := conversation.Arrival{ID: fmt.Sprint(req.CallID().Value(), " ", req.CSeq().SeqNo), ContentType: field(req, "Content-Type"), Body: req.Body()}
	media, _, err := mime.ParseMediaType(a.ContentType)
	known := false
	for _, t := range pageTypes {
		known = known || err == nil && media == t
	}
	encoding := field(req, "Content-Encoding")
	switch {
	case len(a.Body) > maxMessage:
		return a, latchkey.Errorf(latchkey.KindTooLarge, "")
	case !known, encoding != "" && !strings.EqualFold(encoding, "identity"):
		return a, latchkey.Errorf(latchkey.KindUnsupportedMedia, "%q is not taken here", media)
	}
	return a, nil
}

// isText reports whether a message is one that people write, and no notification or composing.
func isText(contentType string, body []byte) bool {
	media, _, _ := mime.ParseMediaType(contentType)
	if media == cpim.Type {
		m, err := cpim.Parse(body)
		if err != nil {
			return false
		}
		media = m.Content()
	}
	return media != cpim.IMDNType && media != cpim.ComposingType
}

func field(req *sip.Request, name string) string {
	if h := req.GetHeader(name); h != nil {
		return strings.TrimSpace(h.Value())
	}
	return ""
}
