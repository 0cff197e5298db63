package gateway

import (
	"strings"

	"github.com/emiago/sipgo/sip"

	"latchkey/b2bua"
	"latchkey/internal/dialog"
)

// browsers tells of each side of a call in the path whether its signalling is by WebSocket, as only a browser's is: of the caller by its Contact or
// the Via that it has written, which is the last; of who is called by the R-URI, or the Route behind ours. Behind a core that writes them anew nobody can tell.
func browsers(invite *sip.Request) (web [2]bool) {
	if contact := invite.Contact(); contact != nil {
		web[b2bua.SideA] = isWeb(contact.Address)
	}
	for h := range dialog.All(invite, "Via") {
		if via, ok := h.(*sip.ViaHeader); ok {
			web[b2bua.SideA] = web[b2bua.SideA] || strings.EqualFold(via.Transport, "ws") || strings.EqualFold(via.Transport, "wss")
		}
	}
	web[b2bua.SideB] = isWeb(invite.Recipient)
	if routes := dialog.Values(invite, "Route"); len(routes) > 1 {
		var next sip.Uri
		web[b2bua.SideB] = web[b2bua.SideB] || sip.ParseUri(dialog.URI(routes[1]), &next) == nil && isWeb(next)
	}
	return web
}

// isWeb reports whether a URI is reached by WebSocket (RFC 7118 §5.2).
func isWeb(u sip.Uri) bool {
	transport, _ := u.UriParams.Get("transport")
	return strings.EqualFold(transport, "ws") || strings.EqualFold(transport, "wss")
}

// Again offers the other kind of MSRP to who refuses the first: a phone can't answer a path for WebSockets, nor a browser any other (RFC 7977 §5.1). It is b2bua.Alternative.
func (a *anchor) Again() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	offer, to := a.first, b2bua.SideB
	if a.first = nil; offer == nil || !a.ports.has(!a.web[to]) {
		return nil
	}
	a.web[to] = !a.web[to]
	other, err := a.offer("", to.Other(), offer)
	if err != nil {
		return nil
	}
	return other
}
