package gateway

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"latchkey"
	"latchkey/notify/mail"
	"latchkey/notify/wording"
)

// mailSettings parts what stands behind the question mark. A password may have one.
func mailSettings(rest string) (server, settings string) {
	at := strings.LastIndexByte(rest, '@') + 1
	server, settings, _ = strings.Cut(rest[at:], "?")
	return rest[:at] + server, settings
}

// secretFile is the path that a password of user:@PATH@server is read from, or "".
func secretFile(rest string) string {
	_, text, _ := strings.Cut(rest[:max(0, strings.LastIndexByte(rest, '@'))], ":")
	path, ok := strings.CutPrefix(text, "@")
	if !ok {
		return ""
	}
	return path
}

func (m *Mail) settings(v string) error {
	values, err := url.ParseQuery(v)
	if err != nil {
		return fmt.Errorf("settings %q can't be read", v)
	}
	for name, all := range values {
		if name != "auth" {
			return fmt.Errorf("%s: is not a setting; there is auth", name)
		}
		if err := oneOf(strings.ToUpper(all[len(all)-1]), &m.Auth, mail.Auths()...); err != nil {
			return fmt.Errorf("auth: %w", err)
		}
		if m.User == "" {
			return errors.New("auth: needs user and password before the host")
		}
	}
	return nil
}

func setMailCA(c *Config, v string) error {
	c.MailCA = v
	_, err := certPool(v)
	return err
}

func setMailBounce(c *Config, v string) error {
	network, addr, _ := strings.Cut(v, ":")
	if network != "smtp" && network != "lmtp" {
		return fmt.Errorf("%q begins with neither smtp: nor lmtp: as it must", v)
	}
	c.MailBounce = &MailBounce{LMTP: network == "lmtp", Listen: addr}
	return checkHostPort(addr)
}

func setMailBounceDomain(c *Config, v string) error {
	if _, err := latchkey.ParseMail("b@" + v); err != nil {
		return fmt.Errorf("%q is not a domain name", v)
	}
	c.MailBounceDomain = strings.ToLower(v)
	return nil
}

func setMailDKIM(c *Config, v string) error {
	parts := strings.SplitN(v, ":", 3)
	if len(parts) != 3 {
		return fmt.Errorf("%q is not SELECTOR:DOMAIN:PATH", v)
	}
	c.MailDKIM = &MailDKIM{parts[0], parts[1], parts[2]}
	_, err := c.MailDKIM.signer()
	return err
}

func (d MailDKIM) signer() (*mail.Signer, error) {
	for _, name := range []string{d.Selector, d.Domain} {
		if _, err := latchkey.ParseMail("b@" + name); err != nil {
			return nil, fmt.Errorf("%q is no domain name", name)
		}
	}
	key, err := os.ReadFile(d.Key)
	if err != nil {
		return nil, err
	}
	s, err := mail.NewSigner(d.Domain, d.Selector, key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.Key, err)
	}
	return s, nil
}

func setTemplates(c *Config, v string) error {
	c.Templates = v
	_, err := wording.New(v)
	return err
}
