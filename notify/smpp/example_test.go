package smpp_test

import (
	"context"
	"fmt"

	"latchkey/imstest"
	"latchkey/notify/smpp"
)

func Example() {
	centre, err := imstest.NewSMSC("") // a real one has an address, a name and a password
	if err != nil {
		panic(err)
	}
	defer centre.Close()
	c := smpp.New([]smpp.Server{{HostPort: centre.Addr(), SystemID: "me", Password: "secret"}}, smpp.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error)
	go func() { over <- c.Run(ctx) }() // ends with ctx

	from, _ := smpp.ParseAddress("Latchkey")
	to, _ := smpp.ParseAddress("+8613900000001")
	parts, err := smpp.Compose("Alice invites you: https://chat.example.com", 1, smpp.Style{})
	if err != nil {
		panic(err)
	}
	for _, p := range parts {
		id, err := c.Submit(ctx, &smpp.SM{From: from, To: to, Class: p.Class, Coding: p.Coding, Short: p.Short, TLVs: p.TLVs, Registered: smpp.RegisteredReceipt})
		fmt.Println(id != "", err)
	}
	fmt.Println(centre.Taken()[0].Text)
	cancel()
	<-over
	// Output:
	// true <nil>
	// Alice invites you: https://chat.example.com
}
