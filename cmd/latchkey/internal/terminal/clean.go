package terminal

import (
	"strings"
	"unicode"
)

// Clean makes a peer's text safe for a terminal: without escape sequences, which could
// rewrite the screen or the window's title, and without the marks that reverse
// the order of letters. What is taken out shows as U+FFFD. Lines stay lines.
func Clean(s string) string {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return r
		case r == '\t':
			return ' '
		case unicode.IsControl(r), // C0, DEL and C1 (ECMA-48 §5.2, §5.3)
			unicode.Is(unicode.Bidi_Control, r),
			r == '\u2028', r == '\u2029':
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// cleanLine is Clean for what must stay on one line, such as a name.
func cleanLine(s string) string {
	return strings.ReplaceAll(Clean(s), "\n", " ")
}
