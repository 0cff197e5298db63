package terminal

import (
	"unicode"

	"golang.org/x/text/width"
)

const (
	joiner    = '\u200d' // ZERO WIDTH JOINER
	emojiLook = '\ufe0f' // VARIATION SELECTOR-16
)

// cells is how many columns of a terminal a letter takes: none for marks that sit on the letter before, two for wide ones
// (Unicode UAX #11), else one.
func cells(r rune) int {
	switch {
	case r < ' ' || r >= 0x7f && r < 0xa0:
		return 0
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf), r >= 0x1160 && r <= 0x11ff, r == emojiLook: // the rest of a Hangul syllable
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// cluster is where the letter that begins at i ends, with the marks on it: what a person sees as one (Unicode UAX #29, as far as
// terminals go along).
func cluster(text []rune, i int) int {
	if i >= len(text) {
		return len(text)
	}
	flag := text[i] >= 0x1f1e6 && text[i] <= 0x1f1ff
	for i++; i < len(text); i++ {
		switch r := text[i]; {
		case text[i-1] == joiner && r > 0x2000, r >= 0x1f3fb && r <= 0x1f3ff: // joined; colour of skin
		case flag && r >= 0x1f1e6 && r <= 0x1f1ff:
			flag = false
		case r >= ' ' && cells(r) == 0:
		default:
			return i
		}
	}
	return i
}

// clusterBefore is where the letter that ends at i begins. It looks from the nearest plain letter on, or from far enough before.
func clusterBefore(text []rune, i int) int {
	at := max(0, i-1)
	for at > 0 && i-at < 64 && (text[at] < ' ' || text[at] > '~' || i-at < 2) {
		at--
	}
	begin := at
	for ; at < i; at = cluster(text, at) {
		begin = at
	}
	return begin
}

// columns is how many cells a letter with its marks takes.
func columns(letter []rune) int {
	n := 0
	for _, r := range letter {
		n = max(n, cells(r))
	}
	return n
}
