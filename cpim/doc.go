// Package cpim reads and writes what travels inside of messages: CPIM (RFC 3862), IMDN (RFC
// 5438) and is-composing (RFC 3994).
//
// It owns formats and their limits. It knows nothing of sessions, guests or storage, and
// imports the standard library only. All readers are safe for bytes of strangers.
package cpim
