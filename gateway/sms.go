package gateway

import (
	"context"
	"errors"
	"hash/fnv"
	"log/slog"
	"strings"
	"time"
	"unicode"

	"github.com/nyaruka/phonenumbers"

	"latchkey"
	"latchkey/notify"
	"latchkey/notify/smpp"
	"latchkey/notify/wording"
)

// submissions is the part of the store that remembers what servers took and what they say of it later.
type submissions interface {
	Submissions(ctx context.Context, notice string) ([]latchkey.Submission, error)
	AddSubmission(ctx context.Context, s latchkey.Submission) error
	AddReport(ctx context.Context, r latchkey.Report) (found bool, err error)
}

// optOuts is told of people who want no more invitations.
type optOuts interface {
	// OptOut notes it for good. The message counts as received only when it returns without an error.
	OptOut(ctx context.Context, who latchkey.Identifier) error
	// OptIn takes it back.
	OptIn(ctx context.Context, who latchkey.Identifier) error
}

// smsChannel takes notices to SMS centres.
type smsChannel struct {
	client *smpp.Client
	config SMS
	store  submissions
	out    optOuts
	texts  *wording.Book
	log    *slog.Logger
}

func newSMS(c SMS, store submissions, out optOuts, texts *wording.Book, log *slog.Logger) *smsChannel {
	s := &smsChannel{config: c, store: store, out: out, texts: texts, log: log}
	opt := c.Options()
	opt.Deliver, opt.Log = s.arrived, log
	s.client = smpp.New(c.Servers(), opt)
	return s
}

// Servers are the centres for package smpp.
func (c SMS) Servers() (all []smpp.Server) {
	for _, s := range c.Centres {
		all = append(all, smpp.Server{HostPort: s.HostPort, TLS: s.TLS, SystemID: s.User, Password: s.Password.Reveal()})
	}
	return all
}

// Options are the settings for package smpp.
func (c SMS) Options() smpp.Options {
	return smpp.Options{Pair: c.Pair, Version: c.Version, SystemType: c.SystemType, Window: c.Window, Rate: c.Rate}
}

// Width is how many invitations are under way at once: the window.
func (s *smsChannel) Width() int { return s.config.Window }

// Deliver submits the parts of an invitation that no centre has taken yet. A repeat has the same reference and the same
// parts, so that a handset that got one already can tell.
func (s *smsChannel) Deliver(ctx context.Context, n latchkey.Notice) error {
	if n.Link == "" {
		return &notify.Failure{Reason: "the invitation's link is gone", Permanent: true, Err: errors.New("the notice has no link any more")}
	}
	to, err := smpp.ParseAddress(n.Recipient)
	if err != nil {
		return &notify.Failure{Reason: "that is no telephone number", Permanent: true, Err: err}
	}
	reference := referenceOf(n.ID)
	text, err := smsText(s.texts, n, s.config.Style)
	if err != nil {
		return &notify.Failure{Reason: "the invitation could not be written as an SMS", Permanent: true, Err: err}
	}
	parts, err := smpp.Compose(text, reference, s.config.Style)
	if err != nil {
		return &notify.Failure{Reason: "the invitation is too long for SMS", Permanent: true, Err: err}
	}
	taken, err := s.store.Submissions(ctx, n.ID)
	if err != nil {
		return err
	}
	done := map[int]bool{}
	for _, t := range taken {
		done[t.Part] = t.Parts == len(parts)
	}
	for i, p := range parts {
		if done[i+1] {
			continue
		}
		id, err := s.client.Submit(ctx, &smpp.SM{
			From: s.config.From, To: to, Class: p.Class, Coding: p.Coding, Short: p.Short, Registered: smpp.RegisteredReceipt,
			Validity: n.Expires.UTC().Format("060102150405") + "000+", // SMPP 3.4 §7.1.1
			TLVs:     append(p.TLVs, smpp.Number(smpp.TagUserMessageReference, 2, uint32(reference))),
		})
		if err != nil {
			return smsFailure(err)
		}
		s.record(ctx, latchkey.Submission{Notice: n.ID, Part: i + 1, Parts: len(parts), Channel: latchkey.BySMS, Recipient: n.Recipient, IDs: smpp.SameID(id), Time: time.Now()})
	}
	return nil
}

// record writes down what a centre took, and tries so for as long as it may: what nobody remembers is sent again.
func (s *smsChannel) record(ctx context.Context, v latchkey.Submission) {
	for {
		err := s.store.AddSubmission(ctx, v)
		if err == nil {
			return
		}
		s.log.Error("submission not written", latchkey.LogError, err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return
		}
	}
}

// referenceOf makes the reference of a long message, and of a repeat, out of the notice's id.
func referenceOf(id string) uint16 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id)) // never fails
	return uint16(h.Sum32() ^ h.Sum32()>>16)
}

// smsAway is what invitations wait for while no centre can be reached.
const smsAway = "the SMS centre can't be reached"

// Absent is smsAway.
func (s *smsChannel) Absent() string { return smsAway }

// smsFailure words an error for the inviter.
func smsFailure(err error) error {
	f := &notify.Failure{Reason: "the SMS centre does not answer", Err: err}
	refusal, refused := errors.AsType[*smpp.Refusal](err)
	switch {
	case errors.Is(err, smpp.ErrDown):
		f.Reason, f.Away = smsAway, true
	case errors.Is(err, smpp.ErrLost), !refused:
	case refusal.Status.Busy():
		f.Reason = "the SMS centre has too much to do"
	case refusal.Status == smpp.InvalidDestination:
		f.Reason, f.Permanent = "the SMS centre does not know that number", true
	default:
		f.Reason, f.Permanent = "the SMS centre refuses the message", refusal.Status.Permanent()
	}
	return f
}

// undelivered words the states of receipts that mean no.
var undelivered = map[smpp.State]string{
	smpp.Expired:       "the telephone was not reached in time",
	smpp.Deleted:       "the message was deleted before it reached the telephone",
	smpp.Undeliverable: "the message could not be delivered to that number",
	smpp.Rejected:      "the network rejected the message",
	smpp.Skipped:       "the SMS centre left the message out",
}

// arrived takes what a centre delivers: receipts, and what people write back.
func (s *smsChannel) arrived(ctx context.Context, m *smpp.SM) error {
	if r, ok := m.Receipt(); ok {
		if !r.State.Final() {
			return nil
		}
		v := latchkey.Report{Channel: latchkey.BySMS, IDs: smpp.SameID(r.ID), Recipient: m.From.Digits, State: latchkey.NotificationDelivered, Time: time.Now()}
		if r.State != smpp.Delivered {
			v.State, v.Reason = latchkey.NotificationFailed, undelivered[r.State]
		}
		found, err := s.store.AddReport(ctx, v)
		s.log.Debug("SMS receipt", "id", r.ID, "state", r.State, "error_code", r.Error, "known", found)
		return err
	}
	word := onlyWord(m.Decode())
	if !outWords[word] && !inWords[word] {
		s.log.Info("an SMS came that asks for nothing that is known here")
		return nil
	}
	who, err := s.sender(m.From)
	if err != nil {
		s.log.Warn("somebody who asks about invitations has no number that can be read", latchkey.LogError, err)
		return nil
	}
	if inWords[word] {
		return s.out.OptIn(ctx, who)
	}
	return s.out.OptOut(ctx, who)
}

// sender is who wrote: numbers come with or without their country code.
func (s *smsChannel) sender(a smpp.Address) (latchkey.Identifier, error) {
	digits := a.Digits
	if a.TON == smpp.TONInternational && !strings.HasPrefix(digits, "+") {
		digits = "+" + digits
	}
	if s.config.Region != "" || strings.HasPrefix(digits, "+") {
		if number, err := phonenumbers.Parse(digits, s.config.Region); err == nil {
			digits = phonenumbers.Format(number, phonenumbers.E164)
		}
	}
	return latchkey.ParseTel(digits)
}

// outWords are the ways in which people ask for no more, in capitals.
var outWords = map[string]bool{
	"STOP": true, "STOPALL": true, "UNSUBSCRIBE": true, "CANCEL": true, "END": true, "QUIT": true, "REMOVE": true, "OPTOUT": true,
	"STOPP": true, "ABMELDEN": true, "ARRET": true, "ARRÊT": true, "BAJA": true, "PARAR": true, "ALTO": true, "SAIR": true, "CANCELAR": true,
	"FERMA": true, "BASTA": true, "DUR": true, "IPTAL": true, "İPTAL": true, "СТОП": true,
	"T": true, "TD": true, "退订": true, "退訂": true, "停止": true, "إيقاف": true, "ايقاف": true, "توقف": true, "إلغاء": true, "الغاء": true,
}

// inWords are how people take it back.
var inWords = map[string]bool{"START": true, "UNSTOP": true}

// onlyWord is a text's letters in capitals: what is one of the words above says no more than that.
func onlyWord(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.Is(unicode.Mn, r) {
			return unicode.ToUpper(r)
		}
		return -1
	}, text)
}
