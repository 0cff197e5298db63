package registrar

import (
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
)

// maxAddresses bounds what is kept of a list in a response.
const maxAddresses = 16

// grantedExpires is how long the registrar keeps our contact: the contact's own parameter,
// else Expires, else what we asked for (RFC 3261 §10.2.4, §10.3 step 8).
func grantedExpires(res *sip.Response, asked time.Duration, contact sip.Uri) time.Duration {
	for _, h := range res.GetHeaders("Contact") {
		c, ok := h.(*sip.ContactHeader)
		if !ok || !sameContact(c.Address, contact) {
			continue
		}
		for _, p := range c.Params {
			if strings.EqualFold(p.K, "expires") {
				return seconds(strings.Trim(p.V, `"`))
			}
		}
	}
	if v := headerValue(res, "Expires"); v != "" {
		return seconds(v)
	}
	return asked
}

// sameContact compares what RFC 3261 §19.1.4 has a registrar keep of a contact.
func sameContact(a, b sip.Uri) bool {
	return a.User == b.User && strings.EqualFold(a.Host, b.Host) && a.Port == b.Port
}

// seconds reads delta-seconds, followed by anything but digits; 0 where there are none.
func seconds(s string) time.Duration {
	end := 0
	for end < len(s) && s[end] >= '0' && s[end] <= '9' {
		end++
	}
	n, err := strconv.ParseUint(s[:end], 10, 32) // RFC 3261 §20.19: up to 2**32-1
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}

// retryAfter reads `Retry-After: 5 (comment) ;duration=60` (RFC 3261 §20.33).
func retryAfter(res *sip.Response) time.Duration {
	const most = time.Hour // nobody is locked out longer by one response
	return min(most, seconds(headerValue(res, "Retry-After")))
}

// addressList collects the URIs of a header field that holds name-addrs, such as Service-Route.
func addressList(res *sip.Response, name string) []string {
	var all []string
	for _, h := range res.GetHeaders(name) {
		all = append(all, parseNameAddrs(h.Value())...)
	}
	return all[:min(len(all), maxAddresses)]
}

// parseNameAddrs takes the URIs in angle brackets out of a list of name-addr (RFC 3261 §25.1).
// What can't be read as a SIP, SIPS or TEL URI is left out.
func parseNameAddrs(s string) []string {
	var all []string
	for len(all) < maxAddresses {
		open := indexUnquoted(s, '<')
		if open < 0 {
			break
		}
		s = s[open+1:]
		end := strings.IndexByte(s, '>')
		if end < 0 {
			break
		}
		uri := s[:end]
		s = s[end+1:]
		var u sip.Uri
		if strings.ContainsAny(uri, "\r\n\x00 \t<\"") || sip.ParseUri(uri, &u) != nil {
			continue
		}
		switch u.Scheme {
		case "sip", "sips", "tel":
			all = append(all, uri)
		}
	}
	return all
}

// indexUnquoted is the index of c outside of quoted strings, or -1.
func indexUnquoted(s string, c byte) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case !quoted && s[i] == c:
			return i
		}
	}
	return -1
}
