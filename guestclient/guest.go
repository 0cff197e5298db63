package guestclient

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Login is what the gateway says to a guest who logs in (R22).
type Login struct {
	Account  string    `json:"account"`
	Expires  time.Time `json:"expires"`
	Inviters []Inviter `json:"inviters"`
}

// Inviter is a person who invited the guest.
type Inviter struct {
	URI          string   `json:"uri"`
	UID          string   `json:"uid"`
	Name         string   `json:"name"`
	Interactions []string `json:"interactions"`
	Status       string   `json:"status"` // online, offline, unknown
}

// Status says whether an inviter is there (R23).
type Status struct {
	URI     string    `json:"uri"`
	Status  string    `json:"status"` // online, offline, unknown
	Checked time.Time `json:"checked"`
}

// Message is one message of a conversation.
type Message struct {
	ID     string    `json:"id"`
	From   string    `json:"from,omitempty"`
	To     string    `json:"to,omitempty"`
	Text   string    `json:"text,omitempty"`
	Type   string    `json:"type,omitempty"`
	State  string    `json:"state,omitempty"` // accepted, sent, delivered, displayed, failed
	Reason string    `json:"reason,omitempty"`
	Time   time.Time `json:"time,omitzero"`
}

// Login checks account and password and tells who invited (R20, R22). It is worth calling
// first, since the gateway makes sure of the registrations here; other methods do
// not depend on it. It isn't repeated by itself.
func (c *Client) Login(ctx context.Context) (Login, error) {
	var login Login
	err := c.call(ctx, http.MethodPost, sessionPath+url.PathEscape(c.account), nil, &login)
	return login, err
}

// Inviters lists who invited the guest, as of now.
func (c *Client) Inviters(ctx context.Context) ([]Inviter, error) {
	login, err := c.Login(ctx)
	return login.Inviters, err
}

// Status asks whether an inviter is there.
func (c *Client) Status(ctx context.Context, uri string) (Status, error) {
	var s Status
	err := c.call(ctx, http.MethodGet, "/rcsgw/invitee/status/"+url.PathEscape(uri), nil, &s)
	return s, err
}

// NewID makes an id for SendAs that nobody else makes.
func NewID() string { return rand.Text() }

// Send hands the gateway a message for an inviter. It goes on trying while the network or
// the gateway is down, until ctx ends, and the inviter gets the message once. What becomes of it comes as events.
func (c *Client) Send(ctx context.Context, to, text string) (Message, error) {
	return c.SendAs(ctx, NewID(), to, text)
}

// SendAs is Send with an id of the caller's, so that a caller that died can send again
// without doubling. One id stands for one message.
func (c *Client) SendAs(ctx context.Context, id, to, text string) (Message, error) {
	out := struct {
		ID      string `json:"id"`
		To      string `json:"to"`
		Message string `json:"message"`
	}{id, to, text}
	var m Message
	err := c.persist(ctx, func() error {
		m = Message{}
		return c.call(ctx, http.MethodPost, "/rcsgw/invitee/message", out, &m)
	})
	return m, err
}

// History is the conversation with an inviter: at most limit messages (0: the
// gateway's own limit), those before the message with the id before ("": the latest).
func (c *Client) History(ctx context.Context, with, before string, limit int) ([]Message, error) {
	q := url.Values{"with": {with}}
	if before != "" {
		q.Set("before", before)
	}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	var page struct {
		Messages []Message `json:"messages"`
	}
	err := c.call(ctx, http.MethodGet, "/rcsgw/invitee/message?"+q.Encode(), nil, &page)
	return page.Messages, err
}

// Composing tells an inviter that the guest is typing, or has stopped (RFC 3994). The
// gateway takes a state back by itself after a while.
func (c *Client) Composing(ctx context.Context, to string, active bool) error {
	state := "idle"
	if active {
		state = "active"
	}
	return c.call(ctx, http.MethodPost, "/rcsgw/invitee/composing", map[string]string{"to": to, "state": state}, nil)
}

// Read says that the guest has seen a message, and tells its sender where they asked for it (RFC 5438).
func (c *Client) Read(ctx context.Context, messageID string) error {
	return c.persist(ctx, func() error {
		return c.call(ctx, http.MethodPost, "/rcsgw/invitee/read", map[string]string{"id": messageID}, nil)
	})
}

// Logout ends the guest's conversations and relations (R29). The link is dead after it.
func (c *Client) Logout(ctx context.Context) error {
	return c.call(ctx, http.MethodDelete, sessionPath+url.PathEscape(c.account), nil, nil)
}
