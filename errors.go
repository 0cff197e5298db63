package latchkey

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Kind is the closed set of ways in which the gateway fails. Nobody outside the
// table below picks a code for a failure of ours.
type Kind int

// The kinds of error. A comment says when each is used.
const (
	KindInternal           Kind = iota // a bug or a broken disk
	KindBadRequest                     // the caller's input can't be understood
	KindBadIdentifier                  // neither a mailbox nor an E.164 number
	KindUnauthorized                   // wrong or missing credentials; says nothing of which
	KindNotAllowed                     // the operator's policy says no (R3)
	KindNoRelation                     // the two parties aren't related (R31)
	KindAlreadyRegistered              // B is a registered user (R10)
	KindNotFound                       // no such thing
	KindExpired                        // the invitation's validity is over
	KindOffline                        // R25: sending needs an online inviter
	KindConflict                       // the same id was used for something else
	KindBadRange                       // a range that a file doesn't have
	KindTooLarge                       // body or message over its limit
	KindUnsupportedMedia               // content type not understood
	KindNotAcceptable                  // no representation that the client accepts
	KindMethodNotAllowed               // known path, other method
	KindQuota                          // an inviter's or target's allowance is used up
	KindTooManyRequests                // rate limit
	KindNoSpace                        // the operator's disk is full
	KindRegistrationFailed             // the core or an interaction server refused the account
	KindCoreTimeout                    // the core did not answer
	KindDirectoryFailed                // the directory failed, or its answer makes no sense
	KindDirectoryTimeout               // the directory did not answer in time
	KindBusy                           // a loop's mailbox is full; try again
	KindUnavailable                    // draining, or a peer that is needed is down
	kinds
)

// Row says how one kind looks on each wire.
type Row struct {
	Name  string        // problem type, /problems/NAME
	Title string        // one line for people
	HTTP  int           // status of the facade
	SIP   int           // response code of our UAS; 480 for limits on one user, since 503 tells an S-CSCF that the whole server is ill
	MSRP  int           // RFC 4975 §10
	Retry time.Duration // Retry-After where the error names none; 0: don't
	Level slog.Level    // at the boundary
}

var table = [kinds]Row{
	KindInternal:           {"internal", "Something went wrong on our side", 500, 500, 403, 0, slog.LevelError},
	KindBadRequest:         {"bad-request", "The request can't be understood", 400, 400, 400, 0, slog.LevelInfo},
	KindBadIdentifier:      {"bad-identifier", "Not an e-mail address or telephone number", 400, 484, 400, 0, slog.LevelInfo},
	KindUnauthorized:       {"unauthorized", "Wrong or missing credentials", 401, 403, 403, 0, slog.LevelInfo},
	KindNotAllowed:         {"not-allowed", "Not allowed by the operator", 403, 403, 403, 0, slog.LevelInfo},
	KindNoRelation:         {"no-relation", "No invitation relates you to this person", 403, 404, 403, 0, slog.LevelInfo},
	KindAlreadyRegistered:  {"already-registered", "This person is a registered user", 409, 302, 403, 0, slog.LevelInfo},
	KindNotFound:           {"not-found", "No such thing", 404, 404, 481, 0, slog.LevelInfo},
	KindExpired:            {"expired", "The invitation is no longer valid", 410, 410, 481, 0, slog.LevelInfo},
	KindOffline:            {"offline", "The inviter is offline", 409, 480, 403, 0, slog.LevelInfo},
	KindConflict:           {"conflict", "The id was used for something else", 409, 409, 403, 0, slog.LevelInfo},
	KindBadRange:           {"bad-range", "There are no such bytes", 416, 400, 400, 0, slog.LevelInfo},
	KindTooLarge:           {"too-large", "Too large", 413, 413, 413, 0, slog.LevelInfo},
	KindUnsupportedMedia:   {"unsupported-media-type", "Media type not supported", 415, 415, 415, 0, slog.LevelInfo},
	KindNotAcceptable:      {"not-acceptable", "No acceptable representation", 406, 406, 415, 0, slog.LevelInfo},
	KindMethodNotAllowed:   {"method-not-allowed", "Method not allowed", 405, 405, 501, 0, slog.LevelInfo},
	KindQuota:              {"quota", "Allowance used up", 429, 480, 413, time.Hour, slog.LevelInfo},
	KindTooManyRequests:    {"too-many-requests", "Too many requests", 429, 480, 413, time.Minute, slog.LevelInfo},
	KindNoSpace:            {"no-space", "No room is left for files", 507, 480, 413, time.Minute, slog.LevelError},
	KindRegistrationFailed: {"registration-failed", "The network refused the registration", 502, 502, 403, 0, slog.LevelWarn},
	KindCoreTimeout:        {"core-timeout", "The network did not answer", 504, 504, 408, 10 * time.Second, slog.LevelWarn},
	KindDirectoryFailed:    {"directory-failed", "The user directory can't be asked", 502, 500, 403, 5 * time.Second, slog.LevelWarn},
	KindDirectoryTimeout:   {"directory-timeout", "The user directory did not answer", 504, 504, 408, 10 * time.Second, slog.LevelWarn},
	KindBusy:               {"busy", "Busy; try again", 503, 480, 413, time.Second, slog.LevelWarn},
	KindUnavailable:        {"unavailable", "Not available right now", 503, 503, 481, 5 * time.Second, slog.LevelWarn},
}

// Row is the kind's line in the table.
func (k Kind) Row() Row {
	if k < 0 || k >= kinds {
		k = KindInternal
	}
	return table[k]
}

// String is the kind's stable name.
func (k Kind) String() string { return k.Row().Name }

// Kinds lists all kinds, for the generated reference.
func Kinds() []Kind {
	all := make([]Kind, kinds)
	for i := range all {
		all[i] = Kind(i)
	}
	return all
}

// Error is a failure with a kind. Public is for strangers: generic, without hosts
// or ids of others. Err is for the log.
type Error struct {
	Kind       Kind
	Public     string
	RetryAfter time.Duration
	Err        error

	// URI is B's address when Kind is KindAlreadyRegistered.
	URI string
}

// Error is the text for logs.
func (e *Error) Error() string {
	s := e.Kind.String()
	if e.Public != "" {
		s += ": " + e.Public
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap gives the hidden cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an error whose formatted text is public.
func Errorf(k Kind, format string, args ...any) *Error {
	return &Error{Kind: k, Public: fmt.Sprintf(format, args...)}
}

// Wrap hides err behind a kind; public may be empty.
func Wrap(k Kind, err error, public string) *Error {
	return &Error{Kind: k, Public: public, Err: err}
}

// KindOf is the kind of err: that of the outermost *Error in its chain, or KindInternal.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return KindInternal
}

// Is reports whether err is of kind k.
func Is(err error, k Kind) bool { return err != nil && KindOf(err) == k }

// RetryAfter is how long the caller should wait before a repeat; 0: it needn't try.
func RetryAfter(err error) time.Duration {
	if e, ok := errors.AsType[*Error](err); ok && e.RetryAfter > 0 {
		return e.RetryAfter
	}
	return KindOf(err).Row().Retry
}
