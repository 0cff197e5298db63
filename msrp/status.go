package msrp

import "fmt"

// Response codes (RFC 4975 §10).
const (
	StatusOK            = 200
	StatusBadRequest    = 400
	StatusUnauthorized  = 401 // answer the challenge (RFC 4976 §9.1)
	StatusForbidden     = 403
	StatusTimeout       = 408
	StatusStop          = 413 // stop sending this message
	StatusUnsupported   = 415 // media type
	StatusOutOfBounds   = 423
	StatusNoSession     = 481
	StatusUnknownMethod = 501
	StatusAlreadyBound  = 506
)

// StatusError is a response other than 200, what a Handler wants answered, or what a Reader finds in
// a request that is whole but wrong.
type StatusError struct {
	Code    int
	Comment string
}

// Error tells code and comment.
func (e *StatusError) Error() string { return fmt.Sprintf("msrp status %d %s", e.Code, e.Comment) }
