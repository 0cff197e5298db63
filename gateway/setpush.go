package gateway

import (
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"strings"

	"latchkey/push"
)

// Setters of how guests who are away are called.

func setPush(c *Config, v string) error {
	if v == "off" {
		c.Push = ""
		return nil
	}
	if err := oneOf(v, &c.Push, push.Nothing, push.Name, push.Text); err != nil {
		return fmt.Errorf("%q is none of off, nothing, name and text", v)
	}
	return nil
}

func setPushKey(c *Config, v string) error {
	secret, err := reveal(v)
	if err != nil {
		return err
	}
	k, err := push.ParseKey(secret)
	if err != nil {
		return err
	}
	c.PushKey = &k
	return nil
}

func setPushContact(c *Config, v string) error {
	if u, err := url.Parse(v); err == nil && u.Scheme == "https" && u.Host != "" {
		c.PushContact = v
		return nil
	}
	address, ok := strings.CutPrefix(v, "mailto:")
	if a, err := mail.ParseAddress(address); !ok || err != nil || a.Name != "" || a.Address != address {
		return errors.New("must be mailto: and an e-mail address, or an https:// URL")
	}
	c.PushContact = v
	return nil
}

func setPushPeers(c *Config, v string) (err error) {
	c.PushPeers, err = networks(v)
	return err
}

func setPushCA(c *Config, v string) error {
	c.PushCA = v
	_, err := certPool(v)
	return err
}
