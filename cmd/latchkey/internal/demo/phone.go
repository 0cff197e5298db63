package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"latchkey/imstest"
)

// phone is Alice's phone with its page.
type phone struct {
	phone   *imstest.Phone
	gateway string // base URL of the inviter's REST interface
	feed    *feed
}

func newPhonePage(p *imstest.Phone, gateway string) *phone {
	a := &phone{phone: p, gateway: gateway, feed: newFeed()}
	p.OnEvent(func(e imstest.PhoneEvent) {
		at := e.Time.Format(time.RFC3339)
		switch e.Type {
		case "message":
			a.feed.tell(phoneEvent{Type: "message", Peer: e.Peer, ID: e.ID, Text: e.Text, Time: at})
		case "receipt":
			a.feed.tell(phoneEvent{Type: "state", Peer: e.Peer, ID: e.ID, State: e.Status})
		case "composing":
			a.feed.tell(phoneEvent{Type: "composing", Peer: e.Peer, Active: e.Active})
		case "file":
			a.feed.tell(phoneEvent{Type: "message", Peer: e.Peer, ID: e.ID, Text: fmt.Sprintf("📎 %s\n%s, %d bytes", e.File.Name, e.File.Type, e.File.Size), Time: at, File: true})
		case "filecut":
			a.feed.tell(phoneEvent{Type: "message", Peer: e.Peer, ID: e.ID, Text: fmt.Sprintf("📎 %s stopped after %d bytes", e.File.Name, e.File.Got), Time: at, File: true})
		case "call":
			a.feed.tell(phoneEvent{Type: "chat", Peer: e.Peer})
		}
	})
	return a
}

func (a *phone) routes(mux *http.ServeMux) {
	mux.Handle("GET /phone/events", a.feed)
	for path, f := range map[string]func(context.Context, order) (any, error){
		"/phone/invite": a.invite, "/phone/send": a.send, "/phone/composing": a.composing, "/phone/online": a.online, "/phone/read": a.read,
		"/phone/picture": a.picture,
	} {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) { serveOrder(w, r, f) })
	}
}

// order is what the page asks the phone for.
type order struct {
	Person string `json:"person"`
	invitation
	To     string `json:"to"`
	Text   string `json:"text"`
	ID     string `json:"id"`
	Active bool   `json:"active"`
	Online bool   `json:"online"`
}

func serveOrder(w http.ResponseWriter, r *http.Request, f func(context.Context, order) (any, error)) {
	w.Header().Set("Content-Type", "application/json")
	// A form of another site can't send this type, and a script of it may not: the page is the only one to order.
	if r.Header.Get("Content-Type") != "application/json" {
		w.WriteHeader(http.StatusUnsupportedMediaType)
		return
	}
	var o order
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&o)
	var answer any
	if err == nil {
		ctx, cancel := context.WithTimeout(r.Context(), 40*time.Second)
		defer cancel()
		answer, err = f(ctx, o)
	}
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		answer = map[string]string{"error": err.Error()}
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (a *phone) invite(ctx context.Context, o order) (any, error) {
	return invite(ctx, a.gateway, aliceURI, o.invitation)
}

// invitation is what the REST interface takes (INTERFACE, Inviter).
type invitation struct {
	Email        string   `json:"email,omitempty"`
	Tel          string   `json:"tel,omitempty"`
	Channel      string   `json:"channel,omitempty"`
	Interactions []string `json:"interactions"`
}

// invite is what an inviter's client sends (patent step 203).
func invite(ctx context.Context, gateway, uri string, i invitation) (map[string]any, error) {
	i.Interactions = []string{"im", "file"}
	body, err := json.Marshal(i)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, gateway+"/rcsgw/invitee/user", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth(uri, password)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var answer map[string]any
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return nil, fmt.Errorf("the gateway answered %s", res.Status)
	}
	if res.StatusCode >= 300 {
		return nil, fmt.Errorf("%v: %v", answer["title"], answer["detail"])
	}
	answer["created"] = res.StatusCode == http.StatusCreated
	return answer, nil
}

func (a *phone) send(ctx context.Context, o order) (any, error) {
	id := fmt.Sprintf("alice-%d", time.Now().UnixNano())
	a.feed.tell(phoneEvent{Type: "message", Peer: o.To, ID: id, Text: o.Text, Time: time.Now().UTC().Format(time.RFC3339), Mine: true, State: "sending"})
	if _, err := a.phone.SendAs(ctx, o.To, o.Text, id); err != nil {
		a.feed.tell(phoneEvent{Type: "state", Peer: o.To, ID: id, State: "failed"})
		return nil, err
	}
	a.feed.tell(phoneEvent{Type: "state", Peer: o.To, ID: id, State: "sent"})
	return map[string]string{"id": id}, nil
}

// picture sends a picture to the guest, over MSRP.
func (a *phone) picture(ctx context.Context, o order) (any, error) {
	body := sunset()
	id := fmt.Sprintf("picture-%d", time.Now().UnixNano())
	a.feed.tell(phoneEvent{Type: "message", Peer: o.To, ID: id, Text: "📎 sunset.png", Time: time.Now().UTC().Format(time.RFC3339), Mine: true, State: "sending"})
	state := "sent"
	_, err := a.phone.SendFile(ctx, o.To, imstest.FileOffer{Name: "sunset.png", Type: "image/png", Body: bytes.NewReader(body), Size: int64(len(body))})
	if err != nil {
		state = "failed"
	}
	a.feed.tell(phoneEvent{Type: "state", Peer: o.To, ID: id, State: state})
	return map[string]string{"id": id}, err
}

// composing is silently nothing where no chat is open.
func (a *phone) composing(ctx context.Context, o order) (any, error) {
	_ = a.phone.Composing(ctx, o.To, o.Active)
	return struct{}{}, nil
}

func (a *phone) read(_ context.Context, o order) (any, error) {
	a.phone.Display(o.To, o.ID)
	a.feed.tell(phoneEvent{Type: "read", Peer: o.To, ID: o.ID}) // a page that is opened later says it no second time
	return struct{}{}, nil
}

func (a *phone) online(ctx context.Context, o order) (any, error) {
	act := a.phone.Unregister
	if o.Online {
		act = a.phone.Register
	}
	if err := act(ctx); err != nil {
		return nil, err
	}
	a.feed.tell(phoneEvent{Type: "online", Online: o.Online})
	return struct{}{}, nil
}
