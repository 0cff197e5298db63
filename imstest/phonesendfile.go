package imstest

import (
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"strings"
)

// FileOffer is a file that a phone sends.
type FileOffer struct {
	Name, Type string
	Body       io.ReaderAt
	Size       int64
	SHA1       []byte             // as it is offered; nil: the right one
	Start      int64              // a=file-range begins there, counted from 1; 0: the whole file
	Icon       []byte             // a JPEG beside the description
	CPIM       bool               // the file is wrapped in a CPIM message
	Chunk      int                // octets; default 16 KiB
	CutAt      int64              // the connection is closed after so many octets; 0: never
	AbortAt    int64              // the message is given up (flag #) after so many octets, then comes BYE; 0: never
	Progress   func(octets int64) // called after the 200 of each chunk
}

// SendFile offers a file to a peer and sends it (RFC 5547 §8.2.1). It returns how many octets were answered 200, and *Refusal where the
// INVITE was refused. The call ends with it.
func (p *Phone) SendFile(ctx context.Context, peer string, o FileOffer) (taken int64, err error) {
	if o.Chunk == 0 {
		o.Chunk = 16 << 10
	}
	if o.SHA1 == nil {
		h := sha1.New()
		if _, err := io.Copy(h, io.NewSectionReader(o.Body, 0, o.Size)); err != nil {
			return 0, err
		}
		o.SHA1 = h.Sum(nil)
	}
	manner := p.mannered()
	c := newPhoneCall(peer, token())
	c.local, c.remote, c.seq = "<"+p.opt.URI+">", "<"+peer+">", 1
	ep := newEndpoint(p, func(id, contentType string, body []byte) { p.violation("a message on a transfer that only sends") })
	ep.tls = manner.Transport == "tls"
	if err := ep.listen(); err != nil {
		return 0, err
	}
	selector := fmt.Sprintf("a=file-selector:name:\"%s\" type:%s size:%d hash:sha-1:%s\r\n", o.Name, o.Type, o.Size, strings.ReplaceAll(fmt.Sprintf("% X", o.SHA1), " ", ":"))
	id := token() + token()
	ep.file = &fileTransfer{phone: p, call: c, ep: ep, sends: true, types: o.Type, own: selector + "a=file-transfer-id:" + id + "\r\na=file-disposition:attachment\r\n"}
	if o.Start > 0 {
		ep.file.own += fmt.Sprintf("a=file-range:%d-%d\r\n", o.Start, o.Size)
	}
	if o.Icon != nil {
		ep.file.own += "a=file-icon:cid:icon@phone.example\r\n"
	}
	c.swap(ep)
	setup := "actpass"
	if manner.Setup == "active" {
		setup = "active"
	}
	m := p.fileInvite(c, p.sdp(ep, setup), o.Icon)
	if setup == "actpass" {
		ep.accept()
	}
	tx := p.send(context.WithoutCancel(ctx), m, p.core(), "")
	res, err := p.outcome(ctx, tx)
	if err != nil {
		c.end()
		p.spawn(func() { p.abandon(c, m, tx) })
		return 0, err
	}
	if res.Status >= 300 {
		p.settle(c, m, res, tx)
		p.spawn(func() { p.afterwards(c, m, tx) })
		c.end()
		return 0, &Refusal{res.Status, res.Reason}
	}
	if err := p.confirmed(c, res, false); err != nil {
		return 0, err
	}
	p.spawn(func() { p.afterwards(c, m, tx) })
	defer p.bye(c)
	if err := p.fileAnswered(ctx, c, ep, res, id, o); err != nil {
		return 0, err
	}
	return ep.sendFile(ctx, o)
}

// fileInvite makes the INVITE of a file, with its preview in a second part where there is one.
func (p *Phone) fileInvite(c *phoneCall, sdp, icon []byte) *Message {
	m := p.inviteOf(c, sdp, "", "", chatService)
	for i, f := range m.Fields {
		switch f.Name {
		case "P-Preferred-Service":
			m.Fields[i].Value = "urn:urn-7:3gpp-service.ims.icsi.oma.cpm.filetransfer"
		case "Accept-Contact":
			m.Fields[i].Value = `*;+g.3gpp.iari-ref="urn%3Aurn-7%3A3gpp-application.ims.iari.rcse.ft"`
		case "Content-Type":
			if icon != nil {
				b := "boundary" + token()
				m.Fields[i].Value = `multipart/related;boundary="` + b + `";type="application/sdp"`
				m.Body = fmt.Appendf(nil, "--%s\r\nContent-Type: application/sdp\r\n\r\n%s\r\n--%s\r\nContent-Type: image/jpeg\r\nContent-ID: <icon@phone.example>\r\nContent-Disposition: icon\r\n\r\n%s\r\n--%s--\r\n", b, sdp, b, icon, b)
			}
		}
	}
	return m
}

// fileAnswered looks at the answer to an offered file, and brings MSRP up.
func (p *Phone) fileAnswered(ctx context.Context, c *phoneCall, ep *endpoint, res *Message, id string, o FileOffer) error {
	media, err := readSDP(res.Body)
	if err != nil {
		p.violation("200 OK to a file: %v", err)
		return err
	}
	wrong := func(format string, args ...any) { p.violation("answer to a file: "+format, args...) }
	switch f := media.file; {
	case f == nil || f.selector == "":
		wrong("no file-selector (RFC 5547 §8.3)")
	case f.id != id:
		wrong("file-transfer-id %q, not %q (RFC 5547 §8.1)", f.id, id)
	case f.disposition != "" || f.icon != "":
		wrong("file-disposition or file-icon (RFC 5547 §8.3.1)")
	case f.start != o.Start:
		wrong("file-range %q, the offer begins at %d (RFC 5547 §8.3.1)", f.span, o.Start)
	case media.direction != "recvonly":
		wrong("direction %q (RFC 5547 §8.3.1)", media.direction)
	}
	if !media.takes(o.Type) {
		wrong("accept-types %q without %s", media.types, o.Type)
	}
	ep.expect(media)
	switch media.setup {
	case "active":
		select {
		case <-ep.up:
			return nil
		case <-c.over:
			return errors.New("the peer hung up")
		case <-ctx.Done():
			return ctx.Err()
		}
	case "passive":
		p.connectAs(c, ep, "active", media)
		select {
		case <-ep.up:
			return nil
		default:
			return errors.New("msrp did not come up")
		}
	}
	return fmt.Errorf("setup %q in the answer", media.setup)
}

// sendFile sends the octets as one message, chunk by chunk, each after the 200 of the one before.
func (e *endpoint) sendFile(ctx context.Context, o FileOffer) (taken int64, err error) {
	from := max(o.Start-1, 0)
	size, id, head, kind := o.Size-from, token(), []byte(nil), o.Type
	if o.CPIM {
		kind, head = "message/cpim", fmt.Appendf(nil, "From: <%s>\r\nTo: <%s>\r\nDateTime: %s\r\n\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", e.phone.opt.URI, e.file.call.peer, dateTime(), o.Type, size)
	}
	place := int64(0) // of the file's first octet in the message
	buf := make([]byte, o.Chunk)
	send := func(part []byte, flag byte) error {
		span := fmt.Sprintf("%d-*/%d", place+taken+1, int64(len(head))+size) // RFC 4975 §7.1.1: longer than 2048 octets, so it can be interrupted
		return e.transact(ctx, &frame{tid: token(), method: "SEND", flag: flag, hasBody: true, body: part, fields: []Field{
			{"To-Path", e.remotePath()}, {"From-Path", e.local}, {"Message-ID", id}, {"Byte-Range", span}, {"Content-Type", kind},
		}})
	}
	if head != nil {
		if err := send(head, '+'); err != nil {
			return 0, err
		}
		place = int64(len(head))
	}
	for {
		n, err := o.Body.ReadAt(buf[:min(int64(len(buf)), size-taken)], from+taken)
		if err != nil && err != io.EOF {
			return taken, err
		}
		flag := byte('+')
		if taken+int64(n) == size {
			flag = '$'
		}
		if err := send(buf[:n], flag); err != nil {
			return taken, err
		}
		taken += int64(n)
		if o.Progress != nil {
			o.Progress(taken)
		}
		switch {
		case flag == '$':
			return taken, nil
		case o.CutAt > 0 && taken >= o.CutAt:
			e.close()
			return taken, io.ErrClosedPipe
		case o.AbortAt > 0 && taken >= o.AbortAt:
			return taken, errors.Join(errAborted, send(nil, '#'))
		}
	}
}

var errAborted = errors.New("the file was given up")
