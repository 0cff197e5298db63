package gateway

import (
	"cmp"
	"crypto/tls"
	"strings"

	"latchkey"
	"latchkey/httpapi"
	"latchkey/internal/stranger"
	"latchkey/push"
)

// openPush makes the crier, who calls guests who are away, unless the configuration wants none. Without push-key its key is the data file's own.
func (g *Gateway) openPush() error {
	c := g.config
	if c.Push == "" {
		return nil
	}
	opt := push.Options{
		Contact: c.pushContact(c.BaseURL(g.front.guests.Addr().String())), Tells: c.Push, Here: func(a latchkey.AccountID) bool { return g.hall.Online(a) },
		Allows: stranger.Peers(c.PushPeers).Allows, TTL: c.AccountLifetime, Log: g.log,
	}
	if c.PushKey != nil {
		opt.Key = *c.PushKey
	} else {
		seed, err := g.db.Key(g.ctx, "push")
		if err != nil {
			return err
		}
		opt.Key = push.MakeKey(seed)
	}
	if c.PushCA != "" {
		roots, err := certPool(c.PushCA)
		if err != nil {
			return err
		}
		opt.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	}
	g.crier = push.New(g.db, opt)
	return nil
}

// pushContact is whom push services may ask about the gateway.
func (c Config) pushContact(url string) string {
	if c.PushContact == "" && c.MailFrom != "" {
		return "mailto:" + c.MailFrom
	}
	if c.PushContact == "" && strings.HasPrefix(url, "https:") {
		return url
	}
	return cmp.Or(c.PushContact, "mailto:postmaster@"+c.Domain)
}

// news is told of what an inviter wrote. A guest is called of whom no page listens.
func (g *Gateway) news(e latchkey.Event) {
	g.wrote(latchkey.InviterID(e.From))
	if g.crier != nil {
		g.crier.Tell(e)
	}
}

// pushPort is the crier as the facade needs it: an interface that holds a nil pointer is not nil.
func (g *Gateway) pushPort() httpapi.Push {
	if g.crier == nil {
		return nil
	}
	return g.crier
}
