package terminal

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

// action is what a key does.
type action int

// Actions of keys.
const (
	insert action = iota // text
	enter
	left
	right
	wordLeft
	wordRight
	home
	end
	older
	newer
	erase      // the letter before
	eraseNext  // the letter behind, or the end of the input where there is none
	eraseWord  // the word before
	killWord   // the word behind
	killEnd    // to the end of the line
	killStart  // to its beginning
	yank       // what was killed
	complete   // Tab
	interrupt  // Ctrl-C
	redraw     // Ctrl-L
	suspend    // Ctrl-Z
	deleteNext // Delete: as eraseNext, but never the end of the input
)

// key is one press, or a text that was pasted.
type key struct {
	action action
	text   string // of insert
}

var controls = map[byte]action{
	1: home, 2: left, 3: interrupt, 4: eraseNext, 5: end, 6: right, 8: erase, 9: complete, 11: killEnd, 12: redraw, '\r': enter, '\n': enter,
	14: newer, 16: older, 21: killStart, 23: eraseWord, 25: yank, 26: suspend, 127: erase,
}

// sequences are what keys send behind ESC (ECMA-48, and what xterm and the Linux console make of it).
var sequences = map[string]action{
	"[A": older, "[B": newer, "[C": right, "[D": left, "[H": home, "[F": end, "OA": older, "OB": newer, "OC": right, "OD": left, "OH": home, "OF": end,
	"[1~": home, "[7~": home, "[4~": end, "[8~": end, "[3~": deleteNext, "[1;5C": wordRight, "[1;5D": wordLeft, "[1;3C": wordRight, "[1;3D": wordLeft,
	"f": wordRight, "b": wordLeft, "d": killWord, "\x7f": eraseWord, "\b": eraseWord,
}

const (
	pasteBegins = "[200~"
	pasteEnds   = "\x1b[201~"
	maxPaste    = 1 << 20
	maxSequence = 32
)

// keyReader makes keys of bytes, however they are cut.
type keyReader struct {
	rest  []byte
	paste bool
}

// feed takes bytes and gives the keys that are complete.
func (k *keyReader) feed(b []byte) []key {
	k.rest = append(k.rest, b...)
	var keys []key
	for {
		n, press, ok := k.one()
		if n == 0 {
			return keys
		}
		k.rest = k.rest[n:]
		if ok {
			keys = append(keys, press)
		}
	}
}

// one reads one key from the beginning of what is there: how many bytes it has, 0 where it is not complete; ok: it means something.
func (k *keyReader) one() (n int, press key, ok bool) {
	b := k.rest
	if k.paste {
		text, whole := b, false
		if i := bytes.Index(b, []byte(pasteEnds)); i >= 0 {
			text, whole = b[:i], true
		} else if len(b) < maxPaste {
			return 0, key{}, false
		}
		k.paste = !whole
		n = len(text)
		if whole {
			n += len(pasteEnds)
		}
		clean := pasted(string(text))
		return n, key{action: insert, text: clean}, clean != ""
	}
	switch {
	case len(b) == 0:
		return 0, key{}, false
	case b[0] == 0x1b:
		return k.sequence()
	case b[0] < ' ' || b[0] == 0x7f:
		a, known := controls[b[0]]
		return 1, key{action: a}, known
	case !utf8.FullRune(b):
		return 0, key{}, false
	}
	r, size := utf8.DecodeRune(b)
	if r == utf8.RuneError && size == 1 || unicode.IsControl(r) {
		return size, key{}, false
	}
	return size, key{action: insert, text: string(r)}, true
}

// sequence reads what begins with ESC.
func (k *keyReader) sequence() (n int, press key, ok bool) {
	b := k.rest
	if len(b) < 2 {
		return 0, key{}, false
	}
	n = 2
	switch b[1] {
	case '\r', '\n': // Alt-Enter
		return 2, key{action: insert, text: "\n"}, true
	case 0x1b:
		return 1, key{}, false
	case 'O':
		if len(b) < 3 {
			return 0, key{}, false
		}
		n = 3
	case '[': // ECMA-48 §5.4: parameters and intermediates up to a final byte
		for {
			switch {
			case n == maxSequence: // no key has one that long
				return n, key{}, false
			case n == len(b):
				return 0, key{}, false
			}
			n++
			if c := b[n-1]; c >= 0x40 && c <= 0x7e {
				break
			} else if c < 0x20 || c > 0x3f {
				return n - 1, key{}, false // no sequence; the byte is read again
			}
		}
	}
	if string(b[1:n]) == pasteBegins {
		k.paste = true
		return n, key{}, false
	}
	a, known := sequences[string(b[1:n])]
	return n, key{action: a}, known
}

// pasted is a text as it may stand in a message.
func pasted(s string) string {
	s = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\t", " ").Replace(strings.ToValidUTF8(s, "\ufffd"))
	return strings.Map(func(r rune) rune {
		if r != '\n' && unicode.IsControl(r) {
			return -1
		}
		return r
	}, s)
}
