package msrpsdp_test

import (
	"fmt"
	"log"

	"latchkey/msrp"
	"latchkey/msrp/msrpsdp"
)

// Alice calls Bob. The descriptions travel in SIP; msrp.Session does the rest.
func Example() {
	describe := func(host string) msrpsdp.Local {
		return msrpsdp.Local{
			Addr: host, Port: 2855, CEMA: true, AcceptTypes: []string{"message/cpim"}, AcceptWrappedTypes: []string{"text/plain"},
			URI: msrp.URI{Host: host, Port: 2855, SessionID: msrp.NewSessionID(), Transport: "tcp"},
		}
	}
	offer, err := msrpsdp.Offer(describe("192.0.2.1"))
	if err != nil {
		log.Fatal(err)
	}
	// Bob is behind NAT and prefers to connect.
	answer, bob, err := msrpsdp.Answer(offer, describe("192.0.2.2"), msrpsdp.Active)
	if err != nil {
		log.Fatal(err) // SIP says 488
	}
	alice, media, err := msrpsdp.Conclude(offer, answer)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("Bob connects to", bob.Dial)
	fmt.Println("Alice connects:", alice.Active)
	fmt.Println("Bob takes receipts:", media.AcceptsWrapped("message/imdn+xml"))
	// Output:
	// Bob connects to 192.0.2.1:2855
	// Alice connects: false
	// Bob takes receipts: true
}
