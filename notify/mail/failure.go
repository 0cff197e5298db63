package mail

import (
	"errors"
	"fmt"
	"net/textproto"
	"regexp"

	"latchkey/notify"
)

// unreachable is a failure that says nothing about the letter.
func unreachable(err error) error { return &notify.Failure{Reason: lost, Away: true, Err: err} }

// lost is the reason where no reply came.
const lost = "the mail server can't be reached"

// Absent is the reason of failures to reach the server.
func (c *Channel) Absent() string { return lost }

// refused sorts what a server or the network said no to: 5yz is for good (RFC 5321 §4.2.1), all else passes.
func refused(verb string, err error) error {
	reply, ok := errors.AsType[*textproto.Error](err)
	if !ok {
		return &notify.Failure{Reason: lost, Err: fmt.Errorf("%s: %w", verb, err)} // it may be the letter at which it broke off
	}
	f := &notify.Failure{Permanent: reply.Code/100 == 5, Err: fmt.Errorf("%s: %w", verb, err)}
	reason, known := mailboxReason(enhanced(reply))
	switch {
	case reply.Code == 530 || reply.Code == 534 || reply.Code == 535 || reply.Code == 538:
		// RFC 4954 §6: it wants a login first, which is the operator's to give.
		f.Reason, f.Permanent = "the mail server does not let the gateway in", false
	case known:
		f.Reason = reason
	case !f.Permanent:
		f.Reason = "the mail server asks to come again later"
	case verb == "RCPT":
		f.Reason = "the mail server refuses the address"
	default:
		f.Reason = "the mail server refuses the mail"
	}
	f.Reason += fmt.Sprintf(" (%d)", reply.Code) // its text names hosts and is for the log
	return f
}

// mailboxReason words what subject and detail of an enhanced status code say about a mailbox (RFC 3463 §3.2, §3.3).
func mailboxReason(status string) (reason string, known bool) {
	switch status {
	case "1.1", "1.2", "1.3", "1.6", "1.10":
		return "there is no such mailbox", true
	case "2.2":
		return "the mailbox is full", true
	case "2.1":
		return "the mailbox is closed", true
	}
	return "", false
}

var enhancedForm = regexp.MustCompile(`^[245]\.(\d{1,3}\.\d{1,3})\b`)

// enhanced is subject and detail of an enhanced status code (RFC 3463 §2), or "".
func enhanced(reply *textproto.Error) string {
	if m := enhancedForm.FindStringSubmatch(reply.Msg); m != nil {
		return m[1]
	}
	return ""
}
