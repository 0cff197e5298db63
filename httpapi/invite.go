package httpapi

import (
	"net/http"
	"strings"
	"time"

	"latchkey"
	"latchkey/guest"
)

// invitation is a relation as its inviter sees it (R12). It has neither password nor link.
type invitation struct {
	Account      latchkey.AccountID         `json:"account"`
	Invitee      invitee                    `json:"invitee"`
	Interactions []latchkey.Interaction     `json:"interactions"`
	Created      time.Time                  `json:"created"`
	Expires      time.Time                  `json:"expires"`
	Registered   bool                       `json:"registered"`
	Notification latchkey.NotificationState `json:"notification"`
	Reason       string                     `json:"reason,omitempty"` // why the notification failed
	Guest        latchkey.GuestState        `json:"guest,omitempty"`
}

type invitee struct {
	Email string `json:"email,omitempty"`
	Tel   string `json:"tel,omitempty"`
}

func invitationOf(v guest.Invited) invitation {
	i := invitation{
		Account: v.Account, Interactions: v.Interactions, Created: moment(v.Relation.Created), Expires: moment(v.Expires),
		Registered: v.Registered, Notification: v.Notification, Reason: v.Reason, Guest: v.GuestState,
	}
	if v.Identifier.Kind == latchkey.Tel {
		i.Invitee.Tel = v.Identifier.Value
	} else {
		i.Invitee.Email = v.Identifier.Value
	}
	return i
}

// invite is POST /rcsgw/invitee/user (R1, R12; patent step 203).
func (a *API) invite(w http.ResponseWriter, r *http.Request) error {
	inviter, err := a.inviter(r)
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
	req, err := inviteRequest(body)
	if err != nil {
		return err
	}
	req.Inviter = inviter
	req.Speaks = latchkey.PreferredLanguage(r.Header.Get("Accept-Language"))
	if req.Language == "" && inviter.Language == "" {
		req.Language = req.Speaks
	}
	invited, err := a.ports.Desk.Invite(r.Context(), req)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if invited.Created {
		status = http.StatusCreated
	}
	doc := invitationOf(invited)
	doc.Guest = "" // a matter of the list
	return answer(w, r, f, status, "invitation", doc)
}

// inviteRequest reads whom to invite, and how.
func inviteRequest(body fields) (req guest.InviteRequest, err error) {
	if req.Identifier, err = identifierOf(body); err != nil {
		return req, err
	}
	interactions, err := body.words("interactions")
	if err != nil {
		return req, err
	}
	for _, word := range interactions {
		i, err := latchkey.ParseInteraction(word)
		if err != nil {
			return req, err
		}
		req.Interactions = append(req.Interactions, i)
	}
	channel, err := body.word("channel")
	if err != nil {
		return req, err
	}
	req.Channel = latchkey.Channel(channel)
	if req.Language, err = body.word("language"); err != nil {
		return req, err
	}
	if req.Language != "" && !latchkey.IsLanguageTag(req.Language) {
		return req, latchkey.Errorf(latchkey.KindBadRequest, "language: is no language tag such as de or zh-Hans")
	}
	// The desk brings these two into form.
	if req.Name, err = body.text("name"); err != nil {
		return req, err
	}
	req.Note, err = body.text("note")
	return req, err
}

// identifierOf reads the one of email and tel that is there.
func identifierOf(body fields) (latchkey.Identifier, error) {
	email, err := body.text("email")
	if err != nil {
		return latchkey.Identifier{}, err
	}
	tel, err := body.text("tel")
	if err != nil {
		return latchkey.Identifier{}, err
	}
	email, tel = strings.TrimSpace(email), strings.TrimSpace(tel)
	switch {
	case email != "" && tel != "":
		return latchkey.Identifier{}, latchkey.Errorf(latchkey.KindBadIdentifier, "email and tel: give one of them")
	case email != "":
		return latchkey.ParseMail(email)
	case tel != "":
		return latchkey.ParseTel(tel)
	}
	return latchkey.Identifier{}, latchkey.Errorf(latchkey.KindBadIdentifier, `give an "email" or a "tel"`)
}

// invitations is GET /rcsgw/invitee/user.
func (a *API) invitations(w http.ResponseWriter, r *http.Request) error {
	inviter, err := a.inviter(r)
	if err != nil {
		return err
	}
	f, err := answerFormat(r)
	if err != nil {
		return err
	}
	all, err := a.ports.Desk.Invitations(r.Context(), inviter.ID())
	if err != nil {
		return err
	}
	page := struct {
		Invitations []invitation `json:"invitations"`
	}{make([]invitation, len(all))}
	for i, v := range all {
		page.Invitations[i] = invitationOf(v)
	}
	return answer(w, r, f, http.StatusOK, "invitations", page)
}

// withdraw is DELETE /rcsgw/invitee/user/{account} (R30).
func (a *API) withdraw(w http.ResponseWriter, r *http.Request, account string) error {
	inviter, err := a.inviter(r)
	if err != nil {
		return err
	}
	known, err := address(account)
	if err != nil {
		return latchkey.Errorf(latchkey.KindNotFound, "you have not invited this account")
	}
	if err := a.ports.Desk.Withdraw(r.Context(), inviter.ID(), latchkey.AccountID(known.Identity())); err != nil {
		return err
	}
	return nothing(w)
}

// withdrawAll is DELETE /rcsgw/invitee/user: the inviter logs out (R30, F57).
func (a *API) withdrawAll(w http.ResponseWriter, r *http.Request) error {
	inviter, err := a.inviter(r)
	if err != nil {
		return err
	}
	if err := a.ports.Desk.WithdrawAll(r.Context(), inviter.ID()); err != nil {
		return err
	}
	return nothing(w)
}

// registered is GET /rcsgw/user/{identifier}: whether B is a registered user (R10; patent steps 201-203).
func (a *API) registered(w http.ResponseWriter, r *http.Request, identifier string) error {
	if _, err := a.inviter(r); err != nil {
		return err
	}
	f, err := answerFormat(r)
	if err != nil {
		return err
	}
	who, known, err := a.lookUp(r, identifier)
	if err != nil {
		return err
	}
	user := struct {
		Registered bool   `json:"registered"`
		URI        string `json:"uri,omitempty"`
	}{Registered: known}
	if known {
		user.URI = who.URI.String()
	}
	return answer(w, r, f, http.StatusOK, "user", user)
}

func (a *API) lookUp(r *http.Request, identifier string) (latchkey.Subscriber, bool, error) {
	if scheme, _, _ := strings.Cut(strings.ToLower(identifier), ":"); scheme == "sip" || scheme == "sips" {
		uri, err := latchkey.ParseAddress(identifier)
		if err != nil {
			return latchkey.Subscriber{}, false, err
		}
		return a.ports.Desk.RegisteredURI(r.Context(), uri)
	}
	id, err := latchkey.ParseIdentifier(identifier)
	if err != nil {
		return latchkey.Subscriber{}, false, err
	}
	return a.ports.Desk.Registered(r.Context(), id)
}
