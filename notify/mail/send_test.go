package mail

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wneessen/go-mail/smtp"

	"latchkey"
	"latchkey/imstest"
	"latchkey/notify"
)

func deliver(t *testing.T, opt Options, n latchkey.Notice) error {
	t.Helper()
	opt.From = "invitations@example.com"
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return New(opt).Deliver(ctx, n)
}

func failure(t *testing.T, err error) *notify.Failure {
	t.Helper()
	f, ok := errors.AsType[*notify.Failure](err)
	if !ok {
		t.Fatalf("Deliver = %v, want a *notify.Failure", err)
	}
	return f
}

// F19: what is for now and what is for good are told apart, in words that an inviter may read.
func TestRefusalsAreSorted(t *testing.T) {
	const loggedOut, later = "the mail server does not let the gateway in", "the mail server asks to come again later"
	for _, c := range []struct {
		verb, reply string
		permanent   bool
		reason      string
	}{
		{"greeting", "554 go away", false, "the mail server can't be reached"},
		{"greeting", "421 too busy", false, "the mail server can't be reached"},
		{"MAIL", "451 mx7.cc.com is busy", false, later + " (451)"},
		{"MAIL", "550 5.7.1 sender refused", true, "the mail server refuses the mail (550)"},
		{"MAIL", "530 5.7.0 Authentication required", false, loggedOut + " (530)"},
		{"RCPT", "450 4.2.0 greylisted by mx7.cc.com", false, later + " (450)"},
		{"RCPT", "452 4.2.2 over quota", false, "the mailbox is full (452)"},
		{"RCPT", "550 5.1.1 <b@cc.com> unknown at mx7.cc.com", true, "there is no such mailbox (550)"},
		{"RCPT", "550-multi\r\n550 line", true, "the mail server refuses the address (550)"},
		{"RCPT", "552 5.2.2 full", true, "the mailbox is full (552)"},
		{"DATA", "421 4.3.2 shutting down", false, later + " (421)"},
		{"DATA", "554 5.5.1 no valid recipients", true, "the mail server refuses the mail (554)"},
		{"end", "451 4.7.1 try again", false, later + " (451)"},
		{"end", "554 5.7.1 looks like spam", true, "the mail server refuses the mail (554)"},
	} {
		s := (&script{replies: map[string]string{c.verb: c.reply}}).start(t)
		f := failure(t, deliver(t, Options{Server: s.addr()}, notice()))
		if f.Permanent != c.permanent || f.Reason != c.reason {
			t.Errorf("%s %q: %q, permanent %v; want %q, %v", c.verb, c.reply, f.Reason, f.Permanent, c.reason, c.permanent)
		}
		code, _, _ := strings.Cut(c.reply, " ")
		if !strings.Contains(f.Error(), code[:3]) || strings.Contains(f.Error(), "passwd=") {
			t.Errorf("%s %q: the log gets %q", c.verb, c.reply, f)
		}
	}
}

// F19: a network that fails at any point is no word on the letter.
func TestBrokenConversationsAreTemporary(t *testing.T) {
	for _, at := range []string{"greeting", "EHLO", "MAIL", "RCPT", "DATA", "body", "end"} {
		s := (&script{replies: map[string]string{at: drop}}).start(t)
		if f := failure(t, deliver(t, Options{Server: s.addr()}, notice())); f.Permanent || f.Reason != "the mail server can't be reached" {
			t.Errorf("dropped at %s: %q, permanent %v", at, f.Reason, f.Permanent)
		}
	}
	if f := failure(t, deliver(t, Options{Server: imstest.Closed(t, "")}, notice())); f.Permanent {
		t.Errorf("nobody listens: %v, want a temporary failure", f)
	}
}

// A server that says nothing is left when the delivery's time is over.
func TestSilentServerIsLeft(t *testing.T) {
	for _, at := range []string{"greeting", "EHLO", "RCPT", "end"} {
		s := (&script{replies: map[string]string{at: hang}}).start(t)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		start := time.Now()
		f := failure(t, New(Options{Server: s.addr(), From: "invitations@example.com"}).Deliver(ctx, notice()))
		cancel()
		if d := time.Since(start); f.Permanent || d > 10*time.Second {
			t.Errorf("silent at %s: %v after %v, want a temporary failure at the deadline", at, f, d)
		}
	}
	s := (&script{replies: map[string]string{"RCPT": hang}}).start(t)
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { over <- New(Options{Server: s.addr(), From: "invitations@example.com"}).Deliver(ctx, notice()) }()
	imstest.Eventually(t, time.Minute, func() bool { return len(s.lines()) >= 3 })
	cancel()
	start := time.Now()
	if f := failure(t, <-over); f.Permanent || time.Since(start) > 10*time.Second {
		t.Errorf("cancelled: %v after %v, want a temporary failure at once", f, time.Since(start))
	}
}

// RFC 5321 §6.1: what the server has taken is delivered, whatever it answers to QUIT. A failure would be a second mail.
func TestTakenMailStaysTaken(t *testing.T) {
	for _, reply := range []string{drop, "421 bye", "500 what?", hang} {
		s := (&script{replies: map[string]string{"QUIT": reply}}).start(t)
		if err := deliver(t, Options{Server: s.addr()}, notice()); err != nil {
			t.Errorf("QUIT answered with %q: Deliver = %v", reply, err)
		}
	}
}

// The envelope is ours, a line with a dot stays one, and extensions are asked for by need only.
func TestEnvelopeIsPlain(t *testing.T) {
	s := (&script{ext: []string{"8BITMIME", "SMTPUTF8", "SIZE 1000000"}}).start(t)
	if err := deliver(t, Options{Server: s.addr()}, notice()); err != nil {
		t.Fatal(err)
	}
	imstest.Eventually(t, time.Minute, func() bool { return len(s.lines()) >= 5 }) // nobody waits long for the answer to QUIT
	said := s.lines()
	if len(said) != 5 || !strings.HasPrefix(said[0], "EHLO ") || !strings.HasPrefix(said[1], "MAIL FROM:<invitations@example.com>") || said[2] != "RCPT TO:<b@cc.com>" || said[3] != "DATA" || said[4] != "QUIT" {
		t.Errorf("the client said %q", said)
	}
	if strings.Contains(said[1], "SMTPUTF8") {
		t.Errorf("%q asks for SMTPUTF8 without need", said[1])
	}
	if name := strings.TrimPrefix(said[0], "EHLO "); !strings.Contains(name, ".") {
		t.Errorf("EHLO %s, want a domain or an address literal", name)
	}
}

// S9, RFC 6531: an address beyond ASCII goes where it can be written, and is refused for good elsewhere.
func TestUnicodeAddressNeedsSMTPUTF8(t *testing.T) {
	n := notice()
	n.Recipient = "jürgen@bücher.example"
	s := (&script{ext: []string{"8BITMIME", "SMTPUTF8"}}).start(t)
	if err := deliver(t, Options{Server: s.addr()}, n); err != nil {
		t.Fatal(err)
	}
	if said := s.lines(); !strings.HasSuffix(said[1], " SMTPUTF8") || said[2] != "RCPT TO:<jürgen@bücher.example>" {
		t.Errorf("the client said %q", said)
	}
	if !strings.Contains(s.content(), "<jürgen@bücher.example>") {
		t.Errorf("To isn't the address:\n%s", s.content())
	}
	plain := (&script{ext: []string{"8BITMIME"}}).start(t)
	if f := failure(t, deliver(t, Options{Server: plain.addr()}, n)); !f.Permanent || slices.ContainsFunc(plain.lines(), func(l string) bool { return strings.HasPrefix(l, "MAIL") }) {
		t.Errorf("without SMTPUTF8: %v after %q", f, plain.lines())
	}
}

// What can't be written never gets to a server.
func TestUnwritableNoticeIsPermanent(t *testing.T) {
	s := (&script{}).start(t)
	for name, change := range map[string]func(*latchkey.Notice){
		"no link":        func(n *latchkey.Notice) { n.Link = "" },
		"no mailbox":     func(n *latchkey.Notice) { n.Recipient = "+8613800000000" },
		"two recipients": func(n *latchkey.Notice) { n.Recipient = "b@cc.com>\r\nRCPT TO:<c@cc.com" },
	} {
		n := notice()
		change(&n)
		if f := failure(t, deliver(t, Options{Server: s.addr()}, n)); !f.Permanent || strings.ContainsAny(f.Reason, "\r\n+") {
			t.Errorf("%s: %v", name, f)
		}
	}
	if said := s.lines(); len(said) > 0 {
		t.Errorf("the server heard %q", said)
	}
}

// STARTTLS is used where it is offered, and nothing but EHLO is said before it.
func TestOfferedTLSIsUsed(t *testing.T) {
	s := (&script{ext: []string{"STARTTLS", "AUTH PLAIN"}, tls: certificate(t)}).start(t)
	if err := deliver(t, Options{Server: s.addr(), User: "me", Password: "pw"}, notice()); err != nil {
		t.Fatal(err)
	}
	if said := s.lines(); len(said) < 4 || said[1] != "STARTTLS" || !strings.HasPrefix(said[2], "EHLO") || !strings.HasPrefix(said[3], "AUTH PLAIN ") {
		t.Errorf("the client said %q", said)
	}
	refusing := (&script{ext: []string{"STARTTLS"}, replies: map[string]string{"STARTTLS": "454 not now"}}).start(t)
	if f := failure(t, deliver(t, Options{Server: refusing.addr()}, notice())); f.Permanent || len(refusing.lines()) != 2 {
		t.Errorf("STARTTLS refused: %v after %q, want no mail in the clear", f, refusing.lines())
	}
	from := (&script{secure: true, tls: certificate(t)}).start(t)
	if err := deliver(t, Options{Server: from.addr(), TLS: true}, notice()); err != nil {
		t.Errorf("smtps: Deliver = %v", err)
	}
	if c := New(Options{Server: "mail.cc.com:465"}).tls(false); c.InsecureSkipVerify || c.ServerName != "mail.cc.com" {
		t.Error("a server elsewhere need not show who it is")
	}
}

// The best way to log in is taken, and the password itself never goes out where others listen.
func TestPasswordIsNotSentInTheClear(t *testing.T) {
	for _, c := range []struct{ offer, private, public string }{
		{"PLAIN LOGIN", "PLAIN", ""},
		{"LOGIN", "LOGIN", ""},
		{"login plain cram-md5", "CRAM-MD5", "CRAM-MD5"},
		{"PLAIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256", "SCRAM-SHA-256", "SCRAM-SHA-256"},
		{"PLAIN SCRAM-SHA-1", "SCRAM-SHA-1", "SCRAM-SHA-1"},
		{"XOAUTH2 GSSAPI", "", ""},
		{"", "", ""},
	} {
		s := (&script{ext: []string{"AUTH " + c.offer}}).start(t)
		for _, private := range []bool{true, false} {
			conn, err := net.Dial("tcp", s.addr())
			if err != nil {
				t.Fatal(err)
			}
			client, err := smtp.NewClient(conn, "127.0.0.1")
			if err != nil {
				t.Fatal(err)
			}
			auth, err := New(Options{Server: s.addr(), User: "me", Password: "pw"}).login(client, private)
			got := ""
			if err == nil {
				got, _, err = auth.Start(&smtp.ServerInfo{Name: "127.0.0.1", TLS: private, Auth: strings.Fields(c.offer)})
			}
			if want := map[bool]string{true: c.private, false: c.public}[private]; got != want || (err == nil) != (want != "") {
				t.Errorf("offered %q, private %v: %q, %v, want %q", c.offer, private, got, err, want)
			}
			_ = client.Close()
		}
	}
}

// A login that is refused is the operator's to mend; no letter fails for it.
func TestRefusedLoginIsTemporary(t *testing.T) {
	for _, s := range []*script{
		{ext: []string{"AUTH PLAIN"}, replies: map[string]string{"AUTH": "535 5.7.8 wrong"}},
		{ext: nil},
	} {
		s.start(t)
		f := failure(t, deliver(t, Options{Server: s.addr(), User: "me", Password: "hush"}, notice()))
		if f.Permanent || f.Reason != "the mail server does not let the gateway in" || strings.Contains(f.Error(), "hush") {
			t.Errorf("Deliver = %v", f)
		}
		if slices.ContainsFunc(s.lines(), func(l string) bool { return strings.HasPrefix(l, "MAIL") }) {
			t.Errorf("a letter was sent without login: %q", s.lines())
		}
	}
}

func TestHelloNameIsADomainOrAnAddress(t *testing.T) {
	for ip, want := range map[string]string{"192.0.2.1": "[192.0.2.1]", "2001:db8::1": "[IPv6:2001:db8::1]", "::ffff:192.0.2.1": "[192.0.2.1]"} {
		got := helloName(&net.TCPAddr{IP: net.ParseIP(ip), Port: 25})
		if got != want && (strings.HasPrefix(got, "[") || !strings.Contains(got, ".")) {
			t.Errorf("helloName(%s) = %s, want %s or a name with a dot", ip, got, want)
		}
	}
}

var _ notify.Channel = (*Channel)(nil)
