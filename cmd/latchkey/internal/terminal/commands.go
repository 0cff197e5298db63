package terminal

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"latchkey/guestclient"
)

// outgoing is a message or file of the guest's on its way.
type outgoing struct {
	key   string // of its block on the screen, and the id that the gateway knows it again by
	text  string // of a file: its name
	at    time.Time
	state string // "": not at the gateway yet
	why   string
	file  *transfer // nil: it is a message
}

// goAway ends the chat; in a pipe once the messages before it are sent.
func (c *chat) goAway() {
	if c.opt.Screen != nil {
		c.quit = true
		return
	}
	c.deaf, c.staying = true, false
	c.closing = time.After(c.opt.Settle)
}

func (c *chat) turn(r request) {
	n, ok := c.person(r.To)
	if !ok {
		c.out.trouble(r, "/to", errors.New("give the number or name of an inviter, as in /to 1; /who lists them"))
		return
	}
	c.turnTo(n)
	c.out.notice("Writing to %s.", nameOf(c.inviters[n]))
	c.out.done(r)
}

// turnTo makes inviter n the one to whom lines go.
func (c *chat) turnTo(n int) {
	c.stopTyping()
	c.to = c.inviters[n].URI
	c.showFoot()
}

// name is what an inviter is called, or the URI of one who isn't known.
func (c *chat) name(uri string) string {
	for _, in := range c.inviters {
		if in.URI == uri {
			return nameOf(in)
		}
	}
	return cleanLine(uri)
}

func (c *chat) sendText(r request) {
	to := c.addressee(r, "send")
	if to == "" || r.Text == "" {
		c.unsent = true
		return
	}
	c.active, c.idle = false, nil // the message itself ends the typing (RFC 3994 §3.3)
	c.sending++
	o := &outgoing{key: cmp.Or(r.ID, guestclient.NewID()), text: r.Text, at: time.Now()}
	c.out.begun(o)
	c.sends.add(func(ctx context.Context) {
		m, err := c.client.SendAs(ctx, o.key, to, r.Text)
		c.post(ctx, func() { c.sent(r, o, m, err) })
	})
}

// sent is the gateway's answer to a message.
func (c *chat) sent(r request, o *outgoing, m guestclient.Message, err error) {
	c.sending--
	if err != nil {
		c.unsent = true
		o.state, o.why = "failed", err.Error()
		c.out.refused(r, o, err)
	} else {
		o.state, o.at = "accepted", m.Time
		c.open[m.ID], c.shown[m.ID] = o, true
		c.out.accepted(r, o, m)
	}
	c.retell()
}

// retell goes through what was told of messages before the gateway's answer to them.
func (c *chat) retell() {
	early := c.early
	c.early = nil
	for _, e := range early {
		c.delivery(e)
	}
}

func (c *chat) read(r request) {
	c.simple(r, "read", func(ctx context.Context) error { return c.client.Read(ctx, r.ID) })
}

func (c *chat) composing(r request) {
	if to := c.addressee(r, "composing"); to != "" {
		c.simple(r, "composing", func(ctx context.Context) error { return c.client.Composing(ctx, to, r.State == "active") })
	}
}

// simple does something that has no answer but that it is done.
func (c *chat) simple(r request, what string, do func(context.Context) error) {
	c.rest.add(func(ctx context.Context) {
		err := do(ctx)
		c.post(ctx, func() {
			if err != nil {
				c.out.trouble(r, what, err)
				return
			}
			c.out.done(r)
		})
	})
}

func (c *chat) status(r request) {
	to := c.addressee(r, "/status")
	if to == "" {
		return
	}
	c.rest.add(func(ctx context.Context) {
		s, err := c.client.Status(ctx, to)
		c.post(ctx, func() {
			if err != nil {
				c.out.trouble(r, "/status", err)
				return
			}
			c.out.status(r, s)
			c.out.notice("%s is %s.", c.name(s.URI), cleanLine(s.Status))
		})
	})
}

func (c *chat) who(r request) {
	c.rest.add(func(ctx context.Context) {
		inviters, err := c.client.Inviters(ctx)
		c.post(ctx, func() {
			if err != nil {
				c.out.trouble(r, "/who", err)
				return
			}
			c.setInviters(inviters)
			c.out.inviters(r, c.inviters, c.to)
		})
	})
}

// setInviters takes a new list; the one to whom lines go stays while that is possible.
func (c *chat) setInviters(inviters []guestclient.Inviter) {
	c.inviters = inviters
	for _, in := range inviters {
		if in.URI == c.to {
			c.showFoot()
			return
		}
	}
	if len(inviters) == 0 {
		c.to = ""
		return
	}
	c.turnTo(0)
	c.out.notice("Writing to %s now.", nameOf(inviters[0]))
}

// leave asks a person first: there is no way back.
func (c *chat) leave(r request) {
	if !r.Sure {
		c.asking = func(answer string) {
			if answer == "yes" || answer == "y" {
				c.leave(request{Sure: true})
				return
			}
			c.out.notice("You stay.")
		}
		c.out.notice("Leave for good? The link will not work any more, and your messages and files at the gateway are deleted.")
		c.showFoot()
		return
	}
	c.gone = true
	c.rest.add(func(ctx context.Context) {
		err := c.client.Logout(ctx)
		c.post(ctx, func() {
			if err != nil {
				c.gone = false
				c.out.trouble(r, "/leave", err)
				return
			}
			c.out.notice("You are logged out. The invitation has ended.")
			c.out.event(guestclient.Event{Type: "session", State: "ended", Reason: "logout"})
			c.quit = true
		})
	})
}

// past is an entry of the history, a message or a file.
type past struct {
	message *guestclient.Message
	file    *guestclient.File
	at      time.Time
}

// lately shows a person where the chat stands, before anything new comes.
func (c *chat) lately(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastWords)
	defer cancel()
	messages, err := c.client.History(ctx, c.to, "", 10)
	if err != nil || len(messages) == 0 {
		return // it isn't what the guest came for
	}
	for _, m := range messages {
		c.shown[m.ID] = true
	}
	c.recount(request{}, c.to, 10, messages, nil)
}

// history shows what was before, messages and files in the order of time.
func (c *chat) history(r request) {
	to := c.addressee(r, "/history")
	if to == "" {
		return
	}
	limit := min(max(cmp.Or(r.Limit, 20), 1), 200)
	c.rest.add(func(ctx context.Context) {
		messages, err := c.client.History(ctx, to, r.Before, limit)
		var files []guestclient.File
		if err == nil && r.Before == "" {
			files, _ = c.client.Files(ctx, to, "", limit) // messages without files are better than nothing
		}
		c.post(ctx, func() {
			if err != nil {
				c.out.trouble(r, "/history", err)
				return
			}
			c.recount(r, to, limit, messages, files)
		})
	})
}

func (c *chat) recount(r request, with string, limit int, messages []guestclient.Message, files []guestclient.File) {
	if c.opt.JSON {
		c.out.object(struct {
			head
			With     string                `json:"with"`
			Messages []guestclient.Message `json:"messages"`
			Files    []guestclient.File    `json:"files,omitempty"`
		}{r.head("history"), with, messages, files})
		return
	}
	var all []past
	for i := range messages {
		all = append(all, past{message: &messages[i], at: messages[i].Time})
	}
	for i := range files {
		all = append(all, past{file: &files[i], at: files[i].Time})
	}
	slices.SortStableFunc(all, func(a, b past) int { return a.at.Compare(b.at) })
	all = all[max(0, len(all)-limit):]
	if len(all) == 0 {
		c.out.notice("Nothing was written yet.")
		return
	}
	c.out.notice("With %s so far:", c.name(with))
	for _, p := range all {
		switch {
		case p.message != nil && p.message.From == with:
			c.out.received(p.at, c.name(with), p.message.Text)
		case p.message != nil:
			c.out.own("", &outgoing{at: p.at, text: p.message.Text, state: p.message.State, why: p.message.Reason})
		case p.file.From == with:
			c.offer(with, *p.file, p.at)
		default:
			c.out.own("", &outgoing{at: p.at, text: p.file.Name, state: p.file.State, why: p.file.Reason, file: &transfer{name: p.file.Name, size: p.file.Size, whole: true}})
		}
	}
}
