package gateway

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"latchkey"
	"latchkey/notify/smpp"
	"latchkey/notify/wording"
)

// lastColon is the colon at the end of a text, with the space before it.
func lastColon(text string) string { return text[len(strings.TrimRight(text, ":： ")):] }

// maxSMSName is how many characters of a name an SMS shows.
const maxSMSName = 40

// smsText is the text of an invitation: as much of it as fits into one SMS, the inviters' own words first left out, then their
// names in favour of their addresses if the letters would cost the one SMS. Where nothing fits, it is all but the
// words, in several parts.
func smsText(book *wording.Book, n latchkey.Notice, style smpp.Style) (string, error) {
	link, note := n.Link.Reveal(), harmless(n.Note.Reveal(), 160)
	named, err := book.SMS(n.Language, inLine(n, true))
	if err != nil {
		return "", err
	}
	addressed, err := book.SMS(n.Language, inLine(n, false))
	if err != nil {
		return "", err
	}
	all := []string{named + " " + link, addressed + " " + link}
	if note != "" && len(n.Beside) == 0 {
		all = append([]string{named + " " + note + " " + link}, all...)
	}
	for _, s := range all {
		if style.Fits(s) {
			return s, nil
		}
	}
	return named + " " + link, nil
}

// inLine is an invitation for a line of text, with the inviters' names or their addresses.
func inLine(n latchkey.Notice, names bool) wording.Invitation {
	v := wording.Invitation{Expires: n.Expires}
	for _, who := range append([]latchkey.Beside{{Inviter: n.Inviter, InviterName: n.InviterName}}, n.Beside...) {
		name := harmless(who.InviterName, maxSMSName)
		if name == "" || !names {
			name = spoken(who.Inviter)
		}
		v.People = append(v.People, wording.Person{Name: name})
	}
	return v
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
