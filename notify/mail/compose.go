package mail

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	htmltemplate "html/template"
	netmail "net/mail"
	"strings"
	texttemplate "text/template"
	"unicode"
	"unicode/utf8"

	gomail "github.com/wneessen/go-mail"

	"latchkey"
)

// letter is a mail ready to go. unicode: an address needs SMTPUTF8 (RFC 6531).
type letter struct {
	from, to string
	unicode  bool
	text     []byte
}

// maxName is how many characters of a name are shown.
const maxName = 80

var (
	//go:embed invitation.txt
	textSource string
	//go:embed invitation.html
	htmlSource string

	textBody = texttemplate.Must(texttemplate.New("invitation.txt").Parse(textSource))
	htmlBody = htmltemplate.Must(htmltemplate.New("invitation.html").Parse(htmlSource))
)

// invitation is what the two bodies show.
type invitation struct {
	Guest   string // what the inviter calls the guest, or ""
	Name    string // of the inviter, or their address
	Address string // of the inviter
	Note    []string
	Link    string
	Until   string
}

// compose writes the mail that a notice becomes.
func (c *Channel) compose(n latchkey.Notice) (letter, error) {
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
	inviter, guest := clean(n.InviterName), clean(n.GuestName)
	sender := "Latchkey"
	if inviter != "" {
		sender = inviter + " via Latchkey" // the address is ours: nobody's mailbox is borrowed
	} else {
		inviter = string(n.Inviter)
	}
	v := invitation{
		Guest: still(guest), Name: still(inviter), Address: string(n.Inviter), Link: n.Link.Reveal(),
		Until: n.Expires.UTC().Format("Monday, 2 January 2006, 15:04 UTC"),
	}
	if v.Name == still(v.Address) {
		v.Name = v.Address
	}
	if note := still(strings.TrimSpace(n.Note.Reveal())); note != "" {
		v.Note = strings.Split(strings.ReplaceAll(note, "\r\n", "\n"), "\n")
	}
	var text, html bytes.Buffer
	if err := errors.Join(textBody.Execute(&text, v), htmlBody.Execute(&html, v)); err != nil {
		return letter{}, err
	}
	// The id is random and nobody else's, so it can't stand in the bodies.
	m := gomail.NewMsg(gomail.WithNoDefaultUserAgent(), gomail.WithBoundary("latchkey-"+n.ID))
	m.FromMailAddress(&netmail.Address{Name: sender, Address: from.Address})
	m.ToMailAddress(&netmail.Address{Name: guest, Address: n.Recipient})
	m.Subject(inviter + " invites you to a chat")
	m.SetDateWithValue(n.Created.UTC())
	m.SetMessageIDWithValue(n.ID + from.Address[strings.LastIndexByte(from.Address, '@'):])
	m.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834 §5: no out-of-office answers
	m.SetBodyString(gomail.TypeTextPlain, text.String())
	m.AddAlternativeString(gomail.TypeTextHTML, html.String())
	l := letter{from: from.Address, to: n.Recipient, unicode: !ascii(from.Address) || !ascii(n.Recipient)}
	var out bytes.Buffer
	_, err = m.WriteTo(&out)
	l.text = out.Bytes()
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
