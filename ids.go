package latchkey

import (
	"crypto/rand"
	"encoding/base32"
	"strings"
)

// AccountID is the identity URI of a temporary account (`sip:b_at_cc.com@guest.example`),
// always canonical: Address.Identity of it is itself.
type AccountID string

// InviterID is the identity URI of a registered user as the directory spells it (`sip:a@cc.com`).
type InviterID string

// RelationID names one relation, for ever: it is not used again after the relation ended.
type RelationID string

// MessageID names one message in the gateway. Towards SIP it is also the
// imdn.Message-ID of messages that the gateway sends (RFC 5438 §6.3).
type MessageID string

// Address is the account as an address. Account ids are made from addresses, so it exists.
func (id AccountID) Address() Address { return MustAddress(string(id)) }

// Address is the inviter as an address.
func (id InviterID) Address() Address { return MustAddress(string(id)) }

var tokenText = base32.NewEncoding("abcdefghijkmnpqrstuvwxyz23456789").WithPadding(base32.NoPadding)

// NewToken makes an unguessable name of 130 random bits in 26 letters and digits that
// need no escaping in URLs, SIP and MSRP (and which no one confuses when reading aloud).
func NewToken() string {
	var b [17]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return tokenText.EncodeToString(b[:])[:26]
}

// NewRelationID makes a fresh relation name.
func NewRelationID() RelationID { return RelationID(NewToken()) }

// NewMessageID makes a fresh message name.
func NewMessageID() MessageID { return MessageID(NewToken()) }

// Secret is text that no log may show. Its String is a mask.
type Secret string

// String hides the secret from %v, %s and slog.
func (Secret) String() string { return "***" }

// GoString hides the secret from %#v.
func (Secret) GoString() string { return "***" }

// MarshalText hides the secret from JSON logs and dumps.
func (Secret) MarshalText() ([]byte, error) { return []byte("***"), nil }

// Reveal is the secret itself, for the one place that needs it.
func (s Secret) Reveal() string { return string(s) }

// Text is what people wrote to each other. Logs show its length only.
type Text string

// String is the mask that stands for a message's text in a log.
func (t Text) String() string { return "***" + strings.Repeat("*", min(len(t), 3)) }

// Reveal is the text itself.
func (t Text) Reveal() string { return string(t) }
