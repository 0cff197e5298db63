// Package msrpws carries MSRP over WebSocket (RFC 7977), for browsers and for whoever is behind an HTTP proxy.
//
// It owns the handshake and the messages on the way: a Handler makes connections of requests and hands them to an
// msrp.Listener, which treats them like those of its own socket; Dial makes one for Session.ConnectOn or AnchorLeg.ConnectOn.
// It knows nothing of sessions, and reads no more of MSRP than where a chunk begins and ends.
//
// Implemented are:
//
//   - the subprotocol msrp, which both sides must name, and text and binary messages alike (RFC 7977 §4.1, §4.2)
//   - RFC 7977 §5.1: exactly one chunk in each message, both ways. A message with more or less than one ends the
//     connection with close code 1002, one that is too long with 1009
//   - RFC 7977 §5.1: long chunks of peers without WebSocket are divided. The connection tells msrp what fits
//     (msrp.WholeChunks), and an Anchor divides what it passes on
//   - RFC 7977 §5.2: paths have the transport ws, the scheme is msrps on wss. The m-line of a description stays that of TCP
//     (package msrpsdp)
//   - RFC 7977 §5.3.1: a client is authenticated by its handshake, by a cookie for instance (Options.Authenticate)
//   - keep-alive by pings, and the close handshake (RFC 6455 §5.5)
//
// RFC 7977 §5.1 wants wss: a Handler belongs behind TLS, its own or a proxy's.
package msrpws
