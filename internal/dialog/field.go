package dialog

import (
	"iter"
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// fields is a request or response of which header fields are read.
type fields interface{ Headers() []sip.Header }

// All walks the fields called name. sipgo's GetHeaders makes a copy of each field's name.
func All(m fields, name string) iter.Seq[sip.Header] {
	return func(yield func(sip.Header) bool) {
		for _, h := range m.Headers() {
			if strings.EqualFold(h.Name(), name) && !yield(h) {
				return
			}
		}
	}
}

// First is the first field called name; nil: there is none.
func First(m fields, name string) sip.Header {
	for h := range All(m, name) {
		return h
	}
	return nil
}

// Split divides a field at its commas, except for those in quoted strings and angle brackets
// (RFC 3261 §7.3.1, §25.1): what people choose as a display name adds no value.
func Split(field string) []string {
	var all []string
	add := func(v string) {
		if v = strings.TrimSpace(v); v != "" {
			all = append(all, v)
		}
	}
	start, quoted, bracketed := 0, false, false
	for i := 0; i < len(field); i++ {
		switch c := field[i]; {
		case quoted && c == '\\':
			i++ // §25.1: a quoted pair
		case c == '"' && !bracketed:
			quoted = !quoted
		case quoted:
		case c == '<':
			bracketed = true
		case c == '>':
			bracketed = false
		case c == ',' && !bracketed:
			add(field[start:i])
			start = i + 1
		}
	}
	add(field[start:])
	return all
}

// Values lists the values of all fields called name in order, each as it was written.
func Values(m fields, name string) []string {
	var all []string
	for h := range All(m, name) {
		all = append(all, Split(h.Value())...)
	}
	return all
}

// URI takes the URI out of one value, a name-addr or an addr-spec (RFC 3261 §20.10): without
// brackets, what follows a semicolon belongs to the field. It is "" where there is none.
func URI(value string) string {
	value = strings.TrimSpace(value)
	if strings.HasPrefix(value, `"`) {
		for i := 1; ; i++ {
			if i >= len(value) {
				return "" // the display name has no end
			}
			if value[i] == '\\' {
				i++
			} else if value[i] == '"' {
				value = value[i+1:]
				break
			}
		}
	}
	uri, end := value, ";"
	if _, rest, found := strings.Cut(value, "<"); found {
		uri, end = rest, ">"
	}
	uri, _, found := strings.Cut(uri, end)
	if uri = strings.TrimSpace(uri); !found && end == ">" || strings.ContainsAny(uri, "<>\" \t\r\n") {
		return ""
	}
	return uri
}

// HasToken reports whether the comma-separated fields called name hold token, in any case.
func HasToken(m fields, name, token string) bool {
	return slices.ContainsFunc(Tokens(m, name), func(t string) bool { return strings.EqualFold(t, token) })
}

// Tokens lists the comma-separated values of all fields called name.
func Tokens(m fields, name string) []string {
	var all []string
	for h := range All(m, name) {
		for t := range strings.SplitSeq(h.Value(), ",") {
			if t = strings.TrimSpace(t); t != "" {
				all = append(all, t)
			}
		}
	}
	return all
}
