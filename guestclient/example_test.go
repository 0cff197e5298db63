package guestclient_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"
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

// A file goes to an inviter, and one of theirs is fetched; both go on where a connection breaks.
func ExampleClient_SendFile() {
	gateway := guestclienttest.NewGateway()
	defer gateway.Close()
	gateway.AddFile("f1", "plan.txt", "text/plain", []byte("Meet at nine.")) // in real life: the id of an event of type file
	gateway.CutFiles(3, 5)

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	guest, err := guestclient.Open(gateway.Link(), guestclient.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer guest.Close()
	file, err := guest.SendFile(ctx, "sip:a@cc.com", "map.txt", "text/plain", strings.NewReader("Straight on, then left."))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(file.Name, file.State)
	if _, err := guest.Download(ctx, "f1", 0, os.Stdout); err != nil {
		log.Fatal(err)
	}
	// Output:
	// map.txt accepted
	// Meet at nine.
}

// A client shows its people whether it has the gateway.
func ExampleOptions_connection() {
	gateway := guestclienttest.NewGateway()
	defer gateway.Close()
	gateway.Post(`{"id":%d,"type":"status","uri":"sip:a@cc.com","status":"offline"}`)

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	guest, err := guestclient.Open(gateway.Link(), guestclient.Options{
		Connection: func(up bool, _ error) { fmt.Println("connected:", up) },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer guest.Close()
	for event, err := range guest.Events(ctx, 0) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(event.URI, "is", event.Status)
		break
	}
	// Output:
	// connected: true
	// sip:a@cc.com is offline
}
