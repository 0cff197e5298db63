package msrp_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"strings"
	"time"

	"latchkey/msrp"
)

// An operator stands between Alice and Bob: each of them knows the anchor's leg only, which is what the SDP towards them says. Both
// connect to it here; a leg can connect, too (AnchorLeg.Connect).
func ExampleAnchor() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	listener := msrp.NewListener(ln, msrp.ListenerOptions{})
	go listener.Serve() // ends with Close
	defer listener.Close()

	anchor := msrp.NewAnchor(msrp.AnchorOptions{
		A: msrp.LegOptions{Local: listener.NewURI()},
		B: msrp.LegOptions{Local: listener.NewURI(), AcceptTypes: []string{"text/plain"}, MaxSize: 1000}, // as Bob has said
		Observe: func(p msrp.Passed) {
			fmt.Printf("passed on: %s of %d octets, %s\n", p.Method, p.Octets, p.ContentType)
		},
	})
	listener.ExpectLeg(anchor.A())
	listener.ExpectLeg(anchor.B())

	atBob := printer{"Bob", make(chan struct{})}
	join := func(name string, leg *msrp.AnchorLeg, h msrp.Handler) *msrp.Session {
		s := msrp.NewSession(msrp.SessionOptions{
			Local:   msrp.URI{Host: name + ".example", Port: 2855, SessionID: msrp.NewSessionID(), Transport: "tcp"},
			Remote:  msrp.Path{leg.Local()},
			Handler: h,
		})
		leg.SetRemote(msrp.Path{s.Local()})
		if err := s.Connect(ctx, (&net.Dialer{}).DialContext, ln.Addr().String(), nil); err != nil {
			log.Fatal(err)
		}
		return s
	}
	alice, bob := join("alice", anchor.A(), nil), join("bob", anchor.B(), atBob)

	say := func(contentType, text string) error {
		return alice.Send(ctx, &msrp.Message{ContentType: contentType, Body: strings.NewReader(text), Size: int64(len(text))})
	}
	if err := say("text/plain", "Hello Bob"); err != nil { // its nil is Bob's own 200
		log.Fatal(err)
	}
	<-atBob.seen
	fmt.Println(say("text/html", "<p>Hello"))
	fmt.Println(say("text/plain", strings.Repeat("long ", 1000)))

	bob.Close() // one side that leaves ends the other
	<-alice.Done()
	<-anchor.Done()
	// Output:
	// passed on: SEND of 9 octets, text/plain
	// Bob reads text/plain: Hello Bob
	// msrp status 415 Unsupported media type
	// msrp status 413 Message too large
}
