package guestclient_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"latchkey/guestclient"
	"latchkey/guestclient/guestclienttest"
)

// A program that answers each message of an inviter.
func Example() {
	gateway := guestclienttest.NewGateway() // in real life: the link from the invitation
	defer gateway.Close()
	gateway.Post(`{"id":%d,"type":"message","from":"sip:a@cc.com","message":{"id":"m1","text":"Hello?","type":"text/plain"}}`)

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	guest, err := guestclient.Open(gateway.Link(), guestclient.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer guest.Close()
	login, err := guest.Login(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("invited by", login.Inviters[0].Name)
	for event, err := range guest.Events(ctx, 0) {
		if err != nil {
			log.Fatal(err)
		}
		if event.Type != "message" {
			continue
		}
		fmt.Println("got", event.Message.Text)
		answer, err := guest.Send(ctx, event.From, "Yes?")
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("answer is", answer.State)
		break
	}
	// Output:
	// invited by Alice
	// got Hello?
	// answer is accepted
}
