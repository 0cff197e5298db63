package gateway

import (
	"context"
	"log/slog"
	"sync"

	"latchkey"
	"latchkey/notify"
)

// newCourier makes the courier of the outbox, with the channels that the configuration sets up. sms and mms are nil
// where they are not, and so is letters.
func newCourier(store notify.Store, letters *mailChannel, sms *smsChannel, mms *mmsChannel, log *slog.Logger) *notify.Courier {
	all := map[latchkey.Channel]notify.Channel{}
	if sms != nil {
		all[latchkey.BySMS] = sms
	}
	if mms != nil {
		all[latchkey.ByMMS] = mms
	}
	if letters != nil {
		all[latchkey.ByMail] = letters
	}
	return notify.New(store, all, notify.Options{Log: log})
}

// deliver runs the courier, and the link to the SMS centre for as long as the courier may still need it.
func (g *Gateway) deliver(ctx context.Context) error {
	if g.sms == nil {
		return g.courier.Run(ctx)
	}
	linked, unlink := context.WithCancel(context.WithoutCancel(ctx))
	var link sync.WaitGroup
	link.Go(func() { _ = g.sms.client.Run(linked) }) // ends below
	err := g.courier.Run(ctx)
	unlink()
	link.Wait()
	return err
}

// channels are the ways that an invitation can go, for the desk. Without any, inviting is refused: nil would
// stand for the desk's own default.
func channels(c Config) []latchkey.Channel {
	all := []latchkey.Channel{}
	if c.Mail != nil {
		all = append(all, latchkey.ByMail)
	}
	if c.SMS != nil {
		all = append(all, latchkey.BySMS)
	}
	if c.MMS != nil {
		all = append(all, latchkey.ByMMS)
	}
	return all
}
