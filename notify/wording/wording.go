// Package wording has what invitations say, in each language: by mail, and in the line of an SMS or MMS. An operator
// can replace any of its texts (R13). It owns no wire and makes nothing harmless: what people wrote comes to it as it may
// be shown. Start with New.
//
// The texts are templates of text/template and html/template. LANGUAGE.words defines the sentences of a language, and mail.txt
// and mail.html put them together.
package wording

import (
	"bytes"
	"embed"
	"fmt"
	htmltemplate "html/template"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	texttemplate "text/template"
	"time"
)

//go:embed text
var builtIn embed.FS

// English is the language of who has none of those that are here.
const English = "en"

// Invitation is what the texts are about. Name and Address stand in sentences, so they are made harmless before.
type Invitation struct {
	Guest   string   // what the inviter calls the guest, or ""
	People  []Person // who invite, the first one first; never empty
	Link    string
	OptOut  string // address of the page that stops all invitations, or ""
	Expires time.Time
}

// Person is one who invites.
type Person struct {
	Name    string
	Address string // "": the name says it
	Note    string // their own words, or ""
}

// Mail is a mail's texts.
type Mail struct{ Subject, Text, HTML string }

// Book has the texts of all languages.
type Book struct{ languages map[string]*language }

// language is what one LANGUAGE.words and the layouts make.
type language struct {
	tag, dir, comma, and string
	text                 *texttemplate.Template
	html                 *htmltemplate.Template
}

// view is what the templates see.
type view struct {
	Language, Dir, Guest, Link, OptOut, Until string

	Names   string // of all who invite
	Several bool   // who invite
	People  []Person
	Notes   []note
}

type note struct {
	Name  string
	Lines []string
}

// sentences are what a language must define.
var sentences = []string{"dir", "and", "until", "sms", "subject", "hello", "intro", "writes", "open", "copy", "terms", "stop", "never", "optout", "machine"}

// New reads the built-in texts and, over them, those in a folder of the operator's: files of the same names replace, and
// another LANGUAGE.words adds a language. All is tried with samples; an error names file and line.
func New(folder string) (*Book, error) {
	files := map[string]string{}
	text, err := fs.Sub(builtIn, "text")
	if err == nil {
		err = read(files, text, func(string) error { return nil })
	}
	if err == nil && folder != "" {
		err = read(files, os.DirFS(folder), func(name string) error {
			if _, known := files[name]; !known && path.Ext(name) != ".words" {
				return fmt.Errorf("%s: is neither mail.txt, mail.html nor LANGUAGE.words", filepath.Join(folder, name))
			}
			return nil
		})
	}
	if err != nil {
		return nil, err
	}
	b := &Book{languages: map[string]*language{}}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		tag, ok := strings.CutSuffix(name, ".words")
		if !ok {
			continue
		}
		l, err := parse(strings.ToLower(tag), name, files)
		if err != nil {
			return nil, err
		}
		b.languages[l.tag] = l
	}
	for _, tag := range b.Languages() {
		for _, sample := range Samples() {
			if _, err := b.SMS(tag, sample); err != nil {
				return nil, err
			}
			if _, err := b.Mail(tag, sample); err != nil {
				return nil, err
			}
		}
	}
	return b, nil
}

// read takes the files of a folder; those whose names begin with a dot are none of ours.
func read(files map[string]string, folder fs.FS, check func(name string) error) error {
	entries, err := fs.ReadDir(folder, ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if err := check(e.Name()); err != nil {
			return err
		}
		text, err := fs.ReadFile(folder, e.Name())
		if err != nil {
			return err
		}
		files[e.Name()] = string(text)
	}
	return nil
}

// parse makes a language of its sentences and the layouts.
func parse(tag, words string, files map[string]string) (*language, error) {
	l := &language{tag: tag}
	people := func(v view, strong func(string) string, plain func(string) string) string {
		return l.join(v.People, func(p Person) string {
			if p.Address == "" {
				return strong(p.Name)
			}
			return strong(p.Name) + " " + plain("("+p.Address+")")
		})
	}
	same := func(s string) string { return s }
	bold := func(s string) string { return "<bdi><b>" + htmltemplate.HTMLEscapeString(s) + "</b></bdi>" }
	isolated := func(s string) string { return "<bdi>" + htmltemplate.HTMLEscapeString(s) + "</bdi>" }
	l.text = texttemplate.New("mail.txt").Funcs(texttemplate.FuncMap{"people": func(v view) string { return people(v, same, same) }})
	l.html = htmltemplate.New("mail.html").Funcs(htmltemplate.FuncMap{"people": func(v view) htmltemplate.HTML { return htmltemplate.HTML(people(v, bold, isolated)) }}) //nolint:gosec // both are escaped
	if _, err := l.text.Parse(files["mail.txt"]); err != nil {
		return nil, err
	}
	if _, err := l.html.Parse(files["mail.html"]); err != nil {
		return nil, err
	}
	if _, err := l.text.New(words).Parse(files[words]); err != nil {
		return nil, err
	}
	if _, err := l.html.New(words).Parse(files[words]); err != nil {
		return nil, err
	}
	for _, name := range sentences {
		if l.text.Lookup(name) == nil {
			return nil, fmt.Errorf(`%s:1: there is no {{define "%s"}}`, words, name)
		}
	}
	var err error
	if l.dir, err = l.say("dir", nil); err == nil && l.dir != "ltr" && l.dir != "rtl" {
		err = fmt.Errorf(`%s: dir is %q, and must be ltr or rtl`, words, l.dir)
	}
	if err == nil {
		l.and, err = l.say("and", nil)
	}
	if l.comma = ", "; err == nil && l.text.Lookup("comma") != nil {
		l.comma, err = l.say("comma", nil)
	}
	return l, err
}

// say is one sentence.
func (l *language) say(name string, v any) (string, error) {
	var b bytes.Buffer
	err := l.text.ExecuteTemplate(&b, name, v)
	return b.String(), err
}

// join lists people as a sentence does.
func (l *language) join(people []Person, say func(Person) string) string {
	var b strings.Builder
	for i, p := range people {
		switch {
		case i == 0:
		case i == len(people)-1:
			b.WriteString(l.and)
		default:
			b.WriteString(l.comma)
		}
		b.WriteString(say(p))
	}
	return b.String()
}

// see is what the templates see. isolated: where the language runs the other way than names and dates may, they stand between
// FIRST STRONG ISOLATE and POP DIRECTIONAL ISOLATE, so that a full stop of theirs stays at their end.
func (l *language) see(v Invitation, isolated bool) (view, error) {
	apart := func(s string) string {
		if s == "" || !isolated || l.dir != "rtl" {
			return s
		}
		return "\u2068" + s + "\u2069"
	}
	until, err := l.say("until", v.Expires.UTC())
	seen := view{
		Language: l.tag, Dir: l.dir, Guest: apart(v.Guest), Link: v.Link, OptOut: v.OptOut, Until: apart(until), People: v.People, Several: len(v.People) > 1,
		Names: l.join(v.People, func(p Person) string { return apart(p.Name) }),
	}
	for _, p := range v.People {
		if p.Note != "" {
			seen.Notes = append(seen.Notes, note{apart(p.Name), strings.Split(strings.ReplaceAll(p.Note, "\r\n", "\n"), "\n")})
		}
	}
	return seen, err
}

// Languages lists the languages that there are.
func (b *Book) Languages() []string { return slices.Sorted(maps.Keys(b.languages)) }

// choose finds a language by its tag, or its base (pt for pt-BR), or English.
func (b *Book) choose(tag string) *language {
	for tag = strings.ToLower(tag); tag != ""; tag = tag[:max(0, strings.LastIndexByte(tag, '-'))] {
		if l := b.languages[tag]; l != nil {
			return l
		}
	}
	return b.languages[English]
}

// Language is the tag of the language that another tag gets.
func (b *Book) Language(tag string) string { return b.choose(tag).tag }

// Mail writes a mail. The subject is one line.
func (b *Book) Mail(tag string, v Invitation) (m Mail, err error) {
	l := b.choose(tag)
	seen, err := l.see(v, true)
	if err != nil {
		return m, err
	}
	var text, html bytes.Buffer
	if err := l.text.Execute(&text, seen); err != nil {
		return m, err
	}
	if err := l.html.Execute(&html, seen); err != nil {
		return m, err
	}
	m.Text, m.HTML = wrapped(text.String()), html.String()
	m.Subject, err = b.Subject(tag, v)
	return m, err
}

// Subject is the subject of a mail alone: names may be shown there as they are, since nothing makes links of them.
func (b *Book) Subject(tag string, v Invitation) (string, error) { return b.line(tag, "subject", v) }

// SMS is the line that stands before the link.
func (b *Book) SMS(tag string, v Invitation) (string, error) { return b.line(tag, "sms", v) }

func (b *Book) line(tag, name string, v Invitation) (string, error) {
	l := b.choose(tag)
	seen, err := l.see(v, name == "subject")
	if err != nil {
		return "", err
	}
	s, err := l.say(name, seen)
	return strings.Join(strings.Fields(s), " "), err
}

// width is how long a line of plain text gets.
const width = 72

// wrapped breaks long lines at spaces, but neither quotations nor addresses.
func wrapped(text string) string {
	var out strings.Builder
	for line := range strings.SplitSeq(strings.ReplaceAll(text, "\r\n", "\n"), "\n") {
		if strings.HasPrefix(line, "> ") || strings.Contains(line, "://") {
			out.WriteString(line + "\n")
			continue
		}
		n := 0
		for i, word := range strings.Fields(line) {
			length := len([]rune(word))
			if i > 0 && n+1+length > width {
				out.WriteByte('\n')
				n = 0
			} else if i > 0 {
				out.WriteByte(' ')
				n++
			}
			out.WriteString(word)
			n += length
		}
		out.WriteByte('\n')
	}
	return strings.TrimRight(out.String(), "\n") + "\n"
}

// Samples are invitations of each kind that there is, for trying texts and for looking at them.
func Samples() []Invitation {
	base := Invitation{
		Guest: "Robin", People: []Person{{Name: "Alice <A> & Co.", Address: "sip:alice@example.com", Note: "Lunch on Tuesday?\nI pay."}},
		Link:    "https://chat.example.com/rcsgw/invitee/session/sip:b_at_cc.com@guest.example?passwd=abcdefghijkmnpqrstuvwxyz23",
		OptOut:  "https://chat.example.com/rcsgw/invitee/optout/sip:b_at_cc.com@guest.example?token=0123456789abcdef",
		Expires: time.Date(2026, 3, 8, 9, 30, 0, 0, time.UTC),
	}
	bare, many := base, base
	bare.Guest, bare.OptOut, bare.People = "", "", []Person{{Name: "sip:alice@example.com"}}
	many.People = append(slices.Clip(base.People), Person{Name: "Carol", Address: "sip:carol@example.com"}, Person{Name: "王芳", Address: "sip:w@example.com", Note: "你好"})
	return []Invitation{base, many, bare}
}
