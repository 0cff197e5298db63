// Package smpp speaks the Short Message Peer-to-Peer protocol as a client (an ESME) of SMS centres: SMPP 3.4 and 5.0, the
// alphabets of TS 23.038 and the long messages of TS 23.040. It owns the link: binding, window, rate, enquire_link,
// coming back after a loss, failover between centres. It keeps nothing on disk, decides nothing about who gets a
// message, and knows nothing of Latchkey: others can import it. It imports the standard library alone.
// Clauses of SMPP are those of version 3.4, issue 1.2; those of 5.0 are named as such.
// Start with New, Client.Run and Client.Submit; Compose makes the parts of a text.
package smpp

import (
	"fmt"
	"time"
)

// Command is a command_id (SMPP 3.4 §5.1.2.1).
type Command uint32

// The commands that an ESME sends or gets.
const (
	GenericNack         Command = 0x80000000
	BindReceiver        Command = 0x00000001
	BindTransmitter     Command = 0x00000002
	QuerySM             Command = 0x00000003
	SubmitSM            Command = 0x00000004
	DeliverSM           Command = 0x00000005
	Unbind              Command = 0x00000006
	CancelSM            Command = 0x00000008
	BindTransceiver     Command = 0x00000009
	Outbind             Command = 0x0000000b
	EnquireLink         Command = 0x00000015
	AlertNotification   Command = 0x00000102
	DataSM              Command = 0x00000103
	BindReceiverResp            = BindReceiver | response
	BindTransmitterResp         = BindTransmitter | response
	QuerySMResp                 = QuerySM | response
	SubmitSMResp                = SubmitSM | response
	DeliverSMResp               = DeliverSM | response
	UnbindResp                  = Unbind | response
	CancelSMResp                = CancelSM | response
	BindTransceiverResp         = BindTransceiver | response
	EnquireLinkResp             = EnquireLink | response
	DataSMResp                  = DataSM | response

	response Command = 0x80000000
)

// Response reports whether the command answers another.
func (c Command) Response() bool { return c&response != 0 }

var commandNames = map[Command]string{
	GenericNack: "generic_nack", BindReceiver: "bind_receiver", BindTransmitter: "bind_transmitter", QuerySM: "query_sm", SubmitSM: "submit_sm",
	DeliverSM: "deliver_sm", Unbind: "unbind", CancelSM: "cancel_sm", BindTransceiver: "bind_transceiver", Outbind: "outbind",
	EnquireLink: "enquire_link", AlertNotification: "alert_notification", DataSM: "data_sm",
}

// String is the name that the specification uses.
func (c Command) String() string {
	if name, ok := commandNames[c]; ok {
		return name
	}
	if name, ok := commandNames[c&^response]; ok {
		return name + "_resp"
	}
	return fmt.Sprintf("command %#08x", uint32(c))
}

// Address is a number or name with its type and plan (SMPP 3.4 §5.2.5, §5.2.6).
type Address struct {
	TON, NPI byte
	Digits   string
}

// Types of number and numbering plans.
const (
	TONUnknown       = 0
	TONInternational = 1
	TONNational      = 2
	TONNetwork       = 3
	TONAlphanumeric  = 5
	NPIUnknown       = 0
	NPIE164          = 1
)

// ParseAddress reads what people write: an international number with its +, a short code, or a name of at most
// 11 characters of the default alphabet (TS 23.040 §9.1.2.5).
func ParseAddress(s string) (Address, error) {
	digits := s
	if s != "" && s[0] == '+' {
		digits = s[1:]
	}
	if isDigits(digits) && digits != "" {
		switch {
		case digits != s && len(digits) <= 15:
			return Address{TONInternational, NPIE164, digits}, nil
		case digits == s && len(digits) <= 8:
			return Address{TONNetwork, NPIUnknown, digits}, nil
		}
		return Address{}, fmt.Errorf("%q is neither an international number, such as +8613800000000, nor a short code of up to 8 digits", s)
	}
	septets, ok := Default.encode(s, nil)
	if s == "" || s[0] == '+' || !ok || len(septets) > 11 {
		return Address{}, fmt.Errorf("%q is not a sender of 1 to 11 characters of the GSM alphabet", s)
	}
	return Address{TONAlphanumeric, NPIUnknown, s}, nil
}

// String is the form that ParseAddress reads.
func (a Address) String() string {
	if a.TON == TONInternational && isDigits(a.Digits) {
		return "+" + a.Digits
	}
	return a.Digits
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// TLV is an optional parameter (SMPP 3.4 §5.3).
type TLV struct {
	Tag   uint16
	Value []byte
}

// Tags of the parameters that are used here (SMPP 3.4 §5.3.2; congestion_state is of 5.0).
const (
	TagReceiptedMessageID   = 0x001e
	TagUserMessageReference = 0x0204
	TagSARReference         = 0x020c
	TagSARTotal             = 0x020e
	TagSARNumber            = 0x020f
	TagVersion              = 0x0210
	TagNetworkErrorCode     = 0x0423
	TagMessagePayload       = 0x0424
	TagMessageState         = 0x0427
	TagCongestionState      = 0x0428
)

// Lookup finds a parameter by its tag.
func Lookup(all []TLV, tag uint16) ([]byte, bool) {
	for _, t := range all {
		if t.Tag == tag {
			return t.Value, true
		}
	}
	return nil, false
}

// Number makes a parameter of 1, 2 or 4 octets.
func Number(tag uint16, size int, v uint32) TLV {
	b := []byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}
	return TLV{tag, b[4-size:]}
}

// Bits of esm_class (SMPP 3.4 §5.2.12) and of registered_delivery (§5.2.17).
const (
	ClassUDH           = 0x40 // the short message begins with a user data header
	classType          = 0x3c
	classReceipt       = 0x04 // SMSC delivery receipt
	classIntermediate  = 0x20 // intermediate notification
	RegisteredReceipt  = 0x01 // tell the outcome, good or bad
	CodingDefault      = 0x00 // SMSC default alphabet
	CodingUCS2         = 0x08
	maxShort           = 254 // octets of short_message
	maxPDU             = 70_000
	headerSize         = 16
	closeWait          = 2 * time.Second
	defaultEnquireLink = 30 * time.Second
)
