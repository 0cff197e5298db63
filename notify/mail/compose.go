package mail

import (
	"bytes"
	"errors"
	"fmt"
	netmail "net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	gomail "github.com/wneessen/go-mail"

	"latchkey"
	"latchkey/notify/wording"
)

// letter is a mail ready to go. unicode: an address needs SMTPUTF8 (RFC 6531). reports: we want to be told what becomes of it.
type letter struct {
	from, to string
	unicode  bool
	reports  bool
	text     []byte
}

// maxName is how many characters of a name are shown.
const maxName = 80

// compose writes the mail that a notice becomes. optOut is the address of the page that stops all invitations, or "".
func (c *Channel) compose(n latchkey.Notice, optOut string) (letter, error) {
	if n.Link == "" {
		return letter{}, errors.New("the notice has no link any more")
	}
	if _, err := latchkey.ParseMail(n.Recipient); err != nil {
		return letter{}, err
	}
	from, err := netmail.ParseAddress(c.opt.From)
	if err != nil {
		return letter{}, fmt.Errorf("sender: %w", err)
	}
	guest := clean(n.GuestName)
	sender := "Latchkey"
	if name := clean(n.InviterName); name != "" {
		sender = name + " via Latchkey" // the address is ours: nobody's mailbox is borrowed
	}
	// In the bodies mail programs make links of what looks like one; the subject is shown as it is.
	shown := wording.Invitation{Guest: still(guest), Link: n.Link.Reveal(), OptOut: optOut, Expires: n.Expires}
	plain := wording.Invitation{Guest: guest, Expires: n.Expires}
	for _, who := range append([]latchkey.Beside{{Inviter: n.Inviter, InviterName: n.InviterName, Note: n.Note}}, n.Beside...) {
		p := wording.Person{Name: clean(who.InviterName), Address: string(who.Inviter)}
		if p.Name == "" {
			p = wording.Person{Name: string(who.Inviter)}
			shown.People = append(shown.People, wording.Person{Name: p.Name, Note: still(strings.TrimSpace(who.Note.Reveal()))})
		} else {
			shown.People = append(shown.People, wording.Person{Name: still(p.Name), Address: p.Address, Note: still(strings.TrimSpace(who.Note.Reveal()))})
		}
		plain.People = append(plain.People, p)
	}
	body, err := c.opt.Wording.Mail(n.Language, shown)
	if err != nil {
		return letter{}, err
	}
	subject, err := c.opt.Wording.Subject(n.Language, plain)
	if err != nil {
		return letter{}, err
	}
	l := letter{from: from.Address, to: n.Recipient, unicode: !ascii(from.Address) || !ascii(n.Recipient)}
	if c.opt.Bounces != nil {
		l.from, l.reports = c.opt.Bounces.Address(n.ID), true
	}
	// The id is random and nobody else's, so it can't stand in the bodies.
	m := gomail.NewMsg(gomail.WithNoDefaultUserAgent(), gomail.WithBoundary("latchkey-"+n.ID))
	m.FromMailAddress(&netmail.Address{Name: sender, Address: from.Address})
	m.ToMailAddress(&netmail.Address{Name: guest, Address: n.Recipient})
	m.Subject(subject)
	m.SetDateWithValue(n.Created.UTC())
	m.SetMessageIDWithValue(n.ID + from.Address[strings.LastIndexByte(from.Address, '@'):])
	m.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834 §5: no out-of-office answers
	m.SetGenHeader("Content-Language", c.opt.Wording.Language(n.Language))
	if optOut != "" {
		m.SetGenHeader("List-Unsubscribe", "<"+optOut+">") // RFC 2369 §3.2
		if strings.HasPrefix(optOut, "https://") {
			m.SetGenHeader("List-Unsubscribe-Post", "List-Unsubscribe=One-Click") // RFC 8058 §3.1: with an HTTPS URI only
		}
	}
	m.SetBodyString(gomail.TypeTextPlain, body.Text)
	m.AddAlternativeString(gomail.TypeTextHTML, body.HTML)
	var out bytes.Buffer
	_, err = m.WriteTo(&out)
	l.text = out.Bytes()
	if err == nil && c.opt.Sign != nil {
		l.text, err = c.opt.Sign.sign(l.text)
	}
	return l, err
}

// clean makes a name that fits on a line and into a header: nothing that controls, nothing that turns
// the direction of text around, single spaces (S9).
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), r == utf8.RuneError:
			return -1
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if utf8.RuneCountInString(s) > maxName {
		s = string([]rune(s)[:maxName-1]) + "…"
	}
	return s
}

// still puts a zero-width space behind what mail programs make links of: whoever can have invitations
// sent must not be able to send links to strangers (S9).
func still(s string) string {
	var b strings.Builder
	runes := []rune(s)
	for i, r := range runes {
		b.WriteRune(r)
		if strings.ContainsRune(".:@。．｡", r) && i+1 < len(runes) && !unicode.IsSpace(runes[i+1]) {
			b.WriteRune('\u200b')
		}
	}
	return b.String()
}

func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII })
}
