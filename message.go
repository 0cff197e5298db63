package latchkey

import "time"

// Direction says which way a message goes.
type Direction string

// Directions of a message or file. A Deposit is a file that an inviter's phone has put on our content server, for whoever is
// told its address (PROTOCOLS B3.13); it belongs to no relation and no account.
const (
	ToInviter Direction = "out" // from the guest
	ToGuest   Direction = "in"  // from the inviter
	Deposit   Direction = "deposit"
)

// MessageState is how far a message has come. It only moves forward, except that
// Failed is final.
type MessageState string

// States of a message. Accepted: on our disk. Sent: the inviter's side took every byte
// (MSRP 200). Delivered, Displayed: an IMDN says so (RFC 5438). For messages to the
// guest: Accepted, then Delivered when the guest's client acknowledged, then Displayed.
const (
	MessageAccepted  MessageState = "accepted"
	MessageSent      MessageState = "sent"
	MessageDelivered MessageState = "delivered"
	MessageDisplayed MessageState = "displayed"
	MessageFailed    MessageState = "failed"
)

var messageRank = map[MessageState]int{
	MessageAccepted: 0, MessageSent: 1, MessageDelivered: 2, MessageDisplayed: 3, MessageFailed: 4,
}

// Precedes reports whether a message may move from s to next.
func (s MessageState) Precedes(next MessageState) bool {
	return s != MessageFailed && messageRank[s] < messageRank[next] &&
		(next != MessageFailed || s == MessageAccepted || s == MessageSent)
}

// Message is one message of a conversation, a row from the moment it is accepted.
type Message struct {
	ID          MessageID
	Relation    RelationID
	Account     AccountID
	Inviter     InviterID
	Direction   Direction
	ContentType string
	Text        Text
	State       MessageState
	Reason      string // why it failed, in words for a person
	ClientID    string // the sender's own id, or ""
	Time        time.Time

	// For messages to the guest: A's imdn.Message-ID and which notifications A asked for
	// (RFC 5438 §6.2, §6.3).
	RemoteID      string
	WantDelivered bool
	WantDisplayed bool
}

// EventType names what happened.
type EventType string

// Types of event in a guest's stream.
const (
	MessageEvent   EventType = "message"
	FileEvent      EventType = "file"
	DeliveryEvent  EventType = "delivery"
	StatusEvent    EventType = "status"
	ComposingEvent EventType = "composing"
	InviterEvent   EventType = "inviter"
	SessionEvent   EventType = "session"
)

// Event is one entry in a guest's numbered stream. Its JSON is both what is
// stored and what clients read. Events of type composing are told live, but lapse: who comes back
// later must not see somebody typing who has long stopped.
type Event struct {
	ID      int64         `json:"id"`
	Type    EventType     `json:"type"`
	Time    time.Time     `json:"time"`
	Account AccountID     `json:"-"`
	Lapses  time.Time     `json:"-"` // not told any more from then on; zero: never
	From    string        `json:"from,omitempty"`
	URI     string        `json:"uri,omitempty"`
	Status  string        `json:"status,omitempty"`
	State   string        `json:"state,omitempty"`
	Reason  string        `json:"reason,omitempty"`
	Name    string        `json:"name,omitempty"`
	Message *EventMessage `json:"message,omitempty"`
	File    *EventFile    `json:"file,omitempty"`
}

// EventMessage is the message that an event is about. Text and Type stand in message
// events, State and Reason in delivery events.
type EventMessage struct {
	ID     MessageID    `json:"id"`
	Text   string       `json:"text,omitempty"`
	Type   string       `json:"type,omitempty"`
	State  MessageState `json:"state,omitempty"`
	Reason string       `json:"reason,omitempty"`
}

// EventFile is the file that an event is about; Size is in bytes. State and Reason stand in delivery events, and in the
// file event of one that could not be had.
type EventFile struct {
	ID      FileID    `json:"id"`
	Name    string    `json:"name"`
	Size    int64     `json:"size"`
	Type    string    `json:"type"`
	Preview bool      `json:"preview,omitempty"` // there is a small picture of it
	State   FileState `json:"state,omitempty"`
	Reason  string    `json:"reason,omitempty"`
	Sent    int64     `json:"sent,omitempty"` // bytes that have come so far, in delivery events of a file that is under way to the inviter, or was cut off on its way to the guest
}

// Receipt is a notification (IMDN) that the guest's side owes to an inviter for a message
// of theirs (RFC 5438 §7.2): delivered or displayed, each at most once.
type Receipt struct {
	Message   MessageID // ours
	RemoteID  string    // the inviter's imdn.Message-ID
	Displayed bool      // else: delivered
	Time      time.Time
}
