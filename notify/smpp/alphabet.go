package smpp

import "strings"

// Alphabet is a set of 7-bit characters: a basic table and what follows the escape (TS 23.038 §6.2). Locking and Single are
// the national language identifiers by which the handset chooses the tables, 0 for the default ones.
type Alphabet struct {
	Name            string
	Locking, Single byte
	basic           map[rune]byte
	shifted         map[rune]byte
	basicOf         [128]rune
	shiftedOf       [128]rune
}

const escape = 0x1b

// The alphabets: the default one, and the national ones of TS 23.038 annex A with a single shift table, or with both tables.
var (
	Default           = newAlphabet("default", 0, 0)
	Turkish           = newAlphabet("tr", 0, 1)
	Spanish           = newAlphabet("es", 0, 2)
	Portuguese        = newAlphabet("pt", 0, 3)
	TurkishLocking    = newAlphabet("tr", 1, 1)
	PortugueseLocking = newAlphabet("pt", 3, 3)
)

// National are the alphabets of a language, those that cost least first; nil: it has none.
func National(language string) []*Alphabet {
	switch language {
	case "tr":
		return []*Alphabet{Turkish, TurkishLocking}
	case "es":
		return []*Alphabet{Spanish}
	case "pt":
		return []*Alphabet{Portuguese, PortugueseLocking}
	}
	return nil
}

// The basic tables by language identifier (TS 23.038 §6.2.1, §A.3); \x1b stands at its own place.
var basicTables = map[byte]string{
	0: "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ" + " !\"#¤%&'()*+,-./0123456789:;<=>?" +
		"¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§" + "¿abcdefghijklmnopqrstuvwxyzäöñüà",
	1: "@£$¥€éùıòÇ\nĞğ\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bŞşßÉ" + " !\"#¤%&'()*+,-./0123456789:;<=>?" +
		"İABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§" + "çabcdefghijklmnopqrstuvwxyzäöñüà",
	3: "@£$¥êéúíóç\nÔô\rÁáΔ_ªÇÀ∞^\\€Ó|\x1bÂâÊÉ" + " !\"#º%&'()*+,-./0123456789:;<=>?" +
		"ÍABCDEFGHIJKLMNOPQRSTUVWXYZÃÕÚÜ§" + "~abcdefghijklmnopqrstuvwxyzãõ`üà",
}

// always stands behind the escape in every table (TS 23.038 §6.2.1.1).
var always = map[byte]rune{0x0a: '\f', 0x14: '^', 0x28: '{', 0x29: '}', 0x2f: '\\', 0x3c: '[', 0x3d: '~', 0x3e: ']', 0x40: '|', 0x65: '€'}

// The single shift tables beside that (TS 23.038 §A.2).
var shiftTables = map[byte]map[byte]rune{
	1: {0x47: 'Ğ', 0x49: 'İ', 0x53: 'Ş', 0x63: 'ç', 0x67: 'ğ', 0x69: 'ı', 0x73: 'ş'},
	2: {0x09: 'ç', 0x41: 'Á', 0x49: 'Í', 0x4f: 'Ó', 0x55: 'Ú', 0x61: 'á', 0x69: 'í', 0x6f: 'ó', 0x75: 'ú'},
	3: {0x05: 'ê', 0x09: 'ç', 0x0b: 'Ô', 0x0c: 'ô', 0x0e: 'Á', 0x0f: 'á', 0x12: 'Φ', 0x13: 'Γ', 0x15: 'Ω', 0x16: 'Π', 0x17: 'Ψ', 0x18: 'Σ', 0x19: 'Θ', 0x1f: 'Ê',
		0x41: 'À', 0x49: 'Í', 0x4f: 'Ó', 0x55: 'Ú', 0x5b: 'Ã', 0x5c: 'Õ', 0x61: 'Â', 0x69: 'í', 0x6f: 'ó', 0x75: 'ú', 0x7b: 'ã', 0x7c: 'õ', 0x7f: 'â'},
}

func newAlphabet(name string, locking, single byte) *Alphabet {
	a := &Alphabet{Name: name, Locking: locking, Single: single, basic: map[rune]byte{}, shifted: map[rune]byte{}}
	code := 0
	for _, r := range basicTables[locking] {
		if a.basicOf[code] = r; code != escape {
			a.basic[r] = byte(code)
		}
		code++
	}
	for _, table := range []map[byte]rune{always, shiftTables[single]} {
		for code, r := range table {
			a.shiftedOf[code] = r
			a.shifted[r] = code
		}
	}
	return a
}

// encode appends the septets of s, one an octet, or reports that the alphabet hasn't all of it.
func (a *Alphabet) encode(s string, septets []byte) ([]byte, bool) {
	for _, r := range s {
		if code, ok := a.basic[r]; ok {
			septets = append(septets, code)
		} else if code, ok := a.shifted[r]; ok {
			septets = append(septets, escape, code)
		} else {
			return nil, false
		}
	}
	return septets, true
}

// Encode gives the septets of s, one an octet, and whether the alphabet has all of it.
func (a *Alphabet) Encode(s string) ([]byte, bool) { return a.encode(s, nil) }

// Decode reads septets, one an octet. What the tables don't have is shown as TS 23.038 §6.2.1.1 says: the
// character of the basic table, and a space for an escape at the end.
func (a *Alphabet) Decode(septets []byte) string {
	var b strings.Builder
	for i := 0; i < len(septets); i++ {
		c := septets[i] & 0x7f
		if c != escape {
			b.WriteRune(a.basicOf[c])
			continue
		}
		if i++; i == len(septets) {
			b.WriteByte(' ')
			break
		}
		c = septets[i] & 0x7f
		switch r := a.shiftedOf[c]; {
		case r != 0:
			b.WriteRune(r)
		case c == escape:
			b.WriteByte(' ') // kept for another table
		default:
			b.WriteRune(a.basicOf[c])
		}
	}
	return b.String()
}

// Pack puts septets close together, the first into the low bits (TS 23.038 §6.1.2.1.1). Fill bits come first, as after
// a header that ends within a septet.
func Pack(septets []byte, fill int) []byte {
	out := make([]byte, (len(septets)*7+fill+7)/8)
	for i, s := range septets {
		bit := fill + i*7
		v := uint16(s&0x7f) << (bit % 8)
		out[bit/8] |= byte(v)
		if v > 0xff {
			out[bit/8+1] |= byte(v >> 8)
		}
	}
	return out
}

// Unpack takes n septets out of packed octets.
func Unpack(packed []byte, n, fill int) []byte {
	out := make([]byte, 0, max(n, 0))
	for i := range n {
		bit := fill + i*7
		if (bit+6)/8 >= len(packed) {
			break
		}
		v := uint16(packed[bit/8])
		if bit/8+1 < len(packed) {
			v |= uint16(packed[bit/8+1]) << 8
		}
		out = append(out, byte(v>>(bit%8))&0x7f)
	}
	return out
}
