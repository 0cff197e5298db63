package latchkey

import "time"

// Sighting is what the core last told of a registered user's own registration, by third-party
// REGISTER or by reg-event: a row. Inviters are registered users, so this is how the gateway
// learns that one comes, stays and goes.
type Sighting struct {
	Identity InviterID // as the core names the user, sip: or tel:
	State    SightingState
	Changed  time.Time // when the core last told something
	Expires  time.Time // until then the third-party registration stands; zero: there is none

	// RFC 3261 §10.3: of two REGISTERs with one Call-ID the higher CSeq is the later one.
	CallID string
	CSeq   uint32

	SCSCF       string // URI of the S-CSCF, which serves the user (PROTOCOLS B1.09)
	ICID        string // of P-Charging-Vector
	OrigIOI     string // of P-Charging-Vector
	Charging    string // P-Charging-Function-Addresses as it came
	Features    string // parameters of the Contacts of the user's phones; "": not told
	ServiceInfo string // what the HSS says to application servers about the user (TS 24.229 §7.6)
}

// SightingState is how a user's registration stands, as far as the core told.
type SightingState string

// States of a sighting. Seen: the user is there. Leaving: the core deregistered the user here, which
// does not say that no other contact is left, so it is still to be confirmed. Gone: it was
// confirmed, and what follows from it was done.
const (
	Seen    SightingState = "seen"
	Leaving SightingState = "leaving"
	Gone    SightingState = "gone"
)
