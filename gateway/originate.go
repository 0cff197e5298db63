package gateway

import (
	"context"
	"fmt"

	"github.com/emiago/sipgo/sip"

	"latchkey"
	"latchkey/b2bua"
	"latchkey/guest"
	"latchkey/internal/sipua"
	"latchkey/registrar"
)

// accounts makes what the rooms ask of the core's side of accounts, in the configured mode.
func (g *Gateway) accounts() accounts {
	c := g.config
	a := accounts{hop: g.registrar.Hop, routes: g.registrar.ServiceRoute, credentials: g.auth().Credentials, identity: g.registrar.Identity, service: c.AssertedService}
	g.keeper = g.registrar
	if c.GuestMode == AsServer {
		var core sip.Uri
		_ = sip.ParseUri(c.SIPCore, &core) // was checked
		a.server = registrar.NewUnregistered(g.db, c.SIPCore, c.SCSCF, g.lookout.SCSCF)
		a.charging = charging{g.sip.Contact("", core).Host, c.Domain}
		g.keeper = a.server
	}
	return a
}

// resumeAccounts and runAccounts send nothing where no guest is registered.
func (g *Gateway) resumeAccounts(ctx context.Context) error {
	if g.config.GuestMode == AsServer {
		return nil
	}
	return g.registrar.Resume(ctx)
}

func (g *Gateway) runAccounts(ctx context.Context) error {
	if g.config.GuestMode == AsServer {
		return nil
	}
	return g.registrar.Run(ctx)
}

// GuestMode is how the core has the guests (PROTOCOLS B1.01).
type GuestMode string

// The modes. Register: the gateway is each guest's user agent and registers the account. AsServer: the gateway is an
// application server that nobody registers at; the core routes the accounts' domain to it.
const (
	RegisterGuests GuestMode = "register"
	AsServer       GuestMode = "as"
)

// accountKeeper has accounts in the core, in one of the two modes.
type accountKeeper interface {
	guest.Registrar
	Ensure(ctx context.Context, account latchkey.AccountID, i latchkey.Interaction) error
}

// accounts tells what an account's requests need in the core: where they go first, and what says whose they are.
type accounts struct {
	hop         func(context.Context, latchkey.AccountID) (string, error)   // "": the core
	routes      func(context.Context, latchkey.AccountID) ([]string, error) // Service-Route (RFC 3608 §6.1)
	credentials func(latchkey.AccountID) sipua.Credentials
	identity    func(context.Context, latchkey.AccountID) (string, error) // the default public one
	server      *registrar.Unregistered                                   // nil: guests are registered
	charging    charging
	service     bool // P-Asserted-Service is told
}

// origin is how a request of an account leaves.
type origin struct {
	hop    string        // "": the core
	routes []string      // behind it
	fields []b2bua.Field // of the request
	always []b2bua.Field // of the request and of all that follow in its dialog
}

// originate makes the origin of a request for a service, an ICSI or "".
func (a accounts) originate(ctx context.Context, account latchkey.AccountID, service string) (origin, error) {
	if a.server != nil {
		hop, err := a.server.Hop(ctx, account)
		o := origin{hop: hop, fields: asserted(account), always: []b2bua.Field{a.charging.vector()}}
		if a.service && service != "" {
			// RFC 6050 §4.1: within the trust domain the gateway says itself which service it is; P-Preferred-Service is for user agents.
			o.fields = append(o.fields, b2bua.Field{Name: "P-Asserted-Service", Value: service})
		}
		return o, err
	}
	hop, err := a.hop(ctx, account)
	if err != nil {
		return origin{}, err
	}
	routes, err := a.routes(ctx, account)
	if err != nil {
		return origin{}, err
	}
	self, err := a.identity(ctx, account)
	if err != nil {
		return origin{}, err
	}
	o := origin{hop: hop, routes: routes, fields: []b2bua.Field{{Name: "P-Preferred-Identity", Value: "<" + self + ">"}}}
	if service != "" {
		o.fields = append(o.fields, b2bua.Field{Name: "P-Preferred-Service", Value: service})
	}
	return o, nil
}

// asServer is originate for presence; nil where guests are registered.
func (a accounts) asServer() func(context.Context, latchkey.AccountID) (string, []sip.Header, error) {
	if a.server == nil {
		return nil
	}
	return a.options
}

func (a accounts) options(ctx context.Context, account latchkey.AccountID) (string, []sip.Header, error) {
	o, err := a.originate(ctx, account, "")
	var fields []sip.Header
	for _, f := range append(o.fields, o.always...) {
		fields = append(fields, sip.NewHeader(f.Name, f.Value))
	}
	return o.hop, fields, err
}

// asserted is the account's identity, and the number that it stands for (RFC 3325 §9.1: one SIP URI and one tel).
func asserted(account latchkey.AccountID) []b2bua.Field {
	fields := []b2bua.Field{{Name: "P-Asserted-Identity", Value: "<" + string(account) + ">"}}
	if number := account.Address().Number(); number != "" && account.Address().Scheme() != "tel" {
		fields = append(fields, b2bua.Field{Name: "P-Asserted-Identity", Value: "<tel:" + number + ">"})
	}
	return fields
}

// charging makes what operators match bills by.
type charging struct {
	host   string // where icids are made
	domain string // who serves the guests
}

// vector is the P-Charging-Vector of something new (RFC 7315 §4.6, PROTOCOLS B1.13).
func (c charging) vector() b2bua.Field {
	return b2bua.Field{Name: "P-Charging-Vector", Value: fmt.Sprintf(`icid-value=%s;icid-generated-at=%s;orig-ioi="%s"`, latchkey.NewToken(), c.host, c.ioi())}
}

// ioi is the inter operator identifier towards an S-CSCF: of type 3, which its text begins with (TS 24.229 §7.2A.5 (unverified)). A user agent has none.
func (c charging) ioi() string {
	if c.domain == "" {
		return ""
	}
	return "Type 3" + c.domain
}
