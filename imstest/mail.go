package imstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"time"

	_ "github.com/emersion/go-message/charset" // mails in any charset
	"github.com/emersion/go-message/mail"
	"github.com/emersion/go-smtp"
)

// Mail is a mail that the sink took.
type Mail struct {
	From, To string
	Subject  string
	Text     string // the plain part
	HTML     string
	Raw      []byte
	Time     time.Time
}

var link = regexp.MustCompile(`https?://[^\s<>"]+`)

// Links lists the URLs of the plain part.
func (m Mail) Links() []string { return link.FindAllString(m.Text, -1) }

// MailSink is an SMTP server that keeps what it gets.
type MailSink struct {
	srv  *smtp.Server
	addr string

	mu      sync.Mutex
	mails   []Mail
	changed chan struct{}
	refuse  *smtp.SMTPError
	times   int
	no      map[string]*smtp.SMTPError // by recipient
}

// NewMailSink starts a sink on a free port of 127.0.0.1, or on listen if it is not "".
func NewMailSink(listen string) (*MailSink, error) {
	if listen == "" {
		listen = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, err
	}
	s := &MailSink{addr: ln.Addr().String(), changed: make(chan struct{})}
	s.srv = smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &mailSession{sink: s}, nil }))
	s.srv.Domain = "mail.example"
	s.srv.EnableSMTPUTF8 = true
	go func() { _ = s.srv.Serve(ln) }() // ends with Close
	return s, nil
}

// Addr is host:port of the sink.
func (s *MailSink) Addr() string { return s.addr }

// Close stops the sink.
func (s *MailSink) Close() { _ = s.srv.Close() }

// Refuse makes the sink answer the next mails with an SMTP code; times 0: until Refuse(0, 0).
func (s *MailSink) Refuse(code, times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse, s.times = nil, times
	if code != 0 {
		s.refuse = &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{code / 100, 0, 0}, Message: "refused by the test"}
	}
}

// RefuseTo makes the sink refuse a recipient with an SMTP code and an enhanced one, such as 5.1.1, until RefuseTo(to, 0, "").
func (s *MailSink) RefuseTo(to string, code int, enhanced string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.no == nil {
		s.no = map[string]*smtp.SMTPError{}
	}
	delete(s.no, strings.ToLower(to))
	if code != 0 {
		e := &smtp.SMTPError{Code: code, Message: "refused by the test"}
		_, _ = fmt.Sscanf(enhanced, "%d.%d.%d", &e.EnhancedCode[0], &e.EnhancedCode[1], &e.EnhancedCode[2])
		s.no[strings.ToLower(to)] = e
	}
}

// Mails lists what was taken, oldest first.
func (s *MailSink) Mails() []Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Mail{}, s.mails...)
}

// Wait waits for the nth mail to a recipient, counted from 1.
func (s *MailSink) Wait(ctx context.Context, to string, nth int) (Mail, error) {
	for {
		s.mu.Lock()
		changed, n := s.changed, 0
		for _, m := range s.mails {
			if strings.EqualFold(m.To, to) {
				if n++; n == nth {
					s.mu.Unlock()
					return m, nil
				}
			}
		}
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return Mail{}, errors.New("no mail to " + to)
		}
	}
}

type mailSession struct {
	sink     *MailSink
	from, to string
}

func (s *mailSession) Mail(from string, _ *smtp.MailOptions) error { s.from = from; return nil }

func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = to
	s.sink.mu.Lock()
	defer s.sink.mu.Unlock()
	if e := s.sink.no[strings.ToLower(to)]; e != nil {
		return e
	}
	return nil
}
func (s *mailSession) Reset()        { s.from, s.to = "", "" }
func (s *mailSession) Logout() error { return nil }

func (s *mailSession) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.sink.mu.Lock()
	defer s.sink.mu.Unlock()
	if f := s.sink.refuse; f != nil {
		if s.sink.times > 0 {
			if s.sink.times--; s.sink.times == 0 {
				s.sink.refuse = nil
			}
		}
		return f
	}
	m := Mail{From: s.from, To: s.to, Raw: raw, Time: time.Now().UTC()}
	if mr, err := mail.CreateReader(bytes.NewReader(raw)); err == nil {
		m.Subject, _ = mr.Header.Subject()
		for {
			p, err := mr.NextPart()
			if err != nil {
				break
			}
			b, _ := io.ReadAll(p.Body)
			t := p.Header.Get("Content-Type")
			switch {
			case strings.HasPrefix(t, "text/html"):
				m.HTML = string(b)
			case strings.HasPrefix(t, "text/plain") || t == "":
				m.Text = strings.ReplaceAll(string(b), "\r\n", "\n")
			}
		}
	}
	s.sink.mails = append(s.sink.mails, m)
	close(s.sink.changed)
	s.sink.changed = make(chan struct{})
	return nil
}
