package httpapi

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"latchkey"
	"latchkey/conversation"
)

// How many messages a page of the history has.
const (
	historyPage = 50
	historyMost = 200
)

// message is one message of a conversation.
type message struct {
	ID     latchkey.MessageID    `json:"id"`
	From   string                `json:"from,omitempty"`
	To     string                `json:"to"`
	Text   string                `json:"text,omitempty"`
	Type   string                `json:"type,omitempty"`
	State  latchkey.MessageState `json:"state"`
	Reason string                `json:"reason,omitempty"`
	Time   time.Time             `json:"time"`
}

// send is POST /rcsgw/invitee/message (R26; patent step 509). 202 comes when the message is on disk (X4); a repeat under
// the client's id gets the same words and 200.
func (a *API) send(w http.ResponseWriter, r *http.Request) error {
	g, f, err := a.asked(r)
	if err != nil {
		return err
	}
	body, err := a.readFields(w, r)
	if err != nil {
		return err
	}
	to, err := body.word("to")
	if err != nil {
		return err
	}
	text, err := body.text("message")
	if err != nil {
		return err
	}
	id, err := body.word("id")
	if err != nil {
		return err
	}
	if id == "" {
		// Some write the header as a quoted string, as its draft has it, and many bare.
		id = strings.Trim(r.Header.Get("Idempotency-Key"), `"`)
	}
	rel, uri, err := a.peer(r.Context(), g.Account, "to", to)
	if err != nil {
		return err
	}
	m, repeated, err := a.ports.Hall.Send(r.Context(), rel, conversation.Outgoing{ClientID: id, Text: latchkey.Text(text)})
	if err != nil {
		return err
	}
	status := http.StatusAccepted
	if repeated {
		status = http.StatusOK
	}
	// Accepted also where the message has come further by now: events tell that.
	return answer(w, r, f, status, "message", message{ID: m.ID, To: uri.Identity(), State: latchkey.MessageAccepted, Time: moment(m.Time)})
}

// past is which part of what was between a guest and an inviter is asked for.
type past struct {
	with   latchkey.InviterID
	before string // an id, or ""
	limit  int
}

// pastOf reads with, before and limit of the query.
func (a *API) pastOf(r *http.Request, account latchkey.AccountID) (p past, err error) {
	q := query(r)
	p.before, p.limit = q["before"], historyPage
	if s := q["limit"]; s != "" {
		if p.limit, err = strconv.Atoi(s); err != nil || p.limit < 1 {
			return p, latchkey.Errorf(latchkey.KindBadRequest, "limit: must be a number from 1 to %d", historyMost)
		}
		p.limit = min(p.limit, historyMost)
	}
	rel, _, err := a.peer(r.Context(), account, "with", q["with"])
	p.with = rel.Inviter
	return p, err
}

// history is GET /rcsgw/invitee/message?with=….
func (a *API) history(w http.ResponseWriter, r *http.Request) error {
	g, f, err := a.asked(r)
	if err != nil {
		return err
	}
	past, err := a.pastOf(r, g.Account)
	if err != nil {
		return err
	}
	all, err := a.ports.Hall.History(r.Context(), g.Account, past.with, latchkey.MessageID(past.before), past.limit)
	if err != nil {
		return err
	}
	page := struct {
		Messages []message `json:"messages"`
	}{make([]message, len(all))}
	for i, m := range all {
		page.Messages[i] = message{
			ID: m.ID, From: string(m.Account), To: string(m.Inviter), Text: m.Text.Reveal(), Type: m.ContentType, State: m.State, Reason: m.Reason, Time: moment(m.Time),
		}
		if m.Direction == latchkey.ToGuest {
			page.Messages[i].From, page.Messages[i].To = string(m.Inviter), string(m.Account)
		}
	}
	return answer(w, r, f, http.StatusOK, "messages", page)
}

// composing is POST /rcsgw/invitee/composing.
func (a *API) composing(w http.ResponseWriter, r *http.Request) error {
	g, err := a.guest(r)
	if err != nil {
		return err
	}
	body, err := a.readFields(w, r)
	if err != nil {
		return err
	}
	to, err := body.word("to")
	if err != nil {
		return err
	}
	state, err := body.word("state")
	if err != nil {
		return err
	}
	if state != "active" && state != "idle" {
		return latchkey.Errorf(latchkey.KindBadRequest, "state: must be active or idle")
	}
	rel, _, err := a.peer(r.Context(), g.Account, "to", to)
	if err != nil {
		return err
	}
	if err := a.ports.Hall.Composing(r.Context(), rel, state == "active"); err != nil {
		return err
	}
	return nothing(w)
}

// read is POST /rcsgw/invitee/read.
func (a *API) read(w http.ResponseWriter, r *http.Request) error {
	g, err := a.guest(r)
	if err != nil {
		return err
	}
	body, err := a.readFields(w, r)
	if err != nil {
		return err
	}
	id, err := body.word("id")
	if err != nil {
		return err
	}
	if id == "" {
		return latchkey.Errorf(latchkey.KindBadRequest, "id: is needed, the id of a message")
	}
	if err := a.ports.Hall.Read(r.Context(), g.Account, latchkey.MessageID(id)); err != nil {
		return err
	}
	return nothing(w)
}
