package terminal

import "strings"

// style is how a part of a line looks.
type style int

// Styles.
const (
	plain style = iota
	quiet       // about the chat, not of it
	own         // the guest's name
	peer        // an inviter's name
	good        // read
	bad         // what failed
	loud        // what needs attention
)

// sgr are the escape sequences of styles (ECMA-48 §8.3.117). Only colours that every theme makes readable.
var sgr = map[style]string{quiet: "\x1b[2m", own: "\x1b[1m", peer: "\x1b[1;36m", good: "\x1b[36m", bad: "\x1b[31m", loud: "\x1b[33m"}

// span is a text in one style.
type span struct {
	text  string
	style style
}

// row is one row of the terminal.
type row []span

// render writes the row, with colours if it may.
func (r row) render(b *strings.Builder, colours bool) {
	for _, s := range r {
		if code := sgr[s.style]; colours && code != "" {
			b.WriteString(code + s.text + "\x1b[0m")
			continue
		}
		b.WriteString(s.text)
	}
}

// letter is one of a text, with the marks on it.
type letter struct {
	text    string
	columns int
	style   style
}

func letters(spans []span) (all []letter) {
	for _, s := range spans {
		text := []rune(s.text)
		for i := 0; i < len(text); {
			next := cluster(text, i)
			all = append(all, letter{string(text[i:next]), columns(text[i:next]), s.style})
			i = next
		}
	}
	return all
}

func join(all []letter) (r row) {
	for _, l := range all {
		if k := len(r) - 1; k >= 0 && r[k].style == l.style {
			r[k].text += l.text
		} else {
			r = append(r, span{l.text, l.style})
		}
	}
	return r
}

// wrap breaks spans into rows of at most so many columns, between words where it can. Rows behind the first are indented.
func wrap(spans []span, limit, indent int) (rows []row) {
	if indent > limit/2 {
		indent = 0
	}
	all := letters(spans)
	for {
		room := limit
		if len(rows) > 0 {
			room -= indent
		}
		n, used, space := 0, 0, 0 // space: behind the last blank that fits
		for n < len(all) && all[n].text != "\n" && (used+all[n].columns <= room || n == 0) {
			used += all[n].columns
			if n++; all[n-1].text == " " {
				space = n
			}
		}
		whole := n == len(all) || all[n].text == "\n" || all[n].text == " "
		if !whole && space > 0 {
			n = space
		}
		r := join(all[:n])
		if len(rows) > 0 && indent > 0 {
			r = append(row{{strings.Repeat(" ", indent), plain}}, r...)
		}
		rows = append(rows, r)
		if n == len(all) {
			return rows
		}
		if all = all[n:]; all[0].text == "\n" || whole {
			all = all[1:] // a line end, or the blank at which the row was broken
		}
	}
}

// fold breaks a line that is being edited into rows, anywhere, and says where the cursor stands that is before letter number cursor.
func fold(spans []span, limit, cursor int) (rows []row, atRow, atColumn int) {
	all := letters(spans)
	begin, used := 0, 0
	for i, l := range all {
		if l.text != "\n" && used+l.columns > limit && i > begin {
			rows = append(rows, join(all[begin:i]))
			begin, used = i, 0
		}
		if i == cursor {
			atRow, atColumn = len(rows), used
		}
		if l.text == "\n" {
			rows = append(rows, join(all[begin:i]))
			begin, used = i+1, 0
			continue
		}
		used += l.columns
	}
	rows = append(rows, join(all[begin:]))
	if cursor >= len(all) {
		atRow, atColumn = len(rows)-1, used
	}
	return rows, atRow, atColumn
}
