package mail

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/wneessen/go-mail/smtp"

	"latchkey/notify"
)

// send hands a letter to the server. A connection is for one letter.
func (c *Channel) send(ctx context.Context, l letter) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.opt.Server)
	if err != nil {
		return unreachable(err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	client, err := c.greet(ctx, conn)
	if err != nil {
		return err
	}
	err = hand(client, l)
	if ctx.Err() == nil {
		quit(client, conn) // if the server has the mail, it has it whatever it answers now
	}
	return err
}

// greet opens the dialogue: greeting, EHLO, TLS and login. Nothing that goes wrong here has to do
// with the letter, so all of it is worth another try when the operator has seen to it.
func (c *Channel) greet(ctx context.Context, conn net.Conn) (*smtp.Client, error) {
	loopback := isLoopback(conn.RemoteAddr())
	config := c.tls(loopback)
	secure := c.opt.TLS
	wire := conn
	if secure {
		t := tls.Client(conn, config)
		if err := t.HandshakeContext(ctx); err != nil {
			return nil, unreachable(fmt.Errorf("TLS: %w", err))
		}
		wire = t
	}
	client, err := smtp.NewClient(wire, c.host)
	if err != nil {
		return nil, unreachable(fmt.Errorf("greeting: %w", err))
	}
	if err := client.Hello(helloName(conn.LocalAddr())); err != nil {
		return nil, unreachable(fmt.Errorf("EHLO: %w", err))
	}
	if offered, _ := client.Extension("STARTTLS"); offered && !secure {
		if err := client.StartTLS(config); err != nil {
			return nil, unreachable(fmt.Errorf("STARTTLS: %w", err))
		}
		secure = true
	}
	if c.opt.User == "" {
		return client, nil
	}
	auth, err := c.login(client, secure || loopback)
	if err == nil {
		err = client.Auth(auth)
	}
	if err != nil {
		return nil, &notify.Failure{Reason: "the mail server does not let the gateway in", Err: fmt.Errorf("AUTH: %w", err)}
	}
	return client, nil
}

// tls wants the server to be who it is said to be. On loopback there is nobody to pretend, and what listens there
// often has a certificate of its own make; who names authorities gets it checked there, too.
func (c *Channel) tls(loopback bool) *tls.Config {
	return &tls.Config{ServerName: c.host, MinVersion: tls.VersionTLS12, RootCAs: c.opt.CA, InsecureSkipVerify: loopback && c.opt.CA == nil}
}

// Auth names a way to log in, as servers do (RFC 4422).
type Auth string

// The ways. XOAUTH2 has an access token instead of the password, so it is used only where it is asked for.
const (
	ScramSHA256 Auth = "SCRAM-SHA-256"
	ScramSHA1   Auth = "SCRAM-SHA-1"
	CRAMMD5     Auth = "CRAM-MD5"
	Plain       Auth = "PLAIN"
	Login       Auth = "LOGIN"
	XOAuth2     Auth = "XOAUTH2"
)

// Auths lists the ways, the best first.
func Auths() []Auth { return []Auth{ScramSHA256, ScramSHA1, CRAMMD5, Plain, Login, XOAuth2} }

// login chooses how to log in: as the operator says, or the best way that the server offers. The password itself travels only where nobody
// listens (RFC 4954 §4).
func (c *Channel) login(client *smtp.Client, private bool) (smtp.Auth, error) {
	_, offer := client.Extension("AUTH")
	offered := strings.Fields(strings.ToUpper(offer))
	user, secret := c.opt.User, c.opt.Password
	if c.opt.Token != nil {
		var err error
		if secret, err = c.opt.Token(); err != nil {
			return nil, err
		}
	}
	password := secret.Reveal()
	for _, way := range []struct {
		name  Auth
		clear bool
		auth  func() smtp.Auth
	}{
		{ScramSHA256, false, func() smtp.Auth { return smtp.ScramSHA256Auth(user, password) }},
		{ScramSHA1, false, func() smtp.Auth { return smtp.ScramSHA1Auth(user, password) }},
		{CRAMMD5, false, func() smtp.Auth { return smtp.CRAMMD5Auth(user, password) }},
		{Plain, true, func() smtp.Auth { return smtp.PlainAuth("", user, password, c.host, private) }},
		{Login, true, func() smtp.Auth { return smtp.LoginAuth(user, password, c.host, private) }},
		{XOAuth2, true, func() smtp.Auth { return smtp.XOAuth2Auth(user, password) }},
	} {
		wanted := way.name == c.opt.Auth || c.opt.Auth == "" && way.name != XOAuth2
		if wanted && slices.Contains(offered, string(way.name)) && (private || !way.clear) {
			return way.auth(), nil
		}
	}
	switch {
	case c.opt.Auth != "" && (private || slices.Contains([]Auth{ScramSHA256, ScramSHA1, CRAMMD5}, c.opt.Auth)):
		return nil, fmt.Errorf("the server doesn't offer %s: %q", c.opt.Auth, offer)
	case private:
		return nil, fmt.Errorf("the server offers none of the ways that are known here: %q", offer)
	}
	return nil, fmt.Errorf("without TLS the password is not sent, and the server offers nothing better: %q", offer)
}

// hand gives the letter away. Once the last call succeeds it is the server's (RFC 5321 §6.1).
func hand(client *smtp.Client, l letter) error {
	if offered, _ := client.Extension("SMTPUTF8"); l.unicode && !offered {
		return &notify.Failure{Reason: "the mail server can't write to an address with such letters", Permanent: true}
	}
	// RFC 6531 §3.4: asked for without need, it keeps the mail from servers that don't know it.
	client.SkipSMTPUTF8(!l.unicode)
	if l.reports {
		// RFC 3461 §4.1, §4.3: where the server knows how, it also tells of what arrived, and sends nothing of the mail back but its header,
		// since the link is a key.
		client.SetDSNMailReturnOption("HDRS")
		client.SetDSNRcptNotifyOption("SUCCESS,FAILURE,DELAY")
	}
	if err := client.Mail("<" + l.from + ">"); err != nil {
		return refused("MAIL", err)
	}
	if err := client.Rcpt("<" + l.to + ">"); err != nil {
		return refused("RCPT", err)
	}
	w, err := client.Data()
	if err != nil {
		return refused("DATA", err)
	}
	if _, err := w.Write(l.text); err != nil {
		return refused("DATA", err)
	}
	if err := w.Close(); err != nil {
		return refused("DATA", err)
	}
	return nil
}

// quit says goodbye without waiting long.
func quit(client *smtp.Client, conn net.Conn) {
	_ = conn.SetDeadline(time.Now().Add(goodbye))
	_ = client.Quit()
}

// helloName is this host's name, or its address where it has no name in the DNS's form (RFC 5321 §4.1.4).
func helloName(local net.Addr) string {
	if name, err := os.Hostname(); err == nil && strings.Contains(name, ".") && ascii(name) && !strings.ContainsAny(name, " \r\n_") {
		return name
	}
	ip := addrOf(local)
	if ip.Is4() {
		return "[" + ip.String() + "]"
	}
	return "[IPv6:" + ip.String() + "]" // RFC 5321 §4.1.3
}

func isLoopback(a net.Addr) bool { return addrOf(a).IsLoopback() }

func addrOf(a net.Addr) netip.Addr {
	ap, _ := netip.ParseAddrPort(a.String())
	return ap.Addr().Unmap().WithZone("")
}
