package notify_test

import (
	"context"
	"fmt"

	"latchkey"
	"latchkey/notify"
)

// carrier is a Channel that says what it does. A real one is *mail.Channel.
type carrier struct{ done func() }

func (c carrier) Deliver(_ context.Context, n latchkey.Notice) error {
	defer c.done()
	fmt.Println("deliver", n.ID)
	return nil
}

func Example() {
	box := newOutbox() // a real one is *storage.DB
	ctx, cancel := context.WithCancel(context.Background())
	c := notify.New(box, map[latchkey.Channel]notify.Channel{latchkey.ByMail: carrier{cancel}}, notify.Options{})
	id := box.queue(latchkey.ByMail, 1)[0]
	c.Wake()
	fmt.Println(c.Run(ctx))
	fmt.Println(box.row(id).state)
	// Output:
	// deliver email-00000
	// <nil>
	// sent
}
