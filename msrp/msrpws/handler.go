package msrpws

import (
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/coder/websocket"

	"latchkey/msrp"
)

// Options are what a Handler needs.
type Options struct {
	Host     string   // in URIs: where clients reach the handler; needed by NewURI
	Port     int      // in URIs; default 443, or 80 where Insecure
	Insecure bool     // URIs are msrp, not msrps: for tests, since RFC 7977 §5.1 wants wss
	Origins  []string // whose pages may connect beside those of the request's own host, such as https://chat.example.com; "*": everybody's

	// Authenticate may look at the handshake, at its cookies for instance (RFC 7977 §5.3.1). False: it has answered the request itself. nil: everybody
	// is let in, and a session's URI is all that a stranger must know.
	Authenticate func(w http.ResponseWriter, r *http.Request) bool

	Limits
	Log *slog.Logger // default: none
}

// Handler takes WebSocket handshakes for MSRP.
type Handler struct {
	listener *msrp.Listener
	opt      Options
}

// NewHandler makes a handler whose connections go to a listener, which may have a socket beside it, or none.
func NewHandler(l *msrp.Listener, opt Options) *Handler {
	if opt.Port == 0 {
		if opt.Port = 443; opt.Insecure {
			opt.Port = 80
		}
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	opt.Limits = opt.orDefaults()
	return &Handler{l, opt}
}

// NewURI makes a fresh URI for a session whose peer connects to the handler (RFC 7977 §5.2: transport ws), with an unguessable
// session id.
func (h *Handler) NewURI() msrp.URI {
	host := h.opt.Host
	if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		host = "[" + host + "]"
	}
	return msrp.URI{Secure: !h.opt.Insecure, Host: host, Port: h.opt.Port, SessionID: msrp.NewSessionID(), Transport: "ws"}
}

// ServeHTTP makes a connection of a handshake and hands it to the listener. Others are answered 426 where they are no
// handshake, 403 where a page of another origin sent them, and 400 where they don't offer the subprotocol.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case !hasToken(r.Header, "Upgrade", "websocket"):
		// Accept answers.
	case !h.allows(r):
		http.Error(w, "pages of that origin may not connect", http.StatusForbidden)
		return
	case !hasToken(r.Header, "Sec-WebSocket-Protocol", subprotocol):
		http.Error(w, "the subprotocol must be "+subprotocol, http.StatusBadRequest)
		return
	case h.opt.Authenticate != nil && !h.opt.Authenticate(w, r):
		return
	}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols:       []string{subprotocol},
		InsecureSkipVerify: true, // allows has looked at the origin
	})
	if err != nil {
		h.opt.Log.Debug("msrp websocket handshake", "error", err)
		return
	}
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if local == nil {
		local = unknown
	}
	c := newConn(ws, local, address(r.RemoteAddr), h.opt.Limits)
	if !h.listener.ServeConn(c) {
		c.end(websocket.StatusTryAgainLater, "", net.ErrClosed)
	}
}

// allows checks where a browser's request comes from; other programs send no Origin (RFC 6455 §10.2).
func (h *Handler) allows(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" || slices.ContainsFunc(h.opt.Origins, func(o string) bool { return o == "*" || strings.EqualFold(o, origin) }) {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}

func hasToken(h http.Header, name, token string) bool {
	for _, value := range h.Values(name) {
		for word := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(word), token) {
				return true
			}
		}
	}
	return false
}

// unknown is an address that nobody told.
var unknown net.Addr = &net.TCPAddr{IP: net.IPv4zero}

func address(hostport string) net.Addr {
	a, err := netip.ParseAddrPort(hostport)
	if err != nil {
		return unknown
	}
	return net.TCPAddrFromAddrPort(a)
}
