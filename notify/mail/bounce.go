package mail

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/emersion/go-smtp"
	"golang.org/x/net/netutil"

	"latchkey"
	"latchkey/internal/secret"
)

// Bounces are the addresses to which servers report on our mails, one for each mail (VERP), so that it is known
// which one a report is about, however the server writes it. Nobody without the key makes one.
type Bounces struct {
	Domain string
	Key    []byte
}

// Address is the envelope's sender for a notice. It has no letters that a server might change.
func (b *Bounces) Address(notice string) string {
	return "b-" + notice + "-" + secret.MAC(b.Key, "bounce", notice) + "@" + b.Domain
}

// Notice is the notice whose address that is; false: none of ours.
func (b *Bounces) Notice(address string) (notice string, ok bool) {
	address = strings.ToLower(address)
	local, domain, _ := strings.Cut(address, "@")
	notice, ok = strings.CutPrefix(local, "b-")
	dash := strings.LastIndexByte(notice, '-')
	if !ok || dash < 1 || domain != strings.ToLower(b.Domain) {
		return "", false
	}
	notice = notice[:dash]
	return notice, secret.Equal(b.Address(notice), local+"@"+b.Domain)
}

// Limits of a BounceServer. Servers send back the mail with their report, so that is the size to have room for.
const (
	maxReport      = 1 << 20
	maxConnections = 64
	bounceTimeout  = time.Minute
)

// BounceServer takes mail for the addresses of a Bounces, by SMTP or LMTP (RFC 2033), and nothing else. What is no report, such as
// somebody's holiday, is taken and dropped.
type BounceServer struct {
	srv *smtp.Server
}

// NewBounceServer makes a server that gives each report to take. Where take fails, the sender is asked to come again.
func NewBounceServer(b *Bounces, lmtp bool, take func(latchkey.Report) error, log *slog.Logger) *BounceServer {
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &bounceSession{bounces: b, take: take, log: log}, nil }))
	s.Domain, s.LMTP, s.EnableSMTPUTF8 = b.Domain, lmtp, true
	s.MaxMessageBytes, s.MaxRecipients, s.MaxLineLength = maxReport, 16, 4096
	s.ReadTimeout, s.WriteTimeout = bounceTimeout, bounceTimeout
	s.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	return &BounceServer{s}
}

// Serve serves until Close.
func (s *BounceServer) Serve(ln net.Listener) error {
	if err := s.srv.Serve(netutil.LimitListener(ln, maxConnections)); !errors.Is(err, smtp.ErrServerClosed) {
		return err
	}
	return nil
}

// Close ends it; who is in mid-report comes again.
func (s *BounceServer) Close() { _ = s.srv.Close() }

// bounceSession is one connection's mails.
type bounceSession struct {
	bounces *Bounces
	take    func(latchkey.Report) error
	log     *slog.Logger
	notices []string
}

func (s *bounceSession) Mail(string, *smtp.MailOptions) error { s.notices = nil; return nil }
func (s *bounceSession) Reset()                               { s.notices = nil }
func (s *bounceSession) Logout() error                        { return nil }

// Rcpt takes our own addresses alone.
func (s *bounceSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	notice, ok := s.bounces.Notice(to)
	if !ok {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such mailbox"}
	}
	s.notices = append(s.notices, notice)
	return nil
}

func (s *bounceSession) Data(r io.Reader) error {
	status, err := ReadReport(r)
	if err != nil {
		if refused, ok := errors.AsType[*smtp.SMTPError](err); ok {
			return refused // it is too large
		}
		s.log.Debug("a mail to a bounce address is no report", latchkey.LogError, err)
		return nil
	}
	state, reason := status.meaning()
	s.log.Debug("report on a mail", "action", status.Action, "status", status.Status)
	if state == "" {
		return nil
	}
	for _, notice := range s.notices {
		if err := s.take(latchkey.Report{Channel: latchkey.ByMail, IDs: []string{notice}, State: state, Reason: reason, Time: time.Now()}); err != nil {
			s.log.Error("report on a mail not written", latchkey.LogError, err)
			return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "come again later"}
		}
	}
	return nil
}

// meaning is what a report makes of its notice; "": nothing, for what is on its way or late may still arrive.
func (d DeliveryStatus) meaning() (state latchkey.NotificationState, reason string) {
	switch d.Action {
	case "delivered":
		return latchkey.NotificationDelivered, ""
	case "failed":
		_, detail, _ := strings.Cut(d.Status, ".")
		reason, known := mailboxReason(detail)
		switch {
		case known:
		case strings.HasPrefix(d.Status, "4."):
			reason = "the mail could not be delivered in time"
		case strings.HasPrefix(d.Status, "5.7."):
			reason = "the recipient's mail server refuses the mail"
		default:
			reason = "the mail could not be delivered"
		}
		if d.Status != "" {
			reason += fmt.Sprintf(" (%s)", d.Status)
		}
		return latchkey.NotificationFailed, reason
	}
	return "", ""
}
