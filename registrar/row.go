package registrar

import (
	"slices"

	"latchkey"
	"latchkey/internal/sipua"
)

// The servers beside latchkey.CoreServer.
const (
	imServer   = latchkey.Server(latchkey.IM)
	fileServer = latchkey.Server(latchkey.File)
)

func newRegistration(account latchkey.AccountID, server latchkey.Server) *latchkey.Registration {
	return &latchkey.Registration{Account: account, Server: server, State: latchkey.RegistrationWanted, CallID: sipua.NewToken()}
}

// find is the registration at a server, or nil.
func find(all []latchkey.Registration, s latchkey.Server) *latchkey.Registration {
	i := slices.IndexFunc(all, func(reg latchkey.Registration) bool { return reg.Server == s })
	if i < 0 {
		return nil
	}
	return &all[i]
}
