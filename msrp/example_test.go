package msrp_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"strings"
	"time"

	"latchkey/msrp"
)

// printer is a Handler: its nil lets the 200 go.
type printer struct {
	name string
	seen chan struct{}
}

func (p printer) ServeMSRP(_ *msrp.Session, m *msrp.IncomingMessage) error {
	body, err := io.ReadAll(m.Body)
	if err != nil {
		return err
	}
	fmt.Printf("%s reads %s: %s\n", p.name, m.ContentType, body)
	close(p.seen)
	return nil
}

// Two parties chat. Each has told the other its URI, which is what SDP does (see msrpsdp); Alice has
// the open port, and Bob connects.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	listener := msrp.NewListener(ln, msrp.ListenerOptions{})
	go listener.Serve() // ends with Close
	defer listener.Close()

	atAlice := printer{"Alice", make(chan struct{})}
	alice := msrp.NewSession(msrp.SessionOptions{Local: listener.NewURI(), Handler: atAlice, AcceptTypes: []string{"text/plain"}})
	listener.Expect(alice)

	// Bob has no port of his own; his URI only names the session.
	atBob := printer{"Bob", make(chan struct{})}
	bob := msrp.NewSession(msrp.SessionOptions{
		Local:   msrp.URI{Host: "bob.example", Port: 2855, SessionID: msrp.NewSessionID(), Transport: "tcp"},
		Remote:  msrp.Path{alice.Local()},
		Handler: atBob,
	})
	alice.SetRemote(msrp.Path{bob.Local()})
	if err := bob.Connect(ctx, (&net.Dialer{}).DialContext, ln.Addr().String(), nil); err != nil {
		log.Fatal(err)
	}

	say := func(from *msrp.Session, text string) {
		err := from.Send(ctx, &msrp.Message{ContentType: "text/plain", Body: strings.NewReader(text), Size: int64(len(text))})
		if err != nil {
			log.Fatal(err)
		}
	}
	say(bob, "Hello")
	<-atAlice.seen
	say(alice, "Hi Bob")
	<-atBob.seen

	// What Alice does not take is refused.
	err = bob.Send(ctx, &msrp.Message{ContentType: "image/png", Body: strings.NewReader("…"), Size: -1})
	fmt.Println(err)
	bob.Close()
	<-alice.Done()
	// Output:
	// Alice reads text/plain: Hello
	// Bob reads text/plain: Hi Bob
	// msrp status 415 Unsupported media type
}

// The wire alone, for tools that are no endpoint.
func ExampleReader() {
	r := msrp.NewReader(strings.NewReader("MSRP a786hjs2 SEND\r\n" +
		"To-Path: msrp://bob.example:8888/9di4ea;tcp\r\nFrom-Path: msrp://alice.example:7777/iau39;tcp\r\n" +
		"Message-ID: 87652\r\nByte-Range: 1-25/25\r\nContent-Type: text/plain\r\n\r\n" +
		"Hey Bob, are you there?!?\r\n-------a786hjs2$\r\n"))
	h, err := r.Next()
	if err != nil {
		log.Fatal(err)
	}
	body, err := io.ReadAll(r.Body())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s %s of %s: %q %c\n", h.Method, h.Range, h.FromPath, body, r.Flag())
	// Output: SEND 1-25/25 of msrp://alice.example:7777/iau39;tcp: "Hey Bob, are you there?!?" $
}
