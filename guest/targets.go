package guest

import (
	"fmt"
	"strings"

	"golang.org/x/net/idna"

	"latchkey"
)

// Target is a range of people: those whose number begins so (+86), whose mailbox is in a domain (@example.com), or in
// a domain below one (*.example.com).
type Target string

// ParseTarget reads a Target.
func ParseTarget(s string) (Target, error) {
	bad := fmt.Errorf("%q is neither the beginning of a number (+86) nor a domain (@example.com, *.example.com)", s)
	if digits, ok := strings.CutPrefix(s, "+"); ok {
		if digits == "" || strings.Trim(digits, "0123456789") != "" {
			return "", bad
		}
		return Target(s), nil
	}
	for _, prefix := range []string{"@", "*."} {
		if domain, ok := strings.CutPrefix(s, prefix); ok {
			if _, err := latchkey.ParseMail("b@" + domain); err != nil {
				return "", bad
			}
			return Target(prefix + wireDomain(domain)), nil
		}
	}
	return "", bad
}

// Covers reports whether the identifier is in the range.
func (t Target) Covers(id latchkey.Identifier) bool {
	if id.Kind == latchkey.Tel {
		return t != "" && t[0] == '+' && strings.HasPrefix(id.Value, string(t))
	}
	domain := wireDomain(id.Value[strings.LastIndexByte(id.Value, '@')+1:])
	if below, ok := strings.CutPrefix(string(t), "*"); ok {
		return strings.HasSuffix(domain, below)
	}
	return string(t) == "@"+domain
}

// wireDomain is a domain in the one form that it has in the DNS, so that no other spelling is a way around (RFC 5891 §5.5).
func wireDomain(s string) string {
	if a, err := idna.Lookup.ToASCII(s); err == nil {
		return a
	}
	return strings.ToLower(s)
}

// Targets says who may be invited: whom Deny doesn't cover and, unless it is empty, Allow does.
type Targets struct{ Allow, Deny []Target }

// Allows reports whether the identifier may be invited.
func (t Targets) Allows(id latchkey.Identifier) bool {
	covered := func(all []Target) bool {
		for _, target := range all {
			if target.Covers(id) {
				return true
			}
		}
		return false
	}
	return !covered(t.Deny) && (len(t.Allow) == 0 || covered(t.Allow))
}
