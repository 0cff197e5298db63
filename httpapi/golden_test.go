package httpapi

import (
	"fmt"
	"strings"
	"testing"

	"latchkey"
)

// F24, R28: each answer, as it is in JSON and in XML. The files are the facade's shape; a change in
// them is a change for every client.
func TestAnswersAreAsWritten(t *testing.T) {
	w := newWorld(t, Options{})
	rel := relation("tel:"+aliceTel, "Ann <&> Bo")
	rel.Interactions = []latchkey.Interaction{latchkey.IM, latchkey.File}
	w.desk.relations = append(w.desk.relations, rel)
	w.do("POST", userPath, `{"email":"x@cc.com"}`, asAlice).wants(201)
	failed := w.desk.invited[latchkey.Identifier{Kind: latchkey.Mail, Value: "x@cc.com"}]
	failed.Notification, failed.Reason, failed.GuestState = latchkey.NotificationFailed, "no such mailbox", latchkey.GuestOffline
	w.desk.invited[failed.Identifier] = failed
	w.hall.messages = []latchkey.Message{
		{ID: "m1", Account: account, Inviter: aliceURI, Direction: latchkey.ToInviter, ContentType: "text/plain", Text: "a <b> & \"c\"\n", State: latchkey.MessageDisplayed, Time: then},
		{ID: "m2", Account: account, Inviter: aliceURI, Direction: latchkey.ToGuest, ContentType: "text/plain", Text: "hi", State: latchkey.MessageAccepted, Time: then},
	}
	// The first poll makes the guest present, which is told in the stream; after that it is quiet.
	w.do("GET", eventsPath+"?wait=0", "", asGuest).wants(200)
	eventually(t, func() bool { return len(w.hall.all()) == 2 })
	w.hall.events = nil
	for _, e := range []latchkey.Event{
		{Type: latchkey.MessageEvent, From: aliceURI, Message: &latchkey.EventMessage{ID: "m2", Text: "hi <&>", Type: "text/plain"}},
		{Type: latchkey.DeliveryEvent, Message: &latchkey.EventMessage{ID: "m1", State: latchkey.MessageFailed, Reason: "busy"}},
		{Type: latchkey.StatusEvent, URI: aliceURI, Status: "online"},
		{Type: latchkey.ComposingEvent, From: aliceURI, State: "active"},
		{Type: latchkey.InviterEvent, URI: carolURI, Name: "Carol", State: "added"},
		{Type: latchkey.FileEvent, From: aliceURI, File: &latchkey.EventFile{ID: "f1", Name: "x.png", Size: 7, Type: "image/png"}},
	} {
		w.hall.post(e)
	}
	for _, c := range []struct {
		name, method, path, body string
		as                       change
	}{
		{"invitation", "POST", userPath, `{"tel":"+8613800000007"}`, asAlice},
		{"invitations", "GET", userPath, "", asAlice},
		{"already-registered", "POST", userPath, `{"email":"r@cc.com"}`, asAlice},
		{"user", "GET", "/rcsgw/user/r@cc.com", "", asAlice},
		{"stranger", "GET", "/rcsgw/user/x@cc.com", "", asAlice},
		{"login", "POST", sessionPath, "", asGuest},
		{"unauthorized", "POST", sessionPath, "", header("Authorization", "Basic eDp5")},
		{"status", "GET", statusPath + aliceURI, "", asGuest},
		{"no-relation", "GET", statusPath + carolURI, "", asGuest},
		{"message", "POST", messagePath, `{"to":"sip:a@cc.com","message":"x","id":"1"}`, asGuest},
		{"messages", "GET", messagePath + "?with=sip:a@cc.com", "", asGuest},
		{"events", "GET", eventsPath + "?wait=0", "", asGuest},
		{"no-events", "GET", eventsPath + "?wait=0&after=1000", "", asGuest},
	} {
		for _, f := range []string{"json", "xml"} {
			if c.name == "invitation" {
				delete(w.desk.invited, latchkey.Identifier{Kind: latchkey.Tel, Value: "+8613800000007"})
			}
			if c.name == "message" {
				w.hall.messages = w.hall.messages[:2]
			}
			r := w.do(c.method, c.path, c.body, c.as, header("Accept", "application/"+f))
			for _, secret := range []string{password, alicePwd, "passwd"} {
				if strings.Contains(r.body, secret) {
					t.Errorf("%s has %s: %s", c.name, secret, r.body)
				}
			}
			golden(t, c.name+"."+f+".txt", fmt.Sprintf("%d %s\n\n%s\n", r.status, r.header.Get("Content-Type"), r.body))
		}
	}
}
