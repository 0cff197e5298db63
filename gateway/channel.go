package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"latchkey"
	"latchkey/b2bua"
	"latchkey/conversation"
	"latchkey/cpim"
	"latchkey/msrp"
	"latchkey/msrp/msrpsdp"
)

// What the gateway offers in a chat (PROTOCOLS B3.05). message/imdn+xml must be among
// the wrapped types, or some application servers close the session without sending it (B5.06).
var (
	chatTypes        = []string{"message/cpim", "application/im-iscomposing+xml", "text/plain"}
	chatWrappedTypes = []string{"text/plain", "message/imdn+xml", "application/im-iscomposing+xml", cpim.FileTransferType}
)

const (
	// maxMessage is the a=max-size that the gateway offers, in octets.
	maxMessage = 256 << 10
	// bindTimeout is how long a called peer may take to connect: phones behind NAT on a
	// bad radio link are slow (F32), peers that wait for each other must not hang (B5.04).
	bindTimeout = 30 * time.Second
	// notAcceptableHere is the SIP code for an offer that can't be taken (RFC 3261 §21.4.26).
	notAcceptableHere = 488
	// receiveTimeout bounds the storing of one message.
	receiveTimeout = 15 * time.Second
)

// wire joins a SIP dialog with an MSRP session: it is what conversation knows as Dialer (in interaction mode session)
// and IncomingCall. It owns no state beyond the channels' own.
type wire struct {
	engine  *b2bua.Engine
	ports   *msrpPorts
	peers   peerPolicy
	account accounts
	log     *slog.Logger
}

// Dial calls the relation's inviter on behalf of the guest: INVITE with an MSRP offer
// through the core, then the connection by whichever side SDP says (F28).
func (w *wire) Dial(ctx context.Context, rel latchkey.Relation, opt conversation.CallOptions, to conversation.Receiver) (conversation.Channel, error) {
	return w.dialAs(ctx, sessionService, rel, opt, to)
}

// dialAs is Dial for a service of CPM.
func (w *wire) dialAs(ctx context.Context, service string, rel latchkey.Relation, opt conversation.CallOptions, to conversation.Receiver) (conversation.Channel, error) {
	header := append(serviceHeader(service), conversationHeader(opt)...)
	var ch *channel
	var err error
	for i, way := range w.ports.ways() {
		if i > 0 && !notAcceptable(err) {
			break
		}
		ch, err = w.dial(ctx, service, rel, header, to, way.port, way.cema)
	}
	switch {
	case err == nil:
		return ch, nil
	case distrusted(err), errors.Is(err, msrpsdp.ErrNotAcceptable):
		return nil, &conversation.CallRefused{Code: notAcceptableHere, Reason: err.Error()} // in our words: a repeat would end the same
	}
	return nil, err
}

// notAcceptable reports whether the peer can't take what was offered, by 488 or by an answer that refuses it.
func notAcceptable(err error) bool {
	refused, ok := errors.AsType[*conversation.CallRefused](err)
	return ok && refused.Code == notAcceptableHere || errors.Is(err, msrpsdp.ErrNotAcceptable)
}

func (w *wire) dial(ctx context.Context, service string, rel latchkey.Relation, header []b2bua.Field, to conversation.Receiver, port *msrpPort, cema bool) (*channel, error) {
	ch := w.newChannel(rel, to, port, port.NewURI())
	local := w.ports.describe(port, ch.session.Local())
	local.CEMA = cema
	if err := ch.place(ctx, local, service, header); err != nil {
		return nil, err
	}
	go ch.watch() // ends with the session or the dialog, each of which ends on Shutdown
	return ch, nil
}

// place calls the inviter with an offer for a service (ICSI) and what belongs to it, and returns when the MSRP session is up.
func (ch *channel) place(ctx context.Context, local msrpsdp.Local, service string, header []b2bua.Field, related ...b2bua.Part) error {
	w, rel, port := ch.wire, ch.rel, ch.port
	local.Setup = msrpsdp.ActPass
	offer, err := msrpsdp.Offer(local)
	if err != nil {
		return fmt.Errorf("offer: %w", err)
	}
	from, err := w.account.originate(ctx, rel.Account, service)
	if err != nil {
		return err
	}
	port.Expect(ch.session)
	leg, err := w.engine.Call(ctx, b2bua.Invite{
		From:        string(rel.Account),
		To:          string(rel.Inviter),
		Hop:         from.hop,
		Route:       from.routes,
		Header:      append(from.fields, header...),
		Always:      from.always,
		ContentType: "application/sdp",
		Body:        offer,
		Related:     related,
		Credentials: w.account.credentials(rel.Account),
		OnReoffer:   ch.onReoffer(),
	})
	if err != nil {
		ch.abandon()
		if refused, ok := errors.AsType[*b2bua.Refused](err); ok {
			return w.account.refused(ctx, rel.Account, refused)
		}
		return err
	}
	ch.leg = leg
	var standing *msrpsdp.Standing
	theirs := leg.RemoteSDP()
	role, _, err := msrpsdp.Conclude(offer, theirs)
	if err == nil {
		standing, err = msrpsdp.Stand(local, offer, theirs, role)
	}
	if err == nil && role.FallBack {
		first := ch.session // may carry messages until the peer has the second offer
		defer func() {
			port.Forget(first)
			_ = first.Close()
		}()
		role, err = ch.fallBack(ctx, local, standing)
	}
	if err == nil {
		err = ch.stand(standing, ch.join(ctx, role))
	}
	if err != nil {
		ch.abandon()
		return fmt.Errorf("call %s: %w", leg.CallID(), err)
	}
	return nil
}

// Services of CPM (PROTOCOLS B3.03): a chat, one message by SIP, and one that is too long for that.
const (
	sessionService = "urn:urn-7:3gpp-service.ims.icsi.oma.cpm.session"
	pageService    = "urn:urn-7:3gpp-service.ims.icsi.oma.cpm.msg"
	largeService   = "urn:urn-7:3gpp-service.ims.icsi.oma.cpm.largemsg"
)

// serviceHeader is what makes an INVITE a chat of RCS (PROTOCOLS B3.04, B1.12-B1.15). A page asks for its service
// without require and explicit: a phone of a plain IM system names none (R14).
func serviceHeader(service string) []b2bua.Field {
	contact := `*;+g.3gpp.icsi-ref="` + strings.ReplaceAll(service, ":", "%3A") + `"`
	if service != pageService {
		contact += ";require;explicit"
	}
	return []b2bua.Field{{Name: "Accept-Contact", Value: contact}}
}

func conversationHeader(opt conversation.CallOptions) []b2bua.Field {
	return []b2bua.Field{{Name: "Conversation-ID", Value: opt.ConversationID}, {Name: "Contribution-ID", Value: opt.ContributionID}}
}

// channel is MSRP in one SIP dialog: one session after the other, when connections are lost (renew.go). It ends with the dialog, or when no
// session follows.
type channel struct {
	wire *wire
	rel  latchkey.Relation
	to   conversation.Receiver
	file *fileTaker    // takes a file instead of messages; nil: it is a chat, or only sends
	leg  *b2bua.Leg    // set before the channel is handed out
	done chan struct{} // closed by watch

	mu       sync.Mutex // guards the fields below, once MSRP is up
	port     *msrpPort
	session  *msrp.Session
	media    msrpsdp.Media
	moved    chan struct{} // closed when session is another one
	standing *msrpsdp.Standing
	renewing context.CancelFunc // of our re-INVITE that is out
	renewals int                // since the last message
}

func (w *wire) newChannel(rel latchkey.Relation, to conversation.Receiver, port *msrpPort, uri msrp.URI) *channel {
	ch := &channel{wire: w, rel: rel, to: to, port: port, done: make(chan struct{}), moved: make(chan struct{})}
	ch.session = ch.newSession(uri)
	return ch
}

func (ch *channel) newSession(uri msrp.URI) *msrp.Session {
	opt := msrp.SessionOptions{
		Local: uri, Handler: ch, AcceptTypes: chatTypes, MaxSize: maxMessage,
		BindTimeout: bindTimeout, Lenient: true, Log: ch.wire.log,
	}
	switch {
	case ch.file != nil:
		opt.Handler, opt.AcceptTypes, opt.MaxSize = ch.file, nil, ch.file.limit()
	case ch.to == nil:
		opt.Handler, opt.ChunkSize = nil, fileChunk // it sends a file and takes nothing
	}
	return msrp.NewSession(opt)
}

// join connects the session as its role says.
func (ch *channel) join(ctx context.Context, role msrpsdp.Role) error {
	ch.media = role.Peer
	ch.session.Trust(role.Peer.Fingerprints...)
	ch.session.SetRemote(role.Remote)
	ctx, cancel := context.WithTimeout(ctx, bindTimeout)
	defer cancel()
	if role.Active {
		// B4.04: the active side binds at once with an empty SEND.
		ch.port.Forget(ch.session)
		if err := ch.session.Connect(ctx, ch.wire.peers.dial, role.Dial, ch.wire.ports.dialTLS(role.Peer)); err != nil {
			return latchkey.Wrap(latchkey.KindUnavailable, fmt.Errorf("msrp connect %s: %w", role.Dial, err), "The inviter's phone can't be reached for messages.")
		}
	} else {
		select {
		case <-ch.session.Bound():
		case <-ch.session.Done():
			return latchkey.Wrap(latchkey.KindUnavailable, ch.session.Err(), "The inviter's phone did not open its message connection.")
		case <-ch.leg.Done():
			return latchkey.Wrap(latchkey.KindUnavailable, errors.New("call ended before msrp was up"), "The inviter's phone hung up.")
		case <-ctx.Done():
			return latchkey.Wrap(latchkey.KindUnavailable, errors.New("no msrp connection from the peer"), "The inviter's phone did not open its message connection.")
		}
	}
	return nil
}

// onReoffer is what answers re-INVITEs of the peer: only a chat gets another path. A file that is cut off goes on in a call of its
// own (RFC 5547 §8.1).
func (ch *channel) onReoffer() func([]byte) ([]byte, error) {
	if ch.file != nil || ch.to == nil {
		return nil
	}
	return ch.reoffer
}

// watch ends the one half when the other ends for good.
func (ch *channel) watch() {
	defer close(ch.done)
	defer ch.abandon()
	for {
		s, moved := ch.current()
		select {
		case <-ch.leg.Done():
			return
		case <-moved:
		case <-s.Done():
			if !ch.renew(s, moved) {
				return
			}
		}
	}
}

// abandon closes whatever of the channel exists.
func (ch *channel) abandon() {
	ch.leave()
	if ch.leg != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = ch.leg.Bye(ctx, "")
	}
}

// leave closes the session; no other one follows.
func (ch *channel) leave() {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.standing = nil
	ch.port.Forget(ch.session)
	_ = ch.session.Close()
}

// ServeMSRP hands a complete message to the conversation. Its nil lets the 200 go, so by
// then the message is on disk (patent step 513, X4).
func (ch *channel) ServeMSRP(_ *msrp.Session, m *msrp.IncomingMessage) error {
	body, err := io.ReadAll(io.LimitReader(m.Body, maxMessage+1))
	if err != nil {
		return err
	}
	if len(body) > maxMessage {
		return &msrp.StatusError{Code: latchkey.KindTooLarge.Row().MSRP, Comment: "message too large"}
	}
	if len(body) == 0 {
		return nil // RFC 4975 §7.1.1: an empty SEND only binds or keeps alive
	}
	ctx, cancel := context.WithTimeout(context.Background(), receiveTimeout)
	defer cancel()
	if err := ch.to.Receive(ctx, ch, m.ContentType, body); err != nil {
		return &msrp.StatusError{Code: latchkey.KindOf(err).Row().MSRP, Comment: latchkey.KindOf(err).String()}
	}
	ch.fruitful()
	return nil
}

// Send delivers one message and returns when the peer answered 200 to all of it. Where the connection is lost meanwhile and another one
// follows, it goes again over that, under its Message-ID (RFC 4975 §5.4; F38).
func (ch *channel) Send(ctx context.Context, id, contentType string, body []byte) error {
	for {
		s, moved := ch.current()
		err := s.Send(ctx, &msrp.Message{ID: id, ContentType: contentType, Body: bytes.NewReader(body), Size: int64(len(body))})
		if refused, ok := errors.AsType[*msrp.StatusError](err); ok {
			return &conversation.MSRPRefused{Code: refused.Code, Reason: refused.Comment}
		}
		if err == nil {
			ch.fruitful()
			return nil
		}
		select {
		case <-moved:
		case <-s.Done(): // at once, where the connection is what failed
			select {
			case <-moved:
			case <-ch.done:
				return err
			case <-ctx.Done():
				return err
			}
		case <-time.After(time.Second): // the session stands, so it is the message
			return err
		case <-ctx.Done():
			return err
		}
	}
}

// Close says BYE and closes the session.
func (ch *channel) Close(ctx context.Context, reason string) error {
	ch.mu.Lock()
	ch.standing = nil // nothing is renewed any more
	ch.port.Forget(ch.session)
	ch.mu.Unlock()
	err := ch.leg.Bye(ctx, reason)
	ch.leave()
	return err
}

// Done is closed when the channel can carry nothing more.
func (ch *channel) Done() <-chan struct{} { return ch.done }

// MaxSize is the largest message that the peer takes, in octets; 0: it named no limit.
func (ch *channel) MaxSize() int64 { return ch.described().MaxSize }

// AcceptsWrapped reports whether the peer listed the type for CPIM bodies.
func (ch *channel) AcceptsWrapped(contentType string) bool {
	m := ch.described()
	return slices.Contains(m.AcceptWrappedTypes, contentType) || slices.Contains(m.AcceptWrappedTypes, "*") ||
		len(m.AcceptWrappedTypes) == 0 && slices.Contains(m.AcceptTypes, "*")
}

// described is what the peer said of itself last.
func (ch *channel) described() msrpsdp.Media {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return ch.media
}
