package cpim_test

import (
	"fmt"
	"log"
	"time"

	"latchkey/cpim"
)

// A message asks for a receipt, and its reader writes one.
func Example() {
	sent := cpim.Message{
		From: cpim.Party{URI: "sip:alice@example.com"}, To: cpim.Party{Name: "Bob", URI: "sip:bob@example.com"},
		DateTime: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), MessageID: "Uzlx03xr", Disposition: []cpim.Disposition{cpim.Display},
		ContentType: "text/plain; charset=utf-8", Body: []byte("Hello"),
	}
	wire, err := sent.Bytes()
	if err != nil {
		log.Fatal(err)
	}

	m, err := cpim.Parse(wire)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s writes %s: %s\n", m.From.URI, m.Content(), m.Body)
	if m.Wants(cpim.Display) {
		receipt := cpim.Notification{MessageID: m.MessageID, DateTime: time.Now(), Kind: cpim.DisplayNotification, Status: cpim.Displayed}
		seen, err := cpim.ParseIMDN(receipt.XML())
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(seen[0].MessageID, "is", seen[0].Status)
	}
	// Output:
	// sip:alice@example.com writes text/plain: Hello
	// Uzlx03xr is displayed
}
