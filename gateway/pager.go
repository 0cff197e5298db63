package gateway

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"latchkey"
	"latchkey/b2bua"
	"latchkey/conversation"
)

// Page sends one message by SIP MESSAGE through the core, however long it is: notifications have no other way.
func (w *wire) Page(ctx context.Context, rel latchkey.Relation, contentType string, body []byte) error {
	return w.page(ctx, rel, nil, contentType, body, true)
}

func (w *wire) page(ctx context.Context, rel latchkey.Relation, header []b2bua.Field, contentType string, body []byte, anyLength bool) error {
	from, err := w.account.originate(ctx, rel.Account, pageService)
	if err != nil {
		return err
	}
	err = w.engine.Page(ctx, b2bua.Page{
		From:        string(rel.Account),
		To:          string(rel.Inviter),
		Hop:         from.hop,
		Route:       from.routes,
		Header:      slices.Concat(from.fields, from.always, serviceHeader(pageService), header),
		ContentType: contentType,
		Body:        body,
		AnyLength:   anyLength,
		Credentials: w.account.credentials(rel.Account),
	})
	if refused, ok := errors.AsType[*b2bua.Refused](err); ok {
		return w.account.refused(ctx, rel.Account, refused)
	}
	return err
}

// pager is wire in interaction mode pager (R14): a conversation goes by SIP MESSAGE (PROTOCOLS B2.13), and what is too long
// for that in a call of its own. Calls of inviters are taken as in mode session.
type pager struct{ *wire }

// dialer is what conversation calls with.
func (w *wire) dialer(page bool) conversation.Dialer {
	if page {
		return pager{w}
	}
	return w
}

// Dial opens a channel by which each message is a SIP MESSAGE. Nothing is sent for that.
func (p pager) Dial(_ context.Context, rel latchkey.Relation, opt conversation.CallOptions, to conversation.Receiver) (conversation.Channel, error) {
	return &pages{wire: p.wire, rel: rel, opt: opt, to: to, done: make(chan struct{})}, nil
}

// pages is a channel without a dialog: conversation's Channel where each message stands alone.
type pages struct {
	wire *wire
	rel  latchkey.Relation
	opt  conversation.CallOptions
	to   conversation.Receiver

	once sync.Once
	done chan struct{} // closed by Close
}

// Send sends one MESSAGE, or makes a call for it where it is too long (RFC 3428 §8, PROTOCOLS B2.13). The one before has been
// answered, so that they keep their order.
func (c *pages) Send(ctx context.Context, id, contentType string, body []byte) error {
	err := c.wire.page(ctx, c.rel, conversationHeader(c.opt), contentType, body, !isText(contentType, body))
	if errors.Is(err, b2bua.ErrLongPage) {
		return c.sendLarge(ctx, id, contentType, body)
	}
	return err
}

// sendLarge is large-message mode: INVITE, one message by MSRP, BYE.
func (c *pages) sendLarge(ctx context.Context, id, contentType string, body []byte) error {
	opt := c.opt
	opt.ContributionID = latchkey.NewToken() // a call of its own
	call, err := c.wire.dialAs(ctx, largeService, c.rel, opt, c.to)
	if err != nil {
		return err
	}
	defer func() { // hangs up, also when ctx has ended
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = call.Close(closing, "")
	}()
	if limit := call.MaxSize(); limit > 0 && int64(len(body)) > limit {
		return &conversation.MSRPRefused{Code: latchkey.KindTooLarge.Row().MSRP, Reason: "longer than the peer's max-size"}
	}
	return call.Send(ctx, id, contentType, body)
}

// Close ends the channel; there is nothing to hang up.
func (c *pages) Close(context.Context, string) error {
	c.once.Do(func() { close(c.done) })
	return nil
}

// Done is closed by Close.
func (c *pages) Done() <-chan struct{} { return c.done }

// MaxSize is 0: what is too long for a MESSAGE has another way.
func (c *pages) MaxSize() int64 { return 0 }

// AcceptsWrapped reports true: a phone that doesn't know a type refuses the MESSAGE.
func (c *pages) AcceptsWrapped(string) bool { return true }
