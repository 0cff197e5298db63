package registrar

import (
	"slices"
	"time"

	"latchkey"
	"latchkey/internal/sipua"
)

// Server names a place where an account is registered: the core, or the server of an
// interaction type. Rows carry the name, not the URI, so that a server may move.
type Server string

// Core is the core. The other servers are named as their interaction.
const (
	Core       Server = "core"
	imServer          = Server(latchkey.IM)
	fileServer        = Server(latchkey.File)
)

// State is how a binding stands.
type State string

// States of a binding. Wanted: not there yet, Run keeps trying. Registered: the server
// said so; it counts until Expires. Refused: the server said no for good, and nothing
// happens until somebody asks again. Leaving: to be taken back at the server and forgotten.
const (
	Wanted     State = "wanted"
	Registered State = "registered"
	Refused    State = "refused"
	Leaving    State = "leaving"
)

// Binding is one account's registration at one server: a row from before the first
// REGISTER leaves until the last one is answered.
type Binding struct {
	Account latchkey.AccountID
	Server  Server
	State   State

	// RFC 3261 §10.2: all REGISTERs of a binding have one Call-ID and a growing CSeq, by
	// which the server sorts out what arrives late. CSeq is the highest that may have been used.
	CallID string
	CSeq   uint32

	MinExpires time.Duration // what a 423 taught us, or 0
	Expires    time.Time     // until then the account is registered, the server said
	Held       time.Time     // until then the server may hold the binding, as far as it ever answered
	Due        time.Time     // when Run acts next; zero: not by itself
	Failures   int           // in a row

	ServiceRoute []string // URIs, RFC 3608
	Associated   []string // URIs, RFC 7315 §4.1; the first is the default public identity
}

func newBinding(account latchkey.AccountID, server Server) *Binding {
	return &Binding{Account: account, Server: server, State: Wanted, CallID: sipua.NewToken()}
}

// Standing reports whether the account is registered there at t, as far as we know.
func (b *Binding) Standing(t time.Time) bool {
	return b.State == Registered && t.Before(b.Expires)
}

func find(all []Binding, s Server) *Binding {
	for i := range all {
		if all[i].Server == s {
			return &all[i]
		}
	}
	return nil
}

func contains(all []Server, s Server) bool { return slices.Contains(all, s) }
