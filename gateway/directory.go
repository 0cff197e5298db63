package gateway

import (
	"context"
	"fmt"
	"time"

	"latchkey"
	"latchkey/directory"
	"latchkey/guest"
	"latchkey/registrar"
)

// userCentre is what the gateway needs of a directory, a file or one over HTTP.
type userCentre interface {
	guest.Directory
	Authenticate(ctx context.Context, user, password string) (latchkey.Subscriber, error)
	Reload() error
}

// openDirectory opens the directory that the configuration names; an HTTP one is not asked yet.
func (g *Gateway) openDirectory() error {
	if h := g.config.DirectoryHTTP; h != nil {
		opt := h.Options()
		opt.Log = g.log
		g.inquiries = newInquiries()
		opt.Watch = g.inquiries
		g.remote = directory.NewHTTP(opt)
		g.directory = g.remote
		return nil
	}
	f, err := directory.OpenFile(g.config.Directory)
	if err != nil {
		return fmt.Errorf("directory: %w", err)
	}
	g.directory = f
	return nil
}

// Options are those of the directory's client.
func (h DirectoryHTTP) Options() directory.HTTPOptions {
	return directory.HTTPOptions{URL: h.URL, User: h.User, Password: h.Password, Token: h.Token}
}

// allotter makes accounts where the directory does; nil: it doesn't.
func (g *Gateway) allotter() guest.Allotter {
	if g.remote == nil {
		return nil
	}
	return g.remote.Allot
}

// auth is how accounts prove themselves. Under sip-auth directory the passwords are those that came with the accounts.
func (g *Gateway) auth() registrar.Auth {
	return g.config.SIPAuth.From(func(account latchkey.AccountID) latchkey.Secret {
		ctx, cancel := context.WithTimeout(g.ctx, 5*time.Second)
		defer cancel()
		password, err := g.db.SIPPassword(ctx, account)
		if err != nil {
			g.log.Error("account goes without its password", latchkey.LogGuest, account, latchkey.LogError, err)
		}
		return password
	})
}

// interactionServer is where accounts are registered for an interaction type. R4: with an account that the directory
// allotted this registration may be left out; the core's is all then.
func (c Config) interactionServer(uri string) string {
	if c.SkipInteraction {
		return c.SIPCore
	}
	return uri
}
