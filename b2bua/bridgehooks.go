package b2bua

import "github.com/emiago/sipgo/sip"

// Side is one of the two ends of a bridge.
type Side uint8

// The sides of a bridge.
const (
	SideA Side = iota // who calls
	SideB             // who is called
)

// Other is the side across.
func (s Side) Other() Side { return s ^ 1 }

// String is A or B.
func (s Side) String() string {
	if s == SideA {
		return "A"
	}
	return "B"
}

// Refusal is what a request gets instead of being carried on.
type Refusal struct {
	Code   int
	Reason string // "": the standard phrase
	Header []Field
}

// Border changes the header fields of what a bridge carries. Its methods are called for each message once, before it is
// sent, from any goroutine; they are pure and don't block.
//
// out is in's copy already: fields and body as they came, but with the dialog's own fields (Via, Route, Record-Route, Contact, From,
// To, Call-ID, CSeq, RSeq, RAck, Session-Expires, Min-SE) of the leg toward which it goes. Of a request the border may change
// R-URI and Route, too, in the INVITE that opens the dialog only; in's own are those that came.
type Border interface {
	// Request is called for each request, INVITE, CANCEL's successors and ACK of a 2xx included. A Refusal is
	// answered to the one who asked; of an ACK it is ignored.
	Request(in, out *sip.Request, toward Side) *Refusal
	// Response is called for each response above 100.
	Response(in, out *sip.Response, toward Side)
}

// Originator is a Border that has a say in what a bridge sends by itself, too: refreshes, what acknowledges a 1xx to them, and BYEs.
type Originator interface {
	Own(out *sip.Request, toward Side)
}

// Media rewrites the session descriptions of one bridge. The methods are called in the order of the messages; the bridge
// waits for each, so they don't block.
//
// A fork is named by the dialog's remote tag on side B. The INVITE's own offer goes to all forks, so its fork is "".
type Media interface {
	// Offer is called for each offer (RFC 3264) before it goes on to the side across, and returns what goes there. An error
	// refuses the request with 488, or ends a dialog whose offer came in a response.
	Offer(fork string, from Side, sdp []byte) ([]byte, error)
	// Answer is called for the answer to the offer of the other side.
	Answer(fork string, from Side, sdp []byte) ([]byte, error)
	// Rejected is called where the offer of side from gets no answer: the session stays what it was.
	Rejected(fork string, from Side)
	// Kept is called when fork's 2xx is the first one. What belongs to other forks is over.
	Kept(fork string)
	// Close is called once, last.
	Close()
}

// Alternative is a Media that may have another offer for who can't take the first one.
type Alternative interface {
	// Again is called where the INVITE that opens the call, which had an offer, is refused with 488. It gives another offer that the same INVITE is sent once more with; nil:
	// there is none.
	Again() []byte
}

// Onward says how a call is bridged.
type Onward struct {
	Border Border // nil: fields go as they are
	Media  Media  // of this bridge only; nil: session descriptions go as they are
}
