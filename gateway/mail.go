package gateway

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"time"

	"latchkey"
	"latchkey/notify/mail"
	"latchkey/notify/wording"
)

// certPool reads certificates of authorities; nil for no path.
func certPool(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: has no certificate in PEM", path)
	}
	return pool, nil
}

// MailOptions are the settings for package mail, as far as they speak with the server. There must be a Mail.
func (c Config) MailOptions() (mail.Options, error) {
	pool, err := certPool(c.MailCA)
	if err != nil {
		return mail.Options{}, fmt.Errorf("mail-ca: %w", err)
	}
	opt := mail.Options{Server: c.Mail.HostPort, TLS: c.Mail.TLS, User: c.Mail.User, Password: c.Mail.Password, From: c.MailFrom, Auth: c.Mail.Auth, CA: pool}
	if path := c.Mail.File; path != "" {
		// Access tokens are good for an hour, and something beside us renews the file.
		opt.Token = func() (latchkey.Secret, error) {
			text, err := reveal("@" + path)
			return latchkey.Secret(text), err
		}
	}
	return opt, nil
}

// mailChannel takes notices to the mail server. Where reports are taken it remembers what they may be about.
type mailChannel struct {
	*mail.Channel
	store   submissions
	reports bool
}

// Deliver is mail.Channel's.
func (m *mailChannel) Deliver(ctx context.Context, n latchkey.Notice) error {
	if m.reports {
		// Before the mail goes: a report on one that nobody remembers would wait for it in vain.
		s := latchkey.Submission{Notice: n.ID, Part: 1, Parts: 1, Channel: latchkey.ByMail, Recipient: n.Recipient, IDs: []string{n.ID}, Time: time.Now()}
		if err := m.store.AddSubmission(ctx, s); err != nil {
			return err
		}
	}
	return m.Channel.Deliver(ctx, n)
}

// openMail reads what mails need, and binds the listener for reports.
func (g *Gateway) openMail() (err error) {
	c := g.config
	if g.texts, err = wording.New(c.Templates); err != nil {
		return fmt.Errorf("templates: %w", err)
	}
	if c.Mail == nil {
		return nil
	}
	opt, err := c.MailOptions()
	if err != nil {
		return err
	}
	opt.Wording, opt.OptOut = g.texts, g.optOutLink
	if c.MailDKIM != nil {
		if opt.Sign, err = c.MailDKIM.signer(); err != nil {
			return fmt.Errorf("mail-dkim: %w", err)
		}
	}
	if c.MailBounce != nil {
		key, err := g.db.Key(g.ctx, "bounce")
		if err != nil {
			return err
		}
		opt.Bounces = &mail.Bounces{Domain: c.MailBounceDomain, Key: key}
		if g.bounceListener, err = net.Listen("tcp", c.MailBounce.Listen); err != nil {
			return fmt.Errorf("mail-bounce: %w", err)
		}
		g.bounces = mail.NewBounceServer(opt.Bounces, c.MailBounce.LMTP, g.bounced, g.log)
	}
	g.mail = &mailChannel{mail.New(opt), g.db, c.MailBounce != nil}
	return nil
}

// bounced writes down what a report says.
func (g *Gateway) bounced(r latchkey.Report) error {
	ctx, cancel := context.WithTimeout(g.ctx, 10*time.Second)
	defer cancel()
	known, err := g.ledger.AddReport(ctx, r)
	g.log.Info("report on an invitation's mail", "state", r.State, "reason", r.Reason, "known", known)
	return err
}

// takeBounces serves reports, if there is a listener, until the gateway ends.
func (g *Gateway) takeBounces(ctx context.Context) error {
	if g.bounces == nil {
		<-ctx.Done()
		return nil
	}
	defer context.AfterFunc(ctx, g.bounces.Close)()
	return closedIsFine(g.bounces.Serve(g.bounceListener))
}
