package latchkey

import "time"

// PushSubscription is a browser that a guest has asked to be called by while no page of theirs is open (Web Push, RFC 8030 §4). It
// lives as long as its guest has a relation, unless the browser takes it back. Who knows Endpoint can call, so no log has it.
type PushSubscription struct {
	ID       string // names it towards its guest
	Account  AccountID
	Endpoint Secret // URL at the browser's push service
	P256dh   Secret // the browser's public key (RFC 8291 §3.1), in base64url
	Auth     Secret // shared with the browser (RFC 8291 §3.2), in base64url
	Created  time.Time
	Expires  time.Time // zero: the browser names no end
}
