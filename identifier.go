package latchkey

import (
	"fmt"
	"net/mail"
	"strings"
	"unicode"
)

// IdentifierKind says how a guest is reached.
type IdentifierKind string

// The two kinds of identifier that an inviter can name a guest by (patent ¶56).
const (
	Mail IdentifierKind = "email"
	Tel  IdentifierKind = "tel"
)

// Limits of an identifier: RFC 5321 §4.5.3.1 for mailboxes, ITU-T E.164 for numbers.
const (
	maxLocalPart = 64
	maxMailbox   = 254
	minDigits    = 5
	maxDigits    = 15
)

// Identifier is how a guest is reached: a mailbox or an E.164 number. The zero
// Identifier names nobody. Two Identifiers are equal when they compare equal.
type Identifier struct {
	Kind  IdentifierKind
	Value string // local@domain with a lower-case domain, or +digits
}

// String gives the identifier as the inviter would write it.
func (id Identifier) String() string { return id.Value }

// IsZero reports whether id names nobody.
func (id Identifier) IsZero() bool { return id.Value == "" }

// ParseMail reads a bare mailbox (`b@cc.com`). Display names, comments, several
// addresses, control characters and quoted local parts are refused, since the value goes into
// mail headers and SIP URIs. The domain is folded to lower case; the local part too,
// because no mailbox that people use tells the cases apart, and one person must
// not get two accounts.
func ParseMail(s string) (Identifier, error) {
	bad := func(why string) (Identifier, error) {
		return Identifier{}, Errorf(KindBadIdentifier, "email: %s; an address looks like b@cc.com", why)
	}
	if s == "" {
		return bad("is empty")
	}
	if len(s) > maxMailbox {
		return bad(fmt.Sprintf("is longer than %d characters", maxMailbox))
	}
	for _, r := range s {
		if r <= ' ' || r == 0x7f || unicode.IsControl(r) || unicode.IsSpace(r) {
			return bad("has a space or a control character")
		}
	}
	at := strings.LastIndexByte(s, '@')
	if at <= 0 || at == len(s)-1 {
		return bad("needs a name, an @ and a domain")
	}
	local, domain := s[:at], s[at+1:]
	if len(local) > maxLocalPart {
		return bad(fmt.Sprintf("has more than %d characters before the @", maxLocalPart))
	}
	if strings.ContainsAny(local, "\"(),:;<>[\\]@") || strings.Contains(local, "..") || local[0] == '.' || local[len(local)-1] == '.' {
		return bad("has characters before the @ that are not allowed")
	}
	if !isDomain(domain) {
		return bad("has no valid domain after the @")
	}
	if a, err := mail.ParseAddress(s); err != nil || a.Address != s {
		return bad("is not a mailbox")
	}
	return Identifier{Mail, strings.ToLower(s)}, nil
}

// isDomain reports whether s is a host name of at least one label (RFC 1123 §2.1).
func isDomain(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, r := range label {
			if r > unicode.MaxASCII && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
				return false
			}
			if r <= unicode.MaxASCII && !isAlphanumeric(byte(r)) && r != '-' {
				return false
			}
		}
	}
	return true
}

func isAlphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// ParseTel reads an international number (`+8613800000000`). Visual separators of
// RFC 3966 §3 (hyphen, dot, parentheses) and spaces are dropped.
func ParseTel(s string) (Identifier, error) {
	bad := func(why string) (Identifier, error) {
		return Identifier{}, Errorf(KindBadIdentifier, "tel: %s; a number looks like +8613800000000", why)
	}
	if !strings.HasPrefix(s, "+") {
		return bad("must begin with + and the country code")
	}
	if len(s) > 40 {
		return bad("is too long")
	}
	var b strings.Builder
	b.WriteByte('+')
	for _, r := range s[1:] {
		switch {
		case r >= '0' && r <= '9':
			b.WriteRune(r)
		case strings.ContainsRune("-.() ", r):
		default:
			return bad("has a character that is not a digit")
		}
	}
	v := b.String()
	switch n := len(v) - 1; {
	case n < minDigits:
		return bad(fmt.Sprintf("has fewer than %d digits", minDigits))
	case n > maxDigits:
		return bad(fmt.Sprintf("has more than %d digits (E.164)", maxDigits))
	case v[1] == '0':
		return bad("has a country code that begins with 0")
	}
	return Identifier{Tel, v}, nil
}

// ParseIdentifier reads either kind, as it stands in a path: `b@cc.com`, `+86…`,
// `tel:+86…` or `mailto:b@cc.com`.
func ParseIdentifier(s string) (Identifier, error) {
	switch {
	case strings.HasPrefix(s, "tel:"):
		return ParseTel(s[len("tel:"):])
	case strings.HasPrefix(s, "+") && !strings.Contains(s, "@"): // +b@cc.com is a mailbox
		return ParseTel(s)
	case strings.HasPrefix(s, "mailto:"):
		return ParseMail(s[len("mailto:"):])
	}
	return ParseMail(s)
}
