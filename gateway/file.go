package gateway

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"latchkey"
	"latchkey/b2bua"
	"latchkey/conversation"
	"latchkey/cpim"
	"latchkey/files"
	"latchkey/files/thumbnail"
	"latchkey/msrp"
	"latchkey/msrp/msrpsdp"
)

// hangUpGrace is how long a side may take to hang up once its connection or its file has ended, before we do.
const hangUpGrace = 3 * time.Second

// fileChunk is how long the chunks of files are, in octets: long ones cost less, and are interruptible all the same. Some of them are in memory
// for each file that is under way.
const fileChunk = 128 << 10

// porter carries files between the vault and the inviters' phones. It is what conversation knows as Porter.
type porter struct {
	wire    *wire
	vault   *files.Vault
	metrics *fileMetrics
}

// Carry sends a file in a call of its own (RFC 5547 §8.2.1): one medium, one session, one message.
func (p *porter) Carry(ctx context.Context, rel latchkey.Relation, call conversation.FileCall, f latchkey.StoredFile) (err error) {
	if f.State == latchkey.FileReceiving {
		return p.follow(ctx, rel, call, f)
	}
	call.Progress = p.metrics.following(call.From, call.Progress)
	defer func() { p.metrics.called(err) }()
	body, err := p.vault.Open(ctx, f)
	if err != nil {
		return err
	}
	defer body.Close()
	if _, err := body.Seek(call.From, io.SeekStart); err != nil {
		return err
	}
	return p.send(ctx, rel, call, f, body)
}

// follow is Carry of a file whose bytes still come. Its last octet goes when the file is stored, so that until then the phone can be told to
// forget it (RFC 5547 §8.4).
func (p *porter) follow(ctx context.Context, rel latchkey.Relation, call conversation.FileCall, f latchkey.StoredFile) error {
	body, err := p.vault.Follow(f)
	if err != nil {
		return &conversation.NotCome{Err: err}
	}
	defer body.Close()
	tell := call.Progress
	var had atomic.Int64
	call.Progress = p.metrics.following(0, func(octets int64) {
		had.Store(octets)
		if body.Stored() { // nobody knows the file before
			tell(octets)
		}
	})
	calling, hangUp := context.WithCancel(ctx)
	defer hangUp()
	go func() { // ends with the upload, or with the call
		if body.Wait(calling) != nil {
			hangUp()
		}
	}()
	err = p.send(calling, rel, call, f, body)
	p.metrics.called(err)
	if end := body.Wait(ctx); end != nil {
		return &conversation.NotCome{Err: end}
	}
	tell(had.Load())
	return err
}

// send makes the call, and sends what body has from call.From on.
func (p *porter) send(ctx context.Context, rel latchkey.Relation, call conversation.FileCall, f latchkey.StoredFile, body io.Reader) (err error) {
	var ch *channel
	for i, way := range p.wire.ports.ways() {
		if i > 0 && (!notAcceptable(err) || call.From != 0) { // as a chat does (F35); a part that is refused is tried whole first
			break
		}
		ch, err = p.call(ctx, rel, call, f, way.port, way.cema)
		if refused, ok := errors.AsType[*conversation.CallRefused](err); ok && refused.Code == latchkey.KindUnsupportedMedia.Row().SIP && call.Icon {
			call.Icon = false // RFC 5547 §8.8: who can't read a body of several parts gets the offer alone
			ch, err = p.call(ctx, rel, call, f, way.port, way.cema)
		}
	}
	switch {
	case err == nil:
		return ch.carry(ctx, rel, call, f, body)
	case distrusted(err), errors.Is(err, msrpsdp.ErrNotAcceptable):
		return &conversation.CallRefused{Code: notAcceptableHere, Reason: err.Error()}
	}
	return err
}

func (p *porter) call(ctx context.Context, rel latchkey.Relation, call conversation.FileCall, f latchkey.StoredFile, port *msrpPort, cema bool) (*channel, error) {
	ch := p.wire.newChannel(rel, nil, port, port.NewURI())
	local := p.wire.ports.describe(port, ch.session.Local())
	local.CEMA, local.Direction, local.MaxSize = cema, "sendonly", 0
	local.AcceptTypes, local.AcceptWrappedTypes = []string{"message/cpim", f.Type}, []string{"*"}
	sum, err := hex.DecodeString(f.SHA1)
	if err != nil {
		return nil, fmt.Errorf("hash of %s: %w", f.ID, err)
	}
	local.File = &msrpsdp.File{
		Name: f.Name, Type: f.Type, Size: f.Size, Hashes: []msrpsdp.Hash{{Algorithm: "sha-1", Sum: sum}},
		TransferID: msrpsdp.NewTransferID(), Disposition: "attachment", Created: f.Time, // RFC 5547 §8.1: also what is resumed is a new transfer
	}
	if call.From > 0 {
		local.File.Range = msrpsdp.Range{Start: call.From + 1, End: f.Size}
	}
	related, err := p.icon(ctx, call, f)
	if err != nil {
		return nil, err
	}
	if len(related) > 0 {
		local.File.Icon = related[0].ContentID
	}
	return ch, ch.place(ctx, local, fileService, fileHeader(call.CallOptions), related...)
}

// icon is the file's small picture for a phone that takes one (RFC 5547 §8.8); none for the rest of a file of which it has the beginning.
func (p *porter) icon(ctx context.Context, call conversation.FileCall, f latchkey.StoredFile) ([]b2bua.Part, error) {
	if !call.Icon || f.Preview == "" || call.From > 0 {
		return nil, nil
	}
	kind, picture, err := p.vault.Preview(ctx, f)
	if latchkey.Is(err, latchkey.KindNotFound) || err == nil && len(picture) > thumbnail.MaxSize {
		return nil, nil
	}
	// RFC 2392: like a Message-ID, one for each body.
	return []b2bua.Part{{ContentType: kind, ContentID: latchkey.NewToken() + "@" + f.Account.Address().Host(), Disposition: "icon", Body: picture}}, err
}

// fileService is the ICSI of a file transfer (PROTOCOLS B1.14).
const fileService = "urn:urn-7:3gpp-service.ims.icsi.oma.cpm.filetransfer"

// fileHeader is what makes an INVITE a file transfer of RCS (PROTOCOLS B3.03, B3.04).
func fileHeader(opt conversation.CallOptions) []b2bua.Field {
	return []b2bua.Field{
		{Name: "Accept-Contact", Value: `*;+g.3gpp.iari-ref="urn%3Aurn-7%3A3gpp-application.ims.iari.rcse.ft"`},
		{Name: "Conversation-ID", Value: opt.ConversationID},
		{Name: "Contribution-ID", Value: opt.ContributionID},
	}
}

// carry sends the rest of a file on a call that is up, and ends the call.
func (ch *channel) carry(ctx context.Context, rel latchkey.Relation, call conversation.FileCall, f latchkey.StoredFile, body io.Reader) error {
	defer ch.abandon()
	length := f.Size - call.From
	m := &msrp.Message{ID: string(f.ID), ContentType: f.Type, Body: body, Size: length}
	head := int64(0)
	switch {
	case ch.media.File == nil: // it took the offer for a chat
		return &conversation.CallRefused{Code: notAcceptableHere, Reason: "no file in the answer"}
	case ch.media.MaxSize > 0 && length > ch.media.MaxSize: // RFC 5547 §8.7
		return &conversation.CallRefused{Code: latchkey.KindTooLarge.Row().SIP, Reason: "max-size in the answer"}
	case !ch.media.Accepts(f.Type) && ch.media.Accepts(cpim.Type) && ch.media.AcceptsWrapped(f.Type):
		e := &cpim.Message{From: cpim.Party{URI: string(rel.Account)}, To: cpim.Party{URI: string(rel.Inviter)}, DateTime: f.Time, ContentType: f.Type}
		wrapper, err := e.Head(length)
		if err != nil {
			return err
		}
		head = int64(len(wrapper))
		m.ContentType, m.Body, m.Size = cpim.Type, io.MultiReader(bytes.NewReader(wrapper), body), head+length
	}
	m.Progress = func(octets int64) { call.Progress(call.From + max(0, octets-head)) }
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := func() {}
	if following, ok := body.(*files.Follower); ok { // whose next octet may take its time
		stop = following.Stop
	}
	go func() { // ends with the call
		defer stop()
		select {
		case <-ch.leg.Done():
			cancel()
		case <-ch.session.Done():
		case <-ctx.Done():
		}
	}()
	err := ch.session.Send(ctx, m)
	if err == nil {
		call.Progress(f.Size)
		return nil
	}
	return ch.stopped(ctx, err)
}

// stopped words the end of a file that did not arrive whole.
func (ch *channel) stopped(ctx context.Context, err error) error {
	if refused, ok := errors.AsType[*msrp.StatusError](err); ok {
		return &conversation.MSRPRefused{Code: refused.Code, Reason: refused.Comment}
	}
	grace := time.NewTimer(hangUpGrace)
	defer grace.Stop()
	if ctx.Err() == nil { // the connection is gone; whether that is the inviter's will, a BYE tells
		select {
		case <-ch.leg.Done():
		case <-ctx.Done():
		case <-grace.C:
			return err
		}
	}
	if ch.leg.Cause() == "peer" {
		return &conversation.HungUp{}
	}
	// RFC 5547 §8.4: the phone acknowledges the # before we hang up. Requests come in order, so that the response to an empty SEND
	// behind it is as good.
	last, done := context.WithTimeout(context.WithoutCancel(ctx), hangUpGrace)
	defer done()
	_ = ch.session.Send(last, &msrp.Message{})
	return err
}

// Fail notes that a file won't arrive, and erases it.
func (p *porter) Fail(ctx context.Context, f latchkey.StoredFile, reason string) error {
	return p.vault.Fail(ctx, f, reason)
}

// Document tells where a phone fetches a file.
func (p *porter) Document(ctx context.Context, f latchkey.StoredFile) (contentType string, body []byte, err error) {
	return p.vault.Document(ctx, f)
}

// Promised has a file fetched that an inviter's phone told of.
func (p *porter) Promised(ctx context.Context, f latchkey.StoredFile, preview string) error {
	return p.vault.Promise(ctx, f, preview)
}
