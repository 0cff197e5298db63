package terminal

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"latchkey/guestclient"
)

const commandHelp = `Each line is a message. Commands:
  /who      who invited you, and who is there
  /status   is the one you write to there?
  /to N     write to inviter N of /who
  /quit     leave; the invitation stays
  /logout   leave for good: the link is dead afterwards
  //text    a message that begins with /`

// line is what the guest entered: a message or a command.
func (c *chat) line(line string) {
	switch {
	case strings.TrimSpace(line) == "":
	case strings.HasPrefix(line, "//"):
		c.send(line[1:])
	case strings.HasPrefix(line, "/"):
		c.command(strings.Fields(line))
	default:
		c.send(line)
	}
}

func (c *chat) command(words []string) {
	switch words[0] {
	case "/quit", "/q":
		c.leave()
	case "/logout":
		c.logout()
	case "/help", "/?":
		c.out.notice("%s", commandHelp)
	case "/who":
		c.who()
	case "/status":
		c.status()
	case "/to":
		n, err := 0, error(nil)
		if len(words) == 2 {
			n, err = strconv.Atoi(words[1])
		}
		if err != nil || n < 1 || n > len(c.inviters) {
			c.out.trouble("/to", errors.New("give the number of an inviter, as in /to 1; /who lists them"))
			return
		}
		c.turnTo(n - 1)
		c.out.notice("Writing to %s.", nameOf(c.inviters[n-1]))
	default:
		c.out.trouble(words[0], errors.New("is not a command; /help lists them, and // begins a message with /"))
	}
}

// leave ends the chat; in a pipe once the messages before it are sent.
func (c *chat) leave() {
	if c.opt.Screen != nil {
		c.quit = true
		return
	}
	c.deaf, c.staying = true, false
	c.closing = time.After(c.opt.Settle)
}

// turnTo makes inviter n the one to whom lines go.
func (c *chat) turnTo(n int) {
	c.stopTyping()
	c.to = c.inviters[n].URI
	c.showPrompt("")
}

func (c *chat) showPrompt(note string) {
	if c.opt.Screen != nil {
		c.opt.Screen.prompt(c.name(c.to) + note + "> ")
	}
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

func (c *chat) send(text string) {
	if c.to == "" {
		c.out.trouble("send", errors.New("nobody invites you any more"))
		c.unsent = true
		return
	}
	c.active, c.idle = false, nil // the message itself ends the typing (RFC 3994 §3.3)
	c.sending++
	to := c.to
	c.sends.add(func(ctx context.Context) {
		m, err := c.client.Send(ctx, to, text)
		c.post(ctx, func() { c.sent(m, text, err) })
	})
}

// sent is the gateway's answer to a message.
func (c *chat) sent(m guestclient.Message, text string, err error) {
	c.sending--
	if err != nil {
		c.unsent = true
		c.out.trouble("not sent: "+excerpt(text), err)
	} else {
		c.open[m.ID] = text
		c.out.accepted(m, text)
	}
	early := c.early
	c.early = nil
	for _, e := range early {
		c.delivery(e)
	}
}

func (c *chat) status() {
	to := c.to
	c.rest.add(func(ctx context.Context) {
		s, err := c.client.Status(ctx, to)
		c.post(ctx, func() {
			if err != nil {
				c.out.trouble("/status", err)
				return
			}
			c.out.event(guestclient.Event{Type: "status", Time: s.Checked, URI: s.URI, Status: s.Status})
			c.out.notice("%s is %s.", c.name(s.URI), cleanLine(s.Status))
		})
	})
}

func (c *chat) who() {
	c.rest.add(func(ctx context.Context) {
		inviters, err := c.client.Inviters(ctx)
		c.post(ctx, func() {
			if err != nil {
				c.out.trouble("/who", err)
				return
			}
			c.setInviters(inviters)
			c.out.inviters(c.inviters, c.to)
		})
	})
}

// setInviters takes a new list; the one to whom lines go stays while that is possible.
func (c *chat) setInviters(inviters []guestclient.Inviter) {
	c.inviters = inviters
	for _, in := range inviters {
		if in.URI == c.to {
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

func (c *chat) logout() {
	c.gone = true
	c.rest.add(func(ctx context.Context) {
		err := c.client.Logout(ctx)
		c.post(ctx, func() {
			if err != nil {
				c.gone = false
				c.out.trouble("/logout", err)
				return
			}
			c.out.notice("You are logged out. The invitation has ended.")
			c.out.event(guestclient.Event{Type: "session", State: "ended", Reason: "logout"})
			c.quit = true
		})
	})
}
