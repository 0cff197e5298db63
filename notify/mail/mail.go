// Package mail delivers invitations by SMTP (RFC 5321): it writes the mail (R13) and hands it to
// one server, which queues it from there. It keeps nothing between two deliveries. What people wrote
// never becomes a header of its own or a link (S9). Start with New.
package mail

import (
	"context"
	"crypto/x509"
	"net"
	"time"

	"latchkey"
	"latchkey/notify"
	"latchkey/notify/wording"
)

// Options say who takes the mails.
type Options struct {
	Server   string // host:port
	TLS      bool   // TLS from the first byte (smtps); else STARTTLS where it is offered
	User     string // "": without login
	Password latchkey.Secret
	From     string // mailbox of the sender, in the envelope, too, unless there is a Bounces

	// Auth is how to log in; "": the best way that the server offers and that needs the password alone. Token gives the password, or the
	// access token of XOAUTH2, anew for each login; nil: it is Password.
	Auth  Auth
	Token func() (latchkey.Secret, error)
	// CA has the authorities that a server's certificate is checked against, also on loopback; nil: those of the system.
	CA *x509.CertPool

	Wording *wording.Book                                                        // nil: the built-in texts
	OptOut  func(ctx context.Context, n latchkey.Notice) (url string, err error) // where the recipient stops all invitations; nil: nowhere
	Bounces *Bounces                                                             // where reports on mails go; nil: to From
	Sign    *Signer                                                              // nil: mails aren't signed
}

// Channel is the way to guests by mail. It is a notify.Channel.
type Channel struct {
	opt  Options
	host string
}

// New makes the channel. It connects when there is something to deliver.
func New(opt Options) *Channel {
	host, _, _ := net.SplitHostPort(opt.Server)
	if opt.Wording == nil {
		book, err := wording.New("")
		if err != nil {
			panic(err) // embedded: a bug of ours
		}
		opt.Wording = book
	}
	return &Channel{opt: opt, host: host}
}

// Deliver writes one invitation and returns when the server has taken it. The same notice gives the
// same mail, byte for byte, so that a repeat is recognised as one. An error is a *notify.Failure.
func (c *Channel) Deliver(ctx context.Context, n latchkey.Notice) error {
	var optOut string
	if c.opt.OptOut != nil {
		var err error
		if optOut, err = c.opt.OptOut(ctx, n); err != nil {
			return &notify.Failure{Reason: "the invitation can't be written now", Err: err}
		}
	}
	l, err := c.compose(n, optOut)
	if err != nil {
		return &notify.Failure{Reason: "the invitation could not be written as a mail", Permanent: true, Err: err}
	}
	return c.send(ctx, l)
}

// goodbye is how long a server may take to answer QUIT; nothing hangs on it.
const goodbye = time.Second
