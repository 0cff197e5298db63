package terminal

import (
	"slices"
	"strings"
	"unicode"
)

// Limits of the editor.
const (
	maxHistory = 500     // lines that it remembers, in memory only
	maxLine    = 100_000 // letters of one
)

// editor is the line that the guest is writing. A line may have line ends in it, from a paste or Alt-Enter.
type editor struct {
	text     []rune
	at       int // the cursor stands before text[at]
	past     []string
	place    int    // in past; len(past): the new line
	draft    string // the new line while an older one is shown
	killed   []rune
	complete func(line string) (string, bool) // of the text before the cursor
}

// press does what a key says. done: the line is complete; over: the input has ended.
func (e *editor) press(k key) (line string, done, over bool) {
	switch k.action {
	case insert:
		e.insert([]rune(k.text))
	case enter:
		line = string(e.text)
		e.remember(line)
		e.text, e.at = nil, 0
		return line, true, false
	case left:
		e.at = clusterBefore(e.text, e.at)
	case right:
		e.at = cluster(e.text, e.at)
	case wordLeft:
		e.at = e.wordBefore()
	case wordRight:
		e.at = e.wordBehind()
	case home:
		e.at = 0
	case end:
		e.at = len(e.text)
	case older:
		e.recall(e.place - 1)
	case newer:
		e.recall(e.place + 1)
	case erase:
		e.cut(clusterBefore(e.text, e.at), e.at)
	case eraseNext, deleteNext:
		if len(e.text) == 0 && k.action == eraseNext {
			return "", false, true
		}
		e.cut(e.at, cluster(e.text, e.at))
	case eraseWord:
		e.kill(e.wordBefore(), e.at)
	case killWord:
		e.kill(e.at, e.wordBehind())
	case killEnd:
		e.kill(e.at, len(e.text))
	case killStart:
		e.kill(0, e.at)
	case yank:
		e.insert(e.killed)
	case complete:
		if e.complete == nil {
			break
		}
		if longer, ok := e.complete(string(e.text[:e.at])); ok {
			text := []rune(longer)
			e.text, e.at = append(text, e.text[e.at:]...), len(text)
		}
	case interrupt:
		if len(e.text) == 0 {
			return "", false, true
		}
		e.text, e.at, e.place = nil, 0, len(e.past)
	}
	return "", false, false
}

// insert puts letters at the cursor, as many as there is room for.
func (e *editor) insert(text []rune) {
	text = text[:min(len(text), max(0, maxLine-len(e.text)))]
	e.text = slices.Insert(e.text, e.at, text...)
	e.at += len(text)
}

func (e *editor) cut(from, to int) {
	e.text = slices.Delete(e.text, from, to)
	e.at = from
}

func (e *editor) kill(from, to int) {
	if from < to {
		e.killed = slices.Clone(e.text[from:to])
		e.cut(from, to)
	}
}

func (e *editor) wordBefore() int {
	i := e.at
	for i > 0 && unicode.IsSpace(e.text[i-1]) {
		i--
	}
	for i > 0 && !unicode.IsSpace(e.text[i-1]) {
		i--
	}
	return i
}

func (e *editor) wordBehind() int {
	i := e.at
	for i < len(e.text) && unicode.IsSpace(e.text[i]) {
		i++
	}
	for i < len(e.text) && !unicode.IsSpace(e.text[i]) {
		i++
	}
	return i
}

func (e *editor) remember(line string) {
	if strings.TrimSpace(line) != "" && (len(e.past) == 0 || e.past[len(e.past)-1] != line) {
		if e.past = append(e.past, line); len(e.past) > maxHistory {
			e.past = slices.Delete(e.past, 0, 1)
		}
	}
	e.place = len(e.past)
}

// recall shows line n of the past; behind the last one is what was being written.
func (e *editor) recall(n int) {
	if n < 0 || n > len(e.past) {
		return
	}
	if e.place == len(e.past) {
		e.draft = string(e.text)
	}
	line := e.draft
	if n < len(e.past) {
		line = e.past[n]
	}
	e.place, e.text = n, []rune(line)
	e.at = len(e.text)
}
