// Package imstest is the other side of Latchkey: the peers that tests and the demo talk to.
//
// A [Core] is a small IMS core (registrar and proxy); a second one may be the interaction server. A
// [Phone] is a subscriber's RCS client, a [Media] the MSRP half of one whose signalling is somebody
// else's, a [MailSink] a mail server that keeps what it gets, a [Postfix] a real one, a [Hose] the network before a server, and a [Wire] SIP as text, for tests of each octet.
// All of them listen on loopback, take port 0, live side by side in one process, record
// what they saw, and fail on demand.
//
// The package has its own wire code for SIP, MSRP, CPIM and SDP and imports nothing of the
// product: a mistake made on both sides would cancel out. The peers are strict. What the
// other side does against the specifications is recorded in Violations, so that
// a test can assert that there are none.
//
// Specifications: RFC 3261, 3262 (answers), 3327, 3581, 3608, 6026, 7616, 8760 (SIP), RFC 4975, 6135,
// 6714 (MSRP), RFC 3862 and 5438 (CPIM, IMDN), RFC 3994 (is-composing), TS 24.247 §9.3
// (Byte-Range on every SEND).
package imstest
