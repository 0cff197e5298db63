package mail

import (
	"bytes"
	"html"
	netmail "net/mail"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey"
	"latchkey/imstest"
)

const link = "https://chat.example/rcsgw/invitee/session/sip:b%2540x+y_at_cc.com@guest.example?passwd=abcdefghijkmnpqrstuvwxyz23"

func notice() latchkey.Notice {
	created := time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)
	return latchkey.Notice{
		ID: "n0tice", Relation: "r1", Channel: latchkey.ByMail, Recipient: "b@cc.com", GuestName: "Bob", Account: "sip:b_at_cc.com@guest.example",
		Inviter: "sip:a@cc.com", InviterName: "Alice", Note: "Lunch on Tuesday?\nI pay.", Link: link, Created: created, Expires: created.Add(168 * time.Hour), Attempts: 1,
	}
}

// take delivers a notice to a sink and reads it back; the sink shares no code with this package.
func take(t *testing.T, n latchkey.Notice) imstest.Mail {
	t.Helper()
	sink, err := imstest.NewMailSink("")
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	if err := New(Options{Server: sink.Addr(), From: "invitations@example.com"}).Deliver(t.Context(), n); err != nil {
		t.Fatalf("Deliver = %v", err)
	}
	all := sink.Mails()
	if len(all) != 1 {
		t.Fatalf("%d mails, want one", len(all))
	}
	return all[0]
}

// headers reads the header of a mail as net/mail does, and counts that no field is there twice.
func headers(t *testing.T, m imstest.Mail) netmail.Header {
	t.Helper()
	msg, err := netmail.ReadMessage(bytes.NewReader(m.Raw))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range msg.Header {
		if len(values) != 1 {
			t.Errorf("%s stands there %d times", name, len(values))
		}
	}
	return msg.Header
}

// R13: both bodies say who invites, what the link is for, until when, what a click does, and how to stop it.
func TestMailSaysWhatItIsAbout(t *testing.T) {
	m := take(t, notice())
	words := []string{"Hello Bob,", "Alice", "(sip:a@cc.com)", "invites you to a chat", "Lunch on Tuesday?", "I pay.", "Sunday, 8 March 2026, 09:30 UTC",
		"A click opens a page and does nothing else", "Ignore this mail, and nothing happens", "leave in the page"}
	htmlText := html.UnescapeString(m.HTML)
	for _, w := range words {
		if !strings.Contains(strings.Join(strings.Fields(m.Text), " "), w) {
			t.Errorf("the text doesn't say %q:\n%s", w, m.Text)
		}
		if !strings.Contains(htmlText, w) {
			t.Errorf("the HTML doesn't say %q:\n%s", w, m.HTML)
		}
	}
	if m.From != "invitations@example.com" || m.To != "b@cc.com" || m.Subject != "Alice invites you to a chat" {
		t.Errorf("from %s to %s about %q", m.From, m.To, m.Subject)
	}
	for line := range strings.Lines(string(m.Raw)) {
		if len(line) > 78+2 {
			t.Errorf("a line of %d characters: %q", len(line), line)
		}
	}
}

// R7: the link comes through whole, once, on a line of its own, and it is the only one.
func TestLinkIsIntact(t *testing.T) {
	m := take(t, notice())
	if !slices.Equal(m.Links(), []string{link}) || !strings.Contains(m.Text, "\n\n"+link+"\n\n") {
		t.Errorf("links %q, want %q:\n%s", m.Links(), link, m.Text)
	}
	_, rest, _ := strings.Cut(m.HTML, `<a href="`)
	href, rest, _ := strings.Cut(rest, `"`)
	if html.UnescapeString(href) != link || strings.Contains(rest, "<a ") || strings.Count(html.UnescapeString(m.HTML), link) != 2 {
		t.Errorf("href %q, want %q, once to click and once to read", html.UnescapeString(href), link)
	}
	for _, remote := range []string{"<img", "<script", "<link", "url("} {
		if strings.Contains(m.HTML, remote) {
			t.Errorf("the HTML has %s; nothing is to be loaded from elsewhere", remote)
		}
	}
}

// S9, F17: names and notes make neither header fields nor commands, addresses or links.
func TestWordsOfPeopleStayWords(t *testing.T) {
	n := notice()
	n.InviterName = "Zoë \"Z\" Müller\r\nBcc: evil@example.com\r\n\r\nhello \u202egnp.exe"
	n.GuestName = "B\tob\nX-Evil: 1 <www.evil.example>, "
	n.Note = ".\r\nRSET\r\n.\r\nMAIL FROM:<x@y>\n<script>alert(1)</script> see http://evil.example/x?y=1 or www.evil.example, mail e@evil.example {{.Link}}"
	m := take(t, n)
	h := headers(t, m)
	from, err := netmail.ParseAddress(h.Get("From"))
	if err != nil || from.Address != "invitations@example.com" || from.Name != `Zoë "Z" Müller Bcc: evil@example.com hello gnp.exe via Latchkey` {
		t.Errorf("From = %q, %v", h.Get("From"), err)
	}
	to, err := netmail.ParseAddressList(h.Get("To"))
	if err != nil || len(to) != 1 || to[0].Address != "b@cc.com" || to[0].Name != "B ob X-Evil: 1 <www.evil.example>," {
		t.Errorf("To = %q, %v", h.Get("To"), err)
	}
	for _, name := range []string{"Bcc", "X-Evil", "Cc"} {
		if v := h.Get(name); v != "" {
			t.Errorf("%s: %s was smuggled in", name, v)
		}
	}
	if !slices.Equal(m.Links(), []string{link}) || strings.Contains(m.Text, "evil.example") || strings.Contains(m.HTML, "evil.example") {
		t.Errorf("links %q; what people write must not become one:\n%s", m.Links(), m.Text)
	}
	quoted := strings.ReplaceAll(m.Text, "\u200b", "")
	for line := range strings.Lines(strings.ReplaceAll(n.Note.Reveal(), "\r\n", "\n")) {
		if !strings.Contains(quoted, "\n> "+strings.TrimRight(line, "\n")+"\n") {
			t.Errorf("the note's line %q isn't quoted in:\n%s", line, quoted)
		}
	}
	if strings.Contains(m.HTML, "<script>") || !strings.Contains(m.HTML, "&lt;script&gt;") {
		t.Errorf("the note is code in the HTML:\n%s", m.HTML)
	}
	for i := range m.Raw {
		if m.Raw[i] >= 0x80 {
			t.Fatal("a byte above 127 goes out, though no address needs one")
		}
	}
}

// A name of any length leaves lines that mail servers take.
func TestLongNamesAreCut(t *testing.T) {
	n := notice()
	n.InviterName, n.GuestName = strings.Repeat("漢字", 300), strings.Repeat(" ", 500)+strings.Repeat("x", 500)
	m := take(t, n)
	h := headers(t, m)
	from, err := netmail.ParseAddress(h.Get("From"))
	if err != nil || from.Name != strings.Repeat("漢字", 39)+"漢… via Latchkey" {
		t.Errorf("From = %q, %v", from, err)
	}
	for line := range strings.Lines(string(m.Raw)) {
		if len(line) > 998 || strings.TrimSpace(line) == "" && strings.TrimRight(line, "\r\n") != "" {
			t.Errorf("line of %d characters: %q", len(line), line)
		}
	}
}

func TestInviterWithoutNameIsTheirAddress(t *testing.T) {
	n := notice()
	n.InviterName, n.GuestName, n.Note = "", "", ""
	m := take(t, n)
	if m.Subject != "sip:a@cc.com invites you to a chat" || !strings.Contains(m.Text, "\nsip:a@cc.com invites you to a chat.") || !strings.HasPrefix(m.Text, "Hello,\n") || strings.Contains(m.Text, "writes") {
		t.Errorf("%q:\n%s", m.Subject, m.Text)
	}
}

// X4: a repeat is the same mail, byte for byte, and another notice is another mail.
func TestRepeatIsTheSameMail(t *testing.T) {
	n := notice()
	a := take(t, n)
	n.Attempts = 2
	b := take(t, n)
	n.ID = "another"
	c := take(t, n)
	if !bytes.Equal(a.Raw, b.Raw) {
		t.Errorf("the repeat differs:\n%s\n%s", a.Raw, b.Raw)
	}
	if h := headers(t, a); h.Get("Message-Id") != "<n0tice@example.com>" || h.Get("Date") != "Sun, 01 Mar 2026 09:30:00 +0000" || h.Get("Auto-Submitted") != "auto-generated" {
		t.Errorf("Message-ID %s, Date %s, Auto-Submitted %s", h.Get("Message-Id"), h.Get("Date"), h.Get("Auto-Submitted"))
	}
	if got := headers(t, c).Get("Message-Id"); got != "<another@example.com>" {
		t.Errorf("Message-ID of another notice is %s", got)
	}
}
