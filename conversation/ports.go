package conversation

import (
	"context"
	"fmt"
	"time"

	"latchkey"
)

// Store keeps what must survive a crash. Each method is one transaction that is on disk when it returns.
type Store interface {
	// AddToInviter stores a guest's message. repeated: a message with this ClientID is there
	// already, and is returned as it is. Another text under the same ClientID is KindConflict.
	AddToInviter(ctx context.Context, m latchkey.Message) (stored latchkey.Message, repeated bool, err error)
	// AddToGuest stores an inviter's message and its event. repeated: the RemoteID was taken before.
	AddToGuest(ctx context.Context, m latchkey.Message, e latchkey.Event) (repeated bool, err error)
	// Move takes a guest's message in the relation to a state if it may go there, and adds the delivery event.
	Move(ctx context.Context, relation latchkey.RelationID, id latchkey.MessageID, to latchkey.MessageState, reason string) (moved bool, err error)
	// Waiting lists what a relation still has to send to its inviter, oldest first.
	Waiting(ctx context.Context, id latchkey.RelationID) ([]latchkey.Message, []latchkey.Receipt, error)
	// Busy lists the live relations for which Waiting is not empty.
	Busy(ctx context.Context) ([]latchkey.Relation, error)
	// ReceiptSent ticks off a receipt.
	ReceiptSent(ctx context.Context, r latchkey.Receipt) error
	// Acknowledge notes that the guest's client has everything up to the event. It returns the relations that
	// have new receipts to send.
	Acknowledge(ctx context.Context, account latchkey.AccountID, upTo int64) ([]latchkey.Relation, error)
	// Displayed notes that the guest has read a message. The relation is zero where there is nothing to send.
	Displayed(ctx context.Context, account latchkey.AccountID, id latchkey.MessageID) (latchkey.Relation, error)
	// AddEvent numbers and stores an event.
	AddEvent(ctx context.Context, e latchkey.Event) (int64, error)
	// Events lists events after a number that haven't lapsed, oldest first.
	Events(ctx context.Context, account latchkey.AccountID, after int64, limit int) ([]latchkey.Event, error)
	// History lists the newest messages between the two before a message, oldest first; before may be "".
	History(ctx context.Context, account latchkey.AccountID, with latchkey.InviterID, before latchkey.MessageID, limit int) ([]latchkey.Message, error)
	// ConversationID gives a live relation's Conversation-ID, made on first use (PROTOCOLS B3.04); KindNoRelation
	// where the relation isn't live.
	ConversationID(ctx context.Context, id latchkey.RelationID) (string, error)
	// WaitingFiles lists the complete files that a relation still has to send to its inviter, oldest first.
	WaitingFiles(ctx context.Context, id latchkey.RelationID) ([]latchkey.StoredFile, error)
	// MoveFile takes a file in the relation to a state if it may go there, and adds the event.
	MoveFile(ctx context.Context, relation latchkey.RelationID, id latchkey.FileID, to latchkey.FileState, reason string) (moved bool, err error)
	// EndConversation deletes a relation's messages and receipts and adds the event, the first time.
	EndConversation(ctx context.Context, rel latchkey.Relation, e latchkey.Event) error
	// ConversationsOver reports whether the account has no live relation, and EndConversation was for each that is ending.
	ConversationsOver(ctx context.Context, account latchkey.AccountID) (bool, error)
}

// Dialer opens a channel to a relation's inviter: INVITE and MSRP, or, in pager mode, one SIP MESSAGE after another.
type Dialer interface {
	Dial(ctx context.Context, rel latchkey.Relation, opt CallOptions, to Receiver) (Channel, error)
	// Page sends one message outside of any channel: SIP MESSAGE (RFC 3428). It returns nil when that was accepted;
	// *CallRefused: it was not.
	Page(ctx context.Context, rel latchkey.Relation, contentType string, body []byte) error
}

// CallOptions name a call (PROTOCOLS B3.04).
type CallOptions struct {
	ConversationID string // the same over all calls of a relation
	ContributionID string // fresh for each call
}

// Channel is an open way to an inviter.
type Channel interface {
	// Send returns when the peer has answered 200 to all of the message. *MSRPRefused: it
	// answered something else. *CallRefused: each message asks anew (pager mode), and this time the peer said no.
	// Any other error: the channel is of no use.
	Send(ctx context.Context, id, contentType string, body []byte) error
	// Close hangs up. reason is a Reason field value (RFC 3326), or "".
	Close(ctx context.Context, reason string) error
	// Done is closed when the channel can carry nothing more.
	Done() <-chan struct{}
	MaxSize() int64 // 0: no limit known
	AcceptsWrapped(contentType string) bool
}

// Receiver takes what an inviter sends on a channel. nil: it is on disk.
type Receiver interface {
	// Receive may be called before Dial or Accept has returned its channel.
	Receive(ctx context.Context, ch Channel, contentType string, body []byte) error
}

// IncomingCall is an inviter's INVITE, not answered yet.
type IncomingCall interface {
	Context() context.Context // ends when the inviter cancels
	CallID() string
	FirstMessage() (contentType string, body []byte) // beside the offer; nil: none
	// Accept answers the call and returns when messages can pass. It gives up when ctx ends.
	Accept(ctx context.Context, to Receiver) (Channel, error)
	Refuse(code int, reason string) error
}

// OneMessage is an ability of an IncomingCall: the inviter calls for one message, which is too long for SIP, and
// hangs up. Nothing goes back on such a call.
type OneMessage interface {
	IsOneMessage() bool
}

// Registrar registers an account late at an interaction server (R26).
type Registrar interface {
	Ensure(ctx context.Context, account latchkey.AccountID, i latchkey.Interaction) error
}

// Presence tells whether an inviter is there.
type Presence interface {
	Status(ctx context.Context, from latchkey.AccountID, of latchkey.Address) (latchkey.Status, error)
}

// CallRefused is a final SIP response of 300 and up to a call or a page.
type CallRefused struct {
	Code       int
	Reason     string
	RetryAfter time.Duration
}

// Error tells code and phrase.
func (e *CallRefused) Error() string { return fmt.Sprintf("call refused: %d %s", e.Code, e.Reason) }

// Final reports whether a repeat would end the same.
func (e *CallRefused) Final() bool {
	_, final := verdict(e.Code)
	return final
}

// MSRPRefused is an MSRP response other than 200.
type MSRPRefused struct {
	Code   int
	Reason string
}

// Error tells code and comment.
func (e *MSRPRefused) Error() string { return fmt.Sprintf("message refused: %d %s", e.Code, e.Reason) }
