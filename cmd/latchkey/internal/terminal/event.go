package terminal

import (
	"context"

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
		if e.File != nil {
			c.out.notice("%s sends the file %s (%d bytes); files can't be fetched here, open the link in a browser.", c.name(e.From), cleanLine(e.File.Name), e.File.Size)
		}
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
		switch {
		case e.From != c.to:
		case e.State == "active":
			c.showPrompt(" is typing…")
		default:
			c.showPrompt("")
		}
	case "inviter":
		c.inviterChanged(e)
	case "session":
		c.out.notice("The conversation has ended%s.", reason(e.Reason))
		c.quit = true
	}
}

func (c *chat) received(e guestclient.Event) {
	if e.Message == nil {
		return
	}
	c.out.received(e.Time, c.name(e.From), e.Message.Text)
	if e.From == c.to {
		c.showPrompt("")
	}
	id := e.Message.ID
	c.rest.add(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, lastWords)
		defer cancel()
		_ = c.client.Read(ctx, id) // the inviter's tick; the message itself is safe
	})
}

// delivery moves a message of ours on. It can come before the answer to the
// request that sent the message; then it waits for that.
func (c *chat) delivery(e guestclient.Event) {
	if e.Message == nil {
		return
	}
	text, ours := c.open[e.Message.ID]
	if !ours {
		if c.sending > 0 {
			c.early = append(c.early, e)
		}
		return // of another device, or of an earlier chat
	}
	state := e.Message.State
	if state == "" {
		state = e.State
	}
	why := e.Message.Reason
	if why == "" {
		why = e.Reason
	}
	c.out.progress(e.Time, state, text, why)
	switch {
	case state == "failed":
		c.unsent = true
		delete(c.open, e.Message.ID)
	case state == "displayed", c.opt.Screen == nil && state != "accepted":
		// A pipe may close once the message has reached the inviter's side.
		delete(c.open, e.Message.ID)
	}
}

func (c *chat) inviterChanged(e guestclient.Event) {
	switch e.State {
	case "added":
		c.out.notice("%s invites you.", c.name(firstOf(e.Name, e.URI)))
	case "removed":
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

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
