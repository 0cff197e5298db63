package terminal

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"latchkey/guestclient"
)

// event shows one event and tells the gateway that it is safe.
func (c *chat) event(e guestclient.Event) {
	c.out.event(e)
	c.acknowledge(e.ID)
	switch e.Type {
	case "message":
		c.received(e)
	case "file":
		c.fileCame(e)
	case "delivery":
		c.delivery(e)
	case "status":
		c.out.notice("%s is %s.", c.name(e.URI), cleanLine(e.Status))
		for i := range c.inviters {
			if c.inviters[i].URI == e.URI {
				c.inviters[i].Status = e.Status
			}
		}
	case "composing":
		if e.State == "active" {
			c.typing[e.From] = true
		} else {
			delete(c.typing, e.From)
		}
		c.showFoot()
	case "inviter":
		c.inviterChanged(e)
	case "session":
		c.out.notice("The conversation has ended%s.", reason(e.Reason))
		c.quit = true
	}
}

// showFoot paints what stands at the foot of a screen: who is typing, and to whom the line goes.
func (c *chat) showFoot() {
	if c.opt.Screen == nil {
		return
	}
	prompt, status := c.name(c.to)+"> ", []span(nil)
	if c.asking != nil {
		prompt = "yes or no> "
	}
	var who []string
	for _, uri := range slices.Sorted(maps.Keys(c.typing)) {
		who = append(who, c.name(uri))
	}
	switch {
	case c.offline:
		status = []span{{"No connection. Trying again; what you write waits.", loud}}
	case len(who) == 1:
		status = []span{{who[0] + " is typing…", quiet}}
	case len(who) > 1:
		status = []span{{strings.Join(who, " and ") + " are typing…", quiet}}
	}
	c.opt.Screen.canvas.foot(prompt, status)
}

// connection is what the event stream says of itself.
func (c *chat) connection(up bool, why error) {
	lost := c.offline // and the guest was told
	c.offline = !up
	if !up {
		clear(c.typing) // nobody would tell that it is over
	}
	if c.opt.JSON || !up || lost {
		c.out.connection(up, why)
	}
	c.showFoot()
}

func (c *chat) received(e guestclient.Event) {
	if e.Message == nil {
		return
	}
	delete(c.typing, e.From)
	c.showFoot()
	if id := e.Message.ID; !c.shown[id] {
		c.shown[id] = true
		c.out.received(e.Time, c.name(e.From), e.Message.Text)
	}
	c.tellRead(e.Message.ID) // also of one that the history has shown
}

func (c *chat) fileCame(e guestclient.Event) {
	if e.File == nil {
		return
	}
	delete(c.typing, e.From)
	if e.File.State == "failed" {
		c.out.notice("%s sends the file %s, which could not be had%s.", c.name(e.From), cleanLine(e.File.Name), reason(e.File.Reason))
		return
	}
	if !c.shown[e.File.ID] {
		c.shown[e.File.ID] = true
		c.offer(e.From, *e.File, e.Time)
	}
}

// tellRead is the inviter's tick. A program says itself when somebody has read.
func (c *chat) tellRead(id string) {
	if c.opt.JSON {
		return
	}
	c.rest.add(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, lastWords)
		defer cancel()
		_ = c.client.Read(ctx, id) // the message itself is safe
	})
}

// delivery moves something of ours on. It can come before the answer to the
// request that sent it; then it waits for that.
func (c *chat) delivery(e guestclient.Event) {
	var id, state, why string
	switch {
	case e.Message != nil:
		id, state, why = e.Message.ID, cmp.Or(e.Message.State, e.State), cmp.Or(e.Message.Reason, e.Reason)
	case e.File != nil:
		id, state, why = e.File.ID, cmp.Or(e.File.State, e.State), cmp.Or(e.File.Reason, e.Reason)
	}
	o, ours := c.open[id]
	if !ours {
		if c.sending > 0 {
			c.early = append(c.early, e)
		}
		return // of another device, or of an earlier chat
	}
	o.state, o.why = state, why
	if o.file != nil {
		o.file.at = cmp.Or(e.File.Sent, o.file.size)
	}
	c.out.progress(e.Time, o)
	switch {
	case state == "failed":
		c.unsent = true
		delete(c.open, id)
	case state == "displayed", c.opt.Screen == nil && state != "accepted":
		// A pipe may close once the message has reached the inviter's side.
		delete(c.open, id)
	}
}

func (c *chat) inviterChanged(e guestclient.Event) {
	switch e.State {
	case "added":
		c.out.notice("%s invites you.", c.name(cmp.Or(e.Name, e.URI)))
	case "removed":
		delete(c.typing, e.URI)
		c.out.notice("%s has ended the invitation%s.", c.name(e.URI), reason(e.Reason))
	}
	c.rest.add(func(ctx context.Context) {
		inviters, err := c.client.Inviters(ctx)
		if err != nil {
			return // the stream tells if the invitation itself is gone
		}
		c.post(ctx, func() { c.setInviters(inviters) })
	})
}

// acknowledge tells the gateway once for all events that came together.
func (c *chat) acknowledge(id int64) {
	if id <= c.last {
		return
	}
	c.last = id
	c.rest.add(func(ctx context.Context) {
		latest := make(chan int64, 1)
		c.post(ctx, func() { latest <- c.last })
		select {
		case last := <-latest:
			if last != id {
				return // a later chore acknowledges this one, too
			}
		case <-ctx.Done():
			return
		}
		ctx, cancel := context.WithTimeout(ctx, lastWords)
		defer cancel()
		_ = c.client.Ack(ctx, id) // else it comes again, and the gateway says so
	})
}

func reason(why string) string {
	if why == "" {
		return ""
	}
	return ": " + cleanLine(why)
}
