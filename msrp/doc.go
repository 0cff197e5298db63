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
// after the Handler returned.
package msrp
