package httpapi

import (
	"context"
	"io"
	"net/http"
	"net/netip"
	"time"

	"latchkey"
	"latchkey/conversation"
	"latchkey/guest"
)

// Ports are the rooms behind the facade. All but Uploads, Push, Page, Assets and OptOut are required.
type Ports struct {
	Desk      Desk
	Hall      Hall
	Presence  Presence
	Directory Directory
	Files     Files
	Push      Push

	// Uploads keeps what inviters' phones put on the content server; nil: there is no content server.
	Uploads Uploads

	// Page answers GET of the invitation link with the guest's page. It sees a request without
	// its query, so that it can't leak the password.
	Page http.Handler
	// Assets serves what the page loads, under /rcsgw/app/.
	Assets http.Handler
	// OptOut is the page of the opt-out link; nil: there is none.
	OptOut OptOutPage
}

// Desk is what the facade needs of the room that knows who may do what. *guest.Desk is one.
type Desk interface {
	Invite(ctx context.Context, req guest.InviteRequest) (guest.Invited, error)
	Invitations(ctx context.Context, inviter latchkey.InviterID) ([]guest.Invited, error)
	Registered(ctx context.Context, id latchkey.Identifier) (latchkey.Subscriber, bool, error)
	RegisteredURI(ctx context.Context, a latchkey.Address) (latchkey.Subscriber, bool, error)
	Withdraw(ctx context.Context, inviter latchkey.InviterID, account latchkey.AccountID) error
	WithdrawAll(ctx context.Context, inviter latchkey.InviterID) error

	Authenticate(ctx context.Context, account, password string, from netip.Addr) (latchkey.Guest, error)
	Login(ctx context.Context, account, password string, from netip.Addr) (guest.Login, error)
	ByToken(ctx context.Context, token string) (latchkey.Guest, error)
	Relations(ctx context.Context, account latchkey.AccountID) ([]latchkey.Relation, error)
	Authorize(ctx context.Context, account latchkey.AccountID, peer latchkey.Address) (latchkey.Relation, error)
	Logout(ctx context.Context, account latchkey.AccountID) error

	OptOutByToken(ctx context.Context, account, token string) error
	OptOutByPassword(ctx context.Context, account, password string, from netip.Addr) error
	OptInByToken(ctx context.Context, account, token string) error
	OptInByPassword(ctx context.Context, account, password string, from netip.Addr) error
}

// Hall is what the facade needs of conversations. *conversation.Hall is one.
type Hall interface {
	Send(ctx context.Context, rel latchkey.Relation, out conversation.Outgoing) (m latchkey.Message, repeated bool, err error)
	Composing(ctx context.Context, rel latchkey.Relation, active bool) error
	Read(ctx context.Context, account latchkey.AccountID, id latchkey.MessageID) error
	History(ctx context.Context, account latchkey.AccountID, with latchkey.InviterID, before latchkey.MessageID, limit int) ([]latchkey.Message, error)
	Events(ctx context.Context, account latchkey.AccountID, after int64, limit int) ([]latchkey.Event, error)
	Wait(ctx context.Context, account latchkey.AccountID, after int64) error
	// Listen has news called whenever there may be more events, until stop, and with an error when the hall closes.
	Listen(account latchkey.AccountID, news func(closing error)) (stop func(), err error)
	// Over reports whether the guest has no relation any more, and the events say so of each that they had.
	Over(ctx context.Context, account latchkey.AccountID) (bool, error)
	Ack(ctx context.Context, account latchkey.AccountID, upTo int64) error
	Post(ctx context.Context, e latchkey.Event) error
	Present(account latchkey.AccountID, delta int)
	MaySendFile(ctx context.Context, rel latchkey.Relation) error
	FileComing(rel latchkey.Relation, f latchkey.StoredFile)
	SendFile(ctx context.Context, rel latchkey.Relation, f latchkey.StoredFile) error
	CancelFile(ctx context.Context, rel latchkey.Relation, f latchkey.StoredFile) error
}

// Files is what the facade needs of the room that keeps files' bytes. *files.Vault is one, but for the type of its writers.
type Files interface {
	MaxSize() int64
	Create(ctx context.Context, f latchkey.StoredFile) (up Upload, stored latchkey.StoredFile, repeated bool, err error)
	Resume(ctx context.Context, id latchkey.FileID) (Upload, error)
	Offset(ctx context.Context, f latchkey.StoredFile) (int64, error)
	Find(ctx context.Context, id latchkey.FileID) (latchkey.StoredFile, error)
	FindByKey(ctx context.Context, key string) (latchkey.StoredFile, error)
	History(ctx context.Context, account latchkey.AccountID, with latchkey.InviterID, before latchkey.FileID, limit int) ([]latchkey.StoredFile, error)
	Open(ctx context.Context, f latchkey.StoredFile) (io.ReadSeekCloser, error)
	Preview(ctx context.Context, f latchkey.StoredFile) (contentType string, picture []byte, err error)
	Cancel(ctx context.Context, f latchkey.StoredFile) error
}

// Push is what the facade needs of the room that calls guests who are away. *push.Crier is one; nil: nobody is called.
type Push interface {
	Key() string
	Subscribe(ctx context.Context, account latchkey.AccountID, endpoint, p256dh, auth string, expires time.Time) (p latchkey.PushSubscription, known bool, err error)
	Unsubscribe(ctx context.Context, account latchkey.AccountID, id string) error
}

// Presence is what the facade needs to tell a guest whether an inviter is there. *presence.Board is one.
type Presence interface {
	Status(ctx context.Context, from latchkey.AccountID, of latchkey.Address) (latchkey.Status, error)
	// Watch has news, which must not wait, told the state and then each change of it until stop.
	Watch(from latchkey.AccountID, of latchkey.Address, news func(latchkey.Status)) (stop func())
}

// Directory checks inviters' credentials. *directory.File is one.
type Directory interface {
	Authenticate(ctx context.Context, user, password string) (latchkey.Subscriber, error)
}
