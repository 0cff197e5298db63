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
// Implemented are RFC 4975 §5.4 (binding, 481, 506), §6 (URIs), §7 (framing, chunks and their
// interruption, responses, reports, aborts), §9 (grammar), §10 (codes), §14.1 (unguessable ids) and §14.4 (TLS between peers: RFC 8122, RFC 8996). Reader and Writer
// are the wire alone, for tools that are no endpoint.
package msrp
