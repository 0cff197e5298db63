package b2bua_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"latchkey/b2bua"
	"latchkey/internal/sipua"
)

// host takes all calls.
type host struct{}

func (host) ServeInvite(in *b2bua.Incoming) {
	fmt.Println("called:", in.Called()[0])
	if _, err := in.Answer(in.Context(), b2bua.AnswerOptions{ContentType: "application/sdp", Body: []byte("v=0 of the callee")}); err != nil {
		log.Print(err)
	}
}

// engine makes an engine on free ports, whose core is at the given address.
func engine(core string) (*b2bua.Engine, *sipua.Endpoint) {
	e, err := sipua.Listen(sipua.Options{Listen: []string{"udp:127.0.0.1:0"}})
	if err != nil {
		log.Fatal(err)
	}
	return b2bua.New(e, b2bua.Options{Core: core}), e
}

// One engine calls another, which stands for the whole network behind the core.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	callee, there := engine("sip:127.0.0.1:9")
	defer there.Close()
	callee.Handle(host{})
	caller, here := engine("sip:" + there.Addrs()[0].HostPort)
	defer here.Close()

	leg, err := caller.Call(ctx, b2bua.Invite{
		From: "sip:b@guest.example", To: "sip:a@cc.com",
		ContentType: "application/sdp", Body: []byte("v=0 of the caller"),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("answer: %s\n", leg.RemoteSDP())
	if err := leg.Bye(ctx, ""); err != nil {
		log.Fatal(err)
	}
	fmt.Println("ended by:", leg.Cause())
	// Output:
	// called: sip:a@cc.com
	// answer: v=0 of the callee
	// ended by: bye
}
