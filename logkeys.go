package latchkey

// Keys of log attributes: one name for one thing in every room.
const (
	LogGuest        = "guest"
	LogInviter      = "inviter"
	LogRelation     = "relation"
	LogConversation = "conversation"
	LogMessage      = "message"
	LogFile         = "file"
	LogCallID       = "call_id"
	LogICID         = "icid"
	LogMSRPSession  = "msrp_session"
	LogNode         = "node"
	LogCause        = "cause"
	LogError        = "error"
)
