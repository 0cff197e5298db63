// Package msrp speaks the Message Session Relay Protocol (RFC 4975, with the connection
// rules of RFC 6135 and 6714 as far as they concern bytes).
//
// It owns bytes on connections: framing, chunking, responses, reports. It knows nothing
// of SIP, SDP, guests or storage, and imports the standard library only. Start with
// Session: made before the offer, bound to a connection either by Session.Connect (active)
// or by a Listener that expects it (passive).
//
// Messages stream: a Handler gets a reader, a sender gives one. What is acknowledged to a peer
// is what the Handler has accepted, because the response to a message's last chunk leaves
// after the Handler returned. Memory is bounded for each session, whatever a peer sends.
//
// Implemented, by clause:
//
//	RFC 4975 §5.4       binding, 481, 506, many sessions on a connection   listener.go, conn.go
//	RFC 4975 §6         URIs and how they compare                          uri.go
//	RFC 4975 §7, §9     framing, chunks, interruption, aborts, grammar     reader.go, writer.go, send.go, receive.go, turn.go
//	RFC 4975 §7.1.2     responses, REPORTs, the 30 s of silence            conn.go, send.go, receive.go
//	RFC 4975 §10        codes                                              status.go
//	RFC 4975 §14.1, 14.4, RFC 8122, RFC 8996   session ids, TLS by fingerprint    session.go, tls.go, fingerprint.go
//	RFC 4976 §5, §9     relays, as their client: AUTH, Use-Path            relayclient.go, auth.go
//	RFC 6135, RFC 6714  descriptions: who connects, and where              package msrp/msrpsdp
//	RFC 5547            descriptions of files                              package msrp/msrpsdp
//	RFC 7977            WebSocket, one chunk a message                     package msrp/msrpws
//
// An Anchor joins two sessions as a back-to-back user agent (anchor.go, relay.go, flow.go). Not there: being a relay, and RFC 8873.
// Reader and Writer are the wire alone, for tools that are no endpoint.
package msrp
