package mail_test

import (
	"context"
	"fmt"
	"time"

	"latchkey"
	"latchkey/imstest"
	"latchkey/notify/mail"
)

func Example() {
	sink, err := imstest.NewMailSink("") // a mail server for tests
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sink.Close()
	c := mail.New(mail.Options{Server: sink.Addr(), From: "invitations@example.com"})
	err = c.Deliver(context.Background(), latchkey.Notice{
		ID: latchkey.NewToken(), Recipient: "b@cc.com", Inviter: "sip:a@cc.com", InviterName: "Alice",
		Link: "https://chat.example.com/rcsgw/invitee/session/sip:b_at_cc.com@guest.example?passwd=…", Created: time.Now(), Expires: time.Now().Add(time.Hour),
	})
	fmt.Println(err)
	fmt.Println(sink.Mails()[0].Subject)
	// Output:
	// <nil>
	// Alice invites you to a chat
}
