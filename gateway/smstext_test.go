package gateway

import (
	"strings"
	"testing"
	"time"

	"latchkey"
	"latchkey/notify/smpp"
	"latchkey/notify/wording"
)

// invitationLink is a link as the desk makes it, for a base of so many characters.
func invitationLink(base int) latchkey.Secret {
	url := "https://" + strings.Repeat("c", base-len("https://")-3) + ".cc"
	return latchkey.Secret(url + "/rcsgw/invitee/session/sip:+8613900000001@guest.example?passwd=" + latchkey.NewToken())
}

func noticeOf(name, note, language string, base int) latchkey.Notice {
	return latchkey.Notice{
		ID: "n", Recipient: "+8613900000001", Inviter: "sip:a@cc.com", InviterName: name, Note: latchkey.Text(note), Language: language,
		Link: invitationLink(base), Expires: time.Now().Add(time.Hour),
	}
}

// F02: one SMS has room for 160 characters. A link has 23 of path, 32 of account (sip:+13 digits@guest.example), 8 of "?passwd=" and
// 26 of password: 89 with a base of none. "Alice invites you to chat: " has 27, so a public URL may have up to 44 characters; a
// longer one, or letters beyond the GSM alphabet, make several parts, where the link still is in one if it can be.
func TestInvitationFitsOneSMSWhereTheURLAllows(t *testing.T) {
	style := smpp.Style{}
	for _, c := range []struct {
		name, note, language string
		base                 int
		parts                int
		begins               string
	}{
		{"Alice", "", "", 44, 1, "Alice invites you to chat: https://"},
		{"Alice", "", "", 45, 2, "Alice invites you to chat: https://"},
		{"Alice", "Hi!", "en", 40, 1, "Alice invites you to chat: Hi! https://"},
		{"Alice", "Hi!", "en", 41, 1, "Alice invites you to chat: https://"}, // the words are left out first
		{"王芳", "", "en", 24, 1, "a@cc.com invites you to chat: https://"},    // then letters that cost the one SMS
		{"王芳", "", "en", 60, 3, "王芳 invites you to chat: https://"},
		{"", "", "en", 24, 1, "a@cc.com invites you to chat: https://"},
		{"Jürgen", "", "de-AT", 24, 1, "Jürgen lädt Sie zum Chat ein: https://"},
		{"Noël", "", "fr", 24, 2, "Noël vous invite"},
		{"René", "", "fr", 24, 1, "René vous invite à discuter : https://"},
		{"Íñigo", "", "es", 24, 1, "a@cc.com le invita a chatear: https://"},
		{"Ali", "", "tr", 24, 1, "Ali sizi sohbete davet ediyor: https://"},
		{"Ana", "", "pt-BR", 24, 1, "Ana convida a conversar: https://"},
		{"王芳", "", "zh-Hans-CN", 24, 2, "王芳邀请您聊天： https://"},
		{"ليلى", "", "ar", 24, 3, "ليلى يدعوك إلى محادثة: https://"},
		{"Alice", "", "xx", 24, 1, "Alice invites you to chat: https://"},
	} {
		n := noticeOf(c.name, c.note, c.language, c.base)
		got, err := smsText(texts(t), n, style)
		if err != nil {
			t.Fatal(err)
		}
		parts, err := smpp.Compose(got, 1, style)
		if err != nil {
			t.Fatal(err)
		}
		if c.name == "Noël" { // ë is not in the alphabet, so the address stands in
			c.parts, c.begins = 1, "a@cc.com vous invite"
		}
		if len(parts) != c.parts || !strings.HasPrefix(got, c.begins) || !strings.HasSuffix(got, " "+n.Link.Reveal()) {
			t.Errorf("%s in %q, URL of %d: %d parts %q, want %d that begin %q", c.name, c.language, c.base, len(parts), got, c.parts, c.begins)
		}
	}
}

func texts(t *testing.T) *wording.Book {
	t.Helper()
	book, err := wording.New("")
	if err != nil {
		t.Fatal(err)
	}
	return book
}

// A language that can keeps to the GSM alphabet, and several inviters stand in one line.
func TestTextsKeepToTheAlphabet(t *testing.T) {
	book := texts(t)
	for _, language := range book.Languages() {
		n := noticeOf("Bo", "", language, 24)
		n.Beside = []latchkey.Beside{{Inviter: "sip:c@cc.com", InviterName: "Al"}}
		text, err := smsText(book, n, smpp.Style{})
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := smpp.Default.Encode(text); ok == (language == "zh" || language == "ar") || !strings.Contains(text, "Bo") || !strings.Contains(text, "Al") {
			t.Errorf("%s: %q is in the GSM alphabet: %v", language, text, ok)
		}
	}
	if subject, text, err := mmsText(book, noticeOf("王芳", "你好", "zh", 24)); err != nil || subject != "王芳邀请您聊天" || !strings.HasPrefix(text, "王芳邀请您聊天：\n你好\nhttps://") {
		t.Errorf("MMS %q, %q, %v", subject, text, err)
	}
}

// S9: nobody can send links of their own by the name or the words of an invitation.
func TestWordsOfInvitersMakeNoLinks(t *testing.T) {
	for _, s := range []string{"http://evil.example/x", "evil.example", "call a@evil.example now", "http:// evil .example", "\u202eevil.example", "line\r\nhttps://evil.example"} {
		got := harmless(s, 80)
		if strings.Contains(got, "://") || strings.Contains(got, "l.e") || strings.Contains(got, "a@e") || strings.ContainsAny(got, "\r\n\u202e") {
			t.Errorf("harmless(%q) = %q", s, got)
		}
	}
	if got := harmless(strings.Repeat("x", 50), 40); len(got) != 40 || !strings.HasSuffix(got, "...") {
		t.Errorf("a long name: %q", got)
	}
}

// B3.15: who wrote is known by the number, with the operator's country where it comes without one.
func TestSendersNumbersAreMadeInternational(t *testing.T) {
	for _, c := range []struct {
		region string
		from   smpp.Address
		want   string
	}{
		{"", smpp.Address{TON: 1, NPI: 1, Digits: "8613900000001"}, "+8613900000001"},
		{"", smpp.Address{TON: 1, NPI: 1, Digits: "+8613900000001"}, "+8613900000001"},
		{"DE", smpp.Address{TON: 2, NPI: 1, Digits: "01711234567"}, "+491711234567"},
		{"DE", smpp.Address{Digits: "00491711234567"}, "+491711234567"},
		{"CN", smpp.Address{TON: 2, NPI: 1, Digits: "13900000001"}, "+8613900000001"},
		{"", smpp.Address{TON: 2, NPI: 1, Digits: "01711234567"}, ""},
		{"", smpp.Address{TON: 5, Digits: "Bank"}, ""},
	} {
		s := &smsChannel{config: SMS{Region: c.region}}
		got, err := s.sender(c.from)
		if (err != nil) != (c.want == "") || got.Value != c.want {
			t.Errorf("%s %+v = %q, %v, want %q", c.region, c.from, got.Value, err, c.want)
		}
	}
}
