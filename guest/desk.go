package guest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"latchkey"
	"latchkey/internal/limit"
	"latchkey/internal/secret"
)

// Store keeps guests and relations. Each method that writes is one transaction, on disk when
// it returns. *storage.DB is one, and says in full what each method promises.
type Store interface {
	NextSerial(ctx context.Context, name string) (int64, error)
	Guest(ctx context.Context, account latchkey.AccountID) (latchkey.Guest, error)
	GuestBy(ctx context.Context, id latchkey.Identifier) (latchkey.Guest, error)

	Ask(ctx context.Context, g latchkey.Guest, r latchkey.Relation) (latchkey.Guest, latchkey.Relation, error)
	Settle(ctx context.Context, r latchkey.Relation, salt, hash string, n latchkey.Notice) error
	Renew(ctx context.Context, r latchkey.Relation) error
	Spend(ctx context.Context, id string, inviter latchkey.InviterID, target latchkey.Identifier, now time.Time, hold time.Duration, q latchkey.Quota) (wait time.Duration, err error)
	Refund(ctx context.Context, id string) error
	KeepSIPPassword(ctx context.Context, account latchkey.AccountID, password latchkey.Secret) error

	Relation(ctx context.Context, id latchkey.RelationID) (latchkey.Relation, error)
	Relations(ctx context.Context, account latchkey.AccountID) ([]latchkey.Relation, error)
	Invitation(ctx context.Context, id latchkey.RelationID) (latchkey.Invitation, error)
	Invitations(ctx context.Context, inviter latchkey.InviterID) ([]latchkey.Invitation, error)
	RelationsOf(ctx context.Context, inviter latchkey.InviterID, tel string) ([]latchkey.Relation, error)

	Passwords(ctx context.Context, account latchkey.AccountID, now time.Time) (salts, hashes []string, valid []bool, err error)
	AddLogin(ctx context.Context, account latchkey.AccountID, hash string, created, expires time.Time) error
	GuestByLogin(ctx context.Context, hash string, now time.Time) (latchkey.Guest, error)

	Key(ctx context.Context, name string) ([]byte, error)
	AddOptOut(ctx context.Context, person, holder string, at time.Time) error
	RemoveOptOut(ctx context.Context, person string) error
	OptedOut(ctx context.Context, person string) (bool, error)
	OptedOutBy(ctx context.Context, holder string) (person string, err error)

	BeginEnding(ctx context.Context, ids []latchkey.RelationID, cause latchkey.Cause) ([]latchkey.Relation, error)
	Unsettled(ctx context.Context, account latchkey.AccountID) ([]latchkey.Relation, []latchkey.Cause, error)
	UnsettledAccounts(ctx context.Context) ([]latchkey.AccountID, error)
	End(ctx context.Context, account latchkey.AccountID, ids []latchkey.RelationID, remove bool) error
	Expired(ctx context.Context, now time.Time, limit int) ([]latchkey.Relation, error)
	NextExpiry(ctx context.Context) (time.Time, error)
	Purge(ctx context.Context, now time.Time, keep time.Duration) error
}

// Directory knows who is a registered user. Nobody found is KindNotFound.
type Directory interface {
	Find(ctx context.Context, id latchkey.Identifier) (latchkey.Subscriber, error)
	FindURI(ctx context.Context, a latchkey.Address) (latchkey.Subscriber, error)
}

// Registrar registers accounts at the core and the interaction servers.
type Registrar interface {
	// Keep registers what isn't registered. An error means that nothing of a new account is left.
	Keep(ctx context.Context, account latchkey.AccountID, interactions []latchkey.Interaction) error
	// Confirm makes core and interaction servers agree to a login (R21).
	Confirm(ctx context.Context, account latchkey.AccountID) error
	// Drop takes all of it back. Dropping what isn't kept is no error.
	Drop(ctx context.Context, account latchkey.AccountID) error
}

// Conversations are told when a relation begins and ends.
type Conversations interface {
	Open(ctx context.Context, rel latchkey.Relation) error
	// Close ends calls, drops what wasn't delivered, and tells the guest. It may be called
	// again for the same relation after a crash.
	Close(ctx context.Context, rel latchkey.Relation, cause latchkey.Cause) error
}

// Scheme says how an account is made (R9).
type Scheme string

// The schemes.
const (
	Mapped    Scheme = "mapped"     // b@cc.com: sip:b_at_cc.com@DOMAIN
	Identical Scheme = "identifier" // b@cc.com: sip:b@cc.com
	Serial    Scheme = "serial"     // sip:g1@DOMAIN
	Allotted  Scheme = "directory"  // as Options.Allot says
)

// Allotter asks the directory for an account for somebody who has none, the same for the same person, and for the
// account's SIP password, which may be empty. *directory.HTTP has one.
type Allotter func(ctx context.Context, id latchkey.Identifier) (latchkey.AccountID, latchkey.Secret, error)

// LinkStyle says where an invitation link carries the password.
type LinkStyle string

// The link styles. A fragment is never sent to a server (S2).
const (
	Query    LinkStyle = "query"
	Fragment LinkStyle = "fragment"
)

// Policy is the operator's rule on who may invite (R3, patent ¶64).
type Policy struct {
	Any   bool // every subscriber, a suspended one too
	Level int  // the least level; 0: any
}

// Allows reports whether s may invite. Without Any only active subscribers do.
func (p Policy) Allows(s latchkey.Subscriber) bool {
	return p.Any || s.State == latchkey.Active && s.Level >= p.Level
}

// OptedOut says what an inviter is told who invites somebody who wants no invitations (F18).
type OptedOut string

// Silent: what anybody is told, and nothing is sent. Refuse: KindNotAllowed.
const (
	Silent OptedOut = "silent"
	Refuse OptedOut = "refuse"
)

// Options of a Desk. Domain and PublicURL are required.
type Options struct {
	Domain      string                                // SIP domain of accounts
	PublicURL   string                                // base of invitation links
	Scheme      Scheme                                // default Mapped
	Allot       Allotter                              // makes accounts under the scheme Allotted, and is required there
	LinkStyle   LinkStyle                             // default Query
	Policy      Policy                                // default: valid subscribers
	Targets     Targets                               // who may be invited; default: everybody
	OptedOut    OptedOut                              // default Silent
	Merge       time.Duration                         // a notice waits so long for others to the same person, to go with them; 0: not at all
	Lifetime    time.Duration                         // of a relation; default 168 h
	KeepAccount bool                                  // on-logout keep: the account outlives its last relation
	ResendAfter time.Duration                         // how soon a repeated invitation is sent again; default 1 h
	Quota       *latchkey.Quota                       // nil: 1000 a day for an inviter, 10 a day for a target
	Channels    []latchkey.Channel                    // that can be delivered; default: by mail
	Guard       *limit.Guard                          // slows down guessing; default: a Guard of its own
	Online      func(account latchkey.AccountID) bool // whether a guest has a stream attached; nil: never known
	Notify      func()                                // called when a notice was queued, to wake the courier
	Patience    time.Duration                         // how long BYE and deregistration may take; default 40 s
	Registering time.Duration                         // how long the registrations of an invitation may take together; default 90 s
	Log         *slog.Logger
}

// Validate reports the first option that can't work.
func (o Options) Validate() error {
	if a, err := latchkey.ParseAddress("sip:g1@" + o.Domain); err != nil || a.Port() != 0 || a.Host() == "" {
		return fmt.Errorf("domain: %q is not a domain such as guest.example", o.Domain)
	}
	if u, err := url.Parse(o.PublicURL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("public-url: %q is not a URL such as https://chat.example.com", o.PublicURL)
	}
	switch o.Scheme {
	case "", Mapped, Identical, Serial:
	case Allotted:
		if o.Allot == nil {
			return errors.New("account-scheme: directory needs a directory that allots accounts, as an HTTP one does")
		}
	default:
		return fmt.Errorf("account-scheme: %q is not known; use mapped, identifier, serial or directory", o.Scheme)
	}
	switch o.LinkStyle {
	case "", Query, Fragment:
	default:
		return fmt.Errorf("link-style: %q is not known; use query or fragment", o.LinkStyle)
	}
	if o.Lifetime < 0 {
		return errors.New("account-lifetime: must be positive, as in 168h")
	}
	return nil
}

// Desk is the front desk: it lets guests in and sees them off.
type Desk struct {
	store         Store
	directory     Directory
	registrar     Registrar
	conversations Conversations
	opt           Options
	log           *slog.Logger
	turns         *limit.Turns[string] // one flow at a time for each identifier
	matches       func(h secret.Hash, password string) bool
}

// New makes a Desk. The options must pass Validate. Call Resume once, then Run.
func New(store Store, directory Directory, registrar Registrar, conversations Conversations, opt Options) *Desk {
	if opt.Scheme == "" {
		opt.Scheme = Mapped
	}
	if opt.LinkStyle == "" {
		opt.LinkStyle = Query
	}
	if opt.Lifetime == 0 {
		opt.Lifetime = 168 * time.Hour
	}
	if opt.OptedOut == "" {
		opt.OptedOut = Silent
	}
	if opt.ResendAfter == 0 {
		opt.ResendAfter = time.Hour
	}
	if opt.Quota == nil {
		opt.Quota = &latchkey.Quota{PerInviter: 1000, InviterWindow: 24 * time.Hour, PerTarget: 10, TargetWindow: 24 * time.Hour}
	}
	if opt.Channels == nil {
		opt.Channels = []latchkey.Channel{latchkey.ByMail}
	}
	if opt.Guard == nil {
		opt.Guard = limit.NewGuard(limit.Limits{})
	}
	if opt.Online == nil {
		opt.Online = func(latchkey.AccountID) bool { return false }
	}
	if opt.Notify == nil {
		opt.Notify = func() {}
	}
	if opt.Patience == 0 {
		opt.Patience = 40 * time.Second // a BYE that nobody answers takes 32 s (RFC 3261 §17.1.2.2, timer F)
	}
	if opt.Registering == 0 {
		opt.Registering = 90 * time.Second
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	opt.PublicURL = strings.TrimRight(opt.PublicURL, "/")
	return &Desk{store: store, directory: directory, registrar: registrar, conversations: conversations, opt: opt, log: opt.Log, turns: limit.NewTurns[string](1), matches: secret.Hash.Matches}
}
