package smpp_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
	"unicode/utf16"

	"latchkey/notify/smpp"
)

// text joins the parts of a message, and reports the texts of each.
func text(t *testing.T, parts []smpp.Part) (whole string, each []string) {
	t.Helper()
	for _, p := range parts {
		sm := smpp.SM{Class: p.Class, Coding: p.Coding, Short: p.Short, TLVs: p.TLVs}
		each = append(each, sm.Decode())
	}
	return strings.Join(each, ""), each
}

func compose(t *testing.T, s string, style smpp.Style) []smpp.Part {
	t.Helper()
	parts, err := smpp.Compose(s, 0x1234, style)
	if err != nil {
		t.Fatal(err)
	}
	return parts
}

// B3.15: "hellohello" and its packed form are the well-known pair of TS 23.038 §6.1.2.1.
func TestSeptetsArePackedAsThePublishedExampleIs(t *testing.T) {
	septets, ok := smpp.Default.Encode("hellohello")
	packed := smpp.Pack(septets, 0)
	if got := hex.EncodeToString(packed); !ok || got != "e8329bfd4697d9ec37" {
		t.Errorf("packed %s, want e8329bfd4697d9ec37", got)
	}
	if got := smpp.Default.Decode(smpp.Unpack(packed, 10, 0)); got != "hellohello" {
		t.Errorf("unpacked %q", got)
	}
}

// B3.15: the alphabets' characters at the places where TS 23.038 has them.
func TestAlphabetsHaveTheirCharacters(t *testing.T) {
	for _, c := range []struct {
		a    *smpp.Alphabet
		s    string
		want string
	}{
		{smpp.Default, "@£$_ Δ§à¿é", "0001021120105f7f6005"},
		{smpp.Default, "^{}\\[~]|€", "1b141b281b291b2f1b3c1b3d1b3e1b401b65"},
		{smpp.Turkish, "ĞİŞçğış", "1b471b491b531b631b671b691b73"},
		{smpp.TurkishLocking, "ĞğŞşİçı€", "0b0c1c1d406007" + "04"},
		{smpp.Spanish, "çÁÍÓÚáíóúñ", "1b091b411b491b4f1b551b611b691b6f1b757d"},
		{smpp.Portuguese, "êçôãõÃÕâÀ", "1b051b091b0c1b7b1b7c1b5b1b5c1b7f1b41"},
		{smpp.PortugueseLocking, "êúíóçÔôÁáªÀãõ~", "04060708090b0c0e0f12147b7c60"},
	} {
		got, ok := c.a.Encode(c.s)
		if !ok || hex.EncodeToString(got) != c.want {
			t.Errorf("%s: %q = %x, %v, want %s", c.a.Name, c.s, got, ok, c.want)
		}
		if back := c.a.Decode(got); back != c.s {
			t.Errorf("%s: %q comes back as %q", c.a.Name, c.s, back)
		}
	}
	for _, r := range "çÁЖ中🙂\x00" {
		if _, ok := smpp.Default.Encode(string(r)); ok {
			t.Errorf("the default alphabet has %q, want not", r)
		}
	}
}

// F02, B3.15: how long a text may be, in each alphabet and way, to the character.
func TestPartsHoldWhatTheStandardSays(t *testing.T) {
	for _, c := range []struct {
		name  string
		char  string
		style smpp.Style
		// the most characters of one part, of two, and of three
		one, two, three int
	}{
		{"GSM", "a", smpp.Style{}, 160, 306, 459},
		{"GSM, 16 bits", "a", smpp.Style{Long: smpp.UDH16}, 160, 304, 456},
		{"GSM, SAR", "a", smpp.Style{Long: smpp.SAR}, 160, 306, 459},
		{"GSM, packed", "a", smpp.Style{Packed: true}, 160, 306, 459},
		{"escaped", "€", smpp.Style{}, 80, 152, 228},
		{"UCS-2", "中", smpp.Style{}, 70, 134, 201},
		{"UCS-2, 16 bits", "中", smpp.Style{Long: smpp.UDH16}, 70, 132, 198},
		{"beyond UCS-2", "🙂", smpp.Style{}, 35, 66, 99},
		{"Turkish, one shift table", "ş", smpp.Style{National: []*smpp.Alphabet{smpp.Turkish}}, 77, 148, 222},
		{"Turkish, both tables", "ş", smpp.Style{National: smpp.National("tr")}, 152, 292, 438},
	} {
		for want, n := range []int{c.one, c.two, c.three} {
			for more, parts := range map[int]int{0: want + 1, 1: want + 2} {
				s := strings.Repeat(c.char, n+more)
				got := compose(t, s, c.style)
				if len(got) != parts {
					t.Errorf("%s: %d characters in %d parts, want %d", c.name, n+more, len(got), parts)
				}
				for _, p := range got {
					limit := 160
					if c.style.Packed || p.Coding == smpp.CodingUCS2 {
						limit = 140
					}
					if len(p.Short) > limit {
						t.Errorf("%s: short_message of %d octets, want at most %d", c.name, len(p.Short), limit)
					}
				}
				if whole, _ := text(t, got); !c.style.Packed && whole != s {
					t.Errorf("%s: came back as %q", c.name, whole)
				}
			}
		}
	}
}

// The octets of a long message's parts, header included (TS 23.040 §9.2.3.24.1, §9.2.3.24.8, §9.2.3.24.15; SMPP 3.4 §5.3.2.22).
func TestLongMessagesSayHowTheyBelongTogether(t *testing.T) {
	long := strings.Repeat("a", 200)
	for _, c := range []struct {
		style  smpp.Style
		text   string
		header string
		class  byte
	}{
		{smpp.Style{}, long, "0500033402" + "02", 0x40},
		{smpp.Style{Long: smpp.UDH16}, long, "060804123402" + "02", 0x40},
		{smpp.Style{National: []*smpp.Alphabet{smpp.Turkish}}, long + "ş", "080003340202240101", 0x40},
		{smpp.Style{National: []*smpp.Alphabet{smpp.Spanish}}, "á", "03240102", 0x40},
	} {
		parts := compose(t, c.text, c.style)
		if got := parts[len(parts)-1]; got.Class != c.class || !bytes.HasPrefix(got.Short, unhex(c.header)) {
			t.Errorf("%+v: class %#x, %x; want %#x and %s", c.style, got.Class, got.Short[:12], c.class, c.header)
		}
	}
	parts := compose(t, long, smpp.Style{Long: smpp.SAR})
	ref, _ := smpp.Lookup(parts[1].TLVs, smpp.TagSARReference)
	total, _ := smpp.Lookup(parts[1].TLVs, smpp.TagSARTotal)
	number, _ := smpp.Lookup(parts[1].TLVs, smpp.TagSARNumber)
	if len(parts) != 2 || parts[1].Class != 0 || !bytes.Equal(ref, unhex("1234")) || !bytes.Equal(total, []byte{2}) || !bytes.Equal(number, []byte{2}) {
		t.Errorf("SAR: %d parts, %+v", len(parts), parts[1])
	}
	whole := compose(t, long, smpp.Style{Long: smpp.Payload})
	if v, ok := smpp.Lookup(whole[0].TLVs, smpp.TagMessagePayload); len(whole) != 1 || !ok || string(v) != long || whole[0].Short != nil {
		t.Errorf("payload: %d parts, %+v", len(whole), whole[0])
	}
	if short := compose(t, "a", smpp.Style{Long: smpp.Payload}); len(short[0].TLVs) != 0 || string(short[0].Short) != "a" {
		t.Errorf("what fits goes into short_message: %+v", short[0])
	}
	// Packed text begins on a septet's boundary behind the header: 6 octets and one fill bit.
	packed := compose(t, long, smpp.Style{Packed: true})
	if got := smpp.Default.Decode(smpp.Unpack(packed[0].Short[6:], 153, 1)); got != long[:153] {
		t.Errorf("packed: %q", got)
	}
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// F02: wherever a cut would fall, it goes neither through a link that fits into a part, nor a surrogate pair, nor an escape,
// nor between a letter and its mark.
func TestCutsFallBetweenWhatBelongsTogether(t *testing.T) {
	link := "https://chat.example.com/rcsgw/invitee/session/sip:+8613900000001@guest.example?passwd=abcdefghijklmnopqrstuvwxyz"
	for before := range 200 {
		_, each := text(t, compose(t, strings.Repeat("x", before)+" "+link+" bye", smpp.Style{}))
		if found := 0; !slicesContain(each, link, &found) || found != 1 {
			t.Fatalf("%d characters before it: the link is cut: %q", before, each)
		}
		for _, s := range []string{"🙂", "e\u0301", "€", "👍🏽"} {
			padded := strings.Repeat("y", before) + strings.Repeat(s, 60)
			whole, each := text(t, compose(t, padded, smpp.Style{}))
			if whole != padded {
				t.Fatalf("%q came back as %q", padded, whole)
			}
			for _, part := range each {
				if strings.HasPrefix(part, "\u0301") || strings.HasPrefix(part, "🏽") || strings.Contains(part, "\ufffd") || strings.HasSuffix(part, " ") {
					t.Fatalf("%q is cut within a character: %q", padded, part)
				}
			}
		}
	}
	// One that is longer than a part is cut where the part ends; nothing is lost.
	huge := "https://chat.example.com/" + strings.Repeat("p", 300)
	if whole, each := text(t, compose(t, "See "+huge, smpp.Style{})); whole != "See "+huge || len(each) != 3 {
		t.Errorf("a huge link: %d parts, %q", len(each), whole)
	}
	for _, p := range compose(t, strings.Repeat("🙂", 100), smpp.Style{}) {
		units := make([]uint16, 0, 70)
		for b := p.Short[6:]; len(b) > 1; b = b[2:] {
			units = append(units, uint16(b[0])<<8|uint16(b[1]))
		}
		if utf16.IsSurrogate(rune(units[0])) && units[0] >= 0xdc00 {
			t.Errorf("a part begins with the second half of a pair")
		}
	}
}

func slicesContain(each []string, s string, found *int) bool {
	for _, e := range each {
		*found += strings.Count(e, s)
	}
	return *found > 0
}

func TestTextsThatCannotGoAreRefused(t *testing.T) {
	if _, err := smpp.Compose("", 1, smpp.Style{}); err == nil {
		t.Error("an empty text is taken")
	}
	if _, err := smpp.Compose(strings.Repeat("a", 256*153), 1, smpp.Style{}); err == nil {
		t.Error("256 parts are taken, 255 is the most")
	}
}

func TestAddressesHaveTheirTypeAndPlan(t *testing.T) {
	for s, want := range map[string]smpp.Address{
		"+8613900000001": {TON: 1, NPI: 1, Digits: "8613900000001"},
		"12345":          {TON: 3, NPI: 0, Digits: "12345"},
		"Latchkey":       {TON: 5, NPI: 0, Digits: "Latchkey"},
		"A & B":          {TON: 5, NPI: 0, Digits: "A & B"},
	} {
		if got, err := smpp.ParseAddress(s); err != nil || got != want || got.String() != s {
			t.Errorf("ParseAddress(%q) = %+v, %v, want %+v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "+", "0049301234567", "+1234567890123456", "twelve chars", "汉字"} {
		if got, err := smpp.ParseAddress(s); err == nil {
			t.Errorf("ParseAddress(%q) = %+v, want an error", s, got)
		}
	}
}
