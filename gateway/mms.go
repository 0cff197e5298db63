package gateway

import (
	"context"
	_ "embed"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"latchkey"
	"latchkey/notify"
	"latchkey/notify/mm7"
	"latchkey/notify/wording"
)

// The picture of an invitation.
//
//go:embed invitation.png
var invitationPicture []byte

// mmsChannel takes notices to a multimedia message centre.
type mmsChannel struct {
	client mm7.Client
	store  submissions
	texts  *wording.Book
	log    *slog.Logger
}

func newMMS(c MMS, store submissions, texts *wording.Book, log *slog.Logger) *mmsChannel {
	return &mmsChannel{store: store, texts: texts, log: log, client: mm7.Client{
		URL: c.URL, User: c.User, Password: c.Password.Reveal(), VASP: c.VASP, VAS: c.VAS, From: c.From,
		// A message that was sent on to somewhere else might be sent twice.
		HTTP: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}}
}

// Deliver submits an invitation. A repeat has the same TransactionID; what the centre is known to have taken is not repeated.
func (m *mmsChannel) Deliver(ctx context.Context, n latchkey.Notice) error {
	if n.Link == "" {
		return &notify.Failure{Reason: "the invitation's link is gone", Permanent: true, Err: errors.New("the notice has no link any more")}
	}
	if taken, err := m.store.Submissions(ctx, n.ID); err != nil || len(taken) > 0 {
		return err
	}
	subject, text, err := mmsText(m.texts, n)
	if err != nil {
		return &notify.Failure{Reason: "the invitation could not be written as an MMS", Permanent: true, Err: err}
	}
	id, err := m.client.Submit(ctx, mm7.Message{
		TransactionID: n.ID, To: n.Recipient, Subject: subject, Text: text, Picture: invitationPicture, Expires: n.Expires,
	})
	if err != nil {
		return mmsFailure(err)
	}
	s := smsChannel{store: m.store, log: m.log}
	s.record(ctx, latchkey.Submission{Notice: n.ID, Part: 1, Parts: 1, Channel: latchkey.ByMMS, Recipient: n.Recipient, IDs: []string{id}, Time: time.Now()})
	return nil
}

// mmsText is the subject and the text of an invitation. There is room for the inviters' words.
func mmsText(book *wording.Book, n latchkey.Notice) (subject, text string, err error) {
	if text, err = book.SMS(n.Language, inLine(n, true)); err != nil {
		return "", "", err
	}
	subject = text[:len(text)-len(lastColon(text))]
	for _, words := range append([]latchkey.Beside{{Note: n.Note}}, n.Beside...) {
		if note := harmless(words.Note.Reveal(), 500); note != "" {
			text += "\n" + note
		}
	}
	return subject, text + "\n" + n.Link.Reveal() + "\n", nil
}

// mmsAway is what invitations wait for while the centre can't be reached.
const mmsAway = "the MMS centre can't be reached"

// Absent is mmsAway.
func (m *mmsChannel) Absent() string { return mmsAway }

// mmsFailure words an error for the inviter.
func mmsFailure(err error) error {
	f := &notify.Failure{Reason: "the MMS centre does not answer", Err: err}
	if refusal, ok := errors.AsType[*mm7.Refusal](err); ok {
		f.Reason, f.Permanent = "the MMS centre refuses the message", refusal.Code.Permanent()
		if refusal.Code == mm7.AddressError || refusal.Code == mm7.AddressNotFound {
			f.Reason = "the MMS centre does not know that number"
		}
	} else if _, ok := errors.AsType[*net.OpError](err); ok {
		f.Reason, f.Away = mmsAway, true
	}
	return f
}

// report takes what the centre says about a message.
func (m *mmsChannel) report(ctx context.Context, r mm7.Report) error {
	v := latchkey.Report{Channel: latchkey.ByMMS, IDs: []string{r.MessageID}, Recipient: r.Recipient, State: latchkey.NotificationDelivered, Time: time.Now()}
	switch {
	case r.Failed():
		v.State, v.Reason = latchkey.NotificationFailed, "the network rejected the message"
		if r.Status == "Expired" {
			v.Reason = "the telephone was not reached in time"
		}
	case !r.Delivered():
		return nil // something may still come
	}
	found, err := m.store.AddReport(ctx, v)
	m.log.Debug("MMS report", "id", r.MessageID, "status", r.Status, "known", found)
	return err
}

// handler serves /mm7 for the centre, on the operators' listener.
func (m *mmsChannel) handler() http.Handler { return mm7.Handler(m.report, m.log) }
