package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey"
	"latchkey/b2bua"
	"latchkey/conversation"
	"latchkey/files"
	"latchkey/guest"
	"latchkey/internal/sipua"
	"latchkey/msrp/msrpsdp"
	"latchkey/presence"
)

// doorkeeper takes INVITEs that arrive for guests. A stranger is refused before
// anything else happens, and the guest sees nothing of it (R31, S12).
type doorkeeper struct {
	desk  *guest.Desk
	board *presence.Board
	hall  *conversation.Hall
	wire  *wire
	files *files.Vault
	parts parts
	log   *slog.Logger

	streamsOnly bool // guests without a stream are away
	inviteBySIP bool // a registered user's approach to somebody who isn't is an invitation (R1)
}

// ServeInvite answers an INVITE towards a temporary account, or to somebody who may get one.
func (d *doorkeeper) ServeInvite(in *b2bua.Incoming) { d.serveInvite(in, approachOf(in)) }

func (d *doorkeeper) serveInvite(in *b2bua.Incoming, a approach) {
	rel, word, err := d.meet(in.Context(), a)
	if err != nil {
		// KindAlreadyRegistered and KindOffline say that the call is between registered users, and none of ours.
		code, fields := refusal(err)
		d.log.Info("call refused", latchkey.LogCallID, in.CallID(), "code", code, latchkey.LogError, err)
		_ = in.Refuse(code, "", fields...)
		return
	}
	if f := fileOf(in); f != nil {
		d.hall.ServeFile(in.Context(), rel, &incomingFile{wire: d.wire, vault: d.files, parts: d.parts, rel: rel, in: in, offered: *f})
		return
	}
	call := &incomingCall{wire: d.wire, rel: rel, in: in}
	d.hall.ServeCall(in.Context(), rel, call)
	if word != "" && call.taken {
		d.hall.Tell(rel, word)
	}
}

// relate finds the relation between one of the names of who is called and one of the identities
// that a trusted neighbour asserts of the caller. RFC 3325 §5: without such an identity, nobody is calling.
func (d *doorkeeper) relate(ctx context.Context, called, asserted []string) (latchkey.Relation, error) {
	err := error(latchkey.Wrap(latchkey.KindNoRelation, errors.New("no asserted identity from a trusted host"), ""))
	for _, name := range called {
		account, aerr := latchkey.ParseAddress(name)
		if aerr != nil {
			continue
		}
		for _, identity := range asserted {
			caller, cerr := latchkey.ParseAddress(identity)
			if cerr != nil {
				continue
			}
			var rel latchkey.Relation
			if rel, err = d.desk.Authorize(ctx, latchkey.AccountID(account.Identity()), caller); err == nil {
				return rel, nil
			}
		}
	}
	return latchkey.Relation{}, err
}

// ServeOptions answers OPTIONS: to the gateway itself for liveness (PROTOCOLS B2.14), to a guest's account with
// the guest's abilities, but only where the one who asks is related.
func (d *doorkeeper) ServeOptions(t *sipua.Transaction) {
	if t.Request.Recipient.User == "" {
		_ = t.Respond(200, "", sip.NewHeader("Accept", "application/sdp, message/cpim"))
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	rel, err := d.relate(ctx, d.wire.engine.Called(t.Request), d.wire.engine.Asserted(t.Request))
	if err != nil {
		_ = t.Respond(latchkey.KindOf(err).Row().SIP, "")
		return
	}
	d.answerOptions(t, rel)
}

// incomingCall is A's INVITE as the conversation sees it.
type incomingCall struct {
	wire  *wire
	rel   latchkey.Relation
	in    *b2bua.Incoming
	taken bool // Accept has succeeded
}

// IsOneMessage reports whether the call is for a message that is too long for SIP (PROTOCOLS B2.13).
func (c *incomingCall) IsOneMessage() bool {
	return strings.Contains(c.in.Header("Accept-Contact"), "oma.cpm.largemsg")
}

func (c *incomingCall) Context() context.Context { return c.in.Context() }
func (c *incomingCall) CallID() string           { return c.in.CallID() }
func (c *incomingCall) ContributionID() string   { return c.in.Header("Contribution-ID") }
func (c *incomingCall) ConversationID() string   { return c.in.Header("Conversation-ID") }

// FirstMessage is the CPIM body that a SIMPLE IM client puts beside its SDP (B3.04).
func (c *incomingCall) FirstMessage() (contentType string, body []byte) {
	for _, t := range []string{"message/cpim", "text/plain"} {
		if b := c.in.BodyPart(t); len(b) > 0 {
			return t, b
		}
	}
	return "", nil
}

// Accept answers the INVITE and returns when the MSRP session is up.
func (c *incomingCall) Accept(ctx context.Context, to conversation.Receiver) (conversation.Channel, error) {
	ch, local, own, role, err := c.describe(to)
	if err != nil {
		// RFC 3261 §21.4.26: what is offered can't be taken.
		_ = c.in.Refuse(notAcceptableHere, "Not Acceptable Here")
		return nil, fmt.Errorf("offer of %s: %w", c.in.CallID(), err)
	}
	ch.port.Expect(ch.session)
	if ch.leg, err = c.in.Answer(ctx, b2bua.AnswerOptions{ContentType: "application/sdp", Body: own, Always: c.in.Charging(c.wire.account.charging.ioi()), OnReoffer: ch.onReoffer()}); err == nil {
		theirs := c.in.Offer()
		if theirs == nil {
			theirs = ch.leg.RemoteSDP()
			role, _, err = msrpsdp.Conclude(own, theirs)
		}
		if err == nil {
			err = ch.join(ctx, role)
		}
		if err == nil {
			err = ch.stand(msrpsdp.Stand(local, own, theirs, role))
		}
	}
	if err != nil {
		ch.abandon()
		return nil, err
	}
	c.taken = true
	go ch.watch() // ends with the session or the dialog, each of which ends on Shutdown
	return ch, nil
}

// describe makes the channel and its description: the answer, or, where the INVITE has none, an offer, to which the answer
// comes in the ACK (RFC 3261 §13.2.1).
func (c *incomingCall) describe(to conversation.Receiver) (ch *channel, local msrpsdp.Local, own []byte, role msrpsdp.Role, err error) {
	ports, offer := c.wire.ports, c.in.Offer()
	if offer == nil {
		port := ports.offering(false)
		ch = c.wire.newChannel(c.rel, to, port, port.NewURI())
		local = ports.describe(port, ch.session.Local())
		local.Setup, local.CEMA = msrpsdp.ActPass, port.web == nil
		own, err = msrpsdp.Offer(local)
		return ch, local, own, role, err
	}
	for _, port := range ports.answering(offer) {
		local = ports.describe(port, port.NewURI())
		if own, role, err = msrpsdp.Answer(offer, local, msrpsdp.Passive); err == nil {
			return c.wire.newChannel(c.rel, to, port, local.URI), local, own, role, nil
		}
	}
	return nil, local, nil, role, err
}

// Refuse answers the INVITE with a code of 300 and up.
func (c *incomingCall) Refuse(code int, reason string) error { return c.in.Refuse(code, reason) }
