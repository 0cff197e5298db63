package latchkey

import "time"

// Server names a place where an account is registered: the core, or the server of an
// interaction type, named as that type. It is a name and not a URI, so that a server may move.
type Server string

// CoreServer is the core. The other servers are Server(IM) and Server(File).
const CoreServer Server = "core"

// RegistrationState is how a registration stands.
type RegistrationState string

// States of a registration. Wanted: not there yet, and tried again. Registered: the server
// said so; it counts until Expires. Refused: the server said no for good, and nothing
// happens until somebody asks again. Leaving: to be taken back at the server and forgotten.
const (
	RegistrationWanted  RegistrationState = "wanted"
	Registered          RegistrationState = "registered"
	RegistrationRefused RegistrationState = "refused"
	RegistrationLeaving RegistrationState = "leaving"
)

// Registration is one account at one server: a row from before the first REGISTER leaves
// until the last one is answered. It may outlive its Guest, while it is leaving.
type Registration struct {
	Account AccountID
	Server  Server
	State   RegistrationState

	// RFC 3261 §10.2: all REGISTERs of a registration have one Call-ID and a growing CSeq, by which
	// the server sorts out what arrives late. CSeq is the highest that may have been used.
	CallID string
	CSeq   uint32
	Sent   time.Time // when the last REGISTER left

	MinExpires time.Duration // what a 423 taught us, or 0
	Expires    time.Time     // until then the account is registered, the server said
	Held       time.Time     // until then the server may hold it, as far as it ever answered
	Due        time.Time     // when something is to be done next; zero: nothing by itself
	Failures   int           // in a row

	Hop          string   // URI of the first hop by which it stands; "": the server's own
	ServiceRoute []string // URIs, RFC 3608
	Associated   []string // URIs, RFC 7315 §4.1; the first is the default public identity
}

// Standing reports whether the account is registered there at t, as far as we know.
func (r Registration) Standing(t time.Time) bool {
	return r.State == Registered && t.Before(r.Expires)
}
