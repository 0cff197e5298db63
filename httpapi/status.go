package httpapi

import (
	"net/http"
	"time"

	"latchkey"
)

// seen is a state as guests are told it: whom the network does not know can't be reached, and
// that is all a guest can do about it.
func seen(s latchkey.StatusState) latchkey.StatusState {
	switch s {
	case latchkey.StatusOnline, latchkey.StatusOffline:
		return s
	case latchkey.StatusNotRCS:
		return latchkey.StatusOffline
	}
	return latchkey.StatusUnknown
}

// status is GET /rcsgw/invitee/status/{uri} (R23; patent steps 506-508). Without a relation nobody is asked (F26b).
func (a *API) status(w http.ResponseWriter, r *http.Request, uri string) error {
	g, f, err := a.asked(r)
	if err != nil {
		return err
	}
	_, of, err := a.peer(r.Context(), g.Account, "uri", uri)
	if err != nil {
		return err
	}
	s, err := a.ports.Presence.Status(r.Context(), g.Account, of)
	if err != nil {
		return err
	}
	doc := struct {
		URI     string               `json:"uri"`
		Status  latchkey.StatusState `json:"status"`
		Chat    *bool                `json:"chat,omitempty"` // whether an online inviter's client can chat (F26)
		Checked time.Time            `json:"checked"`
	}{URI: of.Identity(), Status: seen(s.State), Checked: moment(s.Checked)}
	if s.State == latchkey.StatusOnline {
		doc.Chat = &s.Chat
	}
	return answer(w, r, f, http.StatusOK, "status", doc)
}
