package presence

import (
	"time"

	"latchkey"
)

// Told is news of a person that came unasked, by reg-event or a third-party REGISTER (PROTOCOLS B5.02: none of the ways
// is to be relied on alone, and the newest word counts). It ends the period of those who watch: they are told at once, and the
// person is asked again a whole period later.
//
// Such news may not say what the person's client can. Then what was known of it stays, and who watches has it asked.
func (b *Board) Told(of latchkey.Address, s latchkey.Status, abilities bool) {
	name := of.String()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	w := b.watches[name]
	if known, ok := b.answers[name]; ok && known.Checked.After(s.Checked) {
		return // it was overtaken
	}
	ask := false
	if s.State == latchkey.StatusOnline && !abilities {
		ask = true
		if w != nil && w.known && w.last.State == latchkey.StatusOnline {
			s.Chat, s.File, ask = w.last.Chat, w.last.File, false
		}
	}
	b.told[name] = s
	if !ask {
		b.keep(name, s)
	} else {
		delete(b.answers, name) // it is older
	}
	if w == nil {
		return
	}
	if !ask {
		w.tell(s)
	}
	w.hurry(ask)
}

// Ask has a watched person asked now, as one who may have come or gone.
func (b *Board) Ask(of latchkey.Address) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if w := b.watches[of.String()]; w != nil {
		w.hurry(true)
	}
}

// hurry ends the watch's period. Board.mu is held.
func (w *watch) hurry(ask bool) {
	select {
	case before := <-w.news:
		ask = ask || before
	default:
	}
	w.news <- ask
}

// newest is the answer to a question asked at a time, unless something was told since. Of two that say online, the answer
// knows more of the client. Board.mu is held.
func (b *Board) newest(name string, answer latchkey.Status, asked time.Time) latchkey.Status {
	s, ok := b.told[name]
	delete(b.told, name)
	if !ok || s.Checked.Before(asked) || answer.State == s.State {
		return answer
	}
	return s
}
