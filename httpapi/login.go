package httpapi

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"latchkey"
	"latchkey/guest"
)

// loginAnswer tells a guest who invited (R22).
type loginAnswer struct {
	Account  latchkey.AccountID `json:"account"`
	Expires  time.Time          `json:"expires"`
	Inviters []inviter          `json:"inviters"`
}

type inviter struct {
	URI          latchkey.InviterID     `json:"uri"`
	UID          string                 `json:"uid"`
	Name         string                 `json:"name"`
	Interactions []latchkey.Interaction `json:"interactions"`
	Status       latchkey.StatusState   `json:"status"`
}

// link is GET and HEAD of the invitation link. Scanners fetch links, so what a browser asks for is the page, the same
// for everybody, and changes nothing (S1, F22). A client that asks for JSON or XML logs in as by POST.
func (a *API) link(w http.ResponseWriter, r *http.Request, account string) error {
	if r.Method == http.MethodGet {
		f, err := negotiate(r, htmlFormat, jsonFormat, xmlFormat, fileFormat)
		if err != nil {
			return err
		}
		if f == fileFormat {
			return a.handOver(w, r, account)
		}
		if f != htmlFormat {
			return a.letIn(w, r, f, account, query(r)["passwd"])
		}
	}
	if a.ports.Page == nil {
		return latchkey.Errorf(latchkey.KindNotAcceptable, "there is no page here; ask for %s or %s", jsonFormat, xmlFormat)
	}
	page := r.Clone(r.Context())
	page.URL = &url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath}
	page.RequestURI = page.URL.RequestURI()
	for _, secret := range []string{"Authorization", "Cookie", "Referer"} {
		page.Header.Del(secret)
	}
	a.ports.Page.ServeHTTP(w, page)
	return nil
}

// handOver answers with a file that the stand-alone client opens (R32): it names the chat and not its password, since files stay. It is the same for
// everybody, and changes nothing.
func (a *API) handOver(w http.ResponseWriter, r *http.Request, account string) error {
	if a.opt.PublicURL == "" {
		return latchkey.Errorf(latchkey.KindNotAcceptable, "this gateway does not know its own address; ask for %s or %s", jsonFormat, xmlFormat)
	}
	body, err := encode(struct {
		Version int    `json:"latchkey"`
		Link    string `json:"link"`
	}{1, strings.TrimRight(a.opt.PublicURL, "/") + "/rcsgw/invitee/session/" + url.PathEscape(account)})
	if err != nil {
		return latchkey.Wrap(latchkey.KindInternal, err, "")
	}
	w.Header().Set("Content-Type", string(fileFormat))
	w.Header().Set("Content-Disposition", `attachment; filename="chat.latchkey"`)
	writeBody(w, r, http.StatusOK, append(body, '\n'))
	return nil
}

// login is POST of the invitation link (R20-R22; patent steps 501-505).
func (a *API) login(w http.ResponseWriter, r *http.Request, account string) error {
	f, err := answerFormat(r)
	if err != nil {
		return err
	}
	var password string
	if r.Header.Get("Authorization") == "" {
		body, err := a.readFields(w, r)
		if err != nil {
			return err
		}
		if password, err = body.word("passwd"); err != nil {
			return err
		}
	}
	return a.letIn(w, r, f, account, password)
}

// letIn logs in by Basic credentials or the password, and sets the cookie. With neither, the cookie of an earlier
// login gives the same answer and nothing changes.
func (a *API) letIn(w http.ResponseWriter, r *http.Request, f format, account, password string) error {
	l, fresh, err := a.loginOf(r, account, password)
	if err != nil {
		return err
	}
	doc := loginAnswer{Account: l.Guest.Account, Expires: moment(l.Expires), Inviters: make([]inviter, len(l.Relations))}
	status := a.statuses(r.Context(), l.Relations)
	for i, rel := range l.Relations {
		doc.Inviters[i] = inviter{rel.Inviter, rel.InviterUID, rel.InviterName, rel.Interactions, status[i]}
	}
	if fresh {
		a.setCookie(w, r, l.Token, l.Expires)
	}
	return answer(w, r, f, http.StatusOK, "login", doc)
}

// loginOf makes a login; fresh is false where it stood already.
func (a *API) loginOf(r *http.Request, account, password string) (l guest.Login, fresh bool, err error) {
	switch user, basicPassword, ok := basic(r); {
	case r.Header.Get("Authorization") != "":
		if !ok || !sameAccount(user, account) {
			return l, false, unauthorized()
		}
		l, err = a.ports.Desk.Login(r.Context(), user, basicPassword, a.remote(r))
		return l, true, err
	case password != "":
		// Another site must not log its visitors in as a guest of its own choice (S5).
		if err := sameSource(r); err != nil && !a.listed(r) {
			return l, false, err
		}
		l, err = a.ports.Desk.Login(r.Context(), account, password, a.remote(r))
		return l, true, err
	}
	if l.Guest, err = a.guestAt(r, account); err != nil {
		return l, false, err
	}
	if l.Relations, err = a.ports.Desk.Relations(r.Context(), l.Guest.Account); err != nil {
		return l, false, err
	}
	for _, rel := range l.Relations {
		if rel.Expires.After(l.Expires) {
			l.Expires = rel.Expires
		}
	}
	return l, false, nil
}

// guestAt is the guest who sends a request, if the path names their account.
func (a *API) guestAt(r *http.Request, account string) (latchkey.Guest, error) {
	g, err := a.guest(r)
	if err == nil && !sameAccount(string(g.Account), account) {
		return latchkey.Guest{}, unauthorized()
	}
	return g, err
}

// sameAccount compares accounts as people write them.
func sameAccount(a, b string) bool {
	x, err := address(a)
	if err != nil {
		return false
	}
	y, err := address(b)
	return err == nil && x.SameIdentity(y)
}

// statuses asks how all inviters are, at the same time and not for long: who has no answer
// yet is unknown, and comes as an event.
func (a *API) statuses(ctx context.Context, relations []latchkey.Relation) []latchkey.StatusState {
	ctx, cancel := context.WithTimeout(ctx, a.opt.StatusWait)
	defer cancel()
	states := make([]latchkey.StatusState, len(relations))
	var asking sync.WaitGroup
	for i, rel := range relations {
		asking.Go(func() { // ends with ctx
			s, err := a.ports.Presence.Status(ctx, rel.Account, rel.Inviter.Address())
			if err != nil {
				s.State = latchkey.StatusUnknown
			}
			states[i] = seen(s.State)
		})
	}
	asking.Wait()
	return states
}

// logout is DELETE of the invitation link (R29, F56; patent steps 515-518). Its answer comes after the BYE. The
// same request again, by credentials that are dead since, gives the same answer.
func (a *API) logout(w http.ResponseWriter, r *http.Request, account string) error {
	credentials := credentialsOf(r)
	leaving, err := a.leaving(r, account, credentials)
	if err != nil {
		return err
	}
	a.goodbyes.add(string(leaving), credentials)
	if err := a.ports.Desk.Logout(r.Context(), leaving); err != nil {
		return err
	}
	a.dropCookie(w, r)
	return nothing(w)
}

// leaving is the account that logs out.
func (a *API) leaving(r *http.Request, account, credentials string) (latchkey.AccountID, error) {
	if known, err := address(account); err == nil && a.goodbyes.has(known.Identity(), credentials) {
		// Whoever is invited anew meanwhile has not said goodbye to that.
		id := latchkey.AccountID(known.Identity())
		if relations, err := a.ports.Desk.Relations(r.Context(), id); err != nil || len(relations) == 0 {
			return id, err
		}
	}
	g, err := a.guestAt(r, account)
	return g.Account, err
}

// credentialsOf is what a request proves itself by, for goodbyes.
func credentialsOf(r *http.Request) string {
	if user, password, ok := basic(r); ok {
		return "basic " + user + " " + password
	}
	return "token " + tokenOf(r)
}
