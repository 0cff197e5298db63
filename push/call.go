package push

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/SherClockHolmes/webpush-go"

	"latchkey"
	"latchkey/internal/stranger"
)

// target is where a call goes, and what it is about.
type target struct {
	id    string // of the subscription
	topic string
}

// call is one that is under way. A newer word of the same subject takes the place of one that has not gone yet.
type call struct {
	to    latchkey.PushSubscription
	topic string
	site  string    // of the push service
	until time.Time // nobody needs it after it
	mu    sync.Mutex
	word  *word // nil: it has gone
}

// word is what a call says, and because of what.
type word struct {
	of   latchkey.Event
	text []byte
}

// call sends a word to a browser, beside the caller.
func (c *Crier) call(to latchkey.PushSubscription, w *word) {
	at := target{to.ID, c.opt.Key.topic(subject{w.of.Account, w.of.From})}
	c.mu.Lock()
	defer c.mu.Unlock()
	if under := c.calls[at]; under != nil {
		under.replace(w)
		return
	}
	under := &call{to: to, topic: at.topic, site: stranger.Site(hostname(to)), until: time.Now().Add(c.opt.TTL), word: w}
	if c.sites[under.site] >= max(1, c.opt.Busy/2) || !c.begin(func() { c.carry(at, under) }) {
		c.meter.count(held)
		c.log.Debug("browser not called: too many calls", latchkey.LogGuest, to.Account, "push_service", host(to))
		return
	}
	c.calls[at] = under
	c.sites[under.site]++
}

func (u *call) replace(w *word) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.word = w
}

func (u *call) take() *word {
	u.mu.Lock()
	defer u.mu.Unlock()
	w := u.word
	u.word = nil
	return w
}

// carry takes a call's words to the push service, one after the other.
func (c *Crier) carry(at target, u *call) {
	pause, tries := firstPause, 0
	for {
		w := u.take()
		if w == nil {
			if c.done(at, u) {
				return
			}
			continue
		}
		if tries > 0 && !c.needed(u, w) {
			pause, tries = firstPause, 0
			continue
		}
		wait, err := c.attempt(u, w.text)
		if err == nil {
			pause, tries = firstPause, 0
			continue
		}
		tries++
		switch {
		case c.ctx.Err() != nil:
			return
		case wait < 0 || tries == attempts || time.Now().After(u.until):
			c.meter.count(failed)
			c.log.Warn("browser not called", latchkey.LogGuest, u.to.Account, "push_service", host(u.to), latchkey.LogError, err)
			c.drop(at, u)
			return
		}
		c.log.Debug("browser is called again", latchkey.LogGuest, u.to.Account, "push_service", host(u.to), latchkey.LogError, err)
		u.restore(w)
		if !c.rest(max(pause, min(wait, maxRetryAfter))) {
			return
		}
		pause = min(2*pause, maxPause)
	}
}

// needed reports whether a word that has waited is still one to say: the browser takes calls, and nobody has taken what it is about.
func (c *Crier) needed(u *call, w *word) bool {
	ctx, cancel := context.WithTimeout(c.ctx, attemptTime)
	defer cancel()
	all, err := c.store.PushSubscriptions(ctx, u.to.Account, time.Now())
	if err == nil && !slices.ContainsFunc(all, func(p latchkey.PushSubscription) bool { return p.ID == u.to.ID }) {
		return false
	}
	unheard := true
	if err == nil {
		unheard, err = c.store.Unheard(ctx, w.of)
	}
	return err != nil || unheard // once too often rather than never
}

// restore puts a word back, unless there is a newer one.
func (u *call) restore(w *word) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.word == nil {
		u.word = w
	}
}

// done takes a call off the list; false: there is one more word to carry.
func (c *Crier) done(at target, u *call) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.word != nil {
		return false
	}
	c.forget(at, u)
	return true
}

func (c *Crier) drop(at target, u *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(at, u)
}

// forget takes a call off the list. c.mu is held.
func (c *Crier) forget(at target, u *call) {
	delete(c.calls, at)
	if c.sites[u.site]--; c.sites[u.site] == 0 {
		delete(c.sites, u.site)
	}
}

// attempt asks the push service once. Where that failed wait says how long to wait for the next try at least, and below 0 that none can help.
func (c *Crier) attempt(u *call, text []byte) (wait time.Duration, err error) {
	const never = -1
	turn, err := c.gate.Enter(c.ctx, hostname(u.to), string(u.to.Account))
	if err != nil {
		return 0, err
	}
	manner, begun := stranger.Silent, time.Now()
	defer func() { turn.Leave(manner) }()
	ctx, cancel := context.WithTimeout(c.ctx, attemptTime)
	defer cancel()
	// Clipped, since webpush-go (1.4.0) writes behind the text, which calls of other browsers share.
	res, err := webpush.SendNotificationWithContext(ctx, slices.Clip(text),
		&webpush.Subscription{Endpoint: u.to.Endpoint.Reveal(), Keys: webpush.Keys{P256dh: u.to.P256dh.Reveal(), Auth: u.to.Auth.Reveal()}},
		&webpush.Options{
			HTTPClient: c.client, Subscriber: subscriber(c.opt.Contact), VAPIDPublicKey: c.opt.Key.public, VAPIDPrivateKey: c.opt.Key.private,
			TTL: int(max(0, time.Until(u.until)).Seconds()), Urgency: webpush.UrgencyNormal, Topic: u.topic, // RFC 8030 §5.3: normal is for chats
		})
	if errors.Is(err, stranger.ErrForbidden) {
		return never, stranger.ErrForbidden
	}
	if err != nil {
		return 0, stranger.WithoutURL(err)
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, maxAnswer) // so that the connection is used again
	if manner = stranger.Prompt; time.Since(begun) > promptly {
		manner = stranger.Slow
	}
	switch s := res.StatusCode; {
	case s >= 200 && s < 300:
		c.meter.count(sent)
		return 0, nil
	case s == http.StatusNotFound, s == http.StatusGone: // RFC 8030 §7.3: the subscription is over
		if err := c.store.DropPush(ctx, u.to.Account, u.to.ID); err != nil && !latchkey.Is(err, latchkey.KindNotFound) {
			return never, err
		}
		c.meter.count(gone)
		c.log.Debug("browser takes no calls any more", latchkey.LogGuest, u.to.Account, "push_service", host(u.to))
		return 0, nil
	case s == http.StatusTooManyRequests, s == http.StatusRequestTimeout, s >= 500: // RFC 8030 §8.4: 429 with Retry-After
		return retryAfter(res.Header.Get("Retry-After")), fmt.Errorf("status %d", s)
	default:
		return never, fmt.Errorf("status %d", s)
	}
}

// retryAfter reads seconds or a date (RFC 9110 §10.2.3); 0 where it says nothing that can be understood.
func retryAfter(v string) time.Duration {
	if n, err := strconv.Atoi(v); err == nil {
		return time.Duration(min(max(n, 0), int(maxRetryAfter.Seconds()))) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(time.Until(t), 0)
	}
	return 0
}

// host is the push service's name and port, for the log.
func host(p latchkey.PushSubscription) string {
	u, err := url.Parse(p.Endpoint.Reveal())
	if err != nil {
		return ""
	}
	return u.Host
}

func hostname(p latchkey.PushSubscription) string {
	u, err := url.Parse(p.Endpoint.Reveal())
	if err != nil {
		return ""
	}
	return u.Hostname()
}
