package smpp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"unicode"
	"unicode/utf16"
)

// Long is how a text that doesn't fit into one short message is sent.
type Long string

// The ways. UDH8 is understood everywhere; SAR leaves the header to the centre; Payload leaves the cutting to it, too.
const (
	UDH8    Long = "udh"     // concatenation by user data header, 8-bit reference (TS 23.040 §9.2.3.24.1)
	UDH16   Long = "udh16"   // 16-bit reference (TS 23.040 §9.2.3.24.8)
	SAR     Long = "sar"     // sar_* parameters (SMPP 3.4 §5.3.2.22-24)
	Payload Long = "payload" // message_payload (SMPP 3.4 §5.3.2.32)
)

// Style is how texts are put. The zero value is UDH8 in the default alphabet, or UCS-2 where that hasn't all characters.
type Style struct {
	Long Long
	// National are alphabets that handsets here know; one is taken where it makes a message shorter.
	National []*Alphabet
	// Packed sends septets close together, for centres that want their 140 octets so. Most want one an octet.
	Packed bool
}

// Part is one short message of a text: what goes into an SM.
type Part struct {
	Class, Coding byte
	Short         []byte
	TLVs          []TLV
}

const (
	userData   = 140 // octets of TP-User-Data (TS 23.040 §9.2.3.24)
	maxParts   = 255
	shiftIE    = 3
	singleIE   = 0x24 // national language single shift (TS 23.040 §9.2.3.24.15)
	lockingIE  = 0x25 // national language locking shift (TS 23.040 §9.2.3.24.16)
	concat8IE  = 0x00
	concat16IE = 0x08
)

// Compose makes the parts of a text. The same reference gives the same parts, so that a handset knows a repeat. No
// part ends within a surrogate pair or an escaped character, nor within a link if the link fits into one.
func Compose(text string, reference uint16, s Style) ([]Part, error) {
	if text == "" {
		return nil, errors.New("the text is empty")
	}
	var best []Part
	for _, a := range append([]*Alphabet{Default}, s.National...) {
		if s.Long == Payload && a != Default {
			continue // the centre puts its own headers
		}
		if parts, ok := compose(text, reference, s, a); ok && (best == nil || len(parts) < len(best)) {
			best = parts
		}
	}
	if ucs2, ok := compose(text, reference, s, nil); ok && (best == nil || len(ucs2) < len(best)) {
		best = ucs2
	}
	if best == nil {
		return nil, fmt.Errorf("the text needs more than %d short messages", maxParts)
	}
	return best, nil
}

// Fits reports whether the text is one short message.
func (s Style) Fits(text string) bool {
	parts, err := Compose(text, 0, Style{Long: UDH8, National: s.National})
	return err == nil && len(parts) == 1
}

// atom is what no cut goes through: its encoding, and to how much room it comes in units (septets or octets).
type atom struct {
	code []byte
	keep int // atoms from this one to the end of the link that begins here; 0: none does
}

var links = regexp.MustCompile(`https?://\S+`)

// compose is Compose in one alphabet; nil stands for UCS-2, which is UTF-16 since there are characters beyond it.
func compose(text string, reference uint16, s Style, a *Alphabet) ([]Part, bool) {
	atoms, ok := split(text, a)
	if !ok {
		return nil, false
	}
	var shift []byte
	coding := byte(CodingUCS2)
	if a != nil {
		coding = CodingDefault
		if a.Single != 0 {
			shift = append(shift, singleIE, 1, a.Single)
		}
		if a.Locking != 0 {
			shift = append(shift, lockingIE, 1, a.Locking)
		}
	}
	room := func(header int) int {
		if header > 0 {
			header++ // its length
		}
		if a == nil {
			return (userData - header) &^ 1
		}
		return (userData - header) * 8 / 7
	}
	if s.Long == Payload {
		body := join(atoms)
		p := Part{Coding: coding, Short: body}
		if len(body) > room(0) {
			p.Short, p.TLVs = nil, []TLV{{TagMessagePayload, body}}
		}
		return []Part{p}, len(body) < 64_000
	}
	concat := 5
	if s.Long == UDH16 {
		concat = 6
	}
	pieces := [][]atom{atoms}
	if len(join(atoms)) > room(len(shift)) {
		pieces = cut(atoms, room(len(shift)+concat))
	}
	if len(pieces) > maxParts {
		return nil, false
	}
	parts := make([]Part, len(pieces))
	for i, piece := range pieces {
		header, p := shift[:len(shift):len(shift)], Part{Coding: coding}
		if n, total := byte(i+1), byte(len(pieces)); total > 1 {
			switch s.Long {
			case SAR:
				p.TLVs = []TLV{Number(TagSARReference, 2, uint32(reference)), Number(TagSARTotal, 1, uint32(total)), Number(TagSARNumber, 1, uint32(n))}
			case UDH16:
				header = append([]byte{concat16IE, 4, byte(reference >> 8), byte(reference), total, n}, header...)
			default:
				header = append([]byte{concat8IE, 3, byte(reference), total, n}, header...)
			}
		}
		if len(header) > 0 {
			p.Class |= ClassUDH
			header = append([]byte{byte(len(header))}, header...)
		}
		body := join(piece)
		if a != nil && s.Packed {
			body = Pack(body, (7-len(header)*8%7)%7) // text begins on a septet's boundary (TS 23.040 §9.2.3.24)
		}
		p.Short = append(header, body...)
		parts[i] = p
	}
	return parts, true
}

// split makes atoms of a text. Marks stay with what they belong to.
func split(text string, a *Alphabet) ([]atom, bool) {
	var all []atom
	ends := map[int]int{} // of links, in octets of the text, by their beginnings
	for _, l := range links.FindAllStringIndex(text, -1) {
		ends[l[0]] = l[1]
	}
	begun, end := -1, 0
	for i, r := range text {
		if begun >= 0 && i >= end {
			all[begun].keep, begun = len(all)-begun, -1
		}
		var code []byte
		if a == nil {
			for _, u := range utf16.AppendRune(nil, r) {
				code = binary.BigEndian.AppendUint16(code, u)
			}
		} else if septets, ok := a.encode(string(r), nil); ok {
			code = septets
		} else {
			return nil, false
		}
		if to, ok := ends[i]; ok {
			begun, end = len(all), to
		}
		if last := len(all) - 1; last >= 0 && begun < 0 && clings(r) && len(all[last].code) < 32 {
			all[last].code = append(all[last].code, code...)
			continue
		}
		all = append(all, atom{code: code})
	}
	if begun >= 0 {
		all[begun].keep = len(all) - begun
	}
	return all, true
}

// clings reports whether a character means nothing without the one before it.
func clings(r rune) bool {
	return unicode.In(r, unicode.Mn, unicode.Me) || r == 0x200d || r >= 0x1f3fb && r <= 0x1f3ff
}

// cut deals atoms out to parts of so much room.
func cut(atoms []atom, room int) (pieces [][]atom) {
	start, used := 0, 0
	for i, at := range atoms {
		need := len(at.code)
		if whole := len(join(atoms[i : i+at.keep])); at.keep > 0 && whole <= room {
			need = whole
		}
		if used+need > room && i > start {
			pieces = append(pieces, atoms[start:i])
			start, used = i, 0
		}
		used += len(at.code)
	}
	return append(pieces, atoms[start:])
}

func join(atoms []atom) []byte {
	var b []byte
	for _, at := range atoms {
		b = append(b, at.code...)
	}
	return b
}

// Decode reads a message that came: its text without headers. Data that is no text gives "".
func (m *SM) Decode() string {
	data, alphabet := m.Text(), Default
	if m.Class&ClassUDH != 0 && len(data) > 0 {
		size := int(data[0]) + 1
		if size > len(data) {
			return ""
		}
		alphabet = shiftsOf(data[1:size])
		data = data[size:]
	}
	switch kind := m.Coding; {
	case kind == 0, kind >= 0xf0 && kind&0x04 == 0, kind >= 0x10 && kind < 0x40 && kind&0x0c == 0:
		return alphabet.Decode(data)
	case kind == 1, kind == 3: // IA5, Latin-1
		runes := make([]rune, len(data))
		for i, c := range data {
			runes[i] = rune(c)
		}
		return string(runes)
	case kind == CodingUCS2, kind >= 0x10 && kind < 0x40 && kind&0x0c == 0x08:
		units := make([]uint16, len(data)/2)
		for i := range units {
			units[i] = binary.BigEndian.Uint16(data[2*i:])
		}
		return string(utf16.Decode(units))
	}
	return ""
}

// shiftsOf finds the alphabet that a user data header names.
func shiftsOf(header []byte) *Alphabet {
	var single, locking byte
	for len(header) >= 2 && len(header) >= 2+int(header[1]) {
		if header[1] == 1 && header[0] == singleIE {
			single = header[2]
		}
		if header[1] == 1 && header[0] == lockingIE {
			locking = header[2]
		}
		header = header[2+int(header[1]):]
	}
	for _, a := range []*Alphabet{Turkish, Spanish, Portuguese, TurkishLocking, PortugueseLocking} {
		if a.Single == single && a.Locking == locking {
			return a
		}
	}
	return Default
}
