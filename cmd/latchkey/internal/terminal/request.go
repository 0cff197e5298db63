package terminal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// request is one thing that the guest wants, whether a line of text said it or one of JSON.
type request struct {
	Command string          `json:"command"`
	Ref     json.RawMessage `json:"ref"`    // comes back in what answers it
	To      string          `json:"to"`     // an inviter; "": the one of the last "to"
	Text    string          `json:"text"`   // of send
	ID      string          `json:"id"`     // of a file or message; of send and file: the client's own, so that a repeat is one
	Path    string          `json:"path"`   // of file and save
	Name    string          `json:"name"`   // of file: what the inviter sees; "": the path's
	Type    string          `json:"type"`   // of file: media type; "": by name or content
	State   string          `json:"state"`  // of composing: active or idle
	Before  string          `json:"before"` // of history
	Limit   int             `json:"limit"`
	Sure    bool            `json:"-"` // of leave
}

// command is a word that the guest can say, behind a slash or as "command" of JSON.
type command struct {
	name, args, about string
	do                func(*chat, request)
}

// commands are in the order in which help lists them. A name without about is another word for the one before.
func commands() []command {
	return []command{
		{"who", "", "who invited you, and who is there", (*chat).who},
		{"to", "N", "write to inviter N of /who; a name will do", (*chat).turn},
		{"status", "", "is the one you write to there?", (*chat).status},
		{"history", "[N]", "what was before; N messages, else 20", (*chat).history},
		{"send", "PATH", "send a file", (*chat).sendFile},
		{"file", "", "", (*chat).sendFile},
		{"save", "N [PATH]", "save file N, here or under PATH; goes on where it stopped", (*chat).save},
		{"cancel", "[N]", "stop file N, or the one under way", (*chat).cancel},
		{"leave", "", "leave for good: the link is dead afterwards", (*chat).leave},
		{"logout", "", "", (*chat).leave},
		{"quit", "", "go; the invitation stays", func(c *chat, _ request) { c.goAway() }},
		{"q", "", "", func(c *chat, _ request) { c.goAway() }},
		{"help", "", "this list", (*chat).help},
		{"?", "", "", (*chat).help},
	}
}

// programs says what only programs say.
func programCommands() map[string]func(*chat, request) {
	return map[string]func(*chat, request){"send": (*chat).sendText, "read": (*chat).read, "composing": (*chat).composing}
}

var errNoCommand = errors.New("is not a command; /help lists them, and // begins a message with /")

// line is what the guest entered.
func (c *chat) line(line string) {
	switch {
	case c.opt.JSON:
		c.object(line)
	case c.asking != nil:
		answer := c.asking
		c.asking = nil
		c.showFoot()
		answer(strings.ToLower(strings.TrimSpace(line)))
	case strings.TrimSpace(line) == "":
	case strings.HasPrefix(line, "//"):
		c.sendText(request{Text: line[1:]})
	case strings.HasPrefix(line, "/"):
		c.words(line)
	default:
		c.sendText(request{Text: line})
	}
}

// words reads a command of text.
func (c *chat) words(line string) {
	name, rest, _ := strings.Cut(strings.TrimSpace(line[1:]), " ")
	rest = strings.TrimSpace(rest)
	all := commands()
	i := slices.IndexFunc(all, func(k command) bool { return k.name == name })
	if i < 0 {
		c.out.trouble(request{}, "/"+name, errNoCommand)
		return
	}
	r := request{Command: name}
	switch name {
	case "to":
		r.To = rest
	case "send", "file":
		r.Path = unquote(rest)
	case "save":
		var path string
		r.ID, path, _ = strings.Cut(rest, " ")
		r.Path = unquote(strings.TrimSpace(path))
	case "cancel":
		r.ID = rest
	case "history":
		r.Limit, _ = strconv.Atoi(rest)
	case "leave", "logout":
		r.Sure = rest == "yes"
	}
	all[i].do(c, r)
}

// unquote takes the marks away that shells and file managers put around a path.
func unquote(path string) string {
	if n := len(path); n >= 2 && (path[0] == '"' || path[0] == '\'') && path[n-1] == path[0] {
		return path[1 : n-1]
	}
	return strings.ReplaceAll(path, `\ `, " ")
}

// object reads a command of JSON.
func (c *chat) object(line string) {
	if strings.TrimSpace(line) == "" {
		return
	}
	var r request
	dec := json.NewDecoder(bytes.NewReader([]byte(line)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		c.unsent = true
		c.out.trouble(request{}, "input", fmt.Errorf("%w: %w", errBadCommand, err))
		return
	}
	r.Sure = true
	do := programCommands()[r.Command]
	if do == nil {
		all := commands()
		if i := slices.IndexFunc(all, func(k command) bool {
			return k.name == r.Command && k.about != "" || k.name == "file" && r.Command == "file"
		}); i >= 0 {
			do = all[i].do
		}
	}
	if do == nil {
		c.unsent = true
		c.out.trouble(r, "input", fmt.Errorf("%w: there is no command %q", errBadCommand, r.Command))
		return
	}
	do(c, r)
}

var errBadCommand = errors.New("not understood")

func (c *chat) help(request) {
	var b strings.Builder
	b.WriteString("Each line is a message. Commands:")
	for _, k := range commands() {
		if k.about != "" {
			fmt.Fprintf(&b, "\n  %-18s%s", "/"+strings.TrimSpace(k.name+" "+k.args), k.about)
		}
	}
	b.WriteString("\n  //text            a message that begins with /")
	if c.opt.Screen != nil {
		b.WriteString("\nAlt-Enter begins a new line, Tab completes commands and paths, the arrow keys bring back what you wrote.")
	}
	c.out.notice("%s", b.String())
}

// person finds an inviter by number, URI or the beginning of the name.
func (c *chat) person(what string) (int, bool) {
	if n, err := strconv.Atoi(what); err == nil {
		return n - 1, n >= 1 && n <= len(c.inviters)
	}
	found := -1
	for i, in := range c.inviters {
		switch {
		case in.URI == what:
			return i, true
		case what != "" && strings.HasPrefix(strings.ToLower(nameOf(in)), strings.ToLower(what)):
			if found >= 0 {
				return 0, false
			}
			found = i
		}
	}
	return max(found, 0), found >= 0
}

// addressee is whom a request is for; "" is told to the guest.
func (c *chat) addressee(r request, what string) string {
	switch {
	case r.To != "":
		return r.To
	case c.to == "":
		c.out.trouble(r, what, errors.New("nobody invites you any more"))
	}
	return c.to
}
