package msrpws

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"

	"github.com/coder/websocket"
)

// DialOptions are what Dial needs beyond a URL.
type DialOptions struct {
	Client *http.Client // its Transport has the TLS configuration, its Jar the cookies; default http.DefaultClient
	Header http.Header  // of the handshake: Cookie, Authorization, Origin
	Limits
}

// Dial connects to a ws or wss URL, for Session.ConnectOn or AnchorLeg.ConnectOn. A server that does not agree on the subprotocol is
// an error. The URL says nothing of sessions: it is the service's, while a session's URI comes from its description.
func Dial(ctx context.Context, url string, opt DialOptions) (net.Conn, error) {
	local, remote := unknown, unknown
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) {
		local, remote = got.Conn.LocalAddr(), got.Conn.RemoteAddr()
	}})
	ws, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: opt.Client, HTTPHeader: opt.Header, Subprotocols: []string{subprotocol}})
	if err != nil {
		return nil, fmt.Errorf("msrp websocket: %w", err)
	}
	c := newConn(ws, local, remote, opt.orDefaults())
	if ws.Subprotocol() != subprotocol {
		err := errors.New("msrp websocket: the server does not know the subprotocol msrp")
		c.end(websocket.StatusPolicyViolation, "no subprotocol", err)
		return nil, err
	}
	return c, nil
}
