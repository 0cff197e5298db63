package gateway

import (
	"log/slog"

	"latchkey"
	"latchkey/notify"
	"latchkey/notify/mail"
)

// newCourier makes the courier of the outbox, with the channels that the configuration sets up.
func newCourier(store notify.Store, c Config, log *slog.Logger) *notify.Courier {
	all := map[latchkey.Channel]notify.Channel{}
	if c.Mail != nil {
		all[latchkey.ByMail] = mail.New(mail.Options{
			Server: c.Mail.HostPort, TLS: c.Mail.TLS, User: c.Mail.User, Password: c.Mail.Password, From: c.MailFrom,
		})
	}
	return notify.New(store, all, notify.Options{Log: log})
}

// channels are the ways that an invitation can go, for the desk. Without any, inviting is refused: nil would
// stand for the desk's own default.
func channels(c Config) []latchkey.Channel {
	all := []latchkey.Channel{}
	if c.Mail != nil {
		all = append(all, latchkey.ByMail)
	}
	return all
}
