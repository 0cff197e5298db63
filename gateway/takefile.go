package gateway

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"latchkey"
	"latchkey/b2bua"
	"latchkey/conversation"
	"latchkey/cpim"
	"latchkey/files"
	"latchkey/msrp"
	"latchkey/msrp/msrpsdp"
)

// parts finds what is known of a relation's files.
type parts interface {
	FilesOf(ctx context.Context, id latchkey.RelationID) ([]latchkey.StoredFile, error)
}

// incomingFile is A's INVITE with a file (RFC 5547 §8.3.1), as the conversation sees it.
type incomingFile struct {
	wire    *wire
	vault   *files.Vault
	parts   parts
	rel     latchkey.Relation
	in      *b2bua.Incoming
	offered msrpsdp.File

	taker *fileTaker
	ch    *channel
	role  msrpsdp.Role
}

// fileOf is the file that an INVITE offers to send; nil: it is about something else.
func fileOf(in *b2bua.Incoming) *msrpsdp.File {
	m, err := msrpsdp.Parse(in.Offer())
	if err != nil || m.File == nil || !m.File.Selects() {
		return nil
	}
	return m.File
}

func (c *incomingFile) CallID() string { return c.in.CallID() }

// Refuse answers the INVITE with a code of 300 and up.
func (c *incomingFile) Refuse(code int, reason string) error { return c.in.Refuse(code, reason) }

// unacceptable refuses what the offer asks for (RFC 3261 §21.4.26).
func (c *incomingFile) unacceptable(err error) error {
	_ = c.in.Refuse(notAcceptableHere, "Not Acceptable Here")
	return fmt.Errorf("file offer of %s: %w", c.in.CallID(), err)
}

// Answer makes room for the file and answers the call. Size and quota are looked at before.
func (c *incomingFile) Answer(ctx context.Context) error {
	w, err := c.open(ctx)
	if err != nil {
		return err
	}
	c.taker = &fileTaker{w: w, offered: c.offered, done: make(chan error, 1)}
	if c.taker.skip = w.Offset() - max(c.offered.Range.Start-1, 0); c.offered.Range.Start <= 1 {
		c.taker.skip = 0
	}
	own, err := c.describe()
	if err != nil {
		c.taker.leave()
		return c.unacceptable(err)
	}
	c.ch.port.Expect(c.ch.session)
	if c.ch.leg, err = c.in.Answer(ctx, b2bua.AnswerOptions{ContentType: "application/sdp", Body: own, Always: c.in.Charging(c.wire.account.charging.ioi())}); err != nil {
		c.ch.abandon()
		c.taker.leave()
		err = errors.Join(<-c.taker.done, err) // a part of the file may have come, and the BYE, before the ACK
	}
	return err
}

// open finds the part of the file that came before its way broke, or makes a new file.
func (c *incomingFile) open(ctx context.Context) (*files.Writer, error) {
	f := latchkey.StoredFile{
		Relation: c.rel.ID, Account: c.rel.Account, Inviter: c.rel.Inviter, Direction: latchkey.ToGuest,
		Name: c.offered.Name, Size: c.offered.Size, Type: c.offered.Type, RemoteID: c.offered.TransferID,
	}
	if f.Size == 0 {
		f.Size = latchkey.UnknownSize
	}
	for _, h := range c.offered.Hashes {
		if h.Algorithm == "sha-1" {
			f.SHA1 = hex.EncodeToString(h.Sum)
		}
	}
	from := max(c.offered.Range.Start-1, 0)
	switch w, err := c.resume(ctx, f); {
	case err != nil:
		return nil, err
	case w == nil && from > 0:
		return nil, c.unacceptable(errors.New("a part of a file whose beginning is not here")) // RFC 5547 §8.3.1
	case w == nil:
		w, _, repeated, err := c.vault.Create(ctx, f)
		if repeated {
			return nil, c.unacceptable(errors.New("the file-transfer-id was used before (RFC 5547 §8.1)"))
		}
		if err != nil {
			return nil, err
		}
		return w, c.preview(ctx, w)
	case from > w.Offset():
		return nil, errors.Join(c.unacceptable(errors.New("a part of a file that begins behind what is here")), w.Pause(ctx))
	case from == 0:
		if err := w.Restart(); err != nil {
			return nil, errors.Join(err, w.Abort(ctx))
		}
		return w, nil
	default:
		return w, nil
	}
}

// resume opens the part that is here of the same file: of the same hash and size. nil: there is none.
func (c *incomingFile) resume(ctx context.Context, f latchkey.StoredFile) (*files.Writer, error) {
	if f.SHA1 == "" {
		return nil, nil
	}
	all, err := c.parts.FilesOf(ctx, c.rel.ID)
	if err != nil {
		return nil, err
	}
	for _, was := range all {
		if was.Direction == latchkey.ToGuest && was.State == latchkey.FileReceiving && was.Source == "" && was.SHA1 == f.SHA1 && was.Size == f.Size {
			w, err := c.vault.Resume(ctx, was.ID)
			if latchkey.Is(err, latchkey.KindNotFound) || latchkey.Is(err, latchkey.KindConflict) {
				continue // it came to its end meanwhile
			}
			return w, err
		}
	}
	return nil, nil
}

// preview keeps the small picture that came beside the offer (RFC 5547 §8.8).
func (c *incomingFile) preview(ctx context.Context, w *files.Writer) error {
	if c.offered.Icon == "" {
		return nil
	}
	for _, t := range []string{"image/jpeg", "image/png", "image/gif", "image/webp"} {
		if b := c.in.BodyPart(t); len(b) > 0 {
			return w.SetPreview(ctx, t, b)
		}
	}
	return nil
}

// describe makes the channel and the answer.
func (c *incomingFile) describe() (own []byte, err error) {
	ports, offer := c.wire.ports, c.in.Offer()
	err = msrpsdp.ErrNotAcceptable
	for _, port := range ports.answering(offer) {
		local := ports.describe(port, port.NewURI())
		local.File, local.Direction, local.MaxSize = &msrpsdp.File{}, "recvonly", c.vault.MaxSize()
		local.AcceptTypes, local.AcceptWrappedTypes = []string{"*"}, []string{"*"}
		if c.offered.Type != "" { // peers look for the very type
			local.AcceptTypes = []string{files.CleanType(c.offered.Type), "*"}
		}
		if own, c.role, err = msrpsdp.Answer(offer, local, msrpsdp.Passive); err == nil {
			c.ch = &channel{wire: c.wire, rel: c.rel, file: c.taker, port: port, done: make(chan struct{}), moved: make(chan struct{})}
			c.ch.session = c.ch.newSession(local.URI)
			return own, nil
		}
	}
	return nil, err
}

// Take waits for the file. Whoever ends the call before leaves a part of the file, which the next offer goes on with.
func (c *incomingFile) Take(ctx context.Context) error {
	defer c.ch.abandon()
	if err := c.ch.join(ctx, c.role); err != nil {
		_ = c.ch.session.Close()
		c.taker.leave()
		end := <-c.taker.done // the file, or a part of it, may have come and its connection gone before anybody looked
		if end == nil {
			return nil
		}
		return errors.Join(end, err)
	}
	select {
	case err := <-c.taker.done:
		if err == nil { // RFC 5547 §8.4: it is the sender who hangs up
			select {
			case <-c.ch.leg.Done():
			case <-time.After(hangUpGrace):
			}
		}
		return err
	case <-c.ch.leg.Done():
	case <-c.ch.session.Done():
	case <-ctx.Done():
	case <-c.taker.w.Taken(): // the same file comes on another way, or is to be erased
	}
	_ = c.ch.session.Close() // what is being read ends
	c.taker.leave()
	return <-c.taker.done
}

// fileTaker takes the one message of a transfer, from the connection to the disk: as fast as that is, and no faster.
type fileTaker struct {
	w       *files.Writer
	offered msrpsdp.File
	skip    int64 // octets that come and are here already
	begun   atomic.Bool
	done    chan error // has what became of the file, once
}

// limit is how many octets the message may have, a wrapper included.
func (t *fileTaker) limit() int64 {
	if n := t.offered.Range.Length(t.offered.Size); n > 0 {
		return n + maxWrapper
	}
	return 0 // the writer knows its limit
}

// maxWrapper bounds the headers of a CPIM wrapper.
const maxWrapper = 16 << 10

var errCutOff = errors.New("the file did not come to its end")

// leave ends the file where its message has not begun; what was here before stays for a while.
func (t *fileTaker) leave() {
	if !t.begun.CompareAndSwap(false, true) {
		return
	}
	t.done <- errors.Join(errCutOff, t.keep())
}

// keep leaves what came on the disk, or nothing where that is nothing. *conversation.CutOff says that there is something, which nobody else
// goes on with by now.
func (t *fileTaker) keep() error {
	if t.w.Offset() == 0 {
		return t.w.Abort(context.Background())
	}
	cut := &conversation.CutOff{File: t.w.File(), Got: t.w.Offset()}
	if err := t.w.Pause(context.Background()); err != nil {
		return err
	}
	select {
	case <-t.w.Taken():
		return nil
	default:
		return cut
	}
}

// ServeMSRP takes the file. Its nil lets the 200 to the last chunk go, so by then the file is whole, verified, on disk and told.
func (t *fileTaker) ServeMSRP(_ *msrp.Session, m *msrp.IncomingMessage) error {
	if !t.begun.CompareAndSwap(false, true) {
		return &msrp.StatusError{Code: latchkey.KindNotAllowed.Row().MSRP, Comment: "one file, one message"} // RFC 5547 §8.7
	}
	err := t.take(m)
	t.done <- err
	switch kind := latchkey.KindOf(err); {
	case err == nil:
		return nil
	case kind == latchkey.KindUnavailable: // nobody could look at it; the session is not to blame
		return &msrp.StatusError{Code: msrp.StatusStop, Comment: kind.String()}
	default:
		return &msrp.StatusError{Code: kind.Row().MSRP, Comment: kind.String()}
	}
}

func (t *fileTaker) take(m *msrp.IncomingMessage) error {
	body := m.Body
	if kind, _, _ := strings.Cut(m.ContentType, ";"); strings.EqualFold(strings.TrimSpace(kind), cpim.Type) && !strings.EqualFold(t.offered.Type, cpim.Type) {
		r := bufio.NewReaderSize(body, maxWrapper)
		if err := skipWrapper(r); err != nil {
			return errors.Join(latchkey.Wrap(latchkey.KindBadRequest, err, ""), t.w.Abort(context.Background()))
		}
		body = r
	}
	_, err := io.CopyN(io.Discard, body, t.skip)
	var broken readError
	if err == nil {
		_, err = io.Copy(onlyWriter{t.w}, readerOf{body})
		if !errors.As(err, &broken) && err != nil {
			return errors.Join(err, t.w.Abort(context.Background())) // the disk, or more than was said
		}
	}
	switch {
	case errors.Is(err, msrp.ErrAborted): // RFC 5547 §8.4: nothing of it stays
		return errors.Join(err, t.w.Abort(context.Background()))
	case err != nil:
		return errors.Join(errCutOff, err, t.keep())
	}
	_, err = t.w.Commit(context.Background())
	return err
}

// readError is an error of the side that is read from.
type readError struct{ error }

func (e readError) Unwrap() error { return e.error }

// readerOf marks the errors of a reader.
type readerOf struct{ r io.Reader }

func (r readerOf) Read(b []byte) (int, error) {
	n, err := r.r.Read(b)
	if err != nil && err != io.EOF {
		err = readError{err}
	}
	return n, err
}

// onlyWriter hides what else a writer can.
type onlyWriter struct{ io.Writer }

// skipWrapper reads the headers of a CPIM message up to its content.
func skipWrapper(r *bufio.Reader) error {
	var head strings.Builder
	for blank := 0; blank < 2; {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if head.Len()+len(line) > maxWrapper {
			return errors.New("the wrapper's headers don't end")
		}
		if name, _, _ := strings.Cut(string(line), ":"); !strings.EqualFold(name, "Content-Length") { // of what is not read here
			head.Write(line)
		}
		if len(strings.TrimRight(string(line), "\r\n")) == 0 {
			blank++
		}
	}
	_, err := cpim.Parse([]byte(head.String()))
	return err
}

var _ conversation.IncomingFile = (*incomingFile)(nil)
