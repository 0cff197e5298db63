package gateway

import (
	"slices"

	"github.com/emiago/sipgo/sip"
)

// cores are the first hops into the core, in the order in which they are tried.
func (c Config) cores() []string { return append([]string{c.SIPCore}, c.SIPStandIns...) }

// Hop is a SIP server and the option that names it.
type Hop struct{ Option, URI string }

// Hops are the distinct SIP servers of the configuration.
func (c Config) Hops() (hops []Hop) {
	add := func(option, uri string) {
		if !slices.ContainsFunc(hops, func(h Hop) bool { return h.URI == uri }) {
			hops = append(hops, Hop{option, uri})
		}
	}
	for _, core := range c.cores() {
		add("sip-core", core)
	}
	add("im-server", c.IMServer)
	add("file-server", c.FileServer)
	return hops
}

// standIns are the cores as the SIP endpoint takes them; nil: there is one alone.
func (c Config) standIns() (all []sip.Uri) {
	if len(c.SIPStandIns) == 0 {
		return nil
	}
	for _, core := range c.cores() {
		var u sip.Uri
		_ = sip.ParseUri(core, &u) // was checked
		all = append(all, u)
	}
	return all
}
