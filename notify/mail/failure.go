package mail

import (
	"errors"
	"fmt"
	"net/textproto"
	"regexp"

	"latchkey/notify"
)

// unreachable is a failure that says nothing about the letter.
func unreachable(err error) error {
	return &notify.Failure{Reason: "the mail server can't be reached", Err: err}
}

// refused sorts what a server or the network said no to: 5yz is for good (RFC 5321 §4.2.1), all else passes.
func refused(verb string, err error) error {
	reply, ok := errors.AsType[*textproto.Error](err)
	if !ok {
		return unreachable(fmt.Errorf("%s: %w", verb, err))
	}
	f := &notify.Failure{Permanent: reply.Code/100 == 5, Err: fmt.Errorf("%s: %w", verb, err)}
	switch status := enhanced(reply); {
	case reply.Code == 530 || reply.Code == 534 || reply.Code == 535 || reply.Code == 538:
		// RFC 4954 §6: it wants a login first, which is the operator's to give.
		f.Reason, f.Permanent = "the mail server does not let the gateway in", false
	case status == "1.1" || status == "1.2" || status == "1.3" || status == "1.6" || status == "1.10":
		f.Reason = "there is no such mailbox"
	case status == "2.2":
		f.Reason = "the mailbox is full"
	case status == "2.1":
		f.Reason = "the mailbox is closed"
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

var enhancedForm = regexp.MustCompile(`^[245]\.(\d{1,3}\.\d{1,3})\b`)

// enhanced is subject and detail of an enhanced status code (RFC 3463 §2), or "".
func enhanced(reply *textproto.Error) string {
	if m := enhancedForm.FindStringSubmatch(reply.Msg); m != nil {
		return m[1]
	}
	return ""
}
