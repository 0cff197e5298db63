// Package registrar keeps temporary accounts registered at the core and at the
// interaction servers, and knows from the core which inviters are registered there.
//
// The gateway is the user agent of its guests here (PROTOCOLS B1.01 i): it sends REGISTER
// with digest, repeats it before it runs out, and takes it back in the end. What must
// survive a crash is a latchkey.Registration, a row that is written before each request leaves, so that
// a restart goes on with the same Call-ID and a higher CSeq. An account costs its rows and
// one entry in the timer heap; goroutines exist only while a request is under way.
//
// Specifications that live here: RFC 3261 §10 (REGISTER), RFC 3327 (Path), RFC 3608
// (Service-Route), RFC 3680 and RFC 6665 (reg-event), RFC 5626 §4.5 (back-off), TS 24.229
// §5.1.1 and §5.7.1.1. It never decides who may have an account, nor what follows when an
// inviter leaves, and it knows nothing of calls. Start with Registrar and Lookout; Unregistered
// takes Registrar's place where guests are in the core without a REGISTER.
package registrar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey"
	"latchkey/internal/limit"
	"latchkey/internal/sipua"
)

// Wire sends requests. *sipua.Endpoint is one.
type Wire interface {
	// DoAuth returns the final response, after digest authentication where it is asked
	// for. Each repeat raises req's CSeq by one.
	DoAuth(ctx context.Context, req *sip.Request, c sipua.Credentials) (*sip.Response, error)
	// Contact is where the gateway is reached by way of hop. user is in its escaped form.
	Contact(user string, hop sip.Uri) sip.Uri
}

// Store keeps registrations.
type Store interface {
	// SaveRegistration inserts the registration or replaces the one of the same account and server.
	SaveRegistration(ctx context.Context, reg latchkey.Registration) error
	// DeleteRegistration forgets the registration. Forgetting twice is no error.
	DeleteRegistration(ctx context.Context, account latchkey.AccountID, server latchkey.Server) error
	// Registrations lists an account's registrations.
	Registrations(ctx context.Context, account latchkey.AccountID) ([]latchkey.Registration, error)
	// EachRegistration calls f for every registration there is and ends at the first error.
	EachRegistration(ctx context.Context, f func(latchkey.Registration) error) error
}

// Options of a Registrar. Core is required.
type Options struct {
	Core       string        // URI of the first hop into the core
	IMServer   string        // interaction server of im; "": the core
	FileServer string        // interaction server of file; "": the core
	Auth       Auth          // how accounts prove themselves; the zero Auth: not at all
	Expires    time.Duration // asked for; default 600000 s (TS 24.229 §5.1.1.2)
	Tags       sip.HeaderParams
	Timeout    time.Duration // how long a server may take to answer; default 10 s
	Patience   time.Duration // how long an invite waits for an interaction server; default 3 s
	Rate       float64       // repeats that Run begins per second; default 100
	Parallel   int           // repeats that Run has under way at once; default 32
	// Kept is called after each REGISTER of the core's that was granted, and Left when the account is taken back; nil: nobody is.
	Kept, Left func(latchkey.AccountID)
	Log        *slog.Logger
}

// Validate reports the first option that can't work.
func (o Options) Validate() error {
	for _, u := range []struct{ name, uri string }{{"sip-core", o.Core}, {"im-server", o.IMServer}, {"file-server", o.FileServer}} {
		if u.uri == "" && u.name != "sip-core" {
			continue
		}
		if hop, err := parseHop(u.uri); err != nil || hop.Host == "" {
			return fmt.Errorf("%s: %q is not a SIP URI such as sip:127.0.0.1:5060", u.name, u.uri)
		}
	}
	if o.Expires < 0 || o.Expires > 0 && o.Expires < time.Second {
		return errors.New("sip-register-expires: must be at least one second, as in 600000s")
	}
	return nil
}

// Registrar owns all registrations.
type Registrar struct {
	store Store
	wire  Wire
	opt   Options
	log   *slog.Logger

	hops     map[latchkey.Server]string       // where each server is
	turns    *limit.Turns[latchkey.AccountID] // one act at a time for each account: two REGISTERs of a registration must not be under way together (RFC 3261 §10.2)
	flights  flights                          // logins that share one Confirm
	schedule *schedule[key]                   // when Run acts next
	nonces   nonces                           // for the next REGISTERs
	holds    holds                            // servers that asked to be left alone
}

// New makes a Registrar. Call Resume once and then Run. The options must pass Validate.
func New(store Store, wire Wire, opt Options) *Registrar {
	if opt.Expires == 0 {
		opt.Expires = 600000 * time.Second
	}
	if opt.Timeout == 0 {
		opt.Timeout = 10 * time.Second
	}
	if opt.Patience == 0 {
		opt.Patience = 3 * time.Second
	}
	if opt.Rate == 0 {
		opt.Rate = 100
	}
	if opt.Parallel == 0 {
		opt.Parallel = 32
	}
	if opt.Kept == nil {
		opt.Kept = func(latchkey.AccountID) {}
	}
	if opt.Left == nil {
		opt.Left = func(latchkey.AccountID) {}
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	r := &Registrar{store: store, wire: wire, opt: opt, log: opt.Log, schedule: newSchedule[key](), turns: limit.NewTurns[latchkey.AccountID](1)}
	r.hops = map[latchkey.Server]string{latchkey.CoreServer: opt.Core, imServer: opt.IMServer, fileServer: opt.FileServer}
	for s, uri := range r.hops {
		if uri == "" {
			r.hops[s] = opt.Core
		}
	}
	return r
}

// ServiceRoute is the route that the core wants the account's requests to take after the
// first hop (RFC 3608 §6.1), most often none.
func (r *Registrar) ServiceRoute(ctx context.Context, account latchkey.AccountID) ([]string, error) {
	regs, err := r.store.Registrations(ctx, account)
	if err != nil {
		return nil, fmt.Errorf("service route of %s: %w", account, err)
	}
	if core := find(regs, latchkey.CoreServer); core != nil && core.Standing(time.Now()) {
		return core.ServiceRoute, nil
	}
	return nil, nil
}

// Hop is where requests of the account go first, where that is not the core: the detour by which it is registered (RFC 3261 §21.3.4).
func (r *Registrar) Hop(ctx context.Context, account latchkey.AccountID) (string, error) {
	regs, err := r.store.Registrations(ctx, account)
	if err != nil {
		return "", fmt.Errorf("hop of %s: %w", account, err)
	}
	if core := find(regs, latchkey.CoreServer); core != nil && core.Hop != "" && core.Standing(time.Now()) {
		return sipua.LooseRoute(core.Hop), nil
	}
	return "", nil
}

// Identity is the account's default public identity: itself, or where the core lists others only, the first of those
// (TS 24.229 §5.1.1.2 (unverified), PROTOCOLS B1.20).
func (r *Registrar) Identity(ctx context.Context, account latchkey.AccountID) (string, error) {
	regs, err := r.store.Registrations(ctx, account)
	if err != nil {
		return "", fmt.Errorf("identity of %s: %w", account, err)
	}
	core := find(regs, latchkey.CoreServer)
	if core == nil || len(core.Associated) == 0 || !core.Standing(time.Now()) {
		return string(account), nil
	}
	for _, uri := range core.Associated {
		if a, err := latchkey.ParseAddress(uri); err == nil && a.Identity() == string(account) {
			return string(account), nil
		}
	}
	return core.Associated[0], nil
}

// server is the row under which an interaction's server is kept: servers at one URI
// share one registration, the core's before im's before file's.
func (r *Registrar) server(of latchkey.Server) latchkey.Server {
	for _, s := range []latchkey.Server{latchkey.CoreServer, imServer} {
		if sameHop(r.hops[s], r.hops[of]) {
			return s
		}
	}
	return of
}

// interactionServers are the distinct servers of the interactions beside the core.
func (r *Registrar) interactionServers(interactions []latchkey.Interaction) []latchkey.Server {
	var all []latchkey.Server
	for _, i := range interactions {
		s := r.server(latchkey.Server(i))
		if s == latchkey.CoreServer || slices.Contains(all, s) {
			continue
		}
		all = append(all, s)
	}
	return all
}

func sameHop(a, b string) bool {
	ua, errA := parseHop(a)
	ub, errB := parseHop(b)
	return errA == nil && errB == nil && strings.EqualFold(ua.String(), ub.String())
}

func parseHop(uri string) (sip.Uri, error) {
	var u sip.Uri
	if err := sip.ParseUri(uri, &u); err != nil {
		return u, fmt.Errorf("uri %q: %w", uri, err)
	}
	if u.Scheme != "sip" && u.Scheme != "sips" {
		return u, fmt.Errorf("uri %q: not a SIP URI", uri)
	}
	return u, nil
}

// begin waits for the account's turn and reads what is registered. release must be called in the end, unless err says that it has been.
func (r *Registrar) begin(ctx context.Context, account latchkey.AccountID) (regs []latchkey.Registration, release func(), err error) {
	if release, err = r.turns.Take(ctx, account); err == nil {
		if regs, err = r.store.Registrations(ctx, account); err != nil {
			release()
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("registration of %s: %w", account, err)
	}
	return regs, release, nil
}
