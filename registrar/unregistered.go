package registrar

import (
	"context"
	"fmt"

	"latchkey"
	"latchkey/internal/sipua"
)

// Unregistered has guests in the core without any REGISTER: the gateway is an application server, which does not
// register the addresses that it serves (TS 24.229 §5.7.2, PROTOCOLS B1.01 ii). The core routes them here as unregistered
// users or as a wildcarded PSI, and takes what comes from them as originated on their behalf.
type Unregistered struct {
	store Store
	core  string
	scscf string
	seen  func(context.Context, latchkey.AccountID) (string, error)
}

// NewUnregistered makes an Unregistered. Requests go to scscf; where that is "", to the S-CSCF that seen names, and where
// that is "", too, to core, which then is an I-CSCF or an S-CSCF itself.
func NewUnregistered(store Store, core, scscf string, seen func(context.Context, latchkey.AccountID) (string, error)) *Unregistered {
	return &Unregistered{store, core, scscf, seen}
}

// Keep has nothing to do.
func (u *Unregistered) Keep(context.Context, latchkey.AccountID, []latchkey.Interaction) error {
	return nil
}

// Ensure has nothing to do.
func (u *Unregistered) Ensure(context.Context, latchkey.AccountID, latchkey.Interaction) error {
	return nil
}

// Confirm has nothing to ask: the core knows no password of a guest.
func (u *Unregistered) Confirm(context.Context, latchkey.AccountID) error { return nil }

// Drop forgets what stood from a time when guests were registered; it runs out by itself.
func (u *Unregistered) Drop(ctx context.Context, account latchkey.AccountID) error {
	regs, err := u.store.Registrations(ctx, account)
	for _, reg := range regs {
		err = first(err, u.store.DeleteRegistration(ctx, account, reg.Server))
	}
	if err != nil {
		return fmt.Errorf("registration of %s: %w", account, err)
	}
	return nil
}

// Hop is where requests of the account go: an S-CSCF, which is told to run the originating services of the
// account (TS 24.229 §5.7.3 (unverified), PROTOCOLS B1.09).
func (u *Unregistered) Hop(ctx context.Context, account latchkey.AccountID) (string, error) {
	uri := u.scscf
	if uri == "" {
		var err error
		if uri, err = u.seen(ctx, account); err != nil {
			return "", fmt.Errorf("S-CSCF of %s: %w", account, err)
		}
	}
	hop, err := parseHop(uri)
	if err != nil || hop.Host == "" {
		if hop, err = parseHop(u.core); err != nil {
			return "", err
		}
	}
	hop.User = "" // of a Contact; an S-CSCF routes by host
	hop.Headers = nil
	loose, err := parseHop(sipua.LooseRoute(hop.String()))
	if err != nil {
		return "", err
	}
	if !loose.UriParams.Has("orig") {
		loose.UriParams.Add("orig", "")
	}
	return loose.String(), nil
}
