package latchkey

import "time"

// Asked is the state of a relation before the core has registered its account. Nothing passes
// and nobody was told. It becomes Live, or is undone and leaves no row.
const Asked RelationState = "asked"

// Invitation is a relation as its inviter sees it, with what became of its latest notice.
type Invitation struct {
	Relation
	Identifier   Identifier
	Notification NotificationState
	Reason       string    // why the notification failed, in words for the inviter
	Notified     time.Time // when the latest notice was queued
	LastLogin    time.Time // zero: the guest never logged in
}

// Channel names a way to deliver a notice.
type Channel string

// The channels of an invitation (R8).
const (
	ByMail Channel = "email"
	BySMS  Channel = "sms"
	ByMMS  Channel = "mms"
)

// InChat is how inviters hear what became of their invitations. No invitation goes that way.
const InChat Channel = "chat"

// Notice is one invitation on its way to a guest, a row of the outbox. Its ID is chosen before
// the first attempt and goes into the message's own id, so that a repeat is a repeat. Link holds the
// password and is erased when the notice was sent or has failed for good.
type Notice struct {
	ID          string
	Relation    RelationID
	Channel     Channel
	Recipient   string // mailbox or E.164 number
	GuestName   string // what the inviter calls the guest, or ""
	Account     AccountID
	Inviter     InviterID
	InviterName string
	Note        Text // the inviter's own words, or ""
	Link        Secret
	Created     time.Time
	Expires     time.Time // of the relation; after that there is nothing to tell
	Attempts    int       // that were begun, this one included
	Language    string    // BCP 47 tag of the language that it is in, or ""
	Speaks      string    // that of the inviter, or ""
	Due         time.Time // not sent before; zero: at once
	Beside      []Beside  // other inviters whom the same message names
}

// Beside is an inviter whose notice goes in another's message: both invited the same person within a short time.
type Beside struct {
	Inviter     InviterID
	InviterName string
	Note        Text
}

// Outcome is what became of a notice, on its way to its inviter: NotificationDelivered, or NotificationFailed with the reason.
// Its ID is that of the message in the chat, chosen when the notice ends, so that a repeat is a repeat.
type Outcome struct {
	ID        MessageID
	Notice    string
	Relation  RelationID
	Recipient string // mailbox or E.164 number
	Language  string // the inviter's, a BCP 47 tag, or ""
	State     NotificationState
	Reason    string
	Created   time.Time
	Expires   time.Time // of the relation
	Attempts  int       // that were begun, this one included
}

// Submission is a part of a notice that a server has taken and will report on: an SMS of several, or the one
// MMS. IDs begin with the server's own id for it; what follows are other ways to write that.
type Submission struct {
	Notice      string
	Channel     Channel
	Part, Parts int // from 1
	Recipient   string
	IDs         []string
	Time        time.Time
}

// Report is a server's last word on a submission: NotificationDelivered, or NotificationFailed with the reason
// in words for the inviter.
type Report struct {
	Channel   Channel
	IDs       []string // as those of Submission
	Recipient string   // "" where the server doesn't say
	State     NotificationState
	Reason    string
	Time      time.Time
}

// Quota is how many invitations one inviter may send, how many one target may get from all inviters, and how
// many there may be in all, within a time. A count of zero is no limit. After an invitation has failed for
// good nobody may invite that target for as long as CoolDown.
type Quota struct {
	PerInviter    int
	InviterWindow time.Duration
	PerTarget     int
	TargetWindow  time.Duration
	Total         int
	TotalWindow   time.Duration
	CoolDown      time.Duration
}
