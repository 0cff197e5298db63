package httpapi

import (
	"net/http"
	"strings"
	"time"

	"latchkey"
)

// pushPath is where a guest's browsers say that they want to be called while the page is closed (X5).
const pushPath = "/rcsgw/invitee/push"

// caller is the guest who asks and the room that calls; KindNotFound where nobody is called.
func (a *API) caller(r *http.Request) (latchkey.Guest, Push, error) {
	g, err := a.guest(r)
	if err == nil && a.ports.Push == nil {
		err = latchkey.Errorf(latchkey.KindNotFound, "this gateway calls nobody")
	}
	return g, a.ports.Push, err
}

// pushKey is GET /rcsgw/invitee/push: the key that a browser subscribes for (RFC 8292 §3.2).
func (a *API) pushKey(w http.ResponseWriter, r *http.Request) error {
	_, push, err := a.caller(r)
	if err != nil {
		return err
	}
	f, err := answerFormat(r)
	if err != nil {
		return err
	}
	return answer(w, r, f, http.StatusOK, "push", struct {
		Key string `json:"key"`
	}{push.Key()})
}

// subscribe is POST /rcsgw/invitee/push. A repeat gets the same id and 200.
func (a *API) subscribe(w http.ResponseWriter, r *http.Request) error {
	g, push, err := a.caller(r)
	if err != nil {
		return err
	}
	f, err := answerFormat(r)
	if err != nil {
		return err
	}
	body, err := a.readFields(w, r)
	if err != nil {
		return err
	}
	var values [3]string
	for i, name := range []string{"endpoint", "p256dh", "auth"} {
		if values[i], err = body.text(name); err != nil {
			return err
		}
		values[i] = strings.TrimSpace(values[i]) // of indented XML
	}
	expires, err := body.time("expires")
	if err != nil {
		return err
	}
	p, known, err := push.Subscribe(r.Context(), g.Account, values[0], values[1], values[2], expires)
	if err != nil {
		return err
	}
	status := http.StatusCreated
	if known {
		status = http.StatusOK
	}
	return answer(w, r, f, status, "push", struct {
		ID      string    `json:"id"`
		Expires time.Time `json:"expires,omitzero"`
	}{p.ID, moment(p.Expires)})
}

// unsubscribe is DELETE /rcsgw/invitee/push/{id}.
func (a *API) unsubscribe(w http.ResponseWriter, r *http.Request, id string) error {
	g, push, err := a.caller(r)
	if err != nil {
		return err
	}
	if err := push.Unsubscribe(r.Context(), g.Account, id); err != nil {
		return err
	}
	return nothing(w)
}
