package gateway

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"latchkey"
	"latchkey/notify/smpp"
)

// invitationTexts are what an SMS and an MMS say, by language; {name} is the inviter. Their letters are those of the GSM
// alphabet wherever the language allows, so that the link beside them fits into one SMS.
var invitationTexts = map[string]string{
	"en": "{name} invites you to chat:",
	"de": "{name} lädt Sie zum Chat ein:",
	"fr": "{name} vous invite à discuter :",
	"es": "{name} le invita a chatear:",
	"it": "{name} ti invita a chattare:",
	"pt": "{name} convida a conversar:",
	"tr": "{name} sizi sohbete davet ediyor:",
	"zh": "{name}邀请您聊天：",
	"ar": "{name} يدعوك إلى محادثة:",
}

// invitationText is the text of a language, or of its base (pt for pt-BR), or English.
func invitationText(language string) string {
	tag := strings.ToLower(language)
	for tag != "" {
		if text, ok := invitationTexts[tag]; ok {
			return text
		}
		tag = tag[:max(0, strings.LastIndexByte(tag, '-'))]
	}
	return invitationTexts["en"]
}

func replaced(text, name string) string { return strings.ReplaceAll(text, "{name}", name) }

// lastColon is the colon at the end of a text, with the space before it.
func lastColon(text string) string { return text[len(strings.TrimRight(text, ":： ")):] }

// maxSMSName is how many characters of a name an SMS shows.
const maxSMSName = 40

// smsText is the text of an invitation: as much of it as fits into one SMS, the inviter's own words first left out, then the
// inviter's name in favour of their address if its letters would cost the one SMS. Where nothing fits, it is all but the
// words, in several parts.
func smsText(n latchkey.Notice, style smpp.Style) string {
	text, link := invitationText(n.Language), n.Link.Reveal()
	name, address, note := harmless(n.InviterName, maxSMSName), spoken(n.Inviter), harmless(n.Note.Reveal(), 160)
	if name == "" {
		name = address
	}
	say := func(name string, more ...string) string {
		return strings.Join(append(append([]string{replaced(text, name)}, more...), link), " ")
	}
	var all []string
	if note != "" {
		all = append(all, say(name, note))
	}
	for _, s := range append(all, say(name), say(address)) {
		if style.Fits(s) {
			return s
		}
	}
	return say(name)
}

// spoken is an inviter's address as people say it, with the end left out if it is long.
func spoken(inviter latchkey.InviterID) string {
	_, s, ok := strings.Cut(string(inviter), ":")
	if !ok {
		s = string(inviter)
	}
	return shortened(s, maxSMSName)
}

// harmless makes a line of somebody's words: nothing that controls, and nothing that a handset makes a link of, since
// whoever can have invitations sent must not be able to send links to strangers (S9).
func harmless(s string, most int) string {
	runes := []rune(strings.ToValidUTF8(s, ""))
	var b strings.Builder
	for i, r := range runes {
		switch {
		case unicode.IsSpace(r), strings.ContainsRune(".:/@。．｡", r) && i+1 < len(runes) && !unicode.IsSpace(runes[i+1]):
			b.WriteByte(' ')
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r):
		default:
			b.WriteRune(r)
		}
	}
	return shortened(strings.Join(strings.Fields(b.String()), " "), most)
}

func shortened(s string, most int) string {
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most-3]) + "..."
}
