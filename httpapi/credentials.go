package httpapi

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"latchkey"
)

const (
	// clientHeader marks requests of a page; see the package comment.
	clientHeader = "Latchkey-Client"
	// cookieName is the cookie that holds a login's token.
	cookieName = "latchkey"
)

// unauthorized says nothing of what was wrong (F05, F21).
func unauthorized() error { return latchkey.Errorf(latchkey.KindUnauthorized, "") }

// basic reads Basic credentials (RFC 7617 §2); false where there are none or they make no sense.
func basic(r *http.Request) (user, password string, ok bool) {
	user, password, ok = r.BasicAuth()
	if !ok {
		return "", "", false
	}
	return splitCredentials(user + ":" + password)
}

// splitCredentials parts user-id and password at the first colon, or, after a leading sip:, sips: or tel:, at
// the next one: RFC 7617 §2 allows no colon in a user-id, and accounts are URIs. Control characters have no
// place in either.
func splitCredentials(s string) (user, password string, ok bool) {
	if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return "", "", false
	}
	from := 0
	if scheme, _, found := strings.Cut(s, ":"); found {
		switch strings.ToLower(scheme) {
		case "sip", "sips", "tel":
			from = len(scheme) + 1
		}
	}
	end := strings.IndexByte(s[from:], ':')
	if end <= 0 {
		return "", "", false
	}
	return s[:from+end], s[from+end+1:], true
}

// inviter is who sends a request to the inviters' half (R2): by Basic credentials, or in a trusted proxy's words.
func (a *API) inviter(r *http.Request) (latchkey.Subscriber, error) {
	who, err := a.inviterOf(r)
	if err != nil {
		return latchkey.Subscriber{}, err
	}
	return who, a.paced(string(who.ID()))
}

func (a *API) inviterOf(r *http.Request) (latchkey.Subscriber, error) {
	if r.Header.Get("Authorization") == "" {
		if who, ok, err := a.asserted(r); ok {
			return who, err
		}
	}
	user, password, ok := basic(r)
	if !ok {
		return latchkey.Subscriber{}, unauthorized()
	}
	// However a name is written, it counts as one.
	name := strings.ToLower(user)
	if known, err := address(user); err == nil {
		name = known.Identity()
	}
	var who latchkey.Subscriber
	err := a.opt.Guard.Try(name, a.remote(r), func() (bool, error) {
		var err error
		who, err = a.ports.Directory.Authenticate(r.Context(), user, password)
		if latchkey.Is(err, latchkey.KindUnauthorized) {
			return false, nil
		}
		return err == nil, err
	})
	return who, err
}

// guest is who sends a request to the guests' half: by Basic credentials, or by the cookie of a login.
func (a *API) guest(r *http.Request) (latchkey.Guest, error) {
	g, err := a.guestOf(r)
	if err != nil {
		return latchkey.Guest{}, err
	}
	return g, a.paced(string(g.Account))
}

// asked is who sends such a request, and the format in which they want the answer.
func (a *API) asked(r *http.Request) (g latchkey.Guest, f format, err error) {
	if g, err = a.guest(r); err == nil {
		f, err = answerFormat(r)
	}
	return g, f, err
}

func (a *API) guestOf(r *http.Request) (latchkey.Guest, error) {
	if r.Header.Get("Authorization") != "" {
		user, password, ok := basic(r)
		if !ok {
			return latchkey.Guest{}, unauthorized()
		}
		return a.ports.Desk.Authenticate(r.Context(), user, password, a.remote(r))
	}
	token := tokenOf(r)
	if token == "" {
		return latchkey.Guest{}, unauthorized()
	}
	if err := ownSite(r); err != nil {
		return latchkey.Guest{}, err
	}
	return a.ports.Desk.ByToken(r.Context(), token)
}

// tokenOf is the token in the request's cookie, or "".
func tokenOf(r *http.Request) string {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return ""
	}
	return c.Value
}

// ownSite refuses what a browser may have sent for another site's sake (S5). A browser names the site in
// Sec-Fetch-Site, older ones in Origin; and a request that changes something needs a header that only
// our own page can add.
func ownSite(r *http.Request) error {
	if err := sameSource(r); err != nil {
		return err
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead && r.Header.Get(clientHeader) == "" {
		return latchkey.Errorf(latchkey.KindNotAllowed, "with a cookie, the header %s is needed", clientHeader)
	}
	return nil
}

// sameSource refuses what a page of another origin sent.
func sameSource(r *http.Request) error {
	foreign := latchkey.Errorf(latchkey.KindNotAllowed, "requests from other sites are refused")
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
	default:
		return foreign
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		if u, err := url.Parse(origin); err != nil || !strings.EqualFold(u.Host, r.Host) {
			return foreign
		}
	}
	return nil
}

// setCookie gives the browser a login's token, which no script may see and no other site may use (RFC 6265
// §4.1.2).
func (a *API) setCookie(w http.ResponseWriter, r *http.Request, token latchkey.Secret, expires time.Time) {
	c := a.cookie(r)
	c.Value, c.Expires, c.MaxAge = token.Reveal(), expires, max(1, int(time.Until(expires).Seconds()))
	http.SetCookie(w, c)
}

// dropCookie takes it back.
func (a *API) dropCookie(w http.ResponseWriter, r *http.Request) {
	c := a.cookie(r)
	c.MaxAge = -1
	http.SetCookie(w, c)
}

// publicBase is what Options.PublicURL says.
func (a *API) publicBase() *url.URL {
	base, err := url.Parse(a.opt.PublicURL)
	if err != nil {
		return &url.URL{}
	}
	return base
}

// basePath is the path below which clients see the facade, without a final slash.
func (a *API) basePath() string { return strings.TrimRight(a.publicBase().Path, "/") }

func (a *API) cookie(r *http.Request) *http.Cookie {
	base := a.publicBase()
	return &http.Cookie{
		Name: cookieName, Path: a.basePath() + "/rcsgw/",
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil || base.Scheme == "https",
	}
}

// peer is the relation between the guest and the person whom a request names. uri is that person as the guest names
// them, without port and parameters, by which a guest could steer requests.
func (a *API) peer(ctx context.Context, account latchkey.AccountID, name, value string) (rel latchkey.Relation, uri latchkey.Address, err error) {
	if value == "" {
		return rel, uri, latchkey.Errorf(latchkey.KindBadRequest, "%s: is needed, the address of a person who invited you", name)
	}
	if uri, err = address(value); err == nil {
		uri, err = latchkey.ParseAddress(uri.Identity())
	}
	if err != nil {
		return rel, uri, err
	}
	rel, err = a.ports.Desk.Authorize(ctx, account, uri)
	return rel, uri, err
}
