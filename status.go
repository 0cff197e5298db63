package latchkey

import "time"

// StatusState answers "is A there?" with the four values that OPTIONS can tell apart
// (PROTOCOLS B3.01).
type StatusState string

// Values of a status. NotRCS: the network does not know A. Unknown: no usable answer,
// which is not the same as offline.
const (
	StatusOnline  StatusState = "online"
	StatusOffline StatusState = "offline"
	StatusNotRCS  StatusState = "not-rcs"
	StatusUnknown StatusState = "unknown"
)

// Status is what is known of a registered user at a time.
type Status struct {
	State   StatusState
	Chat    bool // A's client can chat
	File    bool // A's client can take files
	Checked time.Time

	FileMSRP bool // by MSRP (RFC 5547)
	FileHTTP bool // by HTTP
	FileIcon bool // by MSRP, with a small picture in the call
}

// Same reports whether a guest would see no difference between s and t.
func (s Status) Same(t Status) bool {
	return s.State == t.State && s.Chat == t.Chat && s.File == t.File
}
