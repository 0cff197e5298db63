package httpapi

import (
	"errors"
	"mime"
	"net/http"
	"net/url"
	"time"

	"latchkey"
)

// OptOutPage writes the page on which a person asks to be left alone: the question, or, after an answer, what became of it. It has the
// proof for its buttons, which send it back under name.
type OptOutPage func(w http.ResponseWriter, r *http.Request, status int, step OptOutStep, name, proof string)

// OptOutStep is what an OptOutPage shows.
type OptOutStep = string

// The steps: may we stop; it is done; it is undone; we don't know who asks.
const (
	AskOptOut     OptOutStep = "ask"
	OptedOut      OptOutStep = "out"
	OptedIn       OptOutStep = "in"
	UnknownOptOut OptOutStep = "unknown"
)

// maxForm is how many bytes a form may have.
const maxForm = 16 << 10

// optOutQuestion is GET and HEAD of the opt-out link. Scanners fetch it, so it changes nothing (X8, S1).
func (a *API) optOutQuestion(w http.ResponseWriter, r *http.Request, _ string) error {
	if _, err := negotiate(r, htmlFormat); err != nil {
		return err
	}
	if a.ports.OptOut == nil {
		return latchkey.Errorf(latchkey.KindNotAcceptable, "there is no page here; send a POST")
	}
	values := query(r)
	for _, name := range []string{"token", "passwd"} {
		if proof := values[name]; proof != "" {
			a.ports.OptOut(w, r, http.StatusOK, AskOptOut, name, proof)
			return nil
		}
	}
	a.ports.OptOut(w, r, http.StatusOK, UnknownOptOut, "", "")
	return nil
}

// optOut is POST of the opt-out link: by the page's button, by a client with the invitation's password, or by a mail program
// on one click (RFC 8058 §3.2), which has the token in the address.
func (a *API) optOut(w http.ResponseWriter, r *http.Request, account string) error {
	return a.wish(w, r, OptedOut, func(name, proof string) error {
		if name == "token" {
			return a.ports.Desk.OptOutByToken(r.Context(), account, proof)
		}
		return a.ports.Desk.OptOutByPassword(r.Context(), account, proof, a.remote(r))
	})
}

// optIn is POST of /rcsgw/invitee/optin/{account}: the same person takes it back.
func (a *API) optIn(w http.ResponseWriter, r *http.Request, account string) error {
	return a.wish(w, r, OptedIn, func(name, proof string) error {
		if name == "token" {
			return a.ports.Desk.OptInByToken(r.Context(), account, proof)
		}
		return a.ports.Desk.OptInByPassword(r.Context(), account, proof, a.remote(r))
	})
}

// wish reads the proof, does what is asked, and answers: a browser's form by a page, all else by 204.
func (a *API) wish(w http.ResponseWriter, r *http.Request, done OptOutStep, do func(name, proof string) error) error {
	name, proof, page, err := a.proof(w, r)
	if err == nil && proof == "" {
		err = unauthorized()
	}
	if err == nil {
		err = do(name, proof)
	}
	switch {
	case !page || a.ports.OptOut == nil:
		if err != nil {
			return err
		}
		return nothing(w)
	case latchkey.Is(err, latchkey.KindUnauthorized):
		// A 401 would have the browser ask for a name and password (RFC 9110 §15.5.2), which nobody has here.
		a.ports.OptOut(w, r, http.StatusForbidden, UnknownOptOut, "", "")
		return nil
	case latchkey.Is(err, latchkey.KindExpired):
		a.ports.OptOut(w, r, http.StatusGone, UnknownOptOut, "", "")
		return nil
	case err != nil:
		return err
	}
	a.ports.OptOut(w, r, http.StatusOK, done, name, proof)
	return nil
}

// proof is what shows whose wish it is: a token in the address or the body, or the password in the body or as Basic credentials.
// page: a browser's form asks, and wants to see a page.
func (a *API) proof(w http.ResponseWriter, r *http.Request) (name, proof string, page bool, err error) {
	got := map[string]string{}
	kind, params, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind == "application/x-www-form-urlencoded" || kind == "multipart/form-data" {
		values, err := readForm(w, r, kind, params["boundary"])
		if err != nil {
			return "", "", false, err
		}
		got["token"], got["passwd"] = values.Get("token"), values.Get("passwd")
		f, err := negotiate(r, jsonFormat, xmlFormat, htmlFormat)
		page = err == nil && f == htmlFormat && values.Get("List-Unsubscribe") == ""
	} else {
		body, err := a.readFields(w, r)
		if err != nil {
			return "", "", false, err
		}
		for _, field := range []string{"token", "passwd"} {
			if got[field], err = body.word(field); err != nil {
				return "", "", false, err
			}
		}
	}
	if _, password, ok := basic(r); ok && got["passwd"] == "" {
		got["passwd"] = password
	}
	if got["token"] == "" && got["passwd"] == "" {
		got["token"] = query(r)["token"]
	}
	for _, name := range []string{"token", "passwd"} {
		if got[name] != "" {
			return name, got[name], page, nil
		}
	}
	return "", "", page, nil
}

// readForm reads a form in either of the types that RFC 8058 §3.2 names.
func readForm(w http.ResponseWriter, r *http.Request, kind, boundary string) (url.Values, error) {
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(time.Now().Add(bodyTime))
	defer func() { _ = c.SetReadDeadline(time.Time{}) }()
	r.Body = http.MaxBytesReader(unrecorded(w), r.Body, maxForm)
	var err error
	if kind == "multipart/form-data" {
		if boundary == "" {
			return nil, latchkey.Errorf(latchkey.KindBadRequest, "Content-Type: has no boundary")
		}
		err = r.ParseMultipartForm(maxForm)
	} else {
		err = r.ParseForm()
	}
	switch {
	case err == nil:
		return r.PostForm, nil
	case isTooLarge(err):
		return nil, latchkey.Errorf(latchkey.KindTooLarge, "the form may have %d bytes", maxForm)
	}
	return nil, latchkey.Wrap(latchkey.KindBadRequest, err, "the form can't be read")
}

func isTooLarge(err error) bool {
	_, ok := errors.AsType[*http.MaxBytesError](err)
	return ok
}
