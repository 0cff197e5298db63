package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	netmail "net/mail"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey"
	"latchkey/conversation"
	"latchkey/guest"
	"latchkey/internal/sipua"
	"latchkey/notify/mail"
	"latchkey/registrar"
)

// Setters read the text of one option each. Their errors say what is wrong; Load
// adds the option's name and an example.

func text(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, v string) error {
		*field(c) = v
		return nil
	}
}

func hostPort(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, v string) error {
		*field(c) = v
		return checkHostPort(v)
	}
}

func duration(least time.Duration, field func(*Config) *time.Duration) func(*Config, string) error {
	return func(c *Config, v string) error {
		d, err := time.ParseDuration(v)
		if err != nil {
			return fmt.Errorf("%q is not a duration", v)
		}
		if d < least {
			return fmt.Errorf("%s is too short; the least is %s", v, least)
		}
		*field(c) = d
		return nil
	}
}

func hop(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, v string) error {
		*field(c) = v
		return checkHop(v)
	}
}

func oneOf[T ~string](v string, field *T, allowed ...T) error {
	words := []string{}
	for _, a := range allowed {
		if v == string(a) {
			*field = a
			return nil
		}
		words = append(words, string(a))
	}
	return fmt.Errorf("%q is not one of %s", v, strings.Join(words, ", "))
}

func setData(c *Config, v string) error {
	if strings.Contains(v, "://") {
		return errors.New("only an SQLite file is supported by this version")
	}
	if v == "" {
		return errors.New("is empty")
	}
	c.Data = v
	return nil
}

func setPublicURL(c *Config, v string) error {
	u, err := url.Parse(v)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return fmt.Errorf("%q is not an http:// or https:// URL with a host and without query", v)
	}
	c.PublicURL = strings.TrimRight(v, "/")
	return nil
}

func setDomain(c *Config, v string) error {
	a, err := latchkey.ParseAddress("sip:" + v)
	if err != nil || a.Host() != strings.ToLower(v) {
		return fmt.Errorf("%q is not a domain name", v)
	}
	c.Domain = a.Host()
	return nil
}

func setAccountScheme(c *Config, v string) error {
	return oneOf(v, &c.AccountScheme, guest.Mapped, guest.Identical, guest.Serial, guest.Allotted)
}

func setOnLogout(c *Config, v string) error {
	var choice string
	err := oneOf(v, &choice, "delete", "keep")
	c.KeepAccount = choice == "keep"
	return err
}

func setLinkStyle(c *Config, v string) error {
	return oneOf(v, &c.LinkStyle, guest.Query, guest.Fragment)
}

func setInvitePolicy(c *Config, v string) error {
	if level, ok := strings.CutPrefix(v, "level:"); ok {
		n, err := strconv.Atoi(level)
		if err != nil || n < 0 {
			return fmt.Errorf("%q is not a level", level)
		}
		c.InvitePolicy = guest.Policy{Level: n}
		return nil
	}
	switch v {
	case "any":
		c.InvitePolicy = guest.Policy{Any: true}
	case "valid":
		c.InvitePolicy = guest.Policy{}
	default:
		return fmt.Errorf("%q is not any, valid or level:N", v)
	}
	return nil
}

func boolean(field func(*Config) *bool) func(*Config, string) error {
	return func(c *Config, v string) error {
		b, err := strconv.ParseBool(v)
		if err != nil {
			return fmt.Errorf("%q is not true or false", v)
		}
		*field(c) = b
		return nil
	}
}

func setGuestMode(c *Config, v string) error {
	return oneOf(v, &c.GuestMode, RegisterGuests, AsServer)
}

func setGuestReachable(c *Config, v string) error {
	var choice string
	err := oneOf(v, &choice, "always", "stream")
	c.StreamsOnly = choice == "stream"
	return err
}

func setRegEvent(c *Config, v string) error {
	return oneOf(v, &c.RegEvent, registrar.Confirm, registrar.Standing, registrar.None)
}

func setInviterLogout(c *Config, v string) error {
	var choice string
	err := oneOf(v, &choice, "end", "keep")
	c.KeepInviters = choice == "keep"
	return err
}

// token is a text that stands in a SIP header field as it is.
func token(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, v string) error {
		if !sipua.Clean(v) || strings.ContainsAny(v, " \t\"") {
			return fmt.Errorf("%q can't stand in a header field", v)
		}
		*field(c) = v
		return nil
	}
}

func setAnchor(c *Config, v string) error {
	return oneOf(v, &c.Anchor, AnchorAlways, AnchorGuests, AnchorNever)
}

func setInteractionMode(c *Config, v string) error {
	var mode string
	err := oneOf(v, &mode, "session", "pager")
	c.Pager = mode == "pager"
	return err
}

func setSIPListen(c *Config, v string) error {
	for _, l := range list(v) {
		network, addr, _ := strings.Cut(l, ":")
		switch network {
		case "udp", "tcp", "tls", "ws", "wss":
		default:
			return fmt.Errorf("%q begins with none of udp:, tcp:, tls:, ws: and wss: as it must", l)
		}
		if err := checkHostPort(addr); err != nil {
			return err
		}
		c.SIPListen = append(c.SIPListen, l)
	}
	return notEmpty(c.SIPListen)
}

func setSIPTLSClientAuth(c *Config, v string) error {
	b, err := strconv.ParseBool(v)
	if err != nil {
		return fmt.Errorf("%q is not true or false", v)
	}
	c.SIPTLSClientAuth = b
	return nil
}

func setMSRPListen(c *Config, v string) error {
	for _, l := range list(v) {
		if err := checkMSRPListen(l); err != nil {
			return err
		}
		c.MSRPListen = append(c.MSRPListen, l)
	}
	return notEmpty(c.MSRPListen)
}

func setSIPCore(c *Config, v string) error {
	all := list(v)
	for i, hop := range all {
		if err := checkHop(hop); err != nil {
			return err
		}
		if slices.Contains(all[:i], hop) {
			return fmt.Errorf("%s stands twice in it", hop)
		}
	}
	if len(all) > 0 {
		c.SIPCore, c.SIPStandIns = all[0], all[1:]
	}
	return notEmpty(all)
}

func setSIPTrusted(c *Config, v string) error {
	for _, h := range list(v) {
		if a, err := netip.ParseAddr(strings.Trim(h, "[]")); err == nil {
			h = a.String()
		} else if _, err := latchkey.ParseAddress("sip:" + h); err != nil || strings.ContainsAny(h, ":@;") {
			return fmt.Errorf("%q is not a host", h)
		}
		c.SIPTrusted = append(c.SIPTrusted, h)
	}
	return notEmpty(c.SIPTrusted)
}

func setSIPAuth(c *Config, v string) error {
	mode, secret, _ := strings.Cut(v, ":")
	secret, err := reveal(secret)
	if err != nil {
		return err
	}
	if secret != "" {
		v = mode + ":" + secret
	}
	auth, err := registrar.ParseAuth(v)
	if err != nil {
		return errors.New("must be none, shared:SECRET, ephemeral:SECRET or directory") // v may hold a secret
	}
	c.SIPAuth = auth
	return nil
}

func setMSRPPeers(c *Config, v string) (err error) {
	c.MSRPPeers, err = networks(v)
	return err
}

func setHTTPTrusted(c *Config, v string) (err error) {
	c.HTTPTrusted, err = networks(v)
	return err
}

func networks(v string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, n := range list(v) {
		p, err := netip.ParsePrefix(n)
		if err != nil {
			return nil, fmt.Errorf("%q is not a network in CIDR form", n)
		}
		all = append(all, p.Masked())
	}
	return all, notEmpty(all)
}

// units of a size, the longest names first.
var units = []struct {
	name  string
	bytes int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}, {"", 1}}

func size(field func(*Config) *int64) func(*Config, string) error {
	return func(c *Config, v string) error {
		for _, u := range units {
			digits, ok := strings.CutSuffix(v, u.name)
			if !ok {
				continue
			}
			n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
			if err != nil || n <= 0 || n > (1<<50)/u.bytes {
				break
			}
			*field(c) = n * u.bytes
			return nil
		}
		return fmt.Errorf("%q is not a size, a number with B, KiB, MiB or GiB", v)
	}
}

func setFileQuota(c *Config, v string) error {
	if v == "none" {
		c.FileQuota = -1
		return nil
	}
	return size(func(c *Config) *int64 { return &c.FileQuota })(c, v)
}

func setFilePeers(c *Config, v string) error {
	for _, n := range list(v) {
		p, err := netip.ParsePrefix(n)
		if err != nil {
			return fmt.Errorf("%q is not a network in CIDR form", n)
		}
		c.FilePeers = append(c.FilePeers, p.Masked())
	}
	return notEmpty(c.FilePeers)
}

func setFileWays(c *Config, v string) error {
	for _, w := range list(v) {
		way := conversation.FileWay(w)
		if way != conversation.ByMSRP && way != conversation.ByHTTP {
			return fmt.Errorf("%q is no way of files; use msrp, http or both", w)
		}
		if slices.Contains(c.FileWays, way) {
			return fmt.Errorf("%q stands there twice", w)
		}
		c.FileWays = append(c.FileWays, way)
	}
	return notEmpty(c.FileWays)
}

func setFileScan(c *Config, v string) error {
	addr, ok := strings.CutPrefix(v, "clamd:")
	if !ok {
		return fmt.Errorf("%q does not begin with clamd: as it must", v)
	}
	c.FileScan = addr
	return checkHostPort(addr)
}

func setDirectory(c *Config, v string) error {
	if path, ok := strings.CutPrefix(v, "file:"); ok && path != "" {
		c.Directory = path
		return nil
	}
	scheme, rest, _ := strings.Cut(v, "://")
	if scheme != "http" && scheme != "https" {
		return errors.New("is neither file:PATH nor an http:// or https:// URL") // v may hold a password
	}
	d := DirectoryHTTP{}
	user, password, server, err := credentials(rest)
	switch {
	case err != nil:
		return err
	case user == "" && password != "":
		d.Token = password
	default:
		d.User, d.Password = user, password
	}
	d.URL = strings.TrimRight(scheme+"://"+server, "/")
	if err := d.Options().Validate(); err != nil {
		return errors.New("is not an http:// or https:// URL with a host and without query")
	}
	c.DirectoryHTTP = &d
	return nil
}

// credentials parts user:password@server. The password may be @PATH, which no URL parser takes: the last @ divides.
func credentials(s string) (user string, password latchkey.Secret, server string, err error) {
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return "", "", s, nil
	}
	user, text, _ := strings.Cut(s[:at], ":")
	secret, err := reveal(text)
	if err == nil && secret == text {
		secret, err = url.PathUnescape(text)
	}
	if err != nil {
		return "", "", "", err
	}
	if user, err = url.PathUnescape(user); err != nil {
		return "", "", "", errors.New("has a user name that can't be read")
	}
	return user, latchkey.Secret(secret), s[at+1:], nil
}

// setMail reads smtp://user:password@host:port by hand, as credentials says why.
func setMail(c *Config, v string) error {
	scheme, rest, _ := strings.Cut(v, "://")
	m := Mail{TLS: scheme == "smtps"}
	if scheme != "smtp" && scheme != "smtps" {
		return errors.New("must begin with smtp:// or smtps://") // v may hold a password
	}
	rest, settings := mailSettings(rest)
	user, password, server, err := credentials(rest)
	switch {
	case err != nil:
		return err
	case user == "" && server != rest:
		return errors.New("has a user name that can't be read")
	}
	m.User, m.Password = user, password
	if err := m.settings(settings); err != nil {
		return err
	}
	if m.Auth == mail.XOAuth2 {
		m.File = secretFile(rest)
	}
	server = strings.TrimSuffix(server, "/")
	if _, _, err := net.SplitHostPort(server); err != nil {
		port := "25"
		if m.TLS {
			port = "465" // RFC 8314 §7.3: submissions
		}
		server = net.JoinHostPort(strings.Trim(server, "[]"), port)
	}
	if host, _, _ := net.SplitHostPort(server); host == "" {
		return errors.New("has no host")
	}
	m.HostPort = server
	c.Mail = &m
	return checkHostPort(server)
}

func setMailFrom(c *Config, v string) error {
	a, err := netmail.ParseAddress(v)
	if err != nil || a.Name != "" {
		return fmt.Errorf("%q is not a plain e-mail address", v)
	}
	c.MailFrom = a.Address
	return nil
}

func setLogLevel(c *Config, v string) error {
	var level string
	if err := oneOf(v, &level, "debug", "info", "warn", "error"); err != nil {
		return err
	}
	return c.Log.Level.UnmarshalText([]byte(level))
}

func setLogFormat(c *Config, v string) error {
	var format string
	err := oneOf(v, &format, "text", "json")
	c.Log.JSON = format == "json"
	return err
}

// list splits a list at commas and drops the space around its elements.
func list(v string) []string {
	var all []string
	for e := range strings.SplitSeq(v, ",") {
		if e = strings.TrimSpace(e); e != "" {
			all = append(all, e)
		}
	}
	return all
}

func notEmpty[T any](all []T) error {
	if len(all) == 0 {
		return errors.New("is empty")
	}
	return nil
}

func checkHostPort(v string) error {
	_, port, err := net.SplitHostPort(v)
	if err != nil {
		return fmt.Errorf("%q is not host:port", v)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q has no port between 0 and 65535", v)
	}
	return nil
}

// checkHop reads the SIP URI of a next hop: no user needed, and a transport that we have.
func checkHop(v string) error {
	a, err := latchkey.ParseAddress(v)
	if err != nil || a.Scheme() != "sip" && a.Scheme() != "sips" {
		return fmt.Errorf("%q is not a SIP URI (sip:host:port)", v)
	}
	var u sip.Uri
	if err := sip.ParseUri(v, &u); err != nil {
		return fmt.Errorf("%q is not a SIP URI (sip:host:port)", v)
	}
	switch t, _ := u.UriParams.Get("transport"); strings.ToLower(t) {
	case "", "tcp", "tls", "ws", "wss":
		return nil
	case "udp":
		if u.Scheme == "sip" {
			return nil
		}
		return errors.New("sips: can't go by udp; leave transport out")
	default:
		return fmt.Errorf("transport %s is not supported; use udp, tcp, tls or ws", t)
	}
}

// hopHost is the host of a hop that checkHop has passed, without the brackets of IPv6.
func hopHost(v string) string {
	a, err := latchkey.ParseAddress(v)
	if err != nil {
		return ""
	}
	return strings.Trim(a.Host(), "[]")
}

// reveal gives the secret itself: v, or the first line's worth of the file that @PATH names.
func reveal(v string) (string, error) {
	path, ok := strings.CutPrefix(v, "@")
	if !ok {
		return v, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("its secret: %w", err)
	}
	secret := strings.TrimRight(string(b), "\r\n")
	if secret == "" || strings.ContainsAny(secret, "\r\n") {
		return "", fmt.Errorf("its secret: %s must hold one line", path)
	}
	return secret, nil
}

// Logger makes the logger that the configuration asks for.
func (l Logging) Logger(w *os.File) *slog.Logger {
	opt := &slog.HandlerOptions{Level: l.Level}
	if l.JSON {
		return slog.New(slog.NewJSONHandler(w, opt))
	}
	return slog.New(slog.NewTextHandler(w, opt))
}
