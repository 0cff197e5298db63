package terminal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"latchkey/guestclient"
)

// output prints what happens: for people, or as one JSON object a line for programs.
type output struct {
	w    io.Writer
	json bool
	echo bool // the screen shows what was typed already
}

// ticks say how far a message has come.
var ticks = map[string]string{
	"sent":      "✓ sent",
	"delivered": "✓✓ delivered",
	"displayed": "✓✓ read",
	"failed":    "✗ not sent",
}

func (o output) login(l guestclient.Login) {
	if o.json {
		o.object(struct {
			Type string `json:"type"`
			guestclient.Login
		}{"login", l})
		return
	}
	o.line("You are %s until %s.", cleanLine(l.Account), l.Expires.Local().Format("2 Jan 2006 15:04"))
	o.inviters(l.Inviters, "")
}

// inviters lists who invited; a star marks the one to whom lines go.
func (o output) inviters(all []guestclient.Inviter, current string) {
	if o.json {
		o.object(struct {
			Type     string                `json:"type"`
			Inviters []guestclient.Inviter `json:"inviters"`
		}{"inviters", all})
		return
	}
	if len(all) == 0 {
		o.line("Nobody invites you any more.")
		return
	}
	o.line("Invited by")
	for i, in := range all {
		mark := " "
		if in.URI == current {
			mark = "*"
		}
		o.line("%s %d  %s  %s  %s", mark, i+1, nameOf(in), cleanLine(in.URI), cleanLine(in.Status))
	}
}

// event prints an event as it is, for programs.
func (o output) event(e guestclient.Event) {
	if o.json {
		o.object(e)
	}
}

func (o output) received(at time.Time, from, text string) {
	if !o.json {
		o.message(at, from, text)
	}
}

func (o output) accepted(m guestclient.Message, text string) {
	switch {
	case o.json:
		m.Text = text
		o.object(struct {
			Type    string              `json:"type"`
			Message guestclient.Message `json:"message"`
		}{"accepted", m})
	case !o.echo:
		o.message(m.Time, "you", text)
	}
}

func (o output) progress(at time.Time, state, text, reason string) {
	tick, known := ticks[state]
	if o.json || !known {
		return
	}
	line := fmt.Sprintf("%s   %s: %s", clock(at), tick, excerpt(text))
	if reason != "" {
		line += " (" + cleanLine(reason) + ")"
	}
	o.line("%s", line)
}

// notice is a line about the chat, not of it.
func (o output) notice(format string, args ...any) {
	if !o.json {
		o.line("· "+format, args...)
	}
}

// trouble says what did not work.
func (o output) trouble(what string, err error) {
	if o.json {
		name := "network"
		if p, ok := errors.AsType[*guestclient.Problem](err); ok {
			name = p.Name()
		}
		o.object(map[string]string{"type": "error", "what": what, "problem": name, "detail": err.Error()})
		return
	}
	o.line("! %s: %s", what, cleanLine(err.Error()))
}

func (o output) message(at time.Time, who, text string) {
	head := clock(at) + " " + who + ": "
	indent := "\n" + strings.Repeat(" ", len(clock(at))+1)
	o.line("%s", head+strings.ReplaceAll(strings.TrimRight(Clean(text), "\n"), "\n", indent))
}

func (o output) line(format string, args ...any) { fmt.Fprintf(o.w, format+"\n", args...) }

// object writes one line of JSON in which no control character stands raw, since a
// person may look at it in a terminal.
func (o output) object(v any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		fmt.Fprintf(o.w, `{"type":"error","what":"output","problem":"internal"}`+"\n")
		return
	}
	var safe strings.Builder
	for _, r := range strings.TrimSuffix(b.String(), "\n") {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			fmt.Fprintf(&safe, `\u%04x`, r)
			continue
		}
		safe.WriteRune(r)
	}
	fmt.Fprintln(o.w, safe.String())
}

func clock(t time.Time) string {
	if t.IsZero() {
		return "--:--"
	}
	return t.Local().Format("15:04")
}

func nameOf(in guestclient.Inviter) string {
	if name := strings.TrimSpace(cleanLine(in.Name)); name != "" {
		return name
	}
	return cleanLine(in.URI)
}

// excerpt is enough of a text to recognise it.
func excerpt(text string) string {
	runes := []rune(cleanLine(text))
	if len(runes) > 30 {
		return string(runes[:29]) + "…"
	}
	return string(runes)
}
