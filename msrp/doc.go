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
// Reader and Writer are the wire alone, for tools that are no endpoint. An Anchor joins two sessions as a back-to-back
// user agent (anchor.go, relay.go, flow.go).
//
// Implemented, by clause. Descriptions are in package msrpsdp, the WebSocket is in package msrpws; what is inside of messages is in
// package latchkey/cpim, whose page goes on with RFC 3862, 5438 and 3994:
//
//	clause                     what                                                    where
//	RFC 4975 §5.4              binding, 481, 506, many sessions on a connection        listener.go, conn.go
//	RFC 4975 §6                URIs and how they compare                               uri.go
//	RFC 4975 §7.1, §7.1.1      framing, chunks, interruption, turns, 30 s of silence   writer.go, send.go, turn.go
//	RFC 4975 §7.1.2 - §7.2     reports and responses                                   conn.go, receive.go
//	RFC 4975 §7.3              receiving: order, overlaps, aborts, repeats             reader.go, receive.go
//	RFC 4975 §8.1 - §8.6, §8.9 offers, answers, re-offers                              msrpsdp: Offer, Answer, Standing
//	RFC 4975 §9                grammar: strict in what is sent, tolerant in the rest   head.go, reader.go
//	RFC 4975 §10               codes                                                   status.go
//	RFC 4975 §14.1             session ids that can't be guessed                       session.go
//	RFC 4975 §14.4             TLS between peers by fingerprint, else by name          tls.go
//	RFC 8122 §5, §6.2          SHA-256 written, SHA-1 read; who comes before the       fingerprint.go, tls.go
//	                           description waits for it
//	RFC 8996                   nothing before TLS 1.2                                  tls.go
//	RFC 4976 §5.1, §9.1        relays, as their client: AUTH by Digest, Use-Path       relayclient.go, auth.go
//	RFC 6135 §4                who connects, behind a relay, too                       msrpsdp: Answer, Conclude
//	RFC 6714 §4.2              CEMA offers, and the three cases of another without     msrpsdp: Offer, FallBack
//	RFC 6714 §4.3, §4.4        CEMA answers; c=/m= and path compared                   msrpsdp: Answer
//	RFC 7977 §4 - §6           server and client, one chunk a message, pings           msrpws: Handler, Dial
//	RFC 5547 §6, §7            all attributes of a file, its hashes                    msrpsdp: File
//	RFC 5547 §8.1 - §8.4       push, pull, refusal, refresh, another file, abort       msrpsdp: Offer, Answer, Standing
//
// Not done:
//
//   - being a relay (RFC 4976 §6), and MSRP in data channels (RFC 8873)
//   - S/MIME (RFC 4975 §14.3)
//   - putting a session of ours on a connection that another one has opened (RFC 4975 §5.4), save behind a relay; peers may
//   - holding a session to its direction, which is agreed on only (RFC 4975 §8.9)
//   - resolving names to compare c=/m= and path (RFC 6714 §4.4)
//   - several files in one description of ours (RFC 5547 §8.2.3), and the multipart/related of a preview (§8.8), which is the caller's
package msrp
