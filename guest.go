package latchkey

import (
	"slices"
	"time"
)

// Interaction is a kind of talk; each has its interaction server (patent ¶65).
type Interaction string

// The interaction types of the method.
const (
	IM   Interaction = "im"
	File Interaction = "file"
)

// ParseInteraction reads "im" or "file".
func ParseInteraction(s string) (Interaction, error) {
	switch i := Interaction(s); i {
	case IM, File:
		return i, nil
	}
	return "", Errorf(KindBadRequest, "interactions: %q is not known; use im or file", s)
}

// Subscriber is a registered user as the directory knows one (patent: RCS UP Center).
// An inviter is a Subscriber whom the policy allows to invite.
type Subscriber struct {
	URI   Address
	UID   string
	Tel   string // E.164, or ""
	Email string // or ""
	Name  string
	Level int
	State SubscriberState
	// Language is a BCP 47 tag, or "". Invitations are written in it.
	Language string
}

// ID is the subscriber as an inviter.
func (s Subscriber) ID() InviterID { return InviterID(s.URI.Identity()) }

// SubscriberState is the directory's word on a subscription (patent ¶64).
type SubscriberState string

// States of a subscription.
const (
	Active    SubscriberState = "active"
	Suspended SubscriberState = "suspended"
	Lost      SubscriberState = "lost"
)

// Guest is the row of the account table (patent ¶79): an identifier and the one account
// allotted to it. A guest lives from the first invitation to the end of the last
// relation, or longer where the operator keeps accounts.
type Guest struct {
	Account    AccountID
	Identifier Identifier
	Created    time.Time
}

// Relation is the row of the relation table (patent ¶80): "A invited this account".
// Nothing passes between two parties without a live one.
type Relation struct {
	ID           RelationID
	Account      AccountID
	Inviter      InviterID
	InviterUID   string
	InviterName  string
	InviterTel   string // E.164, or "": A's other name in SIP
	Interactions []Interaction
	Note         string
	Created      time.Time
	Expires      time.Time
	State        RelationState
}

// RelationState is Live or Ending. While a relation is ending nothing new starts and
// nothing is delivered; when the ending is complete the row is gone.
type RelationState string

// States of a relation.
const (
	Live   RelationState = "live"
	Ending RelationState = "ending"
)

// Ending reports whether the relation is on its way out.
func (r Relation) Ending() bool { return r.State == Ending }

// Expired reports whether the relation's validity is over at t.
func (r Relation) Expired(t time.Time) bool { return !t.Before(r.Expires) }

// Allows reports whether the relation was made for the interaction type.
func (r Relation) Allows(i Interaction) bool { return slices.Contains(r.Interactions, i) }

// Names reports whether address is the relation's inviter: their URI, or their number
// as tel: or as a SIP URI that carries it.
func (r Relation) Names(address Address) bool {
	if InviterID(address.Identity()) == r.Inviter {
		return true
	}
	// RFC 3261 §19.1.6: a number is the same party as tel: URI and as user=phone; in a
	// SIP URI it counts only under the inviter's own domain.
	if r.InviterTel == "" || address.Number() != r.InviterTel {
		return false
	}
	return address.Scheme() == "tel" || address.Host() == r.Inviter.Address().Host()
}

// Cause says why a relation ends.
type Cause string

// Causes of an end (R29, R30, F56-F58, PROTOCOLS B2.16).
const (
	GuestLeft       Cause = "guest-left"
	InviterLeft     Cause = "inviter-left"
	Withdrawn       Cause = "withdrawn"
	ValidityOver    Cause = "expired"
	InviteUndone    Cause = "invite-undone"
	GuestOptedOut   Cause = "opted-out"
	OperatorRemoved Cause = "operator"
	Unwanted        Cause = "unwanted" // the inviter's phone or network said so (607, 608)
)

// NotificationState is how far the invitation's delivery has come.
type NotificationState string

// States of a notification, as inviters see them.
const (
	NotificationQueued    NotificationState = "queued"
	NotificationSent      NotificationState = "sent"
	NotificationDelivered NotificationState = "delivered"
	NotificationFailed    NotificationState = "failed"
)

// GuestState is what an inviter is told about a guest.
type GuestState string

// States of a guest: never logged in; with a stream attached; without.
const (
	GuestInvited GuestState = "invited"
	GuestOnline  GuestState = "online"
	GuestOffline GuestState = "offline"
)
