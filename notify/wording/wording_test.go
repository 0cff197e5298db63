package wording

import (
	"html"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
)

func book(t *testing.T) *Book {
	t.Helper()
	b, err := New("")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var tag = regexp.MustCompile(`(?s)<style>.*?</style>|<[^>]*>`)

// R13: in each language both bodies say who invites, where the link is, until when, and how to stop it; nothing in them is
// English but English, and nothing is loaded from elsewhere.
func TestEveryLanguageSaysAll(t *testing.T) {
	b := book(t)
	if want := []string{"ar", "de", "en", "es", "fr", "it", "pt", "tr", "zh"}; !slices.Equal(b.Languages(), want) {
		t.Errorf("languages %v, want %v", b.Languages(), want)
	}
	for _, language := range b.Languages() {
		for i, sample := range Samples() {
			m, err := b.Mail(language, sample)
			if err != nil {
				t.Fatal(err)
			}
			htmlText := html.UnescapeString(tag.ReplaceAllString(m.HTML, ""))
			for what, body := range map[string]string{"text": m.Text, "HTML": htmlText} {
				words := []string{sample.Link, sample.Guest}
				for _, p := range sample.People {
					words = append(words, p.Name, p.Address)
					words = append(words, strings.Split(p.Note, "\n")...)
				}
				for _, w := range words {
					if !strings.Contains(body, w) {
						t.Errorf("%s, sample %d: the %s doesn't say %q:\n%s", language, i, what, w, body)
					}
				}
				for _, english := range []string{"invite you", "invites you", "Hello", "The link", "Nobody reads", "Stop all", "Sunday"} {
					if language != "en" && strings.Contains(body, english) {
						t.Errorf("%s: the %s has the English %q", language, what, english)
					}
				}
				if !strings.Contains(body, "2026") || !strings.Contains(body, "UTC") {
					t.Errorf("%s: the %s doesn't say until when:\n%s", language, what, body)
				}
			}
			if (sample.OptOut != "") != strings.Contains(m.Text, sample.OptOut+"\n") && sample.OptOut != "" || strings.Count(html.UnescapeString(m.HTML), `href="`+sample.OptOut+`"`) != len(strings.Fields(sample.OptOut)) {
				t.Errorf("%s, sample %d: the way out is missing:\n%s", language, i, m.HTML)
			}
			for _, remote := range []string{"<img", "<script", "<link", "url(", "@import", "src="} {
				if strings.Contains(m.HTML, remote) {
					t.Errorf("%s: the HTML has %s", language, remote)
				}
			}
			sms, err := b.SMS(language, sample)
			if err != nil || strings.ContainsAny(sms+m.Subject, "\r\n") || !strings.Contains(sms, sample.People[0].Name) || strings.Contains(m.Subject, "&amp;") {
				t.Errorf("%s: SMS %q, subject %q, %v", language, sms, m.Subject, err)
			}
			for line := range strings.Lines(m.Text) {
				if n := len([]rune(strings.TrimSpace(line))); n > width && strings.Contains(strings.TrimSpace(line), " ") && !strings.Contains(line, "://") && unicode.In([]rune(line)[0], unicode.Latin) {
					t.Errorf("%s: a line of %d characters: %s", language, n, line)
				}
			}
		}
	}
}

// One who invites and several are told apart where the language does, in its own way of listing.
func TestSeveralInvitersAreListed(t *testing.T) {
	b := book(t)
	three := Invitation{People: []Person{{Name: "A"}, {Name: "B"}, {Name: "C"}}, Link: "https://x", Expires: time.Now()}
	for language, want := range map[string]string{"en": "A, B and C invite you to chat:", "de-CH": "A, B und C laden Sie zum Chat ein:", "zh-Hans": "A、B和C邀请您聊天：", "ar": "A، B وC يدعونك إلى محادثة:", "xx": "A, B and C invite you to chat:", "": "A, B and C invite you to chat:"} {
		if got, err := b.SMS(language, three); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", language, got, err, want)
		}
	}
	// In Arabic a name that ends in a full stop keeps it on its own side.
	m, err := b.Mail("ar", Invitation{People: []Person{{Name: "Co."}}, Link: "https://x", Expires: time.Now()})
	if err != nil || m.Subject != "\u2068Co.\u2069 يدعوك إلى محادثة" || !strings.Contains(m.HTML, "\u2068Co.\u2069") {
		t.Errorf("subject %q, %v", m.Subject, err)
	}
}

// S9: names are text in HTML, whatever they are made of.
func TestNamesAreTextInHTML(t *testing.T) {
	v := Samples()[0]
	v.People = []Person{{Name: `<i>"&'`, Address: `sip:<b>@x`, Note: "<script>"}}
	for _, language := range book(t).Languages() {
		m, err := book(t).Mail(language, v)
		if err != nil || strings.Contains(m.HTML, "<i>") || strings.Contains(m.HTML, "<script>") || strings.Contains(m.HTML, "<b>@") || !strings.Contains(m.HTML, "&lt;i&gt;") {
			t.Errorf("%s: %v\n%s", language, err, m.HTML)
		}
	}
}

// R13: what an operator puts into the folder takes the place of ours, and what is wrong with it is told by file and line before
// anything is sent.
func TestOperatorsTextsAreTriedAtTheStart(t *testing.T) {
	english, err := builtIn.ReadFile("text/en.words")
	if err != nil {
		t.Fatal(err)
	}
	folder := func(files map[string]string) string {
		dir := t.TempDir()
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	b, err := New(folder(map[string]string{
		"mail.txt": `{{template "hello" .}} {{.Link}}`, "pt-br.words": strings.Replace(string(english), "Hello", "Oi", 1), ".notes": "x", "en.words": strings.Replace(string(english), "Hello", "Hi there", 1),
	}))
	if err != nil {
		t.Fatal(err)
	}
	for language, want := range map[string]string{"pt-BR": "Oi Robin, https://", "en": "Hi there Robin, https://", "de": "Guten Tag Robin, https://", "pt": "Olá, Robin, https://"} {
		if m, err := b.Mail(language, Samples()[0]); err != nil || !strings.HasPrefix(m.Text, want) {
			t.Errorf("%s: %q, %v, want %q", language, m.Text, err, want)
		}
	}
	for name, c := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"no end":          {map[string]string{"mail.txt": "x\n{{if .Link}}"}, []string{"mail.txt:2"}},
		"no such field":   {map[string]string{"mail.html": "<p>\n\n{{.Lnik}}"}, []string{"mail.html:3", "Lnik"}},
		"no such word":    {map[string]string{"mail.txt": `{{template "helo" .}}`}, []string{"mail.txt:1", "helo"}},
		"a word missing":  {map[string]string{"de.words": strings.Replace(string(english), `{{define "sms"}}`, `{{define "smss"}}`, 1)}, []string{"de.words:1", `"sms"`}},
		"a bad sentence":  {map[string]string{"de.words": strings.Replace(string(english), "{{.Names}} {{if", "{{.Nmaes}} {{if", 1)}, []string{"de.words:4", "Nmaes"}},
		"a bad direction": {map[string]string{"de.words": strings.Replace(string(english), "ltr", "up", 1)}, []string{"de.words", "ltr or rtl"}},
		"unsafe HTML":     {map[string]string{"mail.html": "<a href='{{.Link}}"}, []string{"mail.html"}},
		"a strange file":  {map[string]string{"mial.txt": "x"}, []string{"mial.txt", "neither"}},
	} {
		_, err := New(folder(c.files))
		for _, w := range c.want {
			if err == nil || !strings.Contains(err.Error(), w) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %v, want one line with %q", name, err, w)
			}
		}
	}
	if _, err := New(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a folder that isn't there is taken")
	}
}
