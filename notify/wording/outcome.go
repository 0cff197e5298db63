package wording

import (
	"regexp"
	"strings"

	"latchkey"
)

// reasonForm parts a reason for a failure: what happened, a server's code, and that no more is tried.
var reasonForm = regexp.MustCompile(`^(.*?)( \([0-9.]+\))?(; given up.*)?$`)

// Outcome tells an inviter that an invitation was delivered or has failed, and why; "" as long as neither is so. Reasons come in English and
// are the names of their sentences. What a language of an operator's own does not have is said in English.
func (b *Book) Outcome(tag, recipient string, state latchkey.NotificationState, reason string) (string, error) {
	name := map[latchkey.NotificationState]string{latchkey.NotificationDelivered: "delivered", latchkey.NotificationFailed: "failed"}[state]
	if name == "" {
		return "", nil
	}
	l := b.choose(tag)
	if l.text.Lookup(name) == nil {
		l = b.languages[English]
	}
	apart := func(s string) string {
		if l.dir == "rtl" && s != "" {
			return "\u2068" + s + "\u2069"
		}
		return s
	}
	var words strings.Builder
	if m := reasonForm.FindStringSubmatch(reason); m != nil {
		for i, part := range m[1:] {
			switch said, err := l.reason(part); {
			case err != nil:
				return "", err
			case i == 1:
				if code := strings.TrimSpace(part); code != "" {
					words.WriteString(" " + apart(code))
				}
			default:
				words.WriteString(said)
			}
		}
	}
	return l.say(name, struct{ Recipient, Reason string }{apart(recipient), words.String()})
}

// reason is a part of a reason in the language, or as it is.
func (l *language) reason(part string) (string, error) {
	if part == "" || l.text.Lookup(part) == nil {
		return part, nil
	}
	return l.say(part, nil)
}
