// Package mail delivers invitations by SMTP (RFC 5321): it writes the mail (R13) and hands it to
// one server, which queues it from there. It keeps nothing between two deliveries. What people wrote
// never becomes a header of its own or a link (S9). Start with New.
package mail

import (
	"context"
	"net"
	"time"

	"latchkey"
	"latchkey/notify"
)

// Options say who takes the mails.
type Options struct {
	Server   string // host:port
	TLS      bool   // TLS from the first byte (smtps); else STARTTLS where it is offered
	User     string // "": without login
	Password latchkey.Secret
	From     string // mailbox of the sender, in the envelope, too
}

// Channel is the way to guests by mail. It is a notify.Channel.
type Channel struct {
	opt  Options
	host string
}

// New makes the channel. It connects when there is something to deliver.
func New(opt Options) *Channel {
	host, _, _ := net.SplitHostPort(opt.Server)
	return &Channel{opt: opt, host: host}
}

// Deliver writes one invitation and returns when the server has taken it. The same notice gives the
// same mail, byte for byte, so that a repeat is recognised as one. An error is a *notify.Failure.
func (c *Channel) Deliver(ctx context.Context, n latchkey.Notice) error {
	l, err := c.compose(n)
	if err != nil {
		return &notify.Failure{Reason: "the invitation could not be written as a mail", Permanent: true, Err: err}
	}
	return c.send(ctx, l)
}

// goodbye is how long a server may take to answer QUIT; nothing hangs on it.
const goodbye = time.Second
