package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"

	"latchkey"
	"latchkey/directory"
	"latchkey/gateway"
	"latchkey/notify/mail"
)

// coreProbes ask the core and the interaction servers for their abilities. Any answer shows that somebody speaks SIP
// there (RFC 3261 §11).
func coreProbes(c gateway.Config) []probe {
	var all []probe
	for _, hop := range c.Hops() {
		all = append(all, probe{hop.Option, func(ctx context.Context) (string, error) { return checkHop(ctx, c, hop.URI) }})
	}
	return all
}

// checkHop tries each transport that the gateway may use towards the hop. Where DNS says which that is (RFC 3263 §4.1), it is asked.
func checkHop(ctx context.Context, c gateway.Config, uri string) (string, error) {
	uris := []string{uri}
	if lower := strings.ToLower(uri); !strings.HasPrefix(lower, "sips:") && !strings.Contains(lower, "transport=") && !byName(uri) {
		uris = nil
		for _, network := range []string{"udp", "tcp"} {
			if slices.ContainsFunc(c.SIPListen, func(l string) bool { return strings.HasPrefix(l, network+":") }) {
				uris = append(uris, uri+";transport="+network)
			}
		}
	}
	var well, ill []string
	var failure error
	for _, u := range uris {
		ctx, cancel := context.WithTimeout(ctx, patience/2)
		a, err := askOptions(ctx, c, u)
		cancel()
		by := strings.TrimPrefix(strings.TrimPrefix(u, uri), ";transport=")
		switch {
		case by != "":
			by = " by " + by
		case err == nil && !strings.Contains(strings.ToLower(uri), "transport="):
			by = " by " + strings.ToLower(a.network) + " from " + a.from
		}
		if err != nil {
			failure = err
			ill = append(ill, by)
			continue
		}
		well = append(well, fmt.Sprintf("answers OPTIONS%s with %d %s in %s", by, a.code, a.reason, a.took))
	}
	text := uri + " " + strings.Join(well, ", ")
	switch {
	case len(well) == 0:
		return "", fmt.Errorf("%s does not answer OPTIONS%s: %w", uri, strings.Join(ill, " nor"), failure)
	case len(ill) > 0:
		return "", remark(fmt.Sprintf("%s, but not%s; long requests need TCP, all others UDP where the URI names no transport", text, strings.Join(ill, " nor")))
	}
	return text, nil
}

// byName reports whether the URI names a domain, and no port that would tell its server.
func byName(uri string) bool {
	var u sip.Uri
	if err := sip.ParseUri(uri, &u); err != nil {
		return false
	}
	_, err := netip.ParseAddr(strings.Trim(u.Host, "[]"))
	return err != nil && u.Port == 0
}

// peerProbes try the other servers that the gateway needs.
func peerProbes(c gateway.Config) []probe {
	var all []probe
	if c.DirectoryHTTP != nil {
		all = append(all, probe{"directory", func(ctx context.Context) (string, error) { return checkDirectoryHTTP(ctx, c) }})
	}
	return append(all, probe{"mail", func(ctx context.Context) (string, error) { return checkMail(ctx, c) }})
}

// checkDirectoryHTTP looks for somebody who isn't there.
func checkDirectoryHTTP(ctx context.Context, c gateway.Config) (string, error) {
	opt := c.DirectoryHTTP.Options()
	d := directory.NewHTTP(opt)
	defer d.Close()
	nobody := latchkey.MustAddress("sip:latchkey-check@" + c.Domain)
	if _, err := d.FindURI(ctx, nobody); err != nil && !latchkey.Is(err, latchkey.KindNotFound) {
		// The kind is for guests and inviters; operators are told the cause.
		if hidden := errors.Unwrap(err); hidden != nil {
			err = hidden
		}
		return "", fmt.Errorf("%s: %w", opt.URL, err)
	}
	u, err := url.Parse(opt.URL)
	if err == nil && u.Scheme == "http" && !isLocal(u.Hostname()) {
		return "", remark(opt.URL + " answers; passwords travel there in the clear, https:// would hide them")
	}
	return opt.URL + " answers", nil
}

// checkMail opens the dialogue as for a mail, logs in, and says goodbye; it sends nothing.
func checkMail(ctx context.Context, c gateway.Config) (string, error) {
	m := c.Mail
	if m == nil {
		return "", remark("not set: invitations can't be mailed")
	}
	opt, err := c.MailOptions()
	if err != nil {
		return "", err
	}
	secure, loggedIn, err := mail.New(opt).Check(ctx)
	if err != nil {
		return "", fmt.Errorf("%s: %w", m.HostPort, err)
	}
	text := m.HostPort + " greets, "
	if secure {
		text += "over TLS"
	} else {
		text += "without TLS"
	}
	if loggedIn {
		text += ", and lets " + m.User + " in"
	}
	if host, _, _ := net.SplitHostPort(m.HostPort); !secure && !isLocal(host) {
		return "", remark(text + "; links travel to it in the clear")
	}
	return text, nil
}

// checkPublicURL looks where the links of invitations lead.
func checkPublicURL(ctx context.Context, c gateway.Config, ours func() bool) (string, error) {
	base := c.BaseURL(c.HTTPListen)
	u, err := url.Parse(base)
	if err != nil {
		return "", err
	}
	if c.PublicURL == "" && isLocal(u.Hostname()) {
		return "", remark("not set: links lead to " + base + ", which this machine alone reaches; name the address that guests use")
	}
	if _, err := net.DefaultResolver.LookupHost(ctx, u.Hostname()); err != nil {
		return "", err
	}
	text := base + " can be resolved; whether it leads here can be seen once the gateway runs"
	if ours() {
		err := leads(ctx, base)
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
			return "", remark(base + " can't be reached from this machine; look from outside")
		}
		if err != nil {
			return "", err
		}
		text = base + " leads to the gateway"
	}
	if u.Scheme == "http" && !isLocal(u.Hostname()) {
		return "", remark(text + "; passwords in links travel in the clear, https:// would hide them")
	}
	return text, nil
}

// isLocal reports whether a host is this machine.
func isLocal(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
