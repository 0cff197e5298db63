package mail

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	netmail "net/mail"
	netsmtp "net/smtp"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/emersion/go-smtp"

	"latchkey"
	"latchkey/notify/wording"
)

// F19: a server that greylists by sender and recipient refuses the first mail and takes the same one later; with a bounce address it
// must be the same one each time, or it would never get in.
func TestGreylistingServerTakesTheSecondAttempt(t *testing.T) {
	g := &greylist{seen: map[string]bool{}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &greySession{g: g}, nil }))
	s.EnableDSN = true
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.Serve(ln) }) // ends with Close
	t.Cleanup(func() { _ = s.Close(); serving.Wait() })
	opt := Options{Server: ln.Addr().String(), Bounces: &Bounces{Domain: "bounce.example", Key: []byte("key")}}
	f := failure(t, deliver(t, opt, notice()))
	if f.Permanent || f.Reason != "the mail server asks to come again later (450)" {
		t.Errorf("first attempt: %q, permanent %v", f.Reason, f.Permanent)
	}
	if err := deliver(t, opt, notice()); err != nil {
		t.Fatalf("second attempt: %v", err)
	}
	if g.from != opt.Bounces.Address("n0tice") || g.ret != smtp.DSNReturnHeaders || len(g.notify) != 3 {
		t.Errorf("from %s, RET %s, NOTIFY %v", g.from, g.ret, g.notify)
	}
}

type greylist struct {
	seen   map[string]bool
	from   string
	ret    smtp.DSNReturn
	notify []smtp.DSNNotify
}

type greySession struct {
	g    *greylist
	from string
}

func (s *greySession) Mail(from string, o *smtp.MailOptions) error {
	s.from, s.g.from, s.g.ret = from, from, o.Return
	return nil
}

func (s *greySession) Rcpt(to string, o *smtp.RcptOptions) error {
	s.g.notify = o.Notify
	if key := s.from + to; !s.g.seen[key] {
		s.g.seen[key] = true
		return &smtp.SMTPError{Code: 450, EnhancedCode: smtp.EnhancedCode{4, 2, 0}, Message: "greylisted"}
	}
	return nil
}

func (s *greySession) Data(r io.Reader) error { _, err := io.Copy(io.Discard, r); return err }
func (*greySession) Reset()                   {}
func (*greySession) Logout() error            { return nil }

// F19: a server that takes a byte a second is left at the deadline, and the mail is tried again.
func TestSlowServerIsLeftAtTheDeadline(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	stop := make(chan struct{}) // closed by the cleanup
	t.Cleanup(func() { ln.Close(); close(stop); serving.Wait() })
	serving.Go(func() { // ends with stop
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "220 slow\r\n")
		one := make([]byte, 1)
		for {
			if _, err := conn.Read(one); err != nil {
				return
			}
			select {
			case <-time.After(time.Second):
			case <-stop:
				return
			}
		}
	})
	n := notice()
	ctx, cancel := contextFor(t, 500*time.Millisecond)
	defer cancel()
	start := time.Now()
	f := failure(t, New(Options{Server: ln.Addr().String(), From: "invitations@example.com"}).Deliver(ctx, n))
	if d := time.Since(start); f.Permanent || d > 10*time.Second {
		t.Errorf("%v after %v", f, d)
	}
}

// The operator's choice of a login is kept to: no other is taken instead. XOAUTH2 sends the token that is in force then.
func TestLoginIsTheOneThatIsAskedFor(t *testing.T) {
	for _, c := range []struct {
		auth  Auth
		offer string
		want  string // the AUTH line's beginning; "": it is refused
	}{
		{ScramSHA256, "PLAIN SCRAM-SHA-256", "AUTH SCRAM-SHA-256"}, {Plain, "PLAIN SCRAM-SHA-256", "AUTH PLAIN "},
		{ScramSHA256, "PLAIN", ""}, {XOAuth2, "PLAIN", ""}, {"", "XOAUTH2", ""}, {XOAuth2, "PLAIN XOAUTH2", "AUTH XOAUTH2 "},
	} {
		s := (&script{ext: []string{"AUTH " + c.offer}}).start(t)
		token := latchkey.Secret("first")
		opt := Options{Server: s.addr(), User: "me", Password: "pw", Auth: c.auth}
		if c.auth == XOAuth2 {
			opt.Token = func() (latchkey.Secret, error) { return token, nil }
			token = "renewed"
		}
		_ = deliver(t, opt, notice()) // the script plays no SCRAM to its end
		got := ""
		for _, line := range s.lines() {
			if strings.HasPrefix(line, "AUTH") {
				got = line
			}
		}
		if (c.want == "") != (got == "") || !strings.HasPrefix(got, c.want) {
			t.Errorf("%q of %s: %q, want %q", c.auth, c.offer, got, c.want)
		}
		if c.want != "" && c.auth == XOAuth2 {
			said, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(got, "AUTH XOAUTH2 "))
			if err != nil || string(said) != "user=me\x01auth=Bearer renewed\x01\x01" {
				t.Errorf("XOAUTH2 says %q", said)
			}
		}
	}
	broken := (&script{ext: []string{"AUTH XOAUTH2"}}).start(t)
	f := failure(t, deliver(t, Options{Server: broken.addr(), User: "me", Auth: XOAuth2, Token: func() (latchkey.Secret, error) { return "", errors.New("no file") }}, notice()))
	if f.Permanent || f.Reason != "the mail server does not let the gateway in" {
		t.Errorf("without a token: %v", f)
	}
}

// Who names authorities has the server's certificate checked, on loopback, too, with TLS from the first byte and with STARTTLS.
func TestNamedAuthoritiesAreAskedFor(t *testing.T) {
	own := certificate(t)
	leaf, err := x509.ParseCertificate(own.Certificates[0].Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := x509.ParseCertificate(certificate(t).Certificates[0].Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, secure := range []bool{true, false} {
		s := &script{tls: own, secure: secure}
		if !secure {
			s.ext = []string{"STARTTLS"}
		}
		s.start(t)
		for name, c := range map[string]struct {
			ca   *x509.Certificate
			host string
			good bool
		}{"its own": {leaf, "mail.example", true}, "another's": {stranger, "mail.example", false}, "another name": {leaf, "127.0.0.1", false}} {
			pool := x509.NewCertPool()
			pool.AddCert(c.ca)
			ch := New(Options{Server: s.addr(), TLS: secure, From: "invitations@example.com", CA: pool})
			ch.host = c.host
			ctx, cancel := contextFor(t, time.Minute)
			err := ch.Deliver(ctx, notice())
			cancel()
			if (err == nil) != c.good {
				t.Errorf("authority %s, smtps %v: %v", name, secure, err)
			}
		}
	}
}

// R13, S9: a mail is signed so that whoever looks up the key finds it whole, and the way to unsubscribe is under the signature (RFC 8058 §4).
func TestSignatureHoldsForMailAndUnsubscribing(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"ed25519": ed, "rsa": rsaKey} {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		signer, err := NewSigner("example.com", "k1", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
		if err != nil {
			t.Fatal(err)
		}
		c := New(Options{From: "invitations@example.com", Sign: signer})
		l, err := c.compose(notice(), "https://chat.example/optout?token=x")
		if err != nil {
			t.Fatal(err)
		}
		public, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		if name == "ed25519" {
			public = ed.Public().(ed25519.PublicKey)
		}
		verify := func(text []byte) error {
			all, err := dkim.VerifyWithOptions(bytes.NewReader(text), &dkim.VerifyOptions{LookupTXT: func(domain string) ([]string, error) {
				if domain != "k1._domainkey.example.com" {
					return nil, errors.New("no such name: " + domain)
				}
				return []string{"v=DKIM1; k=" + name + "; p=" + base64.StdEncoding.EncodeToString(public)}, nil
			}})
			if err != nil || len(all) != 1 {
				return errors.Join(errors.New("not one signature"), err)
			}
			return all[0].Err
		}
		if err := verify(l.text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, change := range [][2]string{{"token=x", "token=y"}, {"One-Click", "Two-Click"}, {"Alice", "Alina"}} {
			if err := verify(bytes.Replace(l.text, []byte(change[0]), []byte(change[1]), 1)); err == nil {
				t.Errorf("%s: holds though %s became %s", name, change[0], change[1])
			}
		}
	}
	for _, bad := range []string{"", "x", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"} {
		if _, err := NewSigner("example.com", "k1", []byte(bad)); err == nil {
			t.Errorf("NewSigner(%q) takes it", bad)
		}
	}
}

// S9, F17: in every language names make neither header fields nor code, and the header says which language it is.
func TestHeaderHoldsInEveryLanguage(t *testing.T) {
	book, err := wording.New("")
	if err != nil {
		t.Fatal(err)
	}
	for _, language := range book.Languages() {
		n := notice()
		n.Language = language + "-XX"
		n.InviterName = "Zoë\r\nBcc: evil@example.com\r\n\r\n<b>x</b>{{.Link}} \u202egnp.exe"
		n.Beside = []latchkey.Beside{{Inviter: "sip:c@cc.com", InviterName: "王\r\nX-Evil: 1", Note: "<script>1</script> http://evil.example"}}
		m := take(t, n)
		h := headers(t, m)
		if h.Get("Bcc") != "" || h.Get("X-Evil") != "" || h.Get("Content-Language") != language || strings.ContainsAny(m.Subject, "\r\n\u202e") || !strings.Contains(m.Subject, "王 X-Evil: 1") {
			t.Errorf("%s: subject %q, header %v", language, m.Subject, h)
		}
		if strings.Contains(m.HTML, "<script>") || strings.Contains(m.HTML, "<b>x</b>") || strings.Contains(m.Text+m.HTML, "evil.example") || len(m.Links()) != 1 {
			t.Errorf("%s: what people wrote is code or a link, %q:\n%s", language, m.Links(), m.HTML)
		}
		if want := map[bool]string{true: `dir="rtl"`, false: `dir="ltr"`}[language == "ar"]; !strings.Contains(m.HTML, `<html lang="`+language+`" `+want) {
			t.Errorf("%s: the HTML begins %q", language, m.HTML[:80])
		}
	}
}

func contextFor(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}

// RFC 8058 §3.1: one click is promised where the address is HTTPS alone.
func TestOneClickIsPromisedOverHTTPSOnly(t *testing.T) {
	for url, post := range map[string]string{"https://chat.example/x?token=1": "List-Unsubscribe=One-Click", "http://chat.example/x?token=1": "", "": ""} {
		l, err := New(Options{From: "invitations@example.com"}).compose(notice(), url)
		if err != nil {
			t.Fatal(err)
		}
		text := string(l.text)
		msg, err := netmail.ReadMessage(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := msg.Header.Get("List-Unsubscribe-Post"); got != post {
			t.Errorf("%q: List-Unsubscribe-Post is %q, want %q", url, got, post)
		}
		if got := strings.Trim(msg.Header.Get("List-Unsubscribe"), "<>"); got != url {
			t.Errorf("List-Unsubscribe is %q, want %q", got, url)
		}
	}
}

// A server that can't be served now is asked to come again; what is no report is taken and dropped; more than there is room for is refused.
func TestReportsAreNotLost(t *testing.T) {
	b := &Bounces{Domain: "bounce.example", Key: []byte("key")}
	var mu sync.Mutex
	var got []latchkey.Report
	var broken error
	s := NewBounceServer(b, false, func(r latchkey.Report) error {
		mu.Lock()
		defer mu.Unlock()
		if broken == nil {
			got = append(got, r)
		}
		return broken
	}, slog.New(slog.DiscardHandler))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan error, 1)
	go func() { over <- s.Serve(ln) }() // ends with Close
	defer func() {
		s.Close()
		if err := <-over; err != nil {
			t.Errorf("Serve = %v", err)
		}
	}()
	send := func(text []byte) error {
		return netsmtp.SendMail(ln.Addr().String(), nil, "", []string{b.Address("n0tice")}, text)
	}
	report, err := os.ReadFile(filepath.Join("testdata/dsn", "postfix-unknown.eml"))
	if err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	broken = errors.New("disk full")
	mu.Unlock()
	if err := send(report); err == nil || !strings.HasPrefix(err.Error(), "451") {
		t.Errorf("while nothing can be written: %v, want 451", err)
	}
	mu.Lock()
	broken = nil
	mu.Unlock()
	for _, text := range [][]byte{report, []byte("Subject: holiday\r\n\r\nI am away.\r\n"), []byte("\r\n")} {
		if err := send(text); err != nil {
			t.Errorf("%q: %v", text[:2], err)
		}
	}
	if err := send(append(bytes.Clone(report), bytes.Repeat([]byte("x\r\n"), maxReport)...)); err == nil || !strings.HasPrefix(err.Error(), "552") {
		t.Errorf("too large a report: %v, want 552", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(got) != 1 || got[0].Channel != latchkey.ByMail || got[0].IDs[0] != "n0tice" || got[0].State != latchkey.NotificationFailed || got[0].Reason != "there is no such mailbox (5.1.1)" {
		t.Errorf("reports %+v", got)
	}
}
