package imstest

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

var rfc3339 = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$`)

// arrived takes a message of the chat, and looks whether it keeps the rules. by is the MSRP session that it came by; nil: in the INVITE.
func (p *Phone) arrived(c *phoneCall, by *endpoint, contentType string, body []byte) {
	switch mediaType(contentType) {
	case "application/im-iscomposing+xml":
		p.composes(c.peer, body)
	case "message/cpim":
		p.opened(c.peer, body, c, by)
	default:
		p.violation("msrp: content type %q was not offered", contentType)
	}
}

// opened reads a CPIM message. c and by are nil where it came outside of a chat.
func (p *Phone) opened(peer string, body []byte, c *phoneCall, by *endpoint) {
	e, err := readEnvelope(body)
	if err != nil {
		p.violation("%v", err)
		return
	}
	p.checkEnvelope(e)
	switch e.mediaType() {
	case "message/imdn+xml":
		p.notified(peer, e, by)
	case "application/im-iscomposing+xml":
		p.composes(peer, e.body)
	default:
		p.read(peer, e, c)
	}
}

// checkEnvelope notes what a CPIM message lacks (RFC 3862, RFC 5438 §7.1.1).
func (p *Phone) checkEnvelope(e *envelope) {
	for _, name := range []string{"From", "To"} {
		if v := e.header[name]; !strings.Contains(v, "<") || !strings.HasSuffix(v, ">") {
			p.violation("cpim: %s is %q (RFC 3862 §3.1)", name, v)
		}
	}
	if d := e.header["DateTime"]; d != "" && !rfc3339.MatchString(d) {
		p.violation("cpim: DateTime %q (RFC 3339 §5.6)", d)
	}
	if e.content["content-type"] == "" {
		p.violation("cpim: the content has no Content-Type")
	} else if t := e.mediaType(); !slices.Contains(wrappedTypes, t) {
		p.violation("cpim: type %q is not in a=accept-wrapped-types (PROTOCOLS B5.06)", t)
	}
	if wants := e.header["imdn.Disposition-Notification"]; wants != "" {
		if e.header["DateTime"] == "" || e.header["imdn.Message-ID"] == "" {
			p.violation("cpim asks for IMDN without DateTime or Message-ID (RFC 5438 §7.1.1)")
		}
		for w := range strings.SplitSeq(wants, ",") {
			if w = strings.TrimSpace(w); !slices.Contains([]string{"positive-delivery", "negative-delivery", "processing", "display"}, w) {
				p.violation("cpim: disposition %q (RFC 5438 §6.3)", w)
			}
		}
	}
}

// once reports whether something is seen for the first time.
func (p *Phone) once(what string) bool {
	p.pmu.Lock()
	defer p.pmu.Unlock()
	first := !p.noticed[what]
	p.noticed[what] = true
	return first
}

// notice is a notification as it came first: under which imdn.Message-ID, and by which session; nil: by MESSAGE.
type notice struct {
	id string
	by *endpoint
}

// news reports whether a notification is the first of its kind. One that comes again under its own id by another way is a repeat: who was
// cut off before the 200 does not know that it came, and sends it again (RFC 4975 §5.4). All else is told twice.
func (p *Phone) news(what string, n notice) bool {
	p.pmu.Lock()
	before, came := p.notices[what]
	if !came {
		p.notices[what] = n
	}
	p.pmu.Unlock()
	if came && (n.id == "" || n.id != before.id || n.by == before.by) {
		p.violation("%s: told twice (RFC 5438 §7.2.1)", what)
	}
	return !came
}

func (p *Phone) notified(peer string, e *envelope, by *endpoint) {
	id, status := imdnID.FindSubmatch(e.body), imdnStatus.FindSubmatch(e.body)
	if id == nil || status == nil {
		p.violation("imdn without message-id or status: %s", e.body)
		return
	}
	if e.header["imdn.Disposition-Notification"] != "" {
		p.violation("an IMDN asks for an IMDN (RFC 5438 §7.2.1)")
	}
	if !strings.EqualFold(e.content["content-disposition"], "notification") {
		p.violation("imdn without Content-Disposition: notification (RFC 5438 §7.2.1.1)")
	}
	if !strings.Contains(string(e.body), "urn:ietf:params:xml:ns:imdn") {
		p.violation("imdn without its XML namespace: %s", e.body)
	}
	if !p.news(fmt.Sprintf("%s of %s by %s", status[1], id[1], peer), notice{e.header["imdn.Message-ID"], by}) {
		return
	}
	p.tell(PhoneEvent{Type: "receipt", Peer: peer, ID: string(id[1]), Status: string(status[1])})
}

func (p *Phone) read(peer string, e *envelope, c *phoneCall) {
	id, wants := e.header["imdn.Message-ID"], e.header["imdn.Disposition-Notification"]
	if !utf8.Valid(e.body) {
		p.violation("cpim: text is not UTF-8")
	}
	event := PhoneEvent{Type: "message", Peer: peer, ID: id, Text: string(e.body), Wants: wants}
	if e.mediaType() == fileDocument {
		event.Type = "fileoffer"
	}
	if id != "" && !p.once("message "+peer+" "+id) {
		event.Type = "repeat" // RFC 4975 §5.4: sent again after a failure, the same Message-ID says so
		p.tell(event)
		return
	}
	p.tell(event)
	if strings.Contains(wants, "positive-delivery") && !p.mannered().NoReceipts {
		p.spawn(func() { _ = p.receipt(c, peer, id, "delivery", "delivered") })
	}
}

func (p *Phone) composes(peer string, body []byte) {
	state := stateOf.FindSubmatch(body)
	if state == nil || !strings.Contains(string(body), "urn:ietf:params:xml:ns:im-iscomposing") {
		p.violation("is-composing without state or namespace: %s", body)
		return
	}
	p.tell(PhoneEvent{Type: "composing", Peer: peer, Active: string(state[1]) == "active"})
}

// receipt sends an IMDN in the chat, or in a MESSAGE where none is open (RFC 5438 §13, PROTOCOLS B5.07).
func (p *Phone) receipt(c *phoneCall, peer, id, kind, status string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	body := writeEnvelope(p.opt.URI, peer, token(), "", "message/imdn+xml", imdnDocument(id, p.opt.URI, kind, status))
	if c != nil {
		if err := c.endpoint().send(ctx, token(), "message/cpim", body); err == nil {
			return nil
		}
	}
	return p.Page(ctx, peer, "message/cpim", body)
}

// Display says that the user has read a message of the peer (a displayed IMDN).
func (p *Phone) Display(peer, id string) {
	p.pmu.Lock()
	c := p.calls[peer]
	p.pmu.Unlock()
	if err := p.receipt(c, peer, id, "display", "displayed"); err != nil {
		p.log.Debug("displayed notification not sent", "error", err)
	}
}

// Deliver says that a message of the peer has come (a delivered IMDN), for phones with NoReceipts.
func (p *Phone) Deliver(peer, id string) error {
	p.pmu.Lock()
	c := p.calls[peer]
	p.pmu.Unlock()
	return p.receipt(c, peer, id, "delivery", "delivered")
}

// Send sends a text to a peer, opening the chat if need be, and returns its imdn.Message-ID.
func (p *Phone) Send(ctx context.Context, peer, text string) (string, error) {
	return p.SendAs(ctx, peer, text, token())
}

// SendAs is Send under a given imdn.Message-ID.
func (p *Phone) SendAs(ctx context.Context, peer, text, id string) (string, error) {
	return p.sendAs(ctx, peer, "text/plain; charset=utf-8", text, id)
}

// fileDocument is the type of the message that tells where a file is to be fetched (PROTOCOLS B3.13).
const fileDocument = "application/vnd.gsma.rcs-ft-http+xml"

// OfferFile tells a peer on the chat where to fetch a file, and returns the message's imdn.Message-ID.
func (p *Phone) OfferFile(ctx context.Context, peer, name, contentType, address string, size int64) (string, error) {
	return p.sendAs(ctx, peer, fileDocument, fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?><file><file-info type="file"><file-size>%d</file-size><file-name>%s</file-name><content-type>%s</content-type><data url="%s" until="%s"/></file-info></file>`,
		size, name, contentType, address, time.Now().Add(time.Hour).UTC().Format(time.RFC3339)), token())
}

// SendDocument sends on what a content server gave for a file, and returns the message's imdn.Message-ID.
func (p *Phone) SendDocument(ctx context.Context, peer, document string) (string, error) {
	return p.sendAs(ctx, peer, fileDocument, document, token())
}

func (p *Phone) sendAs(ctx context.Context, peer, contentType, text, id string) (string, error) {
	c, err := p.Call(ctx, peer)
	if err != nil {
		return "", err
	}
	body := writeEnvelope(p.opt.URI, peer, id, "positive-delivery, display", contentType, text)
	return id, c.endpoint().send(ctx, token(), "message/cpim", body)
}

// Composing tells the peer of an open chat whether the user is typing.
func (p *Phone) Composing(ctx context.Context, peer string, active bool) error {
	p.pmu.Lock()
	c := p.calls[peer]
	p.pmu.Unlock()
	if c == nil {
		return errors.New("no chat is open")
	}
	return c.endpoint().send(ctx, token(), "application/im-iscomposing+xml", []byte(composingDocument(active)))
}
