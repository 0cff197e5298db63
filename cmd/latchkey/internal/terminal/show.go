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

// Version is that of the JSON lines, in and out. Fields and types may be added under one version; what is there keeps its meaning.
const Version = 1

// output shows what happens: on a screen, as lines, or as one JSON object a line for programs.
type output struct {
	w      io.Writer
	json   bool
	screen *Screen // nil: lines
}

// head begins what answers a request of a program.
type head struct {
	Type string          `json:"type"`
	Ref  json.RawMessage `json:"ref,omitempty"`
}

func (r request) head(kind string) head { return head{kind, r.Ref} }

// ticks say how far a message has come, and in which style.
var ticks = map[string]span{
	"":          {"… sending", quiet},
	"accepted":  {"…", quiet},
	"sent":      {"✓ sent", quiet},
	"delivered": {"✓✓ delivered", quiet},
	"displayed": {"✓✓ read", good},
	"failed":    {"✗ not sent", bad},
	"cancelled": {"✗ cancelled", quiet},
}

func (o output) login(l guestclient.Login) {
	if o.json {
		o.object(struct {
			Type    string `json:"type"`
			Version int    `json:"version"`
			guestclient.Login
		}{"login", Version, l})
		return
	}
	o.line(span{fmt.Sprintf("You are %s until %s.", cleanLine(l.Account), l.Expires.Local().Format("2 Jan 2006 15:04")), quiet})
	o.inviters(request{}, l.Inviters, "")
}

// inviters lists who invited; a star marks the one to whom lines go.
func (o output) inviters(r request, all []guestclient.Inviter, current string) {
	if o.json {
		o.object(struct {
			head
			Inviters []guestclient.Inviter `json:"inviters"`
		}{r.head("inviters"), all})
		return
	}
	if len(all) == 0 {
		o.line(span{"Nobody invites you any more.", loud})
		return
	}
	o.line(span{"Invited by", quiet})
	for i, in := range all {
		mark := " "
		if in.URI == current {
			mark = "*"
		}
		o.line(span{fmt.Sprintf("%s %d  ", mark, i+1), plain}, span{nameOf(in), peer}, span{fmt.Sprintf("  %s  %s", cleanLine(in.URI), cleanLine(in.Status)), plain})
	}
}

// event prints an event as it is, for programs.
func (o output) event(e guestclient.Event) {
	if o.json {
		o.object(e)
	}
}

func (o output) status(r request, s guestclient.Status) {
	if o.json {
		o.object(struct {
			head
			Time   time.Time `json:"time"`
			URI    string    `json:"uri"`
			Status string    `json:"status"`
		}{r.head("status"), s.Checked, s.URI, s.Status})
	}
}

// done answers a request that has no other answer.
func (o output) done(r request) {
	if o.json {
		o.object(r.head("done"))
	}
}

// connection says that the gateway is lost, or there again.
func (o output) connection(up bool, why error) {
	if !o.json {
		if o.screen == nil && !up {
			o.notice("The gateway can't be reached. Trying again.")
		} else if up {
			o.notice("Connected again.")
		}
		return
	}
	c := map[string]string{"type": "connection", "state": "online"}
	if !up {
		c["state"], c["detail"] = "offline", why.Error()
	}
	o.object(c)
}

func (o output) received(at time.Time, from, text string) {
	if !o.json {
		o.message("", at, span{from, peer}, []span{{Clean(strings.TrimRight(text, "\n")), plain}})
	}
}

// own shows something of the guest's, with how far it has come.
func (o output) own(key string, of *outgoing) {
	o.message(key, of.at, span{"you", own}, of.spans())
}

func (of *outgoing) spans() []span {
	text := Clean(strings.TrimRight(of.text, "\n"))
	if t := of.file; t != nil {
		text = fmt.Sprintf("%s (%s)", cleanLine(of.text), bytesOf(t.size))
		if t.n > 0 {
			text = fmt.Sprintf("file %d: %s", t.n, text)
		}
	}
	tick := ticks[of.state]
	if t := of.file; t != nil && of.state == "" {
		tick.text = t.bar()
	} else if t != nil && of.state == "accepted" && t.at < t.size && t.at > 0 {
		tick.text = "to the phone " + t.bar()
	}
	if of.why != "" {
		tick.text += " (" + cleanLine(of.why) + ")"
	}
	return []span{{text + "  ", plain}, tick}
}

// begun shows at once what the guest sends; lines show it when the gateway has it.
func (o output) begun(of *outgoing) {
	if o.screen != nil {
		o.own(of.key, of)
	}
}

// changed shows how far something of the guest's has come: in place, or else where it failed.
func (o output) changed(of *outgoing) {
	if o.screen == nil {
		return
	}
	if !o.screen.canvas.change(of.key, o.spansAt(of)) && of.state == "failed" {
		o.line(span{fmt.Sprintf("%s   ✗ not sent: %s", clock(time.Now()), excerpt(of.text)), bad}, span{because(of.why), bad})
	}
}

func (o output) spansAt(of *outgoing) []span {
	return append([]span{{clock(of.at) + " ", quiet}, {"you", own}, {": ", quiet}}, of.spans()...)
}

// accepted is a message that the gateway has on its disk.
func (o output) accepted(r request, of *outgoing, m guestclient.Message) {
	switch {
	case o.json:
		m.Text = of.text
		o.object(struct {
			head
			Message guestclient.Message `json:"message"`
		}{r.head("accepted"), m})
	case o.screen != nil:
		o.changed(of)
	default:
		o.message("", of.at, span{"you", own}, []span{{Clean(strings.TrimRight(of.text, "\n")), plain}})
	}
}

func (o output) acceptedFile(r request, of *outgoing, f guestclient.File) {
	switch {
	case o.json:
		o.object(struct {
			head
			File guestclient.File `json:"file"`
		}{r.head("accepted"), f})
	case o.screen != nil:
		o.changed(of)
	default:
		o.message("", of.at, span{"you", own}, []span{{fmt.Sprintf("file %d: %s (%s)", of.file.n, cleanLine(of.text), bytesOf(of.file.size)), plain}})
	}
}

// refused is what the gateway does not take.
func (o output) refused(r request, of *outgoing, err error) {
	if o.screen != nil {
		o.changed(of)
		return
	}
	what := "not sent: " + excerpt(of.text)
	if o.json {
		what = r.Command
	}
	o.trouble(r, what, err)
}

// progress is news of something that is on its way.
func (o output) progress(at time.Time, of *outgoing) {
	tick, known := ticks[of.state]
	switch {
	case o.json || !known:
	case o.screen != nil:
		o.changed(of)
	case of.state != "accepted":
		o.line(span{fmt.Sprintf("%s   %s: %s%s", clock(at), tick.text, excerpt(of.text), because(of.why)), plain})
	}
}

// transferred tells how far a file has come, to or from the gateway.
func (o output) transferred(r request, t *transfer) {
	switch {
	case o.json:
		direction := "down"
		if t.out != nil {
			direction = "up"
		}
		o.object(struct {
			head
			Direction string `json:"direction"`
			ID        string `json:"id,omitempty"`
			Name      string `json:"name"`
			Bytes     int64  `json:"bytes"`
			Size      int64  `json:"size,omitempty"`
		}{r.head("progress"), direction, t.id, t.name, t.at, max(t.size, 0)})
	case o.screen == nil:
	case t.out != nil:
		o.changed(t.out)
	default:
		key := "save " + t.id
		spans := []span{{fmt.Sprintf("· %s ", t.name), quiet}, {t.bar(), quiet}}
		if !o.screen.canvas.change(key, spans) {
			o.screen.canvas.add(block{key: key, spans: spans})
		}
	}
}

// offered shows a file of an inviter.
func (o output) offered(at time.Time, from string, t *transfer) {
	if !o.json {
		o.message("", at, span{from, peer}, []span{
			{fmt.Sprintf("file %d: %s (%s, %s)", t.n, t.name, bytesOf(t.size), t.kind), plain}, {fmt.Sprintf("  /save %d", t.n), quiet},
		})
	}
}

func (o output) saved(r request, t *transfer, path string) {
	if o.json {
		o.object(struct {
			head
			ID    string `json:"id"`
			Path  string `json:"path"`
			Bytes int64  `json:"bytes"`
		}{r.head("saved"), t.id, path, t.size})
		return
	}
	o.notice("Saved as %s (%s).", cleanLine(path), bytesOf(t.size))
}

// notice is about the chat, not of it.
func (o output) notice(format string, args ...any) {
	if !o.json {
		o.line(span{"· " + fmt.Sprintf(format, args...), quiet})
	}
}

// trouble says what did not work.
func (o output) trouble(r request, what string, err error) {
	if !o.json {
		o.line(span{fmt.Sprintf("! %s: %s", what, cleanLine(err.Error())), bad})
		return
	}
	name := "local"
	if p, ok := errors.AsType[*guestclient.Problem](err); ok {
		name = p.Name()
	} else if errors.Is(err, errBadCommand) {
		name = "bad-command"
	}
	o.object(struct {
		head
		What    string `json:"what"`
		Problem string `json:"problem"`
		Detail  string `json:"detail"`
	}{r.head("error"), what, name, err.Error()})
}

// message shows what somebody wrote.
func (o output) message(key string, at time.Time, who span, text []span) {
	when := clock(at) + " "
	spans := append([]span{{when, quiet}, who, {": ", quiet}}, text...)
	if o.screen != nil {
		o.screen.canvas.add(block{key: key, spans: spans, indent: len(when)})
		return
	}
	var b strings.Builder
	for _, s := range spans {
		b.WriteString(s.text)
	}
	fmt.Fprintln(o.w, strings.ReplaceAll(b.String(), "\n", "\n"+strings.Repeat(" ", len(when))))
}

func (o output) line(spans ...span) {
	if o.screen != nil {
		o.screen.canvas.add(block{spans: spans})
		return
	}
	var b strings.Builder
	for _, s := range spans {
		b.WriteString(s.text)
	}
	fmt.Fprintln(o.w, b.String())
}

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

func because(why string) string {
	if why == "" {
		return ""
	}
	return " (" + cleanLine(why) + ")"
}
