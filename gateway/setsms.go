package gateway

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/nyaruka/phonenumbers"

	"latchkey"
	"latchkey/notify/smpp"
)

// SMS are the SMS centres that take invitations, and how they want them.
type SMS struct {
	Centres    []Centre // the one that is preferred first
	From       smpp.Address
	Window     int     // submissions under way at once
	Rate       float64 // submissions a second; 0: no limit
	Pair       bool    // a transmitter and a receiver instead of a transceiver
	Version    byte    // 0x34 or 0x50
	SystemType string
	Style      smpp.Style
	Region     string // ISO 3166 country of numbers that handsets' messages give without a country code; "": there are none
}

// Centre is one SMS centre.
type Centre struct {
	HostPort string
	TLS      bool
	User     string
	Password latchkey.Secret
}

// MMS is the multimedia message centre that takes invitations.
type MMS struct {
	URL       string // http:// or https://
	User      string
	Password  latchkey.Secret
	VASP, VAS string
	From      string // "": the centre's choice
}

// setSMS reads smpp://system-id:password@host:port?settings by hand, as setMail does. Behind a comma comes another
// centre: with a scheme and an account of its own, or a host that has those of the one before. Settings are for all.
func setSMS(c *Config, v string) error {
	v, settings, _ := strings.Cut(v, "?")
	// A YAML list may have the settings at its first element.
	settings, more, _ := strings.Cut(settings, ",")
	if more != "" {
		v += "," + more
	}
	s := SMS{Window: 10, Version: 0x34, Style: smpp.Style{Long: smpp.UDH8}}
	var last Centre
	for _, text := range list(v) {
		centre := last
		if scheme, rest, ok := strings.Cut(text, "://"); ok {
			if scheme != "smpp" && scheme != "smpps" {
				return errors.New("must begin with smpp:// or smpps://") // v may hold a password
			}
			centre = Centre{TLS: scheme == "smpps"}
			var err error
			if centre.User, centre.Password, text, err = account(rest); err != nil {
				return err
			}
			if centre.User == "" || len(centre.User) > 15 || len(centre.Password.Reveal()) > 8 {
				return errors.New("needs a system-id of 1 to 15 characters and a password of at most 8 (SMPP 3.4)")
			}
		} else if last.User == "" {
			return errors.New("must begin with smpp:// or smpps://")
		}
		port := "2775"
		if centre.TLS {
			port = "3550"
		}
		if _, _, err := net.SplitHostPort(text); err != nil {
			text = net.JoinHostPort(strings.Trim(text, "[]"), port)
		}
		if host, _, _ := net.SplitHostPort(text); host == "" {
			return errors.New("has no host")
		}
		if err := checkHostPort(text); err != nil {
			return err
		}
		centre.HostPort = text
		s.Centres = append(s.Centres, centre)
		last = centre
	}
	if err := notEmpty(s.Centres); err != nil {
		return err
	}
	values, err := url.ParseQuery(settings)
	if err != nil {
		return fmt.Errorf("settings %q can't be read", settings)
	}
	for name, all := range values {
		if err := s.set(name, all[len(all)-1]); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	c.SMS = &s
	return nil
}

// set reads one setting.
func (s *SMS) set(name, v string) (err error) {
	switch name {
	case "from":
		s.From, err = smpp.ParseAddress(v)
	case "window":
		if s.Window, err = strconv.Atoi(v); err != nil || s.Window < 1 || s.Window > 1000 {
			return fmt.Errorf("%q is not a number from 1 to 1000", v)
		}
	case "rate":
		if s.Rate, err = strconv.ParseFloat(v, 64); err != nil || s.Rate <= 0 || s.Rate > 1e6 {
			return fmt.Errorf("%q is not a number of messages a second", v)
		}
	case "bind":
		var how string
		err = oneOf(v, &how, "transceiver", "pair")
		s.Pair = how == "pair"
	case "version":
		var version string
		err = oneOf(v, &version, "3.4", "5.0")
		if s.Version = 0x34; version == "5.0" {
			s.Version = 0x50
		}
	case "system-type":
		if s.SystemType = v; len(v) > 12 {
			return errors.New("has more than 12 characters")
		}
	case "long":
		err = oneOf(v, &s.Style.Long, smpp.UDH8, smpp.UDH16, smpp.SAR, smpp.Payload)
	case "packed":
		if s.Style.Packed, err = strconv.ParseBool(v); err != nil {
			return fmt.Errorf("%q is not true or false", v)
		}
	case "national":
		for _, language := range strings.FieldsFunc(v, func(r rune) bool { return r == ' ' || r == '+' || r == ';' }) {
			a := smpp.National(language)
			if a == nil {
				return fmt.Errorf("%q has no alphabet of its own; es, pt and tr have", language)
			}
			s.Style.National = append(s.Style.National, a...)
		}
	case "region":
		if s.Region = strings.ToUpper(v); phonenumbers.GetCountryCodeForRegion(s.Region) == 0 {
			return fmt.Errorf("%q is not a country such as DE", v)
		}
	default:
		return errors.New("is not a setting; there are from, window, rate, bind, version, system-type, long, packed, national and region")
	}
	return err
}

// setMMS reads mm7+https://user:password@host/path?vasp=…&vas=….
func setMMS(c *Config, v string) error {
	scheme, rest, _ := strings.Cut(v, "://")
	if scheme != "mm7+http" && scheme != "mm7+https" {
		return errors.New("must begin with mm7+http:// or mm7+https://") // v may hold a password
	}
	rest, settings, _ := strings.Cut(rest, "?")
	authority, path, _ := strings.Cut(rest, "/")
	if at := strings.LastIndexByte(rest, '@'); at > len(authority) { // the password is @PATH
		authority, path, _ = strings.Cut(rest[at+1:], "/")
		authority = rest[:at+1] + authority
	}
	var m MMS
	var host string
	var err error
	if m.User, m.Password, host, err = account(authority); err != nil {
		return err
	}
	u := url.URL{Scheme: strings.TrimPrefix(scheme, "mm7+"), Host: host, Path: "/" + path}
	if checked, err := url.Parse(u.String()); err != nil || checked.Hostname() == "" {
		return errors.New("has no host")
	}
	m.URL = u.String()
	values, err := url.ParseQuery(settings)
	if err != nil {
		return fmt.Errorf("settings %q can't be read", settings)
	}
	for name, all := range values {
		switch v := all[len(all)-1]; name {
		case "vasp":
			m.VASP = v
		case "vas":
			m.VAS = v
		case "from":
			if a, err := smpp.ParseAddress(v); err != nil || a.TON == smpp.TONAlphanumeric {
				return fmt.Errorf("from: %q is not a number", v)
			}
			m.From = v
		default:
			return fmt.Errorf("%s: is not a setting; there are vasp, vas and from", name)
		}
	}
	c.MMS = &m
	return nil
}

// account takes user:password@ off. The password may be @PATH, which no URL parser takes.
func account(v string) (user string, password latchkey.Secret, rest string, err error) {
	at := strings.LastIndexByte(v, '@')
	if at < 0 {
		return "", "", strings.TrimSuffix(v, "/"), nil
	}
	user, text, _ := strings.Cut(v[:at], ":")
	secret, err := reveal(text)
	if err == nil && secret == text {
		secret, err = url.PathUnescape(text)
	}
	if err != nil {
		return "", "", "", err
	}
	if user, err = url.PathUnescape(user); err != nil || user == "" {
		return "", "", "", errors.New("has a user name that can't be read")
	}
	return user, latchkey.Secret(secret), strings.TrimSuffix(v[at+1:], "/"), nil
}
