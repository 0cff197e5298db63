package push

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"time"

	"latchkey"
)

// Tell hears of a message or file that an inviter sent and that is on disk. It returns at once. The guest is called if nobody is here, or if nobody
// has taken it a moment later: a phone that sleeps keeps its stream open and hears nothing.
func (c *Crier) Tell(e latchkey.Event) {
	about := subject{e.Account, e.From}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, waits := c.news[about]
	if !waits && !c.begin(func() { c.tell(about) }) {
		c.meter.count(held)
		c.log.Debug("guest not called: too many calls", latchkey.LogGuest, e.Account)
		return
	}
	c.news[about] = e
}

// tell calls a guest's browsers because of the newest event of a subject, once it is clear that they are needed.
func (c *Crier) tell(about subject) {
	if c.opt.Here(about.account) && !c.rest(c.opt.Doze) {
		return
	}
	c.mu.Lock()
	e := c.news[about]
	delete(c.news, about)
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(c.ctx, attemptTime)
	defer cancel()
	all, err := c.store.PushSubscriptions(ctx, e.Account, time.Now())
	if err == nil && len(all) > 0 {
		var unheard bool
		if unheard, err = c.store.Unheard(ctx, e); err == nil && !unheard {
			return
		}
	}
	w := &word{of: e}
	if err == nil && len(all) > 0 {
		w.text, err = c.text(ctx, e)
	}
	if err != nil {
		if c.ctx.Err() == nil {
			c.meter.count(failed)
			c.log.Warn("guest not called", latchkey.LogGuest, e.Account, latchkey.LogError, err)
		}
		return
	}
	for _, p := range all {
		c.call(p, w)
	}
}

// rest waits; false: the end came first.
func (c *Crier) rest(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.ctx.Done():
		return false
	}
}

// mostRunes of a message stand in a call. All calls are of one length, and a longer word has no place in it (RFC 8030 §7.2: 4096 bytes).
const mostRunes = 300

// text is what a call says, as the page's worker reads it.
func (c *Crier) text(ctx context.Context, e latchkey.Event) ([]byte, error) {
	word := struct {
		Account latchkey.AccountID `json:"account"`
		URI     string             `json:"uri,omitempty"`
		Name    string             `json:"name,omitempty"`
		Text    string             `json:"text,omitempty"`
		File    string             `json:"file,omitempty"`
	}{Account: e.Account}
	if c.opt.Tells == Nothing {
		return json.Marshal(word)
	}
	word.URI = e.From
	relations, err := c.store.Relations(ctx, e.Account)
	if err != nil {
		return nil, err
	}
	for _, rel := range relations {
		if string(rel.Inviter) == e.From {
			word.Name = short(rel.InviterName)
		}
	}
	if c.opt.Tells == Text {
		switch {
		case e.Message != nil:
			word.Text = short(e.Message.Text)
		case e.File != nil:
			word.File = short(e.File.Name)
		}
	}
	return json.Marshal(word)
}

func short(s string) string {
	if all := []rune(s); len(all) > mostRunes {
		return string(all[:mostRunes-1]) + "…"
	}
	return s
}

// topic names what a call is about: push services replace a call that waits by a newer one of the same name (RFC 8030 §5.4: at most 32 characters of
// base64url), and learn nothing from it.
func (k Key) topic(about subject) string {
	sum := sha256.Sum256([]byte(k.private + "\n" + string(about.account) + "\n" + about.from))
	return base64.RawURLEncoding.EncodeToString(sum[:24])
}
