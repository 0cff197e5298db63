package terminal

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// press types bytes as a terminal sends them, and gives the line with | at the cursor, or what Enter gave.
func press(e *editor, k *keyReader, in string) (entered []string, over bool) {
	for _, key := range k.feed([]byte(in)) {
		line, done, end := e.press(key)
		if done {
			entered = append(entered, line)
		}
		over = over || end
	}
	return entered, over
}

func (e *editor) shown() string { return string(e.text[:e.at]) + "|" + string(e.text[e.at:]) }

// R32.
func TestKeysDoWhatTheyDoEverywhere(t *testing.T) {
	for _, c := range []struct{ keys, shown string }{
		{"abc\x1b[D\x1b[DX", "aX|bc"},
		{"abc\x02\x02\x06X", "abX|c"},
		{"one two three\x17\x17", "one |"},
		{"one two\x1bb\x1b\x7fX", "X|two"},
		{"one two\x01\x1bf\x1bd", "one|"},
		{"one two\x1b[1;5D\x0b\x01\x19", "two|one "},
		{"one two\x15\x19\x19", "one twoone two|"},
		{"abc\x1b[H\x1b[3~\x1b[F\x7f", "b|"},
		{"abc\x1bOH\x04\x1bOF\x08", "b|"},
		{"e\u0301\x7f", "|"},
		{"👩🏽‍🚀x\x1b[D\x1b[D", "|👩🏽‍🚀x"},
		{"🇩🇪🇫🇷\x7f", "🇩🇪|"},
		{"한국\x1b[D\x7f", "|국"},
		{"\x1b[200~a\r\nb\tc\x1b[31m\x07\x1b[201~d", "a\nb c[31md|"},
		{"a\x1b\rb", "a\nb|"},
		{"a\x1b[99;99Xb\x1b[Z\x1bOZ\x00c", "abc|"},
		{"a\xffb\xc3", "ab|"},
		{"abc\x03d", "d|"},
		{"first\rsecond\rthird\x1b[A\x1b[A!", "first!|"},
		{"first\rsecond\rdraft\x10\x10\x10\x0e\x0e\x0e", "draft|"},
		{"same\rsame\r\x10\x10\x10", "same|"},
	} {
		e, k := &editor{}, &keyReader{}
		if press(e, k, c.keys); e.shown() != c.shown {
			t.Errorf("%q: %q, want %q", c.keys, e.shown(), c.shown)
		}
	}
	e, k := &editor{}, &keyReader{}
	if entered, over := press(e, k, "one\rtwo\n\x1b[200~\r\x1b[201~\r"); !slices.Equal(entered, []string{"one", "two", "\n"}) || over {
		t.Errorf("entered %q, over %v", entered, over)
	}
	e, k = &editor{}, &keyReader{}
	press(e, k, strings.Repeat("x", 100)+strings.Repeat("\x15\x19\x19", 20))
	if len(e.text) != maxLine || e.at != maxLine {
		t.Errorf("a line of %d letters, want at most %d", len(e.text), maxLine)
	}
	for _, end := range []string{"\x04", "\x03"} {
		if _, over := press(&editor{}, &keyReader{}, end); !over {
			t.Errorf("%q on an empty line does not end the input", end)
		}
	}
}

func TestScreenIsForTerminalsThatUnderstandIt(t *testing.T) {
	for _, c := range []struct {
		term, noColor   string
		screen, colours bool
	}{{"xterm", "", true, true}, {"xterm", "1", true, false}, {"dumb", "", false, true}, {"", "", false, true}} {
		env := map[string]string{"TERM": c.term, "NO_COLOR": c.noColor}
		if screen, colours := Capable(func(k string) string { return env[k] }); screen != c.screen || colours != c.colours {
			t.Errorf("TERM=%q NO_COLOR=%q: %v, %v", c.term, c.noColor, screen, colours)
		}
	}
}

func TestTabCompletesWhatHasNoChoice(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"photo one.jpg", "photo two.jpg", "plan.pdf", ".hidden", "bad\x1bname"} {
		if err := writeFile(name); err != nil {
			t.Fatal(err)
		}
	}
	for in, want := range map[string]string{"/hi": "/history ", "/s": "", "/se": "/send ", "/send ph": "/send photo ", "/send pl": "/send plan.pdf", "/save 1 pl": "/save 1 plan.pdf", "/send ": "/send p", "/send b": "", "/send .h": "/send .hidden", "/who x": "", "he": ""} {
		if got, ok := (&chat{}).completion(in); ok != (want != "") || ok && got != want {
			t.Errorf("completion(%q) = %q, %v, want %q", in, got, ok, want)
		}
	}
}

func plainRows(rows []row) (all []string) {
	for _, r := range rows {
		var b strings.Builder
		r.render(&b, false)
		all = append(all, b.String())
	}
	return all
}

func TestLinesAreBrokenBetweenWords(t *testing.T) {
	for _, c := range []struct {
		text          string
		limit, indent int
		want          []string
	}{
		{"", 10, 2, []string{""}},
		{"short", 10, 2, []string{"short"}},
		{"one two three four", 10, 2, []string{"one two ", "  three ", "  four"}},
		{"exactly it fits", 7, 0, []string{"exactly", "it fits"}},
		{"abcdefghijklmnop", 10, 2, []string{"abcdefghij", "  klmnop"}},
		{"你好世界你好", 7, 0, []string{"你好世", "界你好"}},
		{"a\n\nb", 10, 2, []string{"a", "  ", "  b"}},
		{"e\u0301e\u0301e\u0301", 2, 0, []string{"e\u0301e\u0301", "e\u0301"}},
		{"narrow indeed", 4, 6, []string{"narr", "ow ", "inde", "ed"}},
	} {
		if got := plainRows(wrap([]span{{c.text, plain}}, c.limit, c.indent)); !slices.Equal(got, c.want) {
			t.Errorf("wrap(%q, %d, %d) = %q, want %q", c.text, c.limit, c.indent, got, c.want)
		}
	}
}

// Whatever bytes come, in whatever pieces: the same line, the cursor at a letter's edge, and no control character to send.
func FuzzKeys(f *testing.F) {
	for _, s := range []string{"abc\x1b[D\x7f", "\x1b[200~x\r\x1b[201~", "\x1b\x1b[A", "e\u0301👩🏽‍🚀\x02\x08", "\x1bOC\x1b[1;5D\x17\x19", "a\rb\r\x10\x0e\x0b\x15", "\x1b[200~never ends", "\x1b[\x01", "\xff\xc3\x28"} {
		f.Add([]byte(s), uint8(20))
	}
	f.Fuzz(func(t *testing.T, in []byte, limit uint8) {
		if len(in) > 1000 {
			return // what is killed and yanked doubles; more tells nothing new
		}
		whole, cut := &editor{}, &editor{}
		a, b := &keyReader{}, &keyReader{}
		linesA, _ := press(whole, a, string(in))
		var linesB []string
		for i := range in {
			lines, _ := press(cut, b, string(in[i:i+1]))
			linesB = append(linesB, lines...)
		}
		if whole.shown() != cut.shown() || !slices.Equal(linesA, linesB) {
			t.Fatalf("%q: %q %q in one piece, %q %q byte by byte", in, whole.shown(), linesA, cut.shown(), linesB)
		}
		text := strings.Join(linesA, "") + string(whole.text)
		if Clean(text) != strings.ReplaceAll(text, "\r", "") && !strings.ContainsFunc(text, func(r rune) bool { return r >= 0x200e && r <= 0x2069 || r == 0x61c }) {
			t.Fatalf("%q: control characters in %q", in, text)
		}
		room := max(int(limit), 4)
		for _, rows := range [][]row{wrap([]span{{string(whole.text), plain}}, room, 3), func() []row {
			rows, atRow, atColumn := fold([]span{{string(whole.text), plain}}, room, len(letters([]span{{string(whole.text[:whole.at]), plain}})))
			if atRow >= len(rows) || atColumn > room {
				t.Fatalf("cursor at %d,%d of %d rows of %d", atRow, atColumn, len(rows), room)
			}
			return rows
		}()} {
			for _, line := range plainRows(rows) {
				used := 0
				for _, l := range letters([]span{{line, plain}}) {
					used += l.columns
				}
				if used > room {
					t.Fatalf("%q has %d columns, want at most %d", line, used, room)
				}
			}
		}
	})
}

func writeFile(name string) error { return os.WriteFile(name, nil, 0o600) }
