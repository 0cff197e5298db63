package guestclient

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// Link is an invitation link, taken apart.
type Link struct {
	Base     string // of the gateway, without a final slash
	Account  string // a SIP URI
	Password string // "": the link has none, so the guest must be asked
}

// ErrNoPassword is what Open says of a link without a password.
var ErrNoPassword = errors.New("the link has no passwd: copy the whole link from the invitation")

// ParseLink takes an invitation link apart. The password may stand in the query (?passwd=) or the
// fragment (#passwd=), or be missing. The link may also be handed over by a browser as
// latchkey:https://… or latchkey://host/….
func ParseLink(link string) (Link, error) {
	u, err := url.Parse(web(strings.TrimSpace(link)))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return Link{}, errors.New("the link is not an http:// or https:// URL") // it may hold a password, so it isn't repeated
	}
	prefix, segment, found := strings.Cut(u.EscapedPath(), sessionPath)
	account, err := url.PathUnescape(segment)
	if !found || err != nil || account == "" || strings.Contains(segment, "/") {
		return Link{}, errors.New("the link is not an invitation: it has no " + sessionPath + "ACCOUNT")
	}
	l := Link{Base: u.Scheme + "://" + u.Host + prefix, Account: account, Password: u.Query().Get("passwd")}
	if fragment, err := url.ParseQuery(u.EscapedFragment()); err == nil && l.Password == "" {
		l.Password = fragment.Get("passwd")
	}
	return l, nil
}

// ReadFile takes a file apart that a gateway hands to stand-alone clients (application/vnd.latchkey): JSON with the invitation link, as a rule
// without its password.
func ReadFile(r io.Reader) (Link, error) {
	var file struct {
		Version int    `json:"latchkey"`
		Link    string `json:"link"`
	}
	err := json.NewDecoder(io.LimitReader(r, 64<<10)).Decode(&file)
	switch {
	case err != nil || file.Version == 0:
		return Link{}, errors.New("the file is none that opens a chat: save it anew on the page of the invitation")
	case file.Version != 1:
		return Link{}, fmt.Errorf("the file is of version %d, which this client is too old for", file.Version)
	}
	return ParseLink(file.Link)
}

// String is the link without its password.
func (l Link) String() string { return l.Base + sessionPath + l.Account }

// web is the http URL that a latchkey: one stands for.
func web(link string) string {
	scheme, rest, ok := strings.Cut(link, ":")
	switch scheme = strings.ToLower(scheme); {
	case !ok || scheme != "latchkey" && scheme != "web+latchkey":
		return link
	case strings.HasPrefix(rest, "//"):
		host, _, _ := strings.Cut(rest[2:], "/")
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); host == "localhost" || err == nil && ip.IsLoopback() {
			return "http:" + rest // a gateway under test has no certificate
		}
		return "https:" + rest
	}
	if whole, err := url.QueryUnescape(rest); err == nil && strings.HasPrefix(strings.ToLower(rest), "http") && strings.Contains(rest[:min(len(rest), 8)], "%3") {
		return whole // a browser encodes what it puts into a handler's URL
	}
	return rest
}
